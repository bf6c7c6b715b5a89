from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats.mstats import hdquantiles

from loadlab.analysis.readings import (
    Reading,
    aligned,
    combined,
    default_metrics,
    is_worse_when_higher,
    log_ratios,
    read_deciles,
    read_metric,
    scaled,
    smoothed_quantile,
    typical_change,
    typical_shift,
)
from loadlab.analysis.table import build_table
from loadlab.record.request import Cause, Outcome
from loadlab.slo import Slo, Slos, parse_metric
from tests.record.examples import failed, ok

TTFT_P99 = parse_metric("ttft.p99")


@pytest.mark.parametrize("n", [2, 7, 400, 5000])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9, 0.99])
def test_a_smoothed_quantile_is_harrell_and_davis(n: int, p: float) -> None:
    values = np.sort(np.random.default_rng(n).lognormal(size=n))
    assert smoothed_quantile(values, p) == pytest.approx(float(hdquantiles(values, [p])[0]), rel=1e-9)


@given(arrays(np.float64, st.integers(1, 50), elements=st.floats(0.001, 1000)), st.floats(0.01, 0.99))
def test_a_smoothed_quantile_lies_within_the_values_and_scales_with_them(values: np.ndarray, p: float) -> None:
    ordered = np.sort(values)
    q = smoothed_quantile(ordered, p)
    assert ordered[0] * (1 - 1e-9) <= q <= ordered[-1] * (1 + 1e-9)
    assert smoothed_quantile(2 * ordered, p) == pytest.approx(2 * q)


def test_the_typical_change_is_the_median_of_means_of_two() -> None:
    """Of 0, 0.1 and 0.5: means 0, 0.05, 0.1, 0.25, 0.3, 0.5, so 0.175."""
    assert typical_change(np.array([0.5, 0.0, 0.1])) == pytest.approx(0.175)
    assert typical_change(np.array([])) is None


def test_the_typical_shift_is_the_median_of_all_differences() -> None:
    """Logs 0, 1 against 1, 3: differences 1, 0, 3, 2, so 1.5."""
    assert typical_shift(np.exp([0.0, 1.0]), np.exp([1.0, 3.0])) == pytest.approx(1.5)
    assert typical_shift(np.array([]), np.array([1.0])) is None


def test_many_requests_are_represented_by_a_thousand() -> None:
    ratios = np.random.default_rng(1).normal(0.05, 1.0, 50_000)
    assert typical_change(ratios) == pytest.approx(0.05, abs=0.02)


def test_aligned_rows_are_the_same_requests_in_due_order() -> None:
    base = build_table([ok(0, due_s=5.0), ok(1, due_s=1.0), ok(2, due_s=3.0)])
    candidate = build_table([ok(2, due_s=3.0), ok(3, due_s=9.0), ok(0, due_s=5.0)])
    a, b = aligned(base, candidate)
    assert a.seq.tolist() == b.seq.tolist() == [2, 0]
    none = build_table([])
    assert [len(table) for table in aligned(base, none)] == [0, 0]


def test_ratios_are_of_requests_that_both_runs_answered() -> None:
    base = build_table([ok(0, ttft_s=0.5), ok(1, ttft_s=0.5), failed(2, Cause.DEADLINE, Outcome.TIMEOUT)])
    candidate = build_table([ok(0, ttft_s=1.0), failed(1, Cause.DEADLINE, Outcome.TIMEOUT), ok(2)])
    assert log_ratios("ttft", *aligned(base, candidate)) == pytest.approx([math.log(2)])


def test_a_reading_shows_the_order_statistic_and_compares_the_smoothed_one() -> None:
    table = build_table([ok(i, ttft_s=0.1 * (i + 1)) for i in range(10)])
    reading = read_metric(parse_metric("ttft.p50"), table, None)
    assert reading.value == pytest.approx(0.5)
    assert reading.smoothed == pytest.approx(0.55)  # symmetric about the middle of ten
    share = read_metric(parse_metric("success_rate"), table, None)
    assert share.value == share.smoothed == 1.0


def test_what_no_request_has_is_not_read() -> None:
    table = build_table([failed(0, Cause.DEADLINE, Outcome.TIMEOUT)])
    assert read_metric(TTFT_P99, table, None) == Reading(value=None, smoothed=None)
    assert read_deciles(table) == {}


def test_attainment_is_compared_where_there_is_an_slo() -> None:
    slos = Slos(default=Slo(ttft=1.0), by_class={})
    assert [str(m) for m in default_metrics(slos)][-2:] == ["success_rate", "attainment"]
    assert len(default_metrics(None)) == 21


@pytest.mark.parametrize(
    ("metric", "worse"),
    [("ttft.p99", True), ("oom.count", True), ("failed.rate", True), ("success_rate", False), ("goodput", False), ("ok.rate", False)],
)
def test_more_is_worse_of_latency_and_failure_and_better_of_work_done(metric: str, worse: bool) -> None:
    assert is_worse_when_higher(parse_metric(metric)) is worse


def test_seconds_differ_by_ratios_and_shares_by_points() -> None:
    assert scaled(TTFT_P99, math.e) == pytest.approx(1.0)
    assert scaled(parse_metric("success_rate"), 0.9) == 0.9
    assert scaled(parse_metric("goodput"), 0.0) is None
    two = [Reading(value=None, smoothed=x) for x in (1.0, 4.0)]
    assert combined(TTFT_P99, two) == pytest.approx(2.0)
    assert combined(parse_metric("success_rate"), [Reading(value=None, smoothed=x) for x in (0.5, 1.0)]) == 0.75
    assert combined(TTFT_P99, [*two, Reading(value=None, smoothed=None)]) is None
