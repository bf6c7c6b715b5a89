"""Rates as functions of time: rescaled by their own integral arrivals are unit Poisson, and the inverse is exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from loadlab.scenario.plan import FloatArray
from loadlab.scenario.profiles import Diurnal, Harmonic, Hourly, Profile, Ramp, Spike, Step, Weekday, integrated, times_through
from tests.scenario.point_process import assert_poisson, rescaled

OFFICE = (1.0,) * 8 + (9.0,) * 10 + (3.0,) * 6


def _spike_with_tail(t: FloatArray) -> FloatArray:
    """base 2, peak 20 at 100 and 300 for 50 s, then a decay of 20 s; the second tail has no end."""
    rate = np.full_like(t, 2.0)
    for at, end in ((100, 300), (300, np.inf)):
        rate = np.where((t >= at) & (t < at + 50), 20.0, rate)
        rate = np.where((t >= at + 50) & (t < end), 2 + 18 * np.exp(-(t - at - 50) / 20), rate)
    return rate


def _waves(t: FloatArray) -> FloatArray:
    turn = 2 * np.pi / 200
    return 3 * (1 + 0.5 * np.sin(turn * (t - 37)) + 0.3 * np.sin(2 * turn * (t - 11)) + 0.1 * np.sin(3 * turn * t))


def _weekend(t: FloatArray) -> FloatArray:
    """Days of 200 s, the first a Thursday: days 2 and 3 of each week are the weekend, at a quarter of the others."""
    level = np.where(np.isin(t // 200 % 7, (2, 3)), 0.25, 1.0) * 7 / 5.5
    return level * 3 * (1 + 0.8 * np.sin(2 * np.pi * t / 200))


def _office_week(t: FloatArray) -> FloatArray:
    """Hours of 10 s from Friday 6:00 on; at weekends a third of the week."""
    hour = (t // 10 + 4 * 24 + 6) % 168
    level = np.asarray(OFFICE)[(hour % 24).astype(int)] * np.where(hour >= 120, 1 / 3, 1)
    return level * 4 / (np.mean(OFFICE) * (5 + 2 / 3) / 7)


RATES: dict[str, tuple[Profile, Callable[[FloatArray], FloatArray]]] = {
    "ramp up": (Ramp(from_per_s=0, to_per_s=8, over_s=600), lambda t: np.minimum(t / 600, 1) * 8),
    "ramp down": (Ramp(from_per_s=9, to_per_s=1, over_s=600), lambda t: 9 - np.minimum(t / 600, 1) * 8),
    "step": (Step(at_s=(0, 50, 400), rates_per_s=(0, 12, 3)), lambda t: np.where(t < 50, 0, np.where(t < 400, 12.0, 3.0))),
    "spike": (
        Spike(base_per_s=2, peak_per_s=20, at_s=(100, 300), for_s=50),
        lambda t: np.where(((t > 100) & (t < 150)) | ((t > 300) & (t < 350)), 20.0, 2.0),
    ),
    "spike with a tail": (Spike(base_per_s=2, peak_per_s=20, at_s=(100, 300), for_s=50, decay_s=20), _spike_with_tail),
    "diurnal": (Diurnal(mean_per_s=3, amplitude=0.8, period_s=200, phase_s=37), lambda t: 3 + 2.4 * np.sin(np.pi / 100 * (t - 37))),
    "diurnal to zero": (Diurnal(mean_per_s=3, amplitude=1, period_s=200), lambda t: 3 + 3 * np.sin(np.pi / 100 * t)),
    "harmonics": (
        Diurnal(
            mean_per_s=3, amplitude=0.5, period_s=200, phase_s=37, harmonics=(Harmonic(amplitude=0.3, phase_s=11), Harmonic(amplitude=0.1))
        ),
        _waves,
    ),
    "weekend": (Diurnal(mean_per_s=3, amplitude=0.8, period_s=200, weekend_factor=0.25, first_day=Weekday.THU), _weekend),
    "hourly": (
        Hourly(mean_per_s=4, hours=OFFICE, weekend_factor=1 / 3, first_day=Weekday.FRI, first_hour=6, hour_s=10),
        _office_week,
    ),
}
PROFILES = [profile for profile, _ in RATES.values()]


@pytest.mark.parametrize("name", RATES)
def test_arrivals_are_poisson_at_the_stated_rate(name: str) -> None:
    law, rate = RATES[name]
    times = times_through(law, np.cumsum(default_rng(4).standard_exponential(10_000)))
    middles = (np.arange(0, int(times[-1] / 0.01) + 1) + 0.5) * 0.01
    assert_poisson(rescaled(times, rate(middles), 0.01))


@pytest.mark.parametrize("law", PROFILES, ids=list(RATES))
def test_the_inverse_is_exact(law: Profile) -> None:
    sums = np.cumsum(default_rng(9).standard_exponential(2_000))
    np.testing.assert_allclose([integrated(law, float(t)) for t in times_through(law, sums)], sums, rtol=1e-9, atol=1e-7)


SUMS = st.lists(st.just(0.0) | st.floats(1e-9, 1e6), min_size=1, max_size=20).map(sorted)


@given(st.just(0.0) | st.floats(1e-9, 50), st.floats(0.001, 50), st.floats(0.1, 1e5), SUMS)
@settings(max_examples=100, deadline=None)
def test_ramps_of_any_size_are_inverted(low: float, high: float, over_s: float, sums: list[float]) -> None:
    if low == high:
        return
    law = Ramp(from_per_s=low, to_per_s=high, over_s=over_s)
    times = times_through(law, np.array(sums))
    assert np.all(np.diff(times) >= 0)
    np.testing.assert_allclose([integrated(law, float(t)) for t in times], sums, rtol=1e-6, atol=1e-6)


@given(st.floats(1e-6, 10), st.floats(1, 1e6), st.floats(1e-3, 1e5), SUMS)
@settings(max_examples=100, deadline=None)
def test_tails_of_any_size_are_inverted(base: float, factor: float, decay_s: float, sums: list[float]) -> None:
    law = Spike(base_per_s=base, peak_per_s=base * (1 + factor), at_s=(1.0,), for_s=2.0, decay_s=decay_s)
    times = times_through(law, np.array(sums))
    assert np.all(np.diff(times) >= 0)
    np.testing.assert_allclose([integrated(law, float(t)) for t in times], sums, rtol=1e-6, atol=1e-6)


def test_after_a_rate_of_zero_nobody_comes() -> None:
    for law in (Ramp(from_per_s=2, to_per_s=0, over_s=10), Step(at_s=(0, 5), rates_per_s=(2, 0))):
        assert times_through(law, np.array([0.0, 9.0, 10.5, 1e6])).tolist()[2:] == [np.inf, np.inf]


def test_the_mean_of_whole_weeks_is_the_stated_one() -> None:
    for name in ("weekend", "hourly"):
        law = RATES[name][0]
        week_s = 7 * 200 if isinstance(law, Diurnal) else 168 * 10
        assert integrated(law, 3 * week_s) == pytest.approx(3 * week_s * law.mean_per_s, rel=1e-12)  # type: ignore[union-attr]


def test_weekend_hours_of_their_own_replace_those_of_the_week() -> None:
    law = Hourly(mean_per_s=1, hours=(1,) * 24, weekend_hours=(0,) * 12 + (2,) * 12, weekend_factor=0.5)
    rates = law.rates_per_s()
    assert set(rates[: 5 * 24]) == {rates[0]}
    assert rates[120:132].tolist() == [0] * 12
    assert rates[140] == pytest.approx(rates[0])
    assert rates.mean() == pytest.approx(1)
