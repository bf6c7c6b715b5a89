from __future__ import annotations

from collections.abc import Sequence

import pytest

from loadlab.analysis.table import build_table
from loadlab.analysis.validity import Validity, Verdict, judge
from loadlab.record.request import OUTCOME_OF, Cause, Outcome, RequestRecord

QUIET = {"run_queue_wait_s": 1.0, "wall_s": 100.0}


def sent(seq: int, lag_s: float = 0.001, ttft_s: float = 0.1) -> RequestRecord:
    """Due at seq / 10 s."""
    due_s = seq / 10
    return RequestRecord(
        seq=seq, scheduled_s=due_s, sent_s=due_s + lag_s, first_token_s=due_s + ttft_s, last_token_s=due_s + ttft_s,
        finished_s=due_s + ttft_s, output_tokens=1, outcome=Outcome.OK,
    )  # fmt: skip


def unsent(seq: int, cause: Cause = Cause.IN_FLIGHT_LIMIT) -> RequestRecord:
    return RequestRecord(seq=seq, scheduled_s=seq / 10, finished_s=seq / 10, outcome=OUTCOME_OF[cause], cause=cause)


def judged(records: Sequence[RequestRecord], client: dict[str, float] | None = None, planned: int | None = None) -> Validity:
    return judge(build_table(records), len(records) if planned is None else planned, QUIET if client is None else client)


def test_a_run_that_was_on_time_is_valid_and_says_by_what() -> None:
    found = judged([sent(i) for i in range(200)])
    assert (found.verdict, found.reasons, found.notes) == (Verdict.VALID, (), ())
    assert (found.n, found.lag_limit_s, found.run_queue_wait_share) == (200, 0.010, 0.01)
    assert found.lag_p99_s == pytest.approx(0.001)
    assert found.offered_per_s == found.achieved_per_s == pytest.approx(10.0)


def test_the_p99_of_the_lag_decides_and_its_limit_grows_with_ttft() -> None:
    late = [sent(i, lag_s=0.02 if i < 3 else 0.001) for i in range(200)]
    assert judged(late).verdict is Verdict.INVALID
    assert judged([sent(i, lag_s=0.02 if i < 2 else 0.001) for i in range(200)]).verdict is Verdict.VALID
    slow = judged([sent(i, lag_s=0.02, ttft_s=0.5) for i in range(200)])
    assert (slow.verdict, slow.lag_limit_s) == (Verdict.VALID, pytest.approx(0.025))
    assert "dispatch lag p99 20.0 ms" in judged(late).reasons[0]


@pytest.mark.parametrize(("cause", "words"), [(Cause.IN_FLIGHT_LIMIT, "--max-in-flight"), (Cause.OUT_OF_SOCKETS, "file descriptors")])
def test_less_than_99_percent_sent_is_invalid_and_the_cause_is_named(cause: Cause, words: str) -> None:
    assert judged([unsent(i, cause) if i < 2 else sent(i) for i in range(200)]).verdict is Verdict.VALID
    found = judged([unsent(i, cause) if i % 50 == 25 else sent(i) for i in range(200)])
    assert found.verdict is Verdict.INVALID
    assert words in found.reasons[0]


def test_a_load_that_falls_behind_is_less_than_was_offered() -> None:
    found = judged([sent(i, lag_s=0.005 * i, ttft_s=30.0) for i in range(200)])
    assert found.achieved_per_s == pytest.approx(10 / 1.05)
    assert "9.5 of 10.0 requests/s" in found.reasons[0]


def test_a_process_without_a_core_is_invalid() -> None:
    assert "waited for a core 21 %" in judged([sent(i) for i in range(200)], {"run_queue_wait_s": 21.0, "wall_s": 100.0}).reasons[0]
    unknown = judged([sent(i) for i in range(200)], {})
    assert unknown.verdict is Verdict.VALID
    assert "not counted" in unknown.notes[0]


def test_missing_rows_and_early_ends_are_incomplete_whatever_else_was_wrong() -> None:
    assert judged([sent(i) for i in range(200)], planned=201).verdict is Verdict.INCOMPLETE
    found = judge(build_table([sent(i, lag_s=0.05) for i in range(200)]), 200, QUIET, "stopped")
    assert (found.verdict, found.reasons[0], len(found.reasons)) == (Verdict.INCOMPLETE, "stopped", 2)


def test_nothing_sent_and_few_sent_are_judged_without_a_crash() -> None:
    assert judged([unsent(0, Cause.STOPPED)]).verdict is Verdict.INVALID
    assert judged([sent(0)]).notes == ("1 OK requests: a p99 of fewer than 100 is their maximum",)
    empty = judge(build_table([]), 3, None, "killed")
    assert (empty.verdict, empty.lag_p99_s, empty.offered_per_s) == (Verdict.INCOMPLETE, None, None)
