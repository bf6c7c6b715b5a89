"""Intervals against scipy and exact calculation, laws that they keep, and what they say where data do not suffice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter
from scipy.stats import binom, binomtest, norm, quantile_test, t

from loadlab.analysis import intervals
from loadlab.analysis.intervals import (
    autocorrelation_time,
    integrated_time,
    interval_ranks,
    mean_estimate,
    quantile_estimate,
    quantile_estimates,
    requests_for_claim,
    share_estimate,
    wilson,
)


def series(min_size: int = 1, max_size: int = 200) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, st.integers(min_size, max_size), elements=st.just(0.0) | st.floats(1e-6, 1e3))


def ar1(n: int, rho: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=n + 1000)
    return lfilter([1.0], [1.0, -rho], noise)[1000:]


# --- quantiles ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "ranks"), [(1_000, (983, 997)), (2_000, (1971, 1989))])
def test_ranks_of_p99(n: int, ranks: tuple[int, int]) -> None:
    assert interval_ranks(n, 0.99) == ranks


@given(st.integers(1, 3000), st.sampled_from([0.5, 0.9, 0.95, 0.99]), st.sampled_from([0.8, 0.95, 0.99]))
def test_ranks_are_the_tightest_that_the_binomial_law_allows(n: int, p: float, confidence: float) -> None:
    side = (1 - confidence) / 2
    low, high = interval_ranks(n, p, confidence)
    if low is not None:  # P(X_(low) > q) = P(fewer than low below q)
        assert binom.cdf(low - 1, n, p) <= side + 1e-12
        assert binom.cdf(low, n, p) > side - 1e-12
    else:
        assert binom.cdf(0, n, p) > side
    if high is not None:
        assert binom.sf(high - 1, n, p) <= side + 1e-12
        assert binom.sf(high - 2, n, p) > side - 1e-12
    else:
        assert binom.sf(n - 1, n, p) > side


def test_an_independent_sample_agrees_with_scipys_quantile_test() -> None:
    values = np.random.default_rng(1).exponential(size=2000)
    low, high = interval_ranks(2000, 0.95)
    theirs = quantile_test(values, q=float(np.quantile(values, 0.95)), p=0.95).confidence_interval(0.95)
    ordered = np.sort(values)
    assert (ordered[(low or 0) - 1], ordered[(high or 0) - 1]) == (theirs.low, theirs.high)


@given(st.integers(400, 5000), st.sampled_from([0.5, 0.9, 0.99]), st.floats(1, 20), st.floats(1, 20))
def test_more_dependence_never_narrows(n: int, p: float, one: float, other: float) -> None:
    assume(one <= other)
    (low, high), (lower, higher) = interval_ranks(n, p, tau=one), interval_ranks(n, p, tau=other)
    assert lower is None or (low is not None and lower <= low + 1)  # ranks are whole
    assert higher is None or (high is not None and higher >= high - 1)


@given(st.integers(1, 5000), st.floats(0.01, 0.99), st.floats(0.5, 0.98), st.floats(1, 30))
def test_more_confidence_never_narrows(n: int, p: float, confidence: float, tau: float) -> None:
    assume(tau <= n)
    (low, high), (lower, higher) = interval_ranks(n, p, confidence, tau), interval_ranks(n, p, confidence + 0.01, tau)
    assert lower is None or (low is not None and lower <= low)
    assert higher is None or (high is not None and higher >= high)


@given(series(), st.sampled_from([0.5, 0.9, 0.99]), st.sampled_from([2.0**-10, 2.0, 1024.0]))
def test_a_unit_scales_every_end(values: np.ndarray, p: float, unit: float) -> None:
    assert quantile_estimate(values * unit, p) == quantile_estimate(values, p).scaled(unit)


@given(series(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_value_lies_in_its_interval(values: np.ndarray, p: float) -> None:
    found = quantile_estimate(values, p)
    assert found.value is not None
    assert found.low is None or found.low <= found.value
    assert found.high is None or found.value <= found.high
    assert found.n == len(values)
    assert found.tau is not None
    assert 1 <= found.tau <= len(values)
    assert (found.low is None or found.high is None) == bool(found.note)


@given(series(min_size=50), st.integers(0, 2**32 - 1))
def test_order_moves_the_interval_and_never_the_value(values: np.ndarray, seed: int) -> None:
    shuffled = np.random.default_rng(seed).permutation(values)
    assert quantile_estimate(shuffled, 0.9).value == quantile_estimate(values, 0.9).value


def test_a_sorted_series_is_worth_few_requests() -> None:
    values = np.random.default_rng(1).exponential(size=1000)
    assert autocorrelation_time(values) < 1.3
    assert autocorrelation_time(np.sort(values)) > 50


def test_quantiles_together_are_quantiles_one_by_one() -> None:
    values = np.abs(ar1(3000, 0.7, 1))
    assert quantile_estimates(values, (0.5, 0.9, 0.99)) == [quantile_estimate(values, p) for p in (0.5, 0.9, 0.99)]


def test_too_few_for_an_upper_bound_is_said_with_what_would_suffice() -> None:
    found = quantile_estimate(np.random.default_rng(1).exponential(size=100), 0.99)
    assert found.high is None
    assert found.low is not None
    assert "unbounded above" in found.note
    assert "(368 effective)" in found.note  # 0.99^368 <= 0.025 < 0.99^367
    assert found.is_inconclusive
    assert found.needs_n == math.ceil(300 * (found.tau or 0))


def test_nothing_measured_is_not_a_number() -> None:
    found = quantile_estimate(np.empty(0), 0.5)
    assert (found.value, found.low, found.high, found.n) == (None, None, None, 0)


def test_a_constant_is_bounded_by_itself() -> None:
    found = quantile_estimate(np.full(1000, 2.0), 0.99)
    assert (found.low, found.value, found.high, found.tau) == (2.0, 2.0, 2.0, 1.0)


# --- dependence --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_tau_of_an_ar1_mean_is_the_closed_form(rho: float) -> None:
    assert integrated_time(ar1(200_000, rho, 1)) == pytest.approx((1 + rho) / (1 - rho), rel=0.08)


def test_tau_at_the_median_of_a_gaussian_ar1_is_the_arcsine_law() -> None:
    """Of 1{x > median} the autocorrelations are 2 / pi * arcsin(rho^k): W. F. Sheppard, 1899."""
    exact = 1 + 2 * sum(2 / math.pi * math.asin(0.8**k) for k in range(1, 200))
    assert autocorrelation_time(ar1(200_000, 0.8, 2), 0.5) == pytest.approx(exact, rel=0.08)


def test_an_alternating_series_is_not_claimed_to_be_worth_more_than_n() -> None:
    assert integrated_time(np.array([0.0, 1.0] * 500)) == 1.0


def test_long_dependence_is_summed_beyond_the_direct_lags() -> None:
    assert integrated_time(ar1(400_000, 0.98, 3)) == pytest.approx(99, rel=0.15)


# --- claims ------------------------------------------------------------------------------------------------------------------------


def test_looking_block_by_block_sees_what_the_whole_series_would_show(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reach passed twice, and the last block cut short."""
    series = ar1(100_003, 0.999, 4)
    whole = integrated_time(series)
    monkeypatch.setattr(intervals, "FIRST_REACH", 64)
    assert integrated_time(series) == whole


