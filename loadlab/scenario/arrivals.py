"""When requests arrive: one frozen dataclass per law, and the arrival times that it draws.

Every law is mean-matched: its long-run rate is the rate that it states. All but `Constant` work in operational time: unit-mean
gaps are summed, and the sums are put through the inverse of the integrated rate, so that arrival k happens when the integral
of the rate reaches the k-th sum (Cinlar, Introduction to Stochastic Processes, 1975, ch. 4.7). That is exact where the inverse is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, ClassVar, TypeAlias, assert_never

import numpy as np
from numpy.random import Generator

from loadlab.scenario.limits import MAX_SPAN_S, Delay, Moment, Rate, RateOrZero, Span
from loadlab.scenario.plan import FloatArray
from loadlab.schema import Bound, Share, shown

# Gaps with CV 100 come in bursts of some cv^2 / 2 = 5,000 requests; beyond, a plan is one burst. Below 0.01 nothing is left to chance.
Cv = Bound("> 0, from 0.01 to 100", lambda x: 0.01 <= x <= 100)
Stay = Bound("> 0, from a microsecond to 30 days", lambda x: 1e-6 <= x <= MAX_SPAN_S)
Period = Bound("> 0, from a millisecond to 30 days", lambda x: 1e-3 <= x <= MAX_SPAN_S)
MAX_STATES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Arrival k (from 0) at k / rate_per_s exactly."""

    kind: ClassVar[str] = "constant"
    rate_per_s: Annotated[float, Rate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Independent arrivals: gaps are exponential (Ross, Stochastic Processes, 2nd ed., prop. 2.2.1)."""

    kind: ClassVar[str] = "poisson"
    rate_per_s: Annotated[float, Rate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Renewal process with Gamma gaps of coefficient of variation `cv`: 1 is Poisson, above is bursty, below is regular.

    The first gap is what a stationary process shows from a random moment on, U * Gamma(shape + 1): the law of the forward
    recurrence time (Cox, Renewal Theory, 1962, ch. 5). Without it a window from 0 would hold (cv^2 - 1) / 2 arrivals too many.
    """

    kind: ClassVar[str] = "gamma"
    rate_per_s: Annotated[float, Rate]
    cv: Annotated[float, Cv]


class Dwell(StrEnum):
    """How long a state of `OnOff` lasts: its dwell_s exactly, or exponential with that mean (then it is an MMPP)."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnOff:
    """Poisson arrivals whose rate steps through `rates_per_s` in a circle, from the first state on, staying `dwell_s` in each."""

    kind: ClassVar[str] = "onoff"
    rates_per_s: Annotated[tuple[float, ...], RateOrZero]
    dwell_s: Annotated[tuple[float, ...], Stay]
    dwell: Dwell = Dwell.FIXED

    def __post_init__(self) -> None:
        rates = shown(list(self.rates_per_s))
        if len(self.rates_per_s) != len(self.dwell_s) or not 2 <= len(self.dwell_s) <= MAX_STATES:
            raise ValueError(f"rates_per_s = {rates} must have as many entries as dwell_s ({len(self.dwell_s)}), 2 to {MAX_STATES:,}")
        if not any(self.rates_per_s):
            raise ValueError(f"rates_per_s = {rates} must have an entry above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """Poisson arrivals at base_per_s, but at peak_per_s during [a, a + for_s) for each a in `at_s`."""

    kind: ClassVar[str] = "spike"
    base_per_s: Annotated[float, Rate]
    peak_per_s: Annotated[float, Rate]
    at_s: Annotated[tuple[float, ...], Delay]
    for_s: Annotated[float, Span]

    def __post_init__(self) -> None:
        if self.peak_per_s <= self.base_per_s:
            raise ValueError(f'peak_per_s = {self.peak_per_s} must be > base_per_s ({self.base_per_s}). Swap them, or use kind = "poisson"')
        if not self.at_s:
            raise ValueError("at_s = [] must name at least one time")
        if any(later < earlier + self.for_s for earlier, later in pairwise(self.at_s)):
            raise ValueError(
                f"at_s = {shown(list(self.at_s))} must ascend in steps of at least for_s ({self.for_s} s): spikes must not overlap"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Diurnal:
    """Poisson arrivals at mean_per_s * (1 + amplitude * sin(2 pi (t - phase_s) / period_s)): at phase_s the rate rises through its mean."""

    kind: ClassVar[str] = "diurnal"
    mean_per_s: Annotated[float, Rate]
    amplitude: Annotated[float, Share]
    period_s: Annotated[float, Period]
    phase_s: Annotated[float, Moment] = 0.0


Arrivals: TypeAlias = Constant | Poisson | Gamma | OnOff | Spike | Diurnal


def arrival_times_s(law: Arrivals, rng: Generator, *, requests: int | None = None, duration_s: float | None = None) -> FloatArray:
    """Arrival times: the first `requests`, or those on [0, duration_s), or where both are given whichever ends first.

    Returns float64[n], ascending, seconds since the run's t0; inf may stand for a time beyond MAX_SPAN_S. Takes one number from
    `rng`, so that both end rules see the same arrivals: a longer run begins with the shorter one. Raises ValueError without an end rule.
    """
    seed = int(rng.integers(2**63))
    if duration_s is None:
        if requests is None:
            raise ValueError("arrival_times_s needs requests, duration_s or both")
        return first_arrivals_s(law, requests, np.random.default_rng(seed))
    size = _ample(expected_arrivals(law, duration_s))
    while True:
        size = size if requests is None else min(size, requests)
        times = first_arrivals_s(law, size, np.random.default_rng(seed))
        if size == requests or times[-1] >= duration_s:
            return times[: int(np.searchsorted(times, duration_s, side="left"))]
        size *= 2


def _ample(expected: float) -> int:
    return math.ceil(expected + 6 * math.sqrt(expected)) + 16


def first_arrivals_s(law: Arrivals, n: int, rng: Generator) -> FloatArray:
    """The first n arrival times of a law: float64[n], ascending, seconds; inf may stand for a time beyond MAX_SPAN_S."""
    times: FloatArray = np.maximum.accumulate(_inverse_times_s(law, n, rng))  # rounding must not reorder neighbours
    return times


def _inverse_times_s(law: Arrivals, n: int, rng: Generator) -> FloatArray:
    match law:
        case Constant(rate_per_s=rate):
            return np.arange(n) / rate
        case Poisson(rate_per_s=rate):
            return _unit_exponential_sums(n, rng) / rate
        case Gamma():
            return _gamma_sums(law.cv, n, rng) / law.rate_per_s
        case OnOff():
            gaps_rng, dwells_rng = rng.spawn(2)
            return _through_states(_unit_exponential_sums(n, gaps_rng), law, dwells_rng)
        case Spike():
            return _through_spikes(_unit_exponential_sums(n, rng), law)
        case Diurnal():
            return _through_sinusoid(_unit_exponential_sums(n, rng), law)
        case _:
            assert_never(law)


def expected_arrivals(law: Arrivals, duration_s: float) -> float:
    """Mean number of arrivals on [0, duration_s); for on/off and diurnal laws of whole cycles, rounded up to the next."""
    match law:
        case Constant(rate_per_s=rate) | Poisson(rate_per_s=rate) | Gamma(rate_per_s=rate):
            return rate * duration_s
        case OnOff():
            return arrivals_per_cycle(law) * math.ceil(duration_s / sum(law.dwell_s))
        case Spike():
            inside_s = sum(min(max(duration_s - at, 0.0), law.for_s) for at in law.at_s)
            return law.base_per_s * duration_s + (law.peak_per_s - law.base_per_s) * inside_s
        case Diurnal():
            return law.mean_per_s * law.period_s * math.ceil(duration_s / law.period_s)
        case _:
            assert_never(law)


def arrivals_per_cycle(law: OnOff) -> float:
    """Mean number of arrivals while the law goes once through its states."""
    return float(np.dot(law.rates_per_s, law.dwell_s))


def _unit_exponential_sums(n: int, rng: Generator) -> FloatArray:
    return np.cumsum(rng.standard_exponential(n))


def _gamma_sums(cv: float, n: int, rng: Generator) -> FloatArray:
    """Sums of n Gamma gaps of mean 1, the first of them a stationary forward recurrence time."""
    shape = 1 / cv**2
    first = rng.random() * rng.standard_gamma(shape + 1)
    gaps = rng.standard_gamma(shape, max(n - 1, 0))
    return np.cumsum(np.concatenate(([first], gaps))[:n]) / shape


def _through_states(sums: FloatArray, law: OnOff, rng: Generator) -> FloatArray:
    rates = np.asarray(law.rates_per_s)
    match law.dwell:
        case Dwell.FIXED:
            edges = np.concatenate(([0.0], np.cumsum(law.dwell_s)))
            totals = np.concatenate(([0.0], np.cumsum(rates * law.dwell_s)))
            cycles, rest = np.divmod(sums, totals[-1])
            return np.asarray(cycles * edges[-1] + np.interp(rest, totals, edges))
        case Dwell.EXPONENTIAL:
            return _through_random_states(sums, rates, np.asarray(law.dwell_s), rng)
        case _:
            assert_never(law.dwell)


def _through_random_states(sums: FloatArray, rates: FloatArray, mean_dwell_s: FloatArray, rng: Generator) -> FloatArray:
    """As the fixed states, over as many random cycles as the last sum or MAX_SPAN_S needs, whichever is less: later times are inf.

    Drawn cycle by cycle, so that more cycles begin alike.
    """
    if not len(sums):
        return sums
    dwells = np.empty((0, len(rates)))
    while float(np.sum(dwells @ rates)) <= sums[-1] and float(np.sum(dwells)) <= MAX_SPAN_S:
        cycles = max(16, len(dwells))
        dwells = np.concatenate((dwells, rng.standard_exponential((cycles, len(rates))) * mean_dwell_s))
    edges = np.concatenate(([0.0], np.cumsum(dwells)))
    totals = np.concatenate(([0.0], np.cumsum(dwells * rates)))
    return np.interp(sums, totals, edges, right=np.inf)


def _through_spikes(sums: FloatArray, law: Spike) -> FloatArray:
    edges = np.concatenate(([0.0], np.ravel([(at, at + law.for_s) for at in law.at_s])))
    rates = np.tile([law.base_per_s, law.peak_per_s], len(law.at_s))
    totals = np.concatenate(([0.0], np.cumsum(np.diff(edges) * rates)))
    after = edges[-1] + (sums - totals[-1]) / law.base_per_s
    return np.where(sums < totals[-1], np.interp(sums, totals, edges), after)


GRID = 4096  # points over one period, between which the sinusoid is inverted
NEWTON_STEPS = 4  # from a grid of 4,096 two reach rounding error wherever the rate is not close to 0


def _through_sinusoid(sums: FloatArray, law: Diurnal) -> FloatArray:
    """Inverse of the integrated sinusoid: whole periods by division, the rest by Newton's method inside one cell of a grid."""
    turn = 2 * math.pi / law.period_s
    swing_s = law.amplitude / turn

    def integrated(t: FloatArray) -> FloatArray:
        swings: FloatArray = np.cos(turn * law.phase_s) - np.cos(turn * (t - law.phase_s))
        return law.mean_per_s * (t + swing_s * swings)

    grid = np.linspace(0.0, law.period_s, GRID + 1)
    totals = integrated(grid)
    periods, rest = np.divmod(sums, law.mean_per_s * law.period_s)
    cell = np.clip(np.searchsorted(totals, rest, side="right") - 1, 0, GRID - 1)
    t = np.interp(rest, totals, grid)
    for _ in range(NEWTON_STEPS):
        rate = law.mean_per_s * (1 + law.amplitude * np.sin(turn * (t - law.phase_s)))
        step = (integrated(t) - rest) / np.maximum(rate, 1e-9 * law.mean_per_s)
        t = np.clip(t - step, grid[cell], grid[cell + 1])
    times: FloatArray = periods * law.period_s + t
    return times
