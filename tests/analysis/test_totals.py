"""The ledger always balances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.analysis.table import build_table
from loadlab.analysis.totals import Totals, causes_of, count_outcomes, totals_of
from loadlab.record.request import Outcome, RequestRecord
from tests.record.examples import five_requests, ok


def test_counts_of_a_small_run() -> None:
    table = build_table(five_requests())
    assert totals_of(table, 5) == Totals(planned=5, ok=3, rejected=1, timeout=1)
    assert causes_of(table) == {"queue_full": 1, "deadline": 1}
    assert totals_of(table, 5).failed == 1


def test_planned_requests_without_a_row_are_unknown() -> None:
    assert totals_of(build_table(five_requests()), 8).unknown == 3
    assert count_outcomes([Outcome.OK], 3) == Totals(planned=3, ok=1, unknown=2)


@given(st.lists(st.sampled_from(list(Outcome))), st.integers(0, 50))
def test_planned_is_the_sum_of_the_outcomes(outcomes: list[Outcome], missing: int) -> None:
    planned = len(outcomes) + missing
    rows = [RequestRecord(seq=i, outcome=outcome) for i, outcome in enumerate(outcomes)]
    totals = totals_of(build_table(rows), planned)
    assert totals == count_outcomes(outcomes, planned)
    assert totals.planned == sum(totals.count(outcome) for outcome in Outcome) == planned


def test_totals_of_runs_add_up() -> None:
    assert Totals(planned=2, ok=2) + Totals(planned=3, ok=1, oom=2) == Totals(planned=5, ok=3, oom=2)


@pytest.mark.parametrize(("seqs", "message"), [([0, 0], "twice"), ([0, 5], "outside the plan of 5")])
def test_rows_that_contradict_the_plan_are_refused(seqs: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        totals_of(build_table(map(ok, seqs)), 5)


def test_a_ledger_that_does_not_balance_cannot_exist() -> None:
    with pytest.raises(ValueError, match="is not the sum of the outcomes"):
        Totals(planned=2, ok=1)
    with pytest.raises(ValueError, match="2 outcomes for 1 planned"):
        count_outcomes([Outcome.OK, Outcome.OK], 1)
