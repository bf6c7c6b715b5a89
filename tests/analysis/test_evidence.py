from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadlab.analysis.evidence import (
    SignFlip,
    Student,
    bounds,
    detectable,
    evidence_of,
    holm,
    p_above,
    p_below,
    pairs_needed,
    welch,
)

FIVE = [0.02, 0.05, 0.03, 0.06, 0.04]
EIGHT = [0.02, 0.05, 0.03, 0.06, 0.04, -0.01, 0.07, 0.013]


def test_five_pairs_agree_with_scipys_one_sided_t_test() -> None:
    evidence = evidence_of(FIVE)
    assert isinstance(evidence, Student)
    for margin in (0.0, 0.02, 0.05):
        assert p_above(evidence, margin) == pytest.approx(stats.ttest_1samp(FIVE, margin, alternative="greater").pvalue)
        assert p_below(evidence, margin) == pytest.approx(stats.ttest_1samp(FIVE, margin, alternative="less").pvalue)
    low, high = bounds(evidence)
    interval = stats.ttest_1samp(FIVE, 0).confidence_interval(0.90)
    assert (low, high) == pytest.approx((interval.low, interval.high))


def test_welch_agrees_with_scipy() -> None:
    base, candidate = [1.0, 1.2, 0.9, 1.1], [1.4, 1.2, 2.0]
    evidence = welch(base, candidate)
    assert evidence is not None
    known = stats.ttest_ind(candidate, base, equal_var=False, alternative="greater")
    assert p_above(evidence, 0.0) == pytest.approx(known.pvalue)
    assert evidence.df == pytest.approx(known.df)
    assert welch(base, [1.4]) is None


def test_eight_pairs_are_judged_by_every_flip_of_their_signs() -> None:
    """The slow way: of 256 flips, the share whose mean is at least the one seen."""
    evidence = evidence_of(EIGHT)
    assert isinstance(evidence, SignFlip)
    for margin in (-0.0213, 0.0001, 0.0117, 0.0311):
        d = np.array(EIGHT) - margin
        flips = [float((d * signs).mean()) for signs in itertools.product((1, -1), repeat=8)]
        assert p_above(evidence, margin) == pytest.approx(np.mean(np.array(flips) >= d.mean() - 1e-15))
        assert p_below(evidence, margin) == pytest.approx(np.mean(np.array(flips) <= d.mean() + 1e-15))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=10), st.floats(-1, 1))
def test_a_bound_beyond_the_margin_and_a_small_p_value_are_the_same_statement(d: list[float], margin: float) -> None:
    evidence = evidence_of(d)
    assert evidence is not None
    low, high = bounds(evidence)
    if abs(low - margin) > 1e-9 and abs(high - margin) > 1e-9:
        assert (low > margin) == (p_above(evidence, margin) <= 0.05)
        assert (high < margin) == (p_below(evidence, margin) <= 0.05)


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12), st.floats(-1, 1))
def test_turning_the_sign_turns_the_statement(d: list[float], margin: float) -> None:
    evidence, turned = evidence_of(d), evidence_of([-x for x in d])
    assert evidence is not None
    assert turned is not None
    assert p_above(evidence, margin) == pytest.approx(p_below(turned, -margin))


def test_differences_that_do_not_vary_are_certain() -> None:
    """Two equal simulated runs differ by nothing, each time."""
    evidence = evidence_of([0.0, 0.0, 0.0])
    assert evidence is not None
    assert bounds(evidence) == (0.0, 0.0)
    assert (p_above(evidence, 0.05), p_below(evidence, 0.05)) == (1.0, 0.0)
    assert (p_above(evidence, 0.0), p_below(evidence, 0.0)) == (1.0, 1.0)
    assert detectable(evidence) == 0.0


def test_one_difference_says_nothing_of_its_spread() -> None:
    assert evidence_of([0.3]) is None
    assert pairs_needed([0.3], 0.0) is None


def test_sign_flips_are_left_where_their_smallest_p_value_is_beyond_the_correction() -> None:
    """Eight pairs: 1/256 = 0.0039 is below 0.05 / 12 and above 0.05 / 13."""
    assert isinstance(evidence_of(EIGHT, tests=12), SignFlip)
    assert isinstance(evidence_of(EIGHT, tests=13), Student)
    assert isinstance(evidence_of([*EIGHT, 0.02], tests=20), SignFlip)


def test_the_detectable_effect_is_the_formula() -> None:
    """t.95 + t.80 at four degrees of freedom: 2.132 + 0.941."""
    evidence = evidence_of(FIVE)
    assert evidence is not None
    assert detectable(evidence) == pytest.approx((2.1318 + 0.9410) * np.std(FIVE, ddof=1) / math.sqrt(5), rel=1e-4)


