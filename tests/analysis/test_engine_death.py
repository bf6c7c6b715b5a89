from __future__ import annotations

import pytest

from loadlab.analysis.engine_death import IN_A_ROW, SuspectedDeath, suspected_deaths
from loadlab.analysis.table import build_table
from loadlab.record.request import OUTCOME_OF, Cause, Outcome, RequestRecord


def found(*causes: Cause | None) -> tuple[SuspectedDeath, ...]:
    """Of requests that ended at 0, 1, 2 .. s; None is a success. The rows lie in another order."""
    rows = [
        RequestRecord(seq=i, finished_s=float(i), outcome=Outcome.OK if cause is None else OUTCOME_OF[cause], cause=cause)
        for i, cause in enumerate(causes)
    ]
    return suspected_deaths(build_table(reversed(rows)))


CRASH = (Cause.RESET_MID_STREAM, Cause.RESET_MID_STREAM, Cause.RESET, Cause.REFUSED, Cause.REFUSED)


def test_connections_lost_in_a_row_after_successes_are_a_suspicion() -> None:
    assert found(None, *CRASH, Cause.REFUSED, None) == (SuspectedDeath(at_s=1.0, requests=6),)
    assert found(None, *CRASH) == (SuspectedDeath(at_s=1.0, requests=5),), "it never came back"


def test_a_target_that_dies_twice_is_suspected_twice() -> None:
    assert [death.at_s for death in found(None, *CRASH, None, None, *CRASH)] == [1.0, 8.0]


@pytest.mark.parametrize(
    ("causes", "reason"),
    [
        (CRASH, "it never answered: unreachable, not dead"),
        ((None, *CRASH[:-1], None, *CRASH[:-1]), f"fewer than {IN_A_ROW} in a row"),
        ((None, *[Cause.QUEUE_FULL] * 9), "it said no, and so it lives"),
        ((None, *[Cause.DEADLINE] * 9), "slow is not dead"),
        ((None, *[Cause.STALE_CONNECTION] * 9), "idle connections are closed by healthy servers"),
        ((None, *[Cause.IN_FLIGHT_LIMIT] * 9), "never sent"),
        ((), "no rows"),
    ],
)
def test_other_failures_are_no_suspicion(causes: tuple[Cause | None, ...], reason: str) -> None:
    assert found(*causes) == (), reason


def test_what_was_never_sent_does_not_interrupt_a_burst() -> None:
    assert found(None, *CRASH[:3], Cause.IN_FLIGHT_LIMIT, *CRASH[3:])[0].requests == 5
