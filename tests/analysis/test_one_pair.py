from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from loadlab.analysis.compare import Design, Finding
from loadlab.analysis.one_pair import compare_one_pair, sectioned, sections_of, within_one_pair
from loadlab.analysis.readings import RunNumbers, read_deciles, read_metric
from loadlab.analysis.table import RequestTable, build_table
from loadlab.slo import parse_metric
from tests.record.examples import ok

METRICS = [parse_metric(text) for text in ("ttft.p50", "ttft.p99", "success_rate")]


def run(ttft: np.ndarray) -> tuple[RunNumbers, RequestTable]:
    table = build_table([ok(seq, ttft_s=float(x)) for seq, x in enumerate(ttft)])
    numbers = RunNumbers(
        label="x", plan_digest="p", scenario_digest="s", seed=1, planned=len(table), ok=len(table),
        readings={str(m): read_metric(m, table, None) for m in METRICS}, deciles=read_deciles(table),
    )  # fmt: skip
    return numbers, table


def test_a_slowdown_of_every_request_is_seen_within_one_pair() -> None:
    rng = np.random.default_rng(3)
    base = rng.lognormal(size=1000)
    comparison = compare_one_pair(run(base), run(base * rng.normal(1.05, 0.02, 1000)), METRICS, None)
    assert comparison.design is Design.ONE_PAIR
    p50, p99, success = comparison.differences
    assert p50.low is not None
    assert p50.high is not None
    assert 0.03 < p50.low < np.log(1.05) < p50.high < 0.07
    assert p50.finding is Finding.WORSE
    assert p99.low is not None  # ten sections of a hundred
    assert success.effect == 0.0
    (ttft, *_) = comparison.typical
    assert ttft.effect == pytest.approx(np.log(1.05), abs=0.005)
    assert all(
        low is not None and low < effect for low, effect in zip(comparison.shifts[0].lows, comparison.shifts[0].effects, strict=True)
    )


def test_a_percentile_that_sections_are_too_short_for_has_no_bounds() -> None:
    base = np.random.default_rng(3).lognormal(size=400)
    comparison = compare_one_pair(run(base), run(base * 1.05), METRICS, None)
    p99 = comparison.differences[1]
    assert (p99.low, p99.finding, p99.note) == (None, Finding.UNKNOWN, "too few requests for sections of their own")
    assert p99.effect == pytest.approx(np.log(1.05))


@pytest.mark.parametrize(
    ("metric", "n", "sections"), [("ttft.p99", 499, 0), ("ttft.p99", 500, 5), ("ttft.p50", 400, 20), ("e2e.mean", 60, 0)]
)
def test_each_section_holds_enough_for_its_percentile(metric: str, n: int, sections: int) -> None:
    assert sections_of(parse_metric(metric), n) == sections


def test_sections_bound_the_mean_of_independent_differences() -> None:
    """Of b independent parts the standard error is that of their mean, about the whole."""
    evidence = sectioned(2.0, np.array([1.0, 2.0, 3.0, 2.0, 2.0]))
    assert (evidence.centre, evidence.df) == (2.0, 4)
    assert evidence.se == pytest.approx(np.std([1, 2, 3, 2, 2], ddof=1) / np.sqrt(5))


def test_the_bounds_of_one_pair_hold_for_queued_requests() -> None:
    """AR(1) at 0.9 in both runs, equal laws: the p50 of the pair differs by chance, and bounds hold nothing in most of 60 pairs."""
    rng, missed = np.random.default_rng(5), 0
    for _ in range(60):
        series = lfilter([1], [1, -0.9], rng.normal(size=(2, 1000)), axis=1)
        (base, a), (candidate, b) = (run(np.exp(0.1 * x)) for x in series)
        d = within_one_pair(METRICS[0], base, candidate, a, b, None)
        assert d.low is not None
        assert d.high is not None
        missed += not d.low <= 0 <= d.high
    assert missed <= 13  # nominal 6; the 99.8th percentile of Binomial(60, 0.1) is 13