@pytest.mark.parametrize(
    ("confidence", "violations", "n"),
    [(0.99, 0, 459), (0.99, 1, 662), (0.99, 10, 2010), (0.95, 0, 299), (0.95, 1, 473), (0.95, 2, 628), (0.95, 10, 1693)],
)
def test_requests_for_a_claim_on_p99(confidence: float, violations: int, n: int) -> None:
    assert requests_for_claim(0.99, violations, confidence) == n


@given(st.floats(0.5, 0.999), st.integers(0, 20), st.floats(0.5, 0.999))
def test_a_claim_needs_the_smallest_n_that_the_binomial_law_allows(p: float, violations: int, confidence: float) -> None:
    n = requests_for_claim(p, violations, confidence)
    assert binom.cdf(violations, n, 1 - p) <= 1 - confidence + 1e-12
    assert n == violations + 1 or binom.cdf(violations, n - 1, 1 - p) > 1 - confidence - 1e-12


# --- means and shares --------------------------------------------------------------------------------------------------------------


def test_the_mean_of_independent_values_has_students_interval() -> None:
    values = np.random.default_rng(5).normal(10, 2, 40)
    found = mean_estimate(values, tau=1.0)
    low, high = t.interval(0.95, 39, loc=values.mean(), scale=values.std(ddof=1) / math.sqrt(40))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-9)


def test_one_value_has_no_interval_of_its_mean() -> None:
    found = mean_estimate(np.array([3.0]))
    assert (found.value, found.low, found.high) == (3.0, None, None)
    assert "unbounded" in found.note


def test_the_mean_of_counts_is_never_below_nothing() -> None:
    assert mean_estimate(np.array([0.0, 0.0, 0.0, 30.0])).low == 0


