from __future__ import annotations

import math

import pytest
from scipy import stats

from loadlab.analysis.compare import Design, Finding, compare_runs, design_of, pair_up
from loadlab.slo import parse_metric
from tests.analysis.examples import P50, run_of, sides

METRIC = parse_metric(P50)
SUCCESS = parse_metric("success_rate")
FIVE = [0.04, 0.06, 0.05, 0.07, 0.03]


def test_runs_are_paired_by_plan_whatever_their_order() -> None:
    a, b = [run_of(1.0, plan) for plan in "xyx"], [run_of(1.0, plan) for plan in "yxx"]
    assert pair_up(a, b) == [(0, 1), (1, 0), (2, 2)]
    assert pair_up(a, b[:2]) is None
    assert pair_up(a, [run_of(1.0, plan) for plan in "yxz"]) is None


def test_the_design_says_what_was_run() -> None:
    x, y = run_of(1.0, "x"), run_of(1.0, "y")
    assert design_of([x], [x]) is Design.ONE_PAIR
    assert design_of([x, y], [y, x]) is Design.PAIRS
    assert design_of([x], [y]) is Design.TWO_STRANGERS
    assert design_of([x, x], [y, y]) is Design.STRANGERS


def test_pairs_are_judged_by_their_differences_whatever_the_runs_are_like() -> None:
    """Base values reach from 0.1 to 8.1 s; the differences are 3 to 7 %."""
    comparison = compare_runs(*sides(FIVE), [METRIC])
    (d,) = comparison.differences
    assert comparison.design is Design.PAIRS
    assert d.differences == pytest.approx(FIVE)
    assert d.effect == pytest.approx(0.05)
    interval = stats.ttest_1samp(FIVE, 0).confidence_interval(0.90)
    assert (d.low, d.high) == pytest.approx((interval.low, interval.high))
    assert d.finding is Finding.WORSE
    assert (d.base, d.candidate) == pytest.approx((0.9, 0.9 * math.exp(0.05)))


def test_the_same_values_as_strangers_show_nothing() -> None:
    base, candidate = sides(FIVE)
    strangers = [run_of(run.readings[P50].value, f"other {k}") for k, run in enumerate(candidate)]
    comparison = compare_runs(base, strangers, [METRIC])
    assert comparison.design is Design.STRANGERS
    assert comparison.differences[0].finding is Finding.NOTHING
    assert comparison.differences[0].effect == pytest.approx(0.05)


def test_a_finding_is_corrected_for_the_number_of_metrics() -> None:
    """p = 0.02 alone is a finding; beside nineteen that show nothing it is none."""
    d = [0.02, 0.05, 0.00, 0.06, 0.04]
    assert stats.ttest_1samp(d, 0, alternative="greater").pvalue < 0.05
    base, candidate = sides(d)
    assert compare_runs(base, candidate, [METRIC]).differences[0].finding is Finding.WORSE
    flat = {f"ttft.p{k}": 1.0 for k in range(10, 29)}
    base, candidate = ([run_of({P50: run.readings[P50].value, **flat}, run.plan_digest) for run in side] for side in (base, candidate))
    many = compare_runs(base, candidate, [METRIC, *map(parse_metric, flat)])
    assert {difference.finding for difference in many.differences} == {Finding.NOTHING}


def test_less_success_is_worse_and_less_latency_better() -> None:
    base = [run_of({P50: 1.0, "success_rate": 0.99}, str(k)) for k in range(3)]
    candidate = [run_of({P50: 0.5 + 0.01 * k, "success_rate": 0.8 + 0.001 * k}, str(k)) for k in range(3)]
    p50, success = compare_runs(base, candidate, [METRIC, SUCCESS]).differences
    assert (p50.finding, success.finding) == (Finding.BETTER, Finding.WORSE)
    assert success.effect == pytest.approx(0.801 - 0.99)
    assert success.worsening == pytest.approx(0.189)


def test_one_pair_of_numbers_has_an_effect_and_no_finding() -> None:
    (d,) = compare_runs(*sides([0.5]), [METRIC]).differences
    assert d.effect == pytest.approx(0.5)
    assert (d.low, d.finding) == (None, Finding.UNKNOWN)


def test_a_run_without_the_number_leaves_it_unknown_and_says_so() -> None:
    base, candidate = sides(FIVE)
    candidate[2] = run_of({P50: None, "success_rate": 0.0}, candidate[2].plan_digest)
    (d,) = compare_runs(base, candidate, [METRIC]).differences
    assert (d.effect, d.finding, d.note) == (None, Finding.UNKNOWN, "a run has no such number")


def test_the_shift_has_the_bounds_of_each_decile() -> None:
    comparison = compare_runs(*sides(FIVE), [METRIC], {"ttft": FIVE})
    (shift,) = comparison.shifts
    assert shift.effects == pytest.approx([0.05] * 9)
    assert shift.lows[0] == pytest.approx(comparison.differences[0].low)
    (typical,) = comparison.typical
    assert (typical.latency, typical.effect, typical.low) == ("ttft", pytest.approx(0.05), pytest.approx(comparison.differences[0].low))


def test_two_strangers_are_bounded_by_what_each_leaves_open() -> None:
    """On logs 0 +- 0.3 and 1 +- 0.4: the difference is 1 +- 0.5."""
    from dataclasses import replace

    base, candidate = run_of(1.0, "x"), run_of(math.e, "y")
    for run, half in ((base, 0.3), (candidate, 0.4)):
        reading = run.readings[P50]
        assert reading.value is not None
        bounded = replace(reading, low=reading.value * math.exp(-half), high=reading.value * math.exp(half))
        run.readings[P50] = bounded  # type: ignore[index]
    (d,) = compare_runs([base], [candidate], [METRIC]).differences
    assert (d.low, d.effect, d.high) == pytest.approx((0.5, 1.0, 1.5))
    assert d.finding is Finding.UNKNOWN


def test_a_changed_scenario_is_noticed() -> None:
    base, candidate = sides(FIVE)
    assert compare_runs(base, candidate, [METRIC]).is_same_scenario
    assert not compare_runs(base, [run_of(1.0, run.plan_digest, scenario_digest="other") for run in candidate], [METRIC]).is_same_scenario
