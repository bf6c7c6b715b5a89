"""All arrival laws through one door: order, both end rules, the offered rate; superposition, phases and modulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from loadlab.errors import InputError
from loadlab.scenario import lengths
from loadlab.scenario.arrivals import (
    Arrivals,
    Cluster,
    Constant,
    Diurnal,
    Dwell,
    Gamma,
    Harmonic,
    Hourly,
    Lognormal,
    Mmpp,
    Modulated,
    OnOff,
    Phase,
    Phases,
    Poisson,
    Ramp,
    Spike,
    Step,
    Superposition,
    Weibull,
    arrival_times_s,
    expected_arrivals,
)
from loadlab.scenario.renewal import Gaps
from tests.scenario.point_process import ALPHA, WINDOWS_S, assert_dispersion, assert_poisson

HOURS = (1.0,) * 8 + (9.0,) * 10 + (3.0,) * 6
LAWS: list[Arrivals] = [
    Constant(rate_per_s=2),
    Poisson(rate_per_s=2),
    Gamma(rate_per_s=2, cv=4),
    Gamma(rate_per_s=2, cv=0.5),
    Weibull(rate_per_s=2, cv=3),
    Lognormal(rate_per_s=2, cv=2),
    OnOff(rates_per_s=(0.5, 8), dwell_s=(30, 10)),
    OnOff(rates_per_s=(0, 8, 1), dwell_s=(30, 10, 5), dwell=Dwell.EXPONENTIAL),
    Mmpp(rates_per_s=(0, 8, 1), dwell_s=(30, 10, 5)),
    Ramp(from_per_s=0.5, to_per_s=4, over_s=300),
    Step(at_s=(0, 40, 90), rates_per_s=(1, 6, 2)),
    Spike(base_per_s=2, peak_per_s=20, at_s=(0, 100), for_s=10),
    Spike(base_per_s=2, peak_per_s=20, at_s=(0, 100), for_s=10, decay_s=20),
    Diurnal(mean_per_s=2, amplitude=1, period_s=100, phase_s=25),
    Diurnal(mean_per_s=2, amplitude=0.6, period_s=100, harmonics=(Harmonic(amplitude=0.3, phase_s=10),), weekend_factor=0.5),
    Hourly(mean_per_s=2, hours=HOURS, weekend_factor=0.4, hour_s=5),
    Cluster(rate_per_s=2, size=lengths.Geometric(mean=4), spread_s=2),
    Modulated(profile=Step(at_s=(0, 100), rates_per_s=(1, 3)), gaps=Gaps.GAMMA, cv=3),
    Superposition(of=(Poisson(rate_per_s=1), Gamma(rate_per_s=1, cv=3), OnOff(rates_per_s=(0, 3), dwell_s=(60, 30)))),
]
IDS = [f"{law.kind} {i}" for i, law in enumerate(LAWS)]


@pytest.mark.parametrize("law", LAWS, ids=IDS)
def test_times_ascend_from_zero_and_a_longer_run_begins_with_the_shorter_one(law: Arrivals) -> None:
    long = arrival_times_s(law, default_rng(10), requests=3_000)
    assert len(long) == 3_000
    assert long[0] >= 0
    assert np.all(np.diff(long) >= 0)
    np.testing.assert_array_equal(arrival_times_s(law, default_rng(10), requests=10), long[:10])
    by_time = arrival_times_s(law, default_rng(10), duration_s=200)
    np.testing.assert_array_equal(by_time, long[long < 200])


@pytest.mark.parametrize("law", LAWS, ids=IDS)
def test_with_both_end_rules_the_first_to_be_reached_ends_the_load(law: Arrivals) -> None:
    by_time = arrival_times_s(law, default_rng(11), duration_s=150)
    assert len(arrival_times_s(law, default_rng(11), requests=5, duration_s=150)) == min(5, len(by_time))
    np.testing.assert_array_equal(arrival_times_s(law, default_rng(11), requests=100_000, duration_s=150), by_time)


@pytest.mark.parametrize("law", LAWS, ids=IDS)
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


# (law, its rate, variance of a long count over its mean, the stretch over which the rate is stated); None: taken from seeds
OFFERED: list[tuple[Arrivals, float, float | None, float]] = [
    (Constant(rate_per_s=7), 7, 0.0, 1),
    (Poisson(rate_per_s=7), 7, 1.0, 1),
    (Gamma(rate_per_s=7, cv=4), 7, 16.0, 1),
    (Weibull(rate_per_s=7, cv=3), 7, 9.0, 1),
    (Lognormal(rate_per_s=7, cv=2), 7, 4.0, 1),
    (OnOff(rates_per_s=(1, 19), dwell_s=(20, 10)), 7, 1.0, 30),
    (OnOff(rates_per_s=(1, 19), dwell_s=(20, 10), dwell=Dwell.EXPONENTIAL), 7, None, 1),
    (Mmpp(rates_per_s=(1, 19), dwell_s=(20, 10)), 7, Mmpp(rates_per_s=(1, 19), dwell_s=(20, 10)).dispersion(1e6), 1),
    (Diurnal(mean_per_s=7, amplitude=0.9, period_s=600, weekend_factor=0.3), 7, 1.0, 4200),
    (Hourly(mean_per_s=7, hours=HOURS, weekend_factor=0.4, hour_s=10), 7, 1.0, 1680),
    (Ramp(from_per_s=2, to_per_s=12, over_s=15_000), 7, 1.0, 15_000),
    (Step(at_s=(0, 5_000, 10_000), rates_per_s=(1, 13, 7)), 7, 1.0, 15_000),
    (Spike(base_per_s=5, peak_per_s=15, at_s=(2_000, 9_000), for_s=1_500), 7, 1.0, 15_000),
    (Modulated(profile=Step(at_s=(0, 5_000, 10_000), rates_per_s=(1, 13, 7)), gaps=Gaps.GAMMA, cv=3), 7, 9.0, 15_000),
    (
        Phases(
            phases=(Phase(duration_s=5_000, arrivals=Poisson(rate_per_s=12)), Phase(duration_s=10_000, arrivals=Poisson(rate_per_s=4.5)))
        ),
        7,
        1.0,
        15_000,
    ),
    (Cluster(rate_per_s=7, size=lengths.Geometric(mean=4), spread_s=2), 7, 7.0, 1),
    (Superposition(of=(Poisson(rate_per_s=3), Gamma(rate_per_s=4, cv=3))), 7, (3 + 4 * 9) / 7, 1),
]


@pytest.mark.parametrize(("law", "rate_per_s", "dispersion", "cycle_s"), OFFERED, ids=lambda x: getattr(x, "kind", ""))
def test_a_hundred_thousand_arrivals_come_at_the_stated_rate(
    law: Arrivals, rate_per_s: float, dispersion: float | None, cycle_s: float
) -> None:
    """Within 4 standard errors over whole cycles; stationary from the first moment on, so no warm-up is cut."""
    duration_s = math.ceil(100_000 / rate_per_s / cycle_s) * cycle_s
    found = len(arrival_times_s(law, default_rng(12), duration_s=duration_s))
    expected = rate_per_s * duration_s
    if dispersion is None:
        others = [len(arrival_times_s(law, default_rng(100 + k), duration_s=duration_s)) for k in range(30)]
        dispersion = float(np.var(others, ddof=1) / np.mean(others))
    assert expected >= 100_000 - 1
    assert found == pytest.approx(expected, abs=4 * math.sqrt(dispersion * expected) + 1)


def test_the_gaps_of_a_modulated_law_are_those_of_its_inner_law_once_rescaled() -> None:
    law = Modulated(profile=Step(at_s=(0, 500, 1500), rates_per_s=(1, 10, 3)), gaps=Gaps.LOGNORMAL, cv=2)
    times = arrival_times_s(law, default_rng(13), requests=20_000)
    sums = np.interp(times, [0, 500, 1500, 1e6], [0, 500, 10_500, 10_500 + 3 * (1e6 - 1500)])
    sigma = math.sqrt(math.log1p(4))
    assert stats.kstest(np.diff(sums), stats.lognorm(sigma, scale=math.exp(-(sigma**2) / 2)).cdf).pvalue > ALPHA


def test_a_modulated_law_with_exponential_gaps_is_its_profile() -> None:
    profile = Diurnal(mean_per_s=2, amplitude=0.5, period_s=100)
    both = [arrival_times_s(law, default_rng(14), requests=500) for law in (profile, Modulated(profile=profile, gaps=Gaps.EXPONENTIAL))]
    np.testing.assert_array_equal(*both)


def test_superposed_poisson_streams_are_one_poisson_stream_of_their_summed_rate() -> None:
    law = Superposition(of=(Poisson(rate_per_s=0.5), Poisson(rate_per_s=3), Poisson(rate_per_s=1.5)))
    assert_poisson(arrival_times_s(law, default_rng(15), requests=20_000) * 5)


def test_superposed_sources_add_up_their_variances() -> None:
    """Two independent on/off sources: the count's variance is the sum of theirs, at every window."""
    one = Mmpp(rates_per_s=(0, 6), dwell_s=(10, 5))
    two = Mmpp(rates_per_s=(1, 4), dwell_s=(100, 100))
    rates = one.rate_per_s, two.rate_per_s
    times = arrival_times_s(Superposition(of=(one, two)), default_rng(16), requests=300_000)
    expected = {w: (one.dispersion(w) * rates[0] + two.dispersion(w) * rates[1]) / sum(rates) for w in WINDOWS_S}
    assert_dispersion(times, sum(rates), expected)