def test_failures_in_bursts_widen_the_interval_of_success() -> None:
    scattered = np.tile([True] * 9 + [False], 100)
    burst = np.repeat([True] * 9 + [False], 100)
    one, other = share_estimate(np.random.default_rng(1).permutation(scattered)), share_estimate(burst)
    assert one.value == other.value == 0.9
    assert one.low is not None
    assert other.low is not None
    assert other.low < one.low - 0.05


def test_where_nothing_failed_the_dependence_of_the_latencies_stands_in() -> None:
    hits = np.ones(1000, dtype=np.bool_)
    alone, with_latency = share_estimate(hits), share_estimate(hits, ar1(1000, 0.95, 1))
    assert alone.low is not None
    assert with_latency.low is not None
    assert alone.low == pytest.approx((wilson(1000, 1000) or (0, 0))[0])
    assert with_latency.low < alone.low


@given(st.integers(1, 20_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95, 0.99]))
@example((6652, 7310), 0.95)
@example((0, 1), 0.95)
@example((1, 1), 0.95)
def test_wilson_is_scipys(counts: tuple[int, int], confidence: float) -> None:
    theirs = binomtest(*counts).proportion_ci(confidence, method="wilson")
    assert wilson(*counts, confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_no_trials_have_no_interval() -> None:
    assert wilson(0, 0) is None


def test_certainty_is_never_claimed_on_the_open_side() -> None:
    low, high = wilson(60, 60) or (0, 0)
    assert high == 1.0
    assert low < 0.95


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="6 successes of 5"):
        wilson(6, 5)


def test_a_share_says_what_it_rests_on_at_the_confidence_asked_for() -> None:
    hits = np.array([True] * 30 + [False] * 10)[np.random.default_rng(3).permutation(40)]
    found = intervals.share_estimate(hits, confidence=0.8)
    assert found.tau is not None
    assert (found.value, found.n, found.n_effective) == (0.75, 40, 40 / found.tau)
    assert (found.low, found.high) == intervals.wilson(30 / found.tau, 40 / found.tau, 0.8)
    assert intervals.share_estimate(np.array([True])).value == 1.0


def test_a_mean_says_what_it_rests_on() -> None:
    found = intervals.mean_estimate(np.arange(10.0), tau=2.0)
    assert (found.value, found.n, found.tau, found.n_effective) == (4.5, 10, 2.0, 5.0)
    short = intervals.mean_estimate(np.arange(3.0), tau=2.0)
    assert (short.value, short.n, short.tau, short.n_effective, short.high) == (1.0, 3, 2.0, 1.5, None)
    assert intervals.mean_estimate(np.arange(4.0), tau=2.0).high is not None, "two effective values bound it"


def test_nothing_has_neither_a_mean_nor_a_share_nor_dependence() -> None:
    nothing = np.array([])
    assert intervals.mean_estimate(nothing) == intervals.Estimate(value=None, n=0, note="nothing was measured")
    assert intervals.share_estimate(nothing.astype(bool)) == intervals.Estimate(value=None, n=0, note="nothing was planned")
    assert intervals.autocorrelation_time(nothing) == 1.0


@pytest.mark.parametrize(
    ("p", "violations", "confidence"), [(0, 0, 0.9), (1, 0, 0.9), (1.5, 0, 0.9), (0.9, -1, 0.9), (0.9, 0, 0), (0.9, 0, 1)]
)
def test_a_claim_of_impossible_shares_is_refused(p: float, violations: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="inside"):
        intervals.requests_for_claim(p, violations, confidence)


@pytest.mark.parametrize("n", [500, 3585, 3586, 9000])
def test_block_by_block_every_near_covariance_is_the_plain_sum(n: int) -> None:
    series = np.random.default_rng(n).normal(size=n) + 1.0
    plain = [float(series[: n - lag] @ series[lag:]) for lag in range(min(512, n))]
    assert intervals._near_covariances(series, 512)[:n] == pytest.approx(plain, abs=1e-6)


# --- by the formulas, term by term -------------------------------------------------------------------------------------------------


def cautious_time_by_hand(series: np.ndarray) -> float:
    """The formulas of the docstrings with loops: Geyer's pairs, their error, batch means."""
    n, d = len(series), series - series.mean()
    rho = [float((d[: n - lag] * d[lag:]).sum() / (d * d).sum()) for lag in range(n)]
    lags = 0
    while lags + 1 < n and rho[lags] + rho[lags + 1] > 0:
        lags += 2
    total = max(1.0, min(2 * sum(rho[:lags]) - 1, n))
    with_error = total * (1 + math.sqrt(2 * (2 * lags + 1) / n)) if total > 1 else total
    size, by_batches = n // 20, 0.0
    if size >= 2:
        means = [series[i * size : (i + 1) * size].mean() for i in range(20)]
        by_batches = (t.ppf(0.975, 19) / norm.ppf(0.975)) ** 2 * size * np.var(means, ddof=1) / series.var()
    return min(max(1.0, with_error, by_batches), n)


