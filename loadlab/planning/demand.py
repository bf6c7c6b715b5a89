"""A demand curve: what will be asked, minute by minute over a day or a week, by region, with growth, bursts and tiers. Read from TOML.

Demand counts arrivals a second, in the meaning of the capacity that is to serve it: requests, or sessions where those arrive.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias, assert_never

import numpy as np
from scipy import optimize, special

from loadlab.errors import InputError
from loadlab.planning.curves import SECONDS_PER_DAY, FloatArray
from loadlab.planning.routing import Style
from loadlab.scenario.trace_formats.recognise import open_trace
from loadlab.scenario.trace_formats.rows import NS_PER_S, TraceFormat
from loadlab.schema import Bound, NonNegative, Positive, Share, check_schema, read_table, read_toml, shown_path

SCHEMA = "loadlab/demand/1"
MINUTES_PER_HOUR = 60
MINUTES_PER_DAY = 1440
HOURS = 24
WEEKDAYS, WEEKEND_DAYS = 5, 2
MAX_TRACE_DAYS = 60
MAX_REGIONS = 20
AtLeastOne = Bound(">= 1", lambda x: x >= 1)
Peak = Bound("from 1 to 20", lambda x: 1 <= x <= 20)
HourOfDay = Bound("from 0 and below 24", lambda x: 0 <= x < HOURS)
Shift = Bound("from -24 to 24", lambda x: -HOURS <= x <= HOURS)
Growth = Bound("above -1 and at most 10", lambda x: -1 < x <= 10)
Playback = Bound("from 60 ms to an hour", lambda x: 0.06 <= x <= 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class HourlyTable:
    """Arrivals a second in each hour of a weekday, from midnight on; on the two days of a weekend times weekend_factor."""

    kind: ClassVar[str] = "hourly"
    arrivals_per_s: Annotated[tuple[float, ...], NonNegative]
    weekend_factor: Annotated[float, NonNegative] = 1.0

    def __post_init__(self) -> None:
        if len(self.arrivals_per_s) != HOURS:
            raise ValueError(f"arrivals_per_s = {len(self.arrivals_per_s)} entries must be {HOURS}, one for each hour from midnight on")
        if not any(self.arrivals_per_s):
            raise ValueError("arrivals_per_s = all 0 must have an entry above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiurnalLaw:
    """mean_per_s * (1 + amplitude * cos(2 pi (h - peak_hour) / 24)) at hour h of a weekday; weekends times weekend_factor."""

    kind: ClassVar[str] = "diurnal"
    mean_per_s: Annotated[float, Positive]
    amplitude: Annotated[float, Share]
    peak_hour: Annotated[float, HourOfDay] = 14.0
    weekend_factor: Annotated[float, NonNegative] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVolume:
    """Tokens of a weekday, input and output, and how much the busiest minute is above the mean one.

    The curve between is e^(k cos(2 pi (h - peak_hour) / 24)), smooth, with the k that gives this peak (a von Mises law over the day).
    """

    kind: ClassVar[str] = "tokens"
    tokens_per_day: Annotated[float, Positive]
    peak_to_average: Annotated[float, Peak] = 2.5
    peak_hour: Annotated[float, HourOfDay] = 14.0
    weekend_factor: Annotated[float, NonNegative] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCurve:
    """The arrivals of a recorded trace, in means over window_s. hour_s of it stand for an hour: below 3600 a short trace plays days.

    It begins at first_hour of a day; only whole days of it count. `factor` multiplies what came.
    """

    kind: ClassVar[str] = "trace"
    path: Path
    format: TraceFormat | None = None
    hour_s: Annotated[float, Playback] = 3600.0
    window_minutes: Annotated[int, Positive] = 5
    first_hour: Annotated[float, HourOfDay] = 0.0
    factor: Annotated[float, Positive] = 1.0

    def __post_init__(self) -> None:
        if MINUTES_PER_HOUR % self.window_minutes:
            raise ValueError(f"window_minutes = {self.window_minutes} must divide an hour: 1, 5, 10, 15, 30 or 60")


Curve: TypeAlias = HourlyTable | DiurnalLaw | TokenVolume | TraceCurve


@dataclass(frozen=True, slots=True, kw_only=True)
class RegionShare:
    """A region's part of the demand, relative to the others; its day is shift_h later than the curve's, by the curve's clock."""

    share: Annotated[float, Positive]
    shift_h: Annotated[float, Shift] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallModel:
    """A small model before the large one: which shares of requests it may answer, and what one replica of it holds.

    `capacity_per_s` counts arrivals at the same SLO, and is a lower bound as the large one's is; `source` says whose.
    """

    small_share: Annotated[tuple[float, ...], Share] = (0.9, 0.95, 0.99)
    style: Style = Style.CASCADE
    capacity_per_s: Annotated[float, Positive]
    gpus: Annotated[int, Positive] = 1
    usd_per_gpu_hour: Annotated[float | None, NonNegative] = None
    source: str

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise ValueError("source is missing: say where capacity_per_s comes from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A demand file. Growth compounds monthly; burst_factor z is how far arrivals within a window run above the curve, and is planned for.

    `tokens_per_arrival` turns tokens into arrivals where the capacity does not say how many one brings. `between_regions_s`: the round
    trip from clients of one region to another one.
    """

    name: str
    description: str = ""
    curve: Curve
    monthly_growth_share: Annotated[float, Growth] = 0.0
    burst_factor: Annotated[float, AtLeastOne] = 1.0
    tokens_per_arrival: Annotated[float | None, Positive] = None
    regions: dict[str, RegionShare] = field(default_factory=dict)
    between_regions_s: Annotated[float, NonNegative] = 0.08
    tiers: SmallModel | None = None

    def __post_init__(self) -> None:
        if len(self.regions) > MAX_REGIONS:
            raise ValueError(f"regions = {len(self.regions)} must be at most {MAX_REGIONS}")
        for name in self.regions:
            if not (name.replace("-", "").replace("_", "").isalnum() and name.isascii() and len(name) <= 20):
                raise ValueError(f"regions.{name!r} must be 1 to 20 letters, digits, dashes or underscores: it names pools and classes")


def load_demand(path: Path) -> Demand:
    """The demand in a TOML file. Raises InputError on a bad one."""
    table, source = read_toml(path), shown_path(path)
    check_schema(table, SCHEMA, source)
    return read_table(Demand, table, source)


def demand_per_s(demand: Demand, tokens_per_arrival: float | None, folder: Path) -> FloatArray:
    """Arrivals a second: float64[regions, minutes], over one day, over a week from Monday on where weekends differ, or over a trace's days.

    A file without regions has one row. `folder`: where a trace's path is relative to. Raises InputError, and ValueError where tokens
    are to be turned into arrivals and nothing says how many one brings.
    """
    whole = _whole_per_s(demand.curve, demand.tokens_per_arrival or tokens_per_arrival, folder)
    regions = list(demand.regions.values()) or [RegionShare(share=1.0)]
    total = sum(region.share for region in regions)
    rows = [np.roll(whole, round(region.shift_h * MINUTES_PER_HOUR)) * (region.share / total) for region in regions]
    return np.array(rows)


def _whole_per_s(curve: Curve, tokens_per_arrival: float | None, folder: Path) -> FloatArray:
    match curve:
        case HourlyTable():
            return _week(np.repeat(np.asarray(curve.arrivals_per_s), MINUTES_PER_HOUR), curve.weekend_factor)
        case DiurnalLaw():
            return _week(curve.mean_per_s * (1 + curve.amplitude * np.cos(_angle(curve.peak_hour))), curve.weekend_factor)
        case TokenVolume():
            if tokens_per_arrival is None:
                raise ValueError("tokens_per_arrival is missing: the capacity does not say either how many tokens an arrival brings")
            mean = curve.tokens_per_day / SECONDS_PER_DAY / tokens_per_arrival
            return _week(mean * peaked_day(curve.peak_to_average, curve.peak_hour), curve.weekend_factor)
        case TraceCurve():
            return _trace_per_s(curve, folder / curve.path)
        case _:
            assert_never(curve)


def _week(day: FloatArray, weekend_factor: float) -> FloatArray:
    """One day where all are alike, else seven."""
    return day if weekend_factor == 1 else np.concatenate([day] * WEEKDAYS + [day * weekend_factor] * WEEKEND_DAYS)


def _angle(peak_hour: float) -> FloatArray:
    """Of each minute of a day from the peak, radians."""
    angle: FloatArray = 2 * np.pi * (np.arange(MINUTES_PER_DAY) / MINUTES_PER_DAY - peak_hour / HOURS)
    return angle


def peaked_day(peak_to_average: float, peak_hour: float) -> FloatArray:
    """A smooth day of mean 1 whose highest minute is peak_to_average: e^(k cos x) / I0(k), I0 the modified Bessel function of order 0.

    K. V. Mardia and P. E. Jupp, Directional Statistics (2000), section 3.5.4. float64[1440].
    """
    if peak_to_average == 1:
        return np.ones(MINUTES_PER_DAY)
    k = float(optimize.brentq(lambda k: 1 / special.i0e(k) - peak_to_average, 0, 1e4, xtol=1e-12))
    day = np.exp(k * (np.cos(_angle(peak_hour)) - 1))
    found: FloatArray = day / day.mean()
    return found


def _trace_per_s(curve: TraceCurve, path: Path) -> FloatArray:
    """What came in each minute of the trace's whole days, in means over a window. Raises InputError if it is shorter than a day."""
    with open_trace(path, curve.format) as trace:
        if not trace.has_times:
            raise InputError("has no times, so it is no demand curve", source=shown_path(path))
        stamps = np.fromiter((row.time_ns for row in trace.rows if row.time_ns is not None), dtype=np.int64)
    if len(stamps) == 0:
        raise InputError("has no rows with a time", source=shown_path(path))
    window_s = curve.hour_s * curve.window_minutes / MINUTES_PER_HOUR
    ago_s = (stamps - stamps.min()) / NS_PER_S
    days = int((float(ago_s.max()) / curve.hour_s + 1e-9) // HOURS)
    if days < 1:
        problem = (
            f"lasts {float(ago_s.max()) / 3600:.3g} h, which at hour_s = {curve.hour_s:g} is no whole day; "
            f"let less of it stand for an hour: hour_s = {max(0.06, float(ago_s.max()) / HOURS * 0.999):.4g}"
        )
        raise InputError(problem, source=shown_path(path), key="curve.hour_s")
    per_window = np.bincount((ago_s / window_s).astype(np.int64))[: min(days, MAX_TRACE_DAYS) * MINUTES_PER_DAY // curve.window_minutes]
    rates = np.repeat(per_window / window_s * curve.factor, curve.window_minutes)
    return np.roll(rates, round(curve.first_hour * MINUTES_PER_HOUR))


def hours_of(per_s: FloatArray) -> FloatArray:
    """The mean of each hour: float64[..., hours] of float64[..., minutes]."""
    means: FloatArray = per_s.reshape(*per_s.shape[:-1], -1, MINUTES_PER_HOUR).mean(axis=-1)
    return means


def busiest_day(per_s: FloatArray) -> int:
    """The day, from 0, with the highest minute of all regions together."""
    return int(per_s.sum(axis=0).argmax()) // MINUTES_PER_DAY
