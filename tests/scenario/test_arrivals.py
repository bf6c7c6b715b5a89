"""Arrival laws: gaps, dispersion at 1, 10 and 60 s, mean matching, and both end rules. Fixed seeds, alpha 0.001."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from loadlab.scenario.arrivals import Arrivals, Constant, Diurnal, Dwell, Gamma, OnOff, Poisson, Spike, arrival_times_s, expected_arrivals
from loadlab.scenario.plan import FloatArray

ALPHA = 0.001
WINDOWS_S = (1, 10, 60)
LAWS: list[Arrivals] = [
    Constant(rate_per_s=2),
    Poisson(rate_per_s=2),
    Gamma(rate_per_s=2, cv=4),
    Gamma(rate_per_s=2, cv=0.5),
    OnOff(rates_per_s=(0.5, 8), dwell_s=(30, 10)),
    OnOff(rates_per_s=(0, 8, 1), dwell_s=(30, 10, 5), dwell=Dwell.EXPONENTIAL),
    Spike(base_per_s=2, peak_per_s=20, at_s=(0, 100), for_s=10),
    Diurnal(mean_per_s=2, amplitude=1, period_s=100, phase_s=25),
]


def counts_per_window(times: FloatArray, window_s: float) -> FloatArray:
    """Arrivals in each whole window up to the last arrival."""
    return np.histogram(times, np.arange(0, times[-1], window_s))[0].astype(float)


def assert_poisson(times: FloatArray) -> None:
    """Unit-rate Poisson: exponential gaps, and counts as variable as their mean in windows of 1, 10 and 60."""
    assert stats.kstest(np.diff(times, prepend=0), "expon").pvalue > ALPHA
    for window_s in WINDOWS_S:
        counts = counts_per_window(times, window_s)
        dispersion = np.sum((counts - counts.mean()) ** 2) / counts.mean()
        freedom = len(counts) - 1
        assert stats.chi2.ppf(ALPHA / 2, freedom) < dispersion < stats.chi2.ppf(1 - ALPHA / 2, freedom)


def rescaled(times: FloatArray, rate_per_s: FloatArray, step_s: float) -> FloatArray:
    """Times through the integral of a rate given at the middles of steps: a unit Poisson process if the rate is right."""
    edges = np.arange(len(rate_per_s) + 1) * step_s
    return np.interp(times, edges, np.concatenate(([0.0], np.cumsum(rate_per_s * step_s))))


def test_constant_arrivals_are_exact_multiples_of_the_gap() -> None:
    assert arrival_times_s(Constant(rate_per_s=4), default_rng(1), requests=4).tolist() == [0, 0.25, 0.5, 0.75]


def test_poisson_gaps_are_exponential_and_counts_disperse_as_their_mean() -> None:
    times = arrival_times_s(Poisson(rate_per_s=5), default_rng(1), requests=20_000)
    assert_poisson(times * 5)


@pytest.mark.parametrize("cv", [0.5, 1.0, 4.0])
def test_gamma_gaps_follow_their_law_and_coefficient_of_variation(cv: float) -> None:
    gaps = np.diff(arrival_times_s(Gamma(rate_per_s=2, cv=cv), default_rng(2), requests=100_000))
    law, floor_s = stats.gamma(1 / cv**2, scale=cv**2 / 2), 1e-6  # CV 4 has gaps far below what a sum of 1e4 s resolves
    below = law.cdf(floor_s)
    assert stats.binomtest(int(np.sum(gaps < floor_s)), len(gaps), below).pvalue > ALPHA
    assert stats.kstest(gaps[gaps >= floor_s], lambda x: (law.cdf(x) - below) / (1 - below)).pvalue > ALPHA
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05)
    assert gaps.mean() == pytest.approx(0.5, abs=4 * cv * 0.5 / np.sqrt(len(gaps)))


def test_gamma_dispersion_rises_with_the_window_up_to_the_square_of_cv() -> None:
    times = arrival_times_s(Gamma(rate_per_s=2, cv=4), default_rng(3), requests=200_000)
    by_window = [np.var(counts) / np.mean(counts) for counts in (counts_per_window(times, w) for w in WINDOWS_S)]
    assert 1 < by_window[0] < by_window[1] < by_window[2] < 1.1 * 16
    counts = counts_per_window(times, 600)
    assert np.var(counts) / np.mean(counts) == pytest.approx(16, rel=0.3)


def test_gamma_first_gap_makes_the_window_from_zero_hold_the_stated_rate() -> None:
    law = Gamma(rate_per_s=1, cv=4)
    counts = [len(arrival_times_s(law, default_rng(seed), duration_s=50)) for seed in range(2000)]
    assert np.mean(counts) == pytest.approx(50, abs=4 * np.std(counts) / np.sqrt(len(counts)))


def test_spike_is_poisson_at_its_two_rates() -> None:
    law = Spike(base_per_s=2, peak_per_s=20, at_s=(100, 300), for_s=50)
    times = arrival_times_s(law, default_rng(4), requests=6_000)
    middles = np.arange(0, 4000) + 0.5
    inside = ((middles > 100) & (middles < 150)) | ((middles > 300) & (middles < 350))
    assert_poisson(rescaled(times, np.where(inside, 20.0, 2.0), 1.0))


def test_fixed_states_are_poisson_at_their_rates_beginning_with_the_first() -> None:
    law = OnOff(rates_per_s=(1, 9), dwell_s=(30, 10))
    times = arrival_times_s(law, default_rng(5), requests=10_000)
    middles = np.arange(0, 5000) + 0.5
    assert_poisson(rescaled(times, np.where(middles % 40 < 30, 1.0, 9.0), 1.0))


def test_a_silent_state_has_no_arrivals() -> None:
    times = arrival_times_s(OnOff(rates_per_s=(0, 5), dwell_s=(30, 10)), default_rng(6), requests=2_000)
    assert np.all(times % 40 >= 30)


def test_exponential_states_have_the_rate_and_dispersion_of_a_two_state_mmpp() -> None:
    """Rate and IDC(w) in closed form: Fischer & Meier-Hellstern, The MMPP cookbook, 1993."""
    l1, l2, q12, q21 = 1.0, 9.0, 1 / 30, 1 / 10
    law = OnOff(rates_per_s=(l1, l2), dwell_s=(30, 10), dwell=Dwell.EXPONENTIAL)
    times = arrival_times_s(law, default_rng(7), requests=600_000)
    q, d = q12 + q21, l1 * q21 + l2 * q12
    assert len(times) / times[-1] == pytest.approx(d / q, rel=0.05)
    for w in WINDOWS_S:
        counts = counts_per_window(times, w)
        idc = 1 + 2 * (l1 - l2) ** 2 * q12 * q21 / (q**2 * d) * (1 - (1 - np.exp(-q * w)) / (q * w))
        assert np.var(counts) / np.mean(counts) == pytest.approx(idc, rel=0.08)


@pytest.mark.parametrize("amplitude", [0.0, 0.8, 1.0])
@pytest.mark.parametrize("phase_s", [0.0, 37.0])
def test_diurnal_is_poisson_at_its_sinusoidal_rate(amplitude: float, phase_s: float) -> None:
    law = Diurnal(mean_per_s=3, amplitude=amplitude, period_s=200, phase_s=phase_s)
    times = arrival_times_s(law, default_rng(8), requests=10_000)
    middles = (np.arange(0, 500_000) + 0.5) * 0.01
    rate = 3 * (1 + amplitude * np.sin(2 * np.pi * (middles - phase_s) / 200))
    assert_poisson(rescaled(times, rate, 0.01))


def test_diurnal_inverts_its_integrated_rate_to_rounding_error() -> None:
    law = Diurnal(mean_per_s=0.45, amplitude=0.8, period_s=1000)
    seed = int(default_rng(9).integers(2**63))
    sums = np.cumsum(default_rng(seed).standard_exponential(2_000))
    t = arrival_times_s(law, default_rng(9), requests=2_000)
    integrated = 0.45 * (t + 0.8 * 1000 / (2 * np.pi) * (1 - np.cos(2 * np.pi * t / 1000)))
    np.testing.assert_allclose(integrated, sums, rtol=0, atol=1e-8)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.kind)
def test_times_ascend_from_zero_and_a_longer_run_begins_with_the_shorter_one(law: Arrivals) -> None:
    long = arrival_times_s(law, default_rng(10), requests=3_000)
    assert len(long) == 3_000
    assert long[0] >= 0
    assert np.all(np.diff(long) >= 0)
    np.testing.assert_array_equal(arrival_times_s(law, default_rng(10), requests=10), long[:10])
    by_time = arrival_times_s(law, default_rng(10), duration_s=200)
    np.testing.assert_array_equal(by_time, long[long < 200])


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.kind)
def test_with_both_end_rules_the_first_to_be_reached_ends_the_load(law: Arrivals) -> None:
    by_time = arrival_times_s(law, default_rng(11), duration_s=150)
    assert len(arrival_times_s(law, default_rng(11), requests=5, duration_s=150)) == min(5, len(by_time))
    np.testing.assert_array_equal(arrival_times_s(law, default_rng(11), requests=100_000, duration_s=150), by_time)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.kind)
def test_offered_arrivals_match_the_expected_number(law: Arrivals) -> None:
    duration_s = 4_500  # whole cycles of every law above
    counts = [len(arrival_times_s(law, default_rng(seed), duration_s=duration_s)) for seed in range(40)]
    assert np.mean(counts) == pytest.approx(expected_arrivals(law, duration_s), abs=4.5 * np.std(counts) / np.sqrt(40) + 1e-9)


def test_no_requests_are_no_arrivals() -> None:
    for law in LAWS:
        assert arrival_times_s(law, default_rng(1), requests=0).tolist() == []


def test_without_an_end_rule_arrivals_are_refused() -> None:
    with pytest.raises(ValueError, match="requests, duration_s or both"):
        arrival_times_s(Poisson(rate_per_s=1), default_rng(1))