CHAIN = Phases(
    phases=(
        Phase(arrivals=Constant(rate_per_s=2), requests=10),
        Phase(arrivals=Poisson(rate_per_s=50), duration_s=4),
        Phase(arrivals=Constant(rate_per_s=1), duration_s=5),
    )
)


def test_phases_follow_each_other_each_with_its_own_clock_and_end_by_themselves() -> None:
    times = arrival_times_s(CHAIN, default_rng(17))
    np.testing.assert_allclose(times[:10], np.arange(10) / 2)
    np.testing.assert_allclose(times[-5:], 5 + 4 + np.arange(5))
    between = times[10:-5]
    assert np.all((between >= 5) & (between < 9))
    assert 150 < len(between) < 250
    assert expected_arrivals(CHAIN, 100) == 10 + 200 + 5


def test_phases_are_cut_by_either_end_rule_and_begin_alike() -> None:
    whole = arrival_times_s(CHAIN, default_rng(17))
    np.testing.assert_array_equal(arrival_times_s(CHAIN, default_rng(17), requests=12), whole[:12])
    np.testing.assert_array_equal(arrival_times_s(CHAIN, default_rng(17), duration_s=6), whole[whole < 6])
    assert len(arrival_times_s(CHAIN, default_rng(17), requests=10**6)) == len(whole)


def test_a_phase_that_cannot_end_is_an_error() -> None:
    silent = Phases(phases=(Phase(arrivals=Step(at_s=(0, 1), rates_per_s=(5, 0)), requests=100),))
    with pytest.raises(InputError, match=r"load.arrivals.phases\[0\].requests = 100 do not come"):
        arrival_times_s(silent, default_rng(1))
