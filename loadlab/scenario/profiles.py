"""Rates that are functions of time: ramp, step, spike, diurnal, hourly. Each is told by its integral and the inverse of that.

Arrival k happens when the integral of the rate reaches the k-th sum of unit-mean gaps (Cinlar, Introduction to Stochastic
Processes, 1975, ch. 4.7); with exponential gaps that is a Poisson process with this rate, exactly where the inverse is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, ClassVar, TypeAlias, assert_never

import numpy as np

from loadlab.scenario.curves import Wave, cycle_inverse, cycle_total, ramp_inverse, step_inverse, step_total, tail_inverse
from loadlab.scenario.limits import MAX_SPAN_S, Delay, Moment, Rate, RateOrZero, Span, WeightOrZero
from loadlab.scenario.plan import FloatArray
from loadlab.schema import Bound, Share, shown

Period = Bound("> 0, from a millisecond to 30 days", lambda x: 1e-3 <= x <= MAX_SPAN_S)
Decay = Bound(">= 0: 0, or from a millisecond to 30 days", lambda x: x == 0 or 1e-3 <= x <= MAX_SPAN_S)
HourOfDay = Bound("from 0 to 23", lambda x: 0 <= x <= 23)
Hour = Bound("> 0, from a millisecond to a day", lambda x: 1e-3 <= x <= 86400)
HOURS = 24
DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """The rate goes in a straight line from from_per_s to to_per_s during the first over_s seconds, and stays there."""

    kind: ClassVar[str] = "ramp"
    from_per_s: Annotated[float, RateOrZero]
    to_per_s: Annotated[float, RateOrZero]
    over_s: Annotated[float, Period]

    def __post_init__(self) -> None:
        if self.from_per_s == self.to_per_s:
            raise ValueError(f'to_per_s = {self.to_per_s} must differ from from_per_s. Or use kind = "poisson"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The rate is rates_per_s[k] from at_s[k] on, until at_s[k + 1]; at_s begins with 0."""

    kind: ClassVar[str] = "step"
    at_s: Annotated[tuple[float, ...], Delay]
    rates_per_s: Annotated[tuple[float, ...], RateOrZero]

    def __post_init__(self) -> None:
        if len(self.at_s) != len(self.rates_per_s) or not self.at_s:
            raise ValueError(f"rates_per_s = {len(self.rates_per_s)} entries must be as many as at_s has ({len(self.at_s)}), at least one")
        if self.at_s[0] != 0 or any(later <= earlier for earlier, later in pairwise(self.at_s)):
            raise ValueError(f"at_s = {shown(list(self.at_s))} must begin with 0 and ascend")
        if not any(self.rates_per_s):
            raise ValueError(f"rates_per_s = {shown(list(self.rates_per_s))} must have an entry above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spike:
    """base_per_s, but peak_per_s during [a, a + for_s) for each a in `at_s`; then back to the base at once, or with decay_s along
    base + (peak - base) e^(-x / decay_s), x seconds after the spike, until the next one."""

    kind: ClassVar[str] = "spike"
    base_per_s: Annotated[float, Rate]
    peak_per_s: Annotated[float, Rate]
    at_s: Annotated[tuple[float, ...], Delay]
    for_s: Annotated[float, Span]
    decay_s: Annotated[float, Decay] = 0.0

    def __post_init__(self) -> None:
        if self.peak_per_s <= self.base_per_s:
            raise ValueError(f'peak_per_s = {self.peak_per_s} must be > base_per_s ({self.base_per_s}). Swap them, or use kind = "poisson"')
        if not self.at_s:
            raise ValueError("at_s = [] must name at least one time")
        if any(later < earlier + self.for_s for earlier, later in pairwise(self.at_s)):
            raise ValueError(
                f"at_s = {shown(list(self.at_s))} must ascend in steps of at least for_s ({self.for_s} s): spikes must not overlap"
            )


class Weekday(StrEnum):
    """The day that a run begins on."""

    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


def _day_factors(first_day: Weekday, weekend_factor: float) -> FloatArray:
    """The level of each of seven days from the first on: mean 1, weekend days at weekend_factor times the others."""
    days = (list(Weekday).index(first_day) + np.arange(DAYS)) % DAYS
    factors = np.where(days >= list(Weekday).index(Weekday.SAT), weekend_factor, 1.0)
    level: FloatArray = factors / factors.mean()
    return level


@dataclass(frozen=True, slots=True, kw_only=True)
class Harmonic:
    """A faster wave on top of a period: amplitude as a share of the mean, and when it rises through 0."""

    amplitude: Annotated[float, Share]
    phase_s: Annotated[float, Moment] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Diurnal:
    """mean_per_s * (1 + amplitude * sin(2 pi (t - phase_s) / period_s) + the harmonics): at phase_s the rate rises through its mean.

    The first of `harmonics` goes through two periods in one, the second through three. With weekend_factor the sixth and
    seventh day of a week, each one period long, are at that factor of the others, and mean_per_s is the mean of whole weeks.
    """

    kind: ClassVar[str] = "diurnal"
    mean_per_s: Annotated[float, Rate]
    amplitude: Annotated[float, Share]
    period_s: Annotated[float, Period]
    phase_s: Annotated[float, Moment] = 0.0
    harmonics: tuple[Harmonic, ...] = ()
    weekend_factor: Annotated[float, WeightOrZero] = 1.0
    first_day: Weekday = Weekday.MON

    def __post_init__(self) -> None:
        total = self.amplitude + sum(harmonic.amplitude for harmonic in self.harmonics)
        if total > 1:
            raise ValueError(f"amplitude = {self.amplitude} and those of harmonics add up to {total:.4g}, and must be 1 at most")
        if self.period_s * DAYS > MAX_SPAN_S and self.weekend_factor != 1:
            raise ValueError(f"period_s = {self.period_s} must be a day or less where there is a weekend_factor: a week is seven periods")

    def wave(self) -> Wave:
        """The curve without weekends."""
        terms = ((1, self.amplitude, self.phase_s), *((j, h.amplitude, h.phase_s) for j, h in enumerate(self.harmonics, start=2)))
        return Wave(mean_per_s=self.mean_per_s, period_s=self.period_s, terms=terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hourly:
    """A rate for each hour of the day: hours[h] in proportion, at weekends times weekend_factor (or by weekend_hours), mean_per_s in
    the mean of whole weeks. The run begins on first_day at first_hour; hour_s below an hour plays the week faster."""

    kind: ClassVar[str] = "hourly"
    mean_per_s: Annotated[float, Rate]
    hours: Annotated[tuple[float, ...], WeightOrZero]
    weekend_factor: Annotated[float, WeightOrZero] = 1.0
    weekend_hours: Annotated[tuple[float, ...], WeightOrZero] = ()
    first_day: Weekday = Weekday.MON
    first_hour: Annotated[int, HourOfDay] = 0
    hour_s: Annotated[float, Hour] = 3600.0

    def __post_init__(self) -> None:
        for key, hours in (("hours", self.hours), ("weekend_hours", self.weekend_hours or self.hours)):
            if len(hours) != HOURS:
                raise ValueError(f"{key} = {len(hours)} entries must be {HOURS}, one for each hour from midnight on")
        if not any(self.hours):
            raise ValueError("hours = all 0 must have an entry above 0")

    def edges_s(self) -> FloatArray:
        """When the hours of a week begin, and when the last one ends."""
        return np.arange(DAYS * HOURS + 1, dtype=np.float64) * self.hour_s

    def rates_per_s(self) -> FloatArray:
        """The rates of the 168 hours of a week, from the run's first hour on."""
        weekend = np.multiply(self.weekend_hours or self.hours, self.weekend_factor)
        week = np.concatenate([np.asarray(self.hours)] * 5 + [weekend] * 2)
        first = list(Weekday).index(self.first_day) * HOURS + self.first_hour
        rates: FloatArray = np.roll(week, -first) * (self.mean_per_s / week.mean())
        return rates


Profile: TypeAlias = Ramp | Step | Spike | Diurnal | Hourly


def times_through(law: Profile, sums: FloatArray) -> FloatArray:
    """When the integral of the rate reaches each of `sums` (ascending, from 0): float64[n], seconds; inf where it never does."""
    match law:
        case Ramp():
            return ramp_inverse(sums, law.from_per_s, law.to_per_s, law.over_s)
        case Step():
            return step_inverse(sums, np.asarray(law.at_s), np.asarray(law.rates_per_s))
        case Spike(decay_s=0):
            edges, rates = _plateaus(law)
            return step_inverse(sums, edges, rates)
        case Spike():
            return _through_tails(sums, law)
        case Diurnal(weekend_factor=1.0):
            return law.wave().inverse(sums)
        case Diurnal():
            return _through_week(sums, law)
        case Hourly():
            return cycle_inverse(sums, law.edges_s(), law.rates_per_s())
        case _:
            assert_never(law)


def integrated(law: Profile, t_s: float) -> float:
    """Mean number of arrivals on [0, t_s)."""
    match law:
        case Ramp():
            inside_s = min(t_s, law.over_s)
            slope = (law.to_per_s - law.from_per_s) / law.over_s
            return law.from_per_s * inside_s + slope * inside_s**2 / 2 + law.to_per_s * (t_s - inside_s)
        case Step():
            return step_total(t_s, np.asarray(law.at_s), np.asarray(law.rates_per_s))
        case Spike():
            edges, rates = _plateaus(law)
            return step_total(t_s, edges, rates) + _in_tails(t_s, law)
        case Diurnal():
            return _diurnal_total(law, t_s)
        case Hourly():
            return cycle_total(t_s, law.edges_s(), law.rates_per_s())
        case _:
            assert_never(law)


def _plateaus(law: Spike) -> tuple[FloatArray, FloatArray]:
    """Edges and rates of a spike that ends at once."""
    edges = np.concatenate(([0.0], np.ravel([(at, at + law.for_s) for at in law.at_s])))
    return edges, np.append(np.tile([law.base_per_s, law.peak_per_s], len(law.at_s)), law.base_per_s)


def _tail_edges(law: Spike) -> tuple[FloatArray, FloatArray]:
    """Where each tail begins and ends; the last one does not."""
    starts = np.asarray(law.at_s) + law.for_s
    return starts, np.append(law.at_s[1:], np.inf)


def _in_tails(t_s: float, law: Spike) -> float:
    """The arrivals above the base rate that tails bring up to t_s."""
    if law.decay_s == 0:
        return 0.0
    starts, ends = _tail_edges(law)
    lengths = np.clip(np.minimum(ends, t_s) - starts, 0, None)
    return float(np.sum((law.peak_per_s - law.base_per_s) * law.decay_s * -np.expm1(-lengths / law.decay_s)))


def _through_tails(sums: FloatArray, law: Spike) -> FloatArray:
    """Plateaus by their constant rates, tails each by the inverse of its own integral."""
    edges, rates = _plateaus(law)
    totals = np.array([integrated(law, float(edge)) for edge in edges])
    piece = np.searchsorted(totals, sums, side="right") - 1
    rest = sums - totals[piece]
    is_tail = (piece > 0) & (piece % 2 == 0)
    inside = np.where(is_tail, tail_inverse(rest, law.base_per_s, law.peak_per_s, law.decay_s), rest / rates[piece])
    times: FloatArray = edges[piece] + inside
    return times


def _diurnal_total(law: Diurnal, t_s: float) -> float:
    whole, rest_s = divmod(t_s, law.period_s)
    factors = _day_factors(law.first_day, law.weekend_factor)
    weeks, days = divmod(int(whole), DAYS)
    before = law.mean_per_s * law.period_s * (weeks * DAYS + float(factors[:days].sum()))
    return before + float(factors[days] * law.wave().total(np.array([float(rest_s)]))[0])


def _through_week(sums: FloatArray, law: Diurnal) -> FloatArray:
    """Whole weeks and days by division, the rest by the wave of a day at that day's level."""
    factors = _day_factors(law.first_day, law.weekend_factor)
    a_day = law.mean_per_s * law.period_s
    totals = np.concatenate(([0.0], np.cumsum(factors))) * a_day
    weeks, rest = np.divmod(sums, totals[-1])
    day = np.clip(np.searchsorted(totals, rest, side="right") - 1, 0, DAYS - 1)
    inside = (rest - totals[day]) / np.where(factors[day] > 0, factors[day], 1.0)
    times: FloatArray = (weeks * DAYS + day) * law.period_s + law.wave().inverse(np.minimum(inside, np.nextafter(a_day, 0)))
    return times
