"""Renewal laws: their gaps by KS, their dispersion against a slow twin, their rate from the first second on."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import special, stats

from loadlab.scenario.plan import FloatArray
from loadlab.scenario.renewal import Constant, Gamma, Gaps, Lognormal, Poisson, Renewal, Weibull, renewal_times_s, unit_sums, weibull_shape
from tests.scenario.point_process import ALPHA, WINDOWS_S, assert_poisson, dispersions

BURSTY: list[Renewal] = [
    Gamma(rate_per_s=2, cv=4),
    Gamma(rate_per_s=2, cv=0.5),
    Weibull(rate_per_s=2, cv=4),
    Weibull(rate_per_s=2, cv=0.5),
    Lognormal(rate_per_s=2, cv=3),
    Lognormal(rate_per_s=2, cv=0.5),
]


def gap_law(law: Renewal) -> stats.rv_frozen:  # type: ignore[type-arg]
    """The same law by scipy, mean-matched by its own mean."""
    match law:
        case Gamma():
            free = stats.gamma(1 / law.cv**2)
        case Weibull():
            free = stats.weibull_min(weibull_shape(law.cv))
        case Lognormal():
            free = stats.lognorm(math.sqrt(math.log1p(law.cv**2)))
        case _:
            free = stats.expon()
    return type(free.dist)().freeze(*free.args, scale=1 / (free.mean() * law.rate_per_s))


def twin_times_s(law: Renewal, n: int, seed: int) -> FloatArray:
    """Whole gaps summed from long before time 0, which is so a random moment: stationary without knowing how."""
    times = np.cumsum(gap_law(law).rvs(size=n, random_state=seed))
    late = times - 0.2 * times[-1]
    return late[late >= 0]


def test_constant_arrivals_are_exact_multiples_of_the_gap() -> None:
    assert renewal_times_s(Constant(rate_per_s=4), 4, default_rng(1)).tolist() == [0, 0.25, 0.5, 0.75]


def test_poisson_gaps_are_exponential_and_counts_disperse_as_their_mean() -> None:
    assert_poisson(renewal_times_s(Poisson(rate_per_s=5), 20_000, default_rng(1)) * 5)


@pytest.mark.parametrize("law", BURSTY, ids=lambda law: f"{law.kind} {law.cv}")
def test_gaps_follow_their_law_and_coefficient_of_variation(law: Gamma | Weibull | Lognormal) -> None:
    gaps = np.diff(renewal_times_s(law, 100_000, default_rng(2)))
    expected, floor_s = gap_law(law), 1e-6  # CV 4 has gaps far below what a sum of 1e4 s resolves
    below = expected.cdf(floor_s)
    assert stats.binomtest(int(np.sum(gaps < floor_s)), len(gaps), below).pvalue > ALPHA
    assert stats.kstest(gaps[gaps >= floor_s], lambda x: (expected.cdf(x) - below) / (1 - below)).pvalue > ALPHA
    assert expected.std() / expected.mean() == pytest.approx(law.cv, rel=1e-9)
    assert gaps.mean() == pytest.approx(1 / law.rate_per_s, abs=4 * law.cv / law.rate_per_s / np.sqrt(len(gaps)))


@pytest.mark.parametrize("law", BURSTY, ids=lambda law: f"{law.kind} {law.cv}")
def test_dispersion_at_three_windows_is_that_of_a_slow_twin(law: Gamma | Weibull | Lognormal) -> None:
    times, twin = renewal_times_s(law, 200_000, default_rng(3)), twin_times_s(law, 250_000, seed=3)
    for window_s in WINDOWS_S:
        ours, theirs = (dispersions(t, window_s, law.rate_per_s) for t in (times, twin))
        assert stats.ttest_ind(ours, theirs, equal_var=False).pvalue > ALPHA, (window_s, ours.mean(), theirs.mean())


def test_gamma_dispersion_rises_with_the_window_up_to_the_square_of_cv() -> None:
    times = renewal_times_s(Gamma(rate_per_s=2, cv=4), 200_000, default_rng(3))
    by_window = [float(dispersions(times, w, 2).mean()) for w in WINDOWS_S]
    assert all(narrow < wide for narrow, wide in pairwise(by_window))
    assert dispersions(times, 600, 2).mean() == pytest.approx(16, rel=0.3)


@pytest.mark.parametrize("law", BURSTY, ids=lambda law: f"{law.kind} {law.cv}")
def test_the_window_from_zero_holds_the_stated_rate(law: Gamma | Weibull | Lognormal) -> None:
    """The first gap is a stationary one: a whole gap would bring (cv^2 - 1) / 2 arrivals too many, 7.5 with CV 4."""
    counts = [np.searchsorted(renewal_times_s(law, 1000, default_rng(seed)), 25) for seed in range(3000)]
    assert np.mean(counts) == pytest.approx(25 * law.rate_per_s, abs=4 * np.std(counts) / np.sqrt(len(counts)))


def test_the_first_gap_is_the_forward_recurrence_time() -> None:
    """Its distribution is the integral of P(gap > x) over the mean; for Weibull an incomplete gamma function."""
    first = np.array([unit_sums(Gaps.WEIBULL, 2.0, 1, default_rng(seed))[0] for seed in range(5000)])
    c = weibull_shape(2.0)
    assert stats.kstest(first, lambda x: special.gammainc(1 / c, (x * math.gamma(1 + 1 / c)) ** c)).pvalue > ALPHA


@pytest.mark.parametrize("cv", [0.01, 0.5, 1, 4, 100])
def test_the_weibull_shape_has_the_coefficient_of_variation(cv: float) -> None:
    law = stats.weibull_min(weibull_shape(cv))
    assert law.std() / law.mean() == pytest.approx(cv, rel=1e-6)
