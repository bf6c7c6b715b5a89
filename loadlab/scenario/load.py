"""The three ways to offer load: open loop (arrivals do not wait), closed loop (users wait for answers), replay of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from loadlab.scenario import arrivals, delays
from loadlab.scenario.arrivals import Dwell, Mmpp, OnOff, Phases, Superposition
from loadlab.scenario.limits import MAX_JUMPS, MAX_REQUESTS, MAX_SPAN_S, MAX_STAYS, Delay, Requests, Span
from loadlab.scenario.traces import TraceFormat
from loadlab.schema import Bound, shown

MAX_TRACE_S = 100 * 365 * 86400
RateFactor = Bound("> 0, from 0.001 to 1,000", lambda x: 1e-3 <= x <= 1e3)
InTrace = Bound(">= 0 and at most 100 years", lambda x: 0 <= x <= MAX_TRACE_S)  # where a window may begin


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Arrivals by a law, whatever becomes of earlier requests. Ends after `requests`, or with the last arrival before `duration_s`,
    whichever comes first; a session that began is always planned to its last turn (or to the end of `requests`). Phases end by
    themselves, too."""

    kind: ClassVar[str] = "open_loop"
    arrivals: arrivals.Arrivals | None = None  # of the classes without a law of their own
    requests: Annotated[int, Requests] | None = None
    duration_s: Annotated[float, Span] | None = None

    def __post_init__(self) -> None:
        ends = self.requests is not None or self.duration_s is not None
        if not ends and not isinstance(self.arrivals, Phases):
            raise ValueError("has no end: say when the load ends: requests = N, duration_s = T, or both")
        if self.arrivals is None:
            return
        if self.requests is None:
            expected = arrivals.expected_arrivals(self.arrivals, self.duration_s or MAX_SPAN_S)
            if expected > MAX_REQUESTS:
                key = "duration_s" if self.duration_s else "arrivals.phases"
                written = f"= {self.duration_s} " if self.duration_s else ""
                raise ValueError(f"{key} {written}must not mean {expected:.3g} arrivals; a plan holds {MAX_REQUESTS:,}")
        check_stays(self.arrivals, self.requests, self.duration_s)


def check_stays(law: arrivals.Arrivals, requests: int | None, duration_s: float | None) -> None:
    """Raises ValueError if a law's random stays, which are drawn one by one, are too many for the requests, or the time."""
    match law:
        case Phases():
            for phase in law.phases:
                check_stays(phase.arrivals, phase.requests, phase.duration_s)
        case Superposition():
            for part in law.of:
                check_stays(part, requests, duration_s)
        case Mmpp() | OnOff(dwell=Dwell.EXPONENTIAL):
            seconds = duration_s or MAX_SPAN_S
            if requests is not None:
                seconds = min(seconds, requests / law.rate_per_s)
            stays, most = seconds / law.mean_stay_s, MAX_JUMPS if isinstance(law, Mmpp) else MAX_STAYS
            if stays > most:
                problem = f"must be longer: the load would change its rate {stays:.3g} times, and {most:,} is the limit"
                advice = '. Or use dwell = "fixed"' if isinstance(law, OnOff) else ""
                raise ValueError(f"arrivals.dwell_s = {shown(list(law.dwell_s))} {problem}{advice}")
        case _:
            pass  # nothing else stays anywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """`users` lanes, each with one request in flight: request i belongs to lane i % users and follows request i - users, `think_s`
    after its end. Lane k starts at k * ramp_up_s / users.

    The plan is complete before the run, so a fast lane takes no request from a slow one, and the number of requests cannot depend
    on how fast the target is: there is no duration_s.
    """

    kind: ClassVar[str] = "closed_loop"
    users: Annotated[int, Requests]
    requests: Annotated[int, Requests]
    think_s: delays.DelayLaw = delays.NO_DELAY
    ramp_up_s: Annotated[float, Delay] = 0.0


class Rescale(StrEnum):
    """How a replay changes the rate of its trace."""

    STRETCH = "stretch"  # the time axis: every shape stays, every time scale of a burst changes
    THIN = "thin"  # a random share of the rows: time scales stay, bursts get lower
    SUPERPOSE = "superpose"  # copies, each turned round by a random time: time scales stay, bursts add up


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Times and lengths of a trace file, exactly; the rows with start_s <= time < start_s + for_s (seconds after the first row),
    counted from start_s. Without `trace` the file is named on the command line; without `format` its header tells.

    `rate_factor` changes the rate, by `rescale`. With `dequantize_s` a trace whose clock ticks so slowly has its rows spread over their
    ticks at random.
    """

    kind: ClassVar[str] = "replay"
    trace: Path | None = None
    format: TraceFormat | None = None
    start_s: Annotated[float, InTrace] = 0.0
    for_s: Annotated[float, Span] | None = None
    rate_factor: Annotated[float, RateFactor] = 1.0
    rescale: Rescale = Rescale.STRETCH
    dequantize_s: Annotated[float, Span] | None = None

    def __post_init__(self) -> None:
        if self.rescale is Rescale.THIN and self.rate_factor > 1:
            raise ValueError(
                f'rate_factor = {self.rate_factor} must be at most 1 with rescale = "thin"; "superpose" or "stretch" raise a rate'
            )
        if self.rescale is Rescale.SUPERPOSE and self.rate_factor < 1:
            raise ValueError(
                f'rate_factor = {self.rate_factor} must be at least 1 with rescale = "superpose"; "thin" or "stretch" lower a rate'
            )


Load: TypeAlias = OpenLoop | ClosedLoop | Replay