@pytest.mark.parametrize(
    ("n", "rho"), [(3, 0.5), (30, 0.5), (39, 0.9), (40, 0.9), (59, 0.0), (200, 0.3), (700, 0.9), (701, 0.99), (1500, 0.999), (2500, 0.6)]
)
def test_the_cautious_time_is_the_larger_of_two_formulas(n: int, rho: float) -> None:
    for seed in range(6):
        series = ar1(n, rho, seed)
        assert intervals.cautious_time(series) == pytest.approx(cautious_time_by_hand(series), rel=6e-6)
    assert intervals.cautious_time(np.arange(float(n))) == pytest.approx(cautious_time_by_hand(np.arange(float(n))), rel=6e-6)


def test_twenty_batches_of_two_are_the_least() -> None:
    assert intervals.batch_time(np.arange(39.0)) == 0.0
    assert intervals.batch_time(np.arange(40.0)) == pytest.approx(2 * np.var(np.arange(0.5, 40, 2), ddof=1) / np.var(np.arange(40)))


def test_two_values_are_worth_one_at_least() -> None:
    assert integrated_time(np.array([3.0])) == 1.0
    assert intervals.cautious_time(np.array([1.0])) == 1.0
    assert 1.0 <= intervals.cautious_time(np.array([1.0, 2.0])) <= 2.0


@pytest.mark.parametrize(("p", "levels"), [(0.02, (0.1, 0.02)), (0.5, (0.5,)), (0.99, (0.9, 0.99))])
def test_the_dependence_of_a_quantile_is_that_of_being_slower(p: float, levels: tuple[float, ...]) -> None:
    series = ar1(2000, 0.9, 8)
    for values in (series, np.round(series, 1)):  # without ties, and with
        slow = [values > np.sort(values)[math.ceil(round(level * 2000, 9)) - 1] for level in levels]
        assert autocorrelation_time(values, p) == max(intervals.cautious_time(x) for x in slow)


def test_an_estimate_is_two_order_statistics_around_a_third() -> None:
    values = np.random.default_rng(9).permutation(np.arange(1.0, 2001.0))
    found = quantile_estimate(values, 0.9, confidence=0.8)
    assert found.tau is not None
    assert (found.value, found.n, found.n_effective, found.note) == (1800.0, 2000, 2000 / found.tau, "")
    assert (found.low, found.high) == intervals.interval_ranks(2000, 0.9, 0.8, found.tau)


def test_300_effective_values_suffice() -> None:
    assert quantile_estimate(np.ones(300), 0.5).needs_n is None
    assert quantile_estimate(np.ones(299), 0.5).needs_n == 300


def test_what_is_unbounded_is_told_with_what_would_bound_it() -> None:
    assert quantile_estimate(np.ones(3), 0.5).note == (
        "unbounded below and above: that takes 6 requests (6 effective), there are 3 effective"  # 0.5^6 <= 0.025 < 0.5^5
    )
    assert quantile_estimate(np.ones(100), 0.01).note.startswith("unbounded below: that takes 368 requests")
    told = intervals._unbounded_note(0.99, 0.95, 50.0, 2.0, False, True)
    assert told == "unbounded above: that takes 736 requests (368 effective), there are 50 effective"
    sorted_ones = quantile_estimate(np.arange(100.0), 0.99)
    assert sorted_ones.n_effective is not None
    assert sorted_ones.note.endswith(f"there are {sorted_ones.n_effective:,.0f} effective")
    assert quantile_estimate(np.empty(0), 0.5).note == "nothing was measured"


def test_ten_failures_show_their_own_clustering() -> None:
    latencies = np.arange(200.0)  # as dependent as can be
    for failures, stands_in in ((9, True), (10, False)):
        hits = np.arange(200) % 20 != 3
        hits[: 20 * (10 - failures)] = True
        assert (share_estimate(hits, latencies) != share_estimate(hits)) == stands_in


def test_nothing_or_all_is_an_exact_end() -> None:
    assert all(
        intervals.wilson(0, n, c) == (0.0, pytest.approx(1 - intervals.wilson(n, n, c)[0])) for n in range(1, 99) for c in (0.8, 0.95)
    )  # type: ignore[index]
    assert requests_for_claim(0.99) == 299
