"""The three ways to offer load: open loop (arrivals do not wait), closed loop (users wait for answers), replay of a trace."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, TypeAlias

from loadlab.scenario import arrivals, delays
from loadlab.scenario.arrivals import Dwell, OnOff
from loadlab.scenario.limits import MAX_REQUESTS, MAX_SPAN_S, MAX_STAYS, Delay, Requests, Span
from loadlab.scenario.traces import TraceFormat
from loadlab.schema import Bound, shown

MAX_TRACE_S = 100 * 365 * 86400
InTrace = Bound(">= 0 and at most 100 years", lambda x: 0 <= x <= MAX_TRACE_S)  # where a window may begin


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenLoop:
    """Arrivals by a law, whatever becomes of earlier requests. Ends after `requests`, or with the last arrival before `duration_s`,
    whichever comes first; a session that began is always planned to its last turn (or to the end of `requests`)."""

    kind: ClassVar[str] = "open_loop"
    arrivals: arrivals.Arrivals
    requests: Annotated[int, Requests] | None = None
    duration_s: Annotated[float, Span] | None = None

    def __post_init__(self) -> None:
        if self.requests is None and self.duration_s is None:
            raise ValueError("has no end: say when the load ends: requests = N, duration_s = T, or both")
        if self.requests is None and self.duration_s is not None:
            expected = arrivals.expected_arrivals(self.arrivals, self.duration_s)
            if expected > MAX_REQUESTS:
                raise ValueError(f"duration_s = {self.duration_s} must not mean {expected:.3g} arrivals; a plan holds {MAX_REQUESTS:,}")
        if isinstance(self.arrivals, OnOff) and self.arrivals.dwell is Dwell.EXPONENTIAL:
            _check_stays(self.arrivals, self.requests, self.duration_s)


def _check_stays(law: OnOff, requests: int | None, duration_s: float | None) -> None:
    """Random stays are drawn one by one: as many as the requests need, or the time."""
    cycles = (duration_s or MAX_SPAN_S) / sum(law.dwell_s)
    if requests is not None:
        cycles = min(cycles, requests / arrivals.arrivals_per_cycle(law))
    stays = cycles * len(law.dwell_s)
    if stays > MAX_STAYS:
        problem = f"must be longer: the load would change its rate {stays:.3g} times, and {MAX_STAYS:,} is the limit"
        raise ValueError(f'arrivals.dwell_s = {shown(list(law.dwell_s))} {problem}. Or use dwell = "fixed"')


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Times and lengths of a trace file, exactly; the rows with start_s <= time < start_s + for_s (seconds after the first row),
    counted from start_s. Without `trace` the file is named on the command line; without `format` its header tells."""

    kind: ClassVar[str] = "replay"
    trace: Path | None = None
    format: TraceFormat | None = None
    start_s: Annotated[float, InTrace] = 0.0
    for_s: Annotated[float, Span] | None = None


Load: TypeAlias = OpenLoop | ClosedLoop | Replay