def test_the_pairs_needed_are_the_fewest_that_settle_it() -> None:
    d, margin = [0.02, 0.05, -0.03, 0.04, 0.01], 0.05
    k = pairs_needed(d, margin)
    assert k is not None

    def half_width(n: int) -> float:
        return (stats.t.ppf(0.95, n - 1) + stats.t.ppf(0.8, n - 1)) * np.std(d, ddof=1) / math.sqrt(n)

    assert half_width(k) <= margin - np.mean(d) < half_width(k - 1)


def test_a_difference_at_the_margin_needs_more_pairs_than_anybody_runs() -> None:
    assert pairs_needed([0.0, 0.1], 0.05) is None
    assert pairs_needed([0.05, 0.05], 0.05) is None
    assert pairs_needed([0.01, 0.01], 0.05) == 2


def test_holms_steps_by_hand() -> None:
    """0.01 * 4, then max(0.04, 0.02 * 3), then max(0.06, 0.03 * 2), then max(0.06, 0.04)."""
    assert holm([0.02, 0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.06, 0.04, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_lies_between_no_correction_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(x <= y <= min(1.0, len(p) * x) + 1e-12 for x, y in zip(p, adjusted, strict=True))
    assert [adjusted[i] for i in np.argsort(p, kind="stable")] == sorted(adjusted)


def test_welch_of_samples_that_do_not_vary_counts_all_values_but_two() -> None:
    assert welch([1, 1, 1], [3, 3]) == Student(centre=2.0, se=0.0, df=3.0)


def test_welch_needs_two_of_each_and_no_more() -> None:
    assert welch([1.0], [1.0, 2.0]) is None
    assert welch([1.0, 2.0], [1.0]) is None
    found = welch([1.0, 2.0], [3.0, 7.0])
    assert found is not None
    assert found.df == pytest.approx(stats.ttest_ind([1.0, 2.0], [3.0, 7.0], equal_var=False).df)


@pytest.mark.parametrize(
    ("differences", "margin"), [([0.5, 0.50001], 0.0), ([0.05, 0.03, 0.06], 0.0), ([0.0, 0.06, 0.02, 0.04], 0.05), (EIGHT, 0.0)]
)
def test_the_pairs_needed_are_those_of_the_formula_tried_one_by_one(differences: list[float], margin: float) -> None:
    distance, sd = abs(np.mean(differences) - margin), np.std(differences, ddof=1)
    quantiles = ((k, stats.t.ppf(0.95, k - 1) + stats.t.ppf(0.8, k - 1)) for k in range(2, 10_001))
    assert pairs_needed(differences, margin) == next(k for k, sum_of_two in quantiles if sum_of_two * sd / math.sqrt(k) <= distance)


def test_more_pairs_are_counted_exactly_at_every_ratio_of_distance_and_spread() -> None:
    for distance in np.linspace(0.4, 6, 60):
        differences = [distance - 1.0, distance, distance + 1.0]  # sd = 1
        quantiles = ((k, stats.t.ppf(0.95, k - 1) + stats.t.ppf(0.8, k - 1)) for k in range(2, 10_001))
        assert pairs_needed(differences, 0.0) == next(k for k, sum_of_two in quantiles if sum_of_two / math.sqrt(k) <= distance)


@pytest.mark.parametrize(("alpha", "rank"), [(0.05, 12), (3 / 256, 3), (0.0195, 4), (1 / 256, 1)])
def test_bounds_of_sign_flips_are_order_statistics_of_the_subset_means(alpha: float, rank: int) -> None:
    """255 subset means cut the line into 256 pieces."""
    found = evidence_of(EIGHT)
    means = sorted(np.mean(subset) for size in range(1, 9) for subset in itertools.combinations(EIGHT, size))
    assert found is not None
    assert bounds(found, alpha) == pytest.approx((means[rank - 1], means[-rank]), abs=1e-12)


def test_sign_flips_bound_nothing_below_their_smallest_p_value() -> None:
    found = evidence_of(EIGHT)
    assert found is not None
    assert bounds(found, 0.003) == (-math.inf, math.inf)
    assert bounds(found) == bounds(found, 0.05)


def test_signs_are_flipped_up_to_sixteen_pairs() -> None:
    d = list(np.linspace(0.5, 2.0, 17))
    assert isinstance(evidence_of(d[:16]), SignFlip)
    assert isinstance(evidence_of(d), Student)


def test_a_margin_at_a_subset_mean_counts_against_both_statements() -> None:
    """Eight powers of two, whose smallest and largest subset means are the smallest and the largest of them."""
    found = evidence_of([2.0**k for k in range(8)])
    assert found is not None
    assert p_above(found, 1.0) == 2 / 256
    assert p_below(found, 128.0) == 2 / 256
    assert p_above(found, 0.5) == p_below(found, 129.0) == 1 / 256


def test_sign_flips_carry_the_mean_and_its_error() -> None:
    found = evidence_of(EIGHT)
    assert isinstance(found, SignFlip)
    assert (found.centre, found.se, found.df) == pytest.approx((np.mean(EIGHT), np.std(EIGHT, ddof=1) / math.sqrt(8), 7))
