"""Latencies in numbers that a reader can do in the head, and percentiles that occurred."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.analysis.latency import e2e_s, order_statistic, rank_of, tpot_s, ttft_s
from loadlab.analysis.table import build_table
from loadlab.record.request import Outcome, RequestRecord
from tests.record.examples import five_requests, ok


def test_latencies_are_those_of_ok_rows_from_their_due_time() -> None:
    table = build_table(five_requests())
    assert ttft_s(table) == pytest.approx([0.5, 0.6, 0.7])
    assert tpot_s(table) == pytest.approx([0.1, 0.1, 0.1])
    assert e2e_s(table) == pytest.approx([1.5, 1.6, 1.7])


def test_time_that_a_request_waited_to_be_sent_counts() -> None:
    late = RequestRecord(seq=0, scheduled_s=1.0, sent_s=9.0, first_token_s=10.0, last_token_s=10.0, finished_s=10.0, outcome=Outcome.OK)
    table = build_table([late])
    assert (ttft_s(table).tolist(), e2e_s(table).tolist()) == ([9.0], [9.0])


def test_an_answer_of_one_token_has_no_time_per_token() -> None:
    table = build_table([ok(0, tokens=1), ok(1, tokens=2)])
    assert tpot_s(table) == pytest.approx([0.1])
    assert len(ttft_s(table)) == 2


@pytest.mark.parametrize(
    ("p", "n", "rank", "reason"),
    [
        (0.50, 1, 1, "the only value"),
        (0.50, 4, 2, "ceil(2.0)"),
        (0.95, 20, 19, "ceil(19.0), exact"),
        (0.95, 60, 57, "ceil(57.0), exact"),
        (0.99, 60, 60, "ceil(59.4): the maximum"),
        (0.07, 100, 7, "7.000000000000001 in floating point"),
        (1.00, 5, 5, "the maximum"),
        (0.001, 5, 1, "never below the first"),
    ],
)
def test_rank_is_the_ceiling_of_p_n(p: float, n: int, rank: int, reason: str) -> None:
    assert rank_of(p, n) == rank, reason


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.95, 0.99, 1.0]))
def test_order_statistic_is_numpys_inverted_cdf(values: list[float], p: float) -> None:
    assert order_statistic(np.array(values), p) == np.quantile(values, p, method="inverted_cdf")


def test_nothing_has_no_percentile() -> None:
    assert order_statistic(np.empty(0), 0.5) is None


@pytest.mark.parametrize("p", [0.0, -0.1, 1.01])
def test_a_share_outside_its_range_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        order_statistic(np.array([1.0]), p)
