"""How long a plan reaches: the check that arrivals, delays and timeouts end within MAX_SPAN_S of t0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np

from loadlab.errors import InputError
from loadlab.scenario.limits import MAX_SPAN_S
from loadlab.scenario.load import ClosedLoop, Load, OpenLoop, Replay
from loadlab.scenario.plan import FloatArray
from loadlab.scenario.timeline import NamedClass, Timeline

LIMIT = f"a plan spans at most {MAX_SPAN_S // 86400} days"


def check_span(lines: Timeline, timeouts_s: FloatArray, load: Load, classes: Sequence[NamedClass]) -> None:
    """Raises InputError unless every request can be due, and can give up, within MAX_SPAN_S of t0.

    A chain's last request is due no earlier than its arrival and all delays after it: what the target takes comes on top.
    """
    arrivals = np.flatnonzero(~np.isnan(lines.arrival_s))
    late = np.flatnonzero(lines.arrival_s[arrivals] > MAX_SPAN_S)
    if len(late):
        first = float(lines.arrival_s[arrivals[late[0]]])
        when = f"{_days(first)} after t0" if np.isfinite(first) else "beyond all limits"
        key, advice = _place_and_advice(load)
        raise InputError(f"puts arrival {late[0] + 1:,} of {len(arrivals):,} {when}; {LIMIT}. {advice}", key=key)
    last_s = np.bincount(lines.chain[arrivals], weights=lines.arrival_s[arrivals])
    if len(arrivals) < len(lines.chain):
        last_s = last_s + np.bincount(lines.chain, weights=lines.delay_after_s)
    longest = int(np.argmax(last_s))
    if last_s[longest] > MAX_SPAN_S:
        owner = int(lines.owner[np.flatnonzero(lines.chain == longest)[0]])
        key = "load.think_s" if isinstance(load, ClosedLoop) else f"classes.{classes[owner][0]}.sessions.think_s"
        total = _days(float(last_s[longest]))
        raise InputError(f"adds up to {total} along one chain of requests; {LIMIT}. Shorten it, ask for fewer, or split the run", key=key)
    given_up_s = float(last_s[longest]) + float(np.max(np.nan_to_num(timeouts_s)))
    if given_up_s > MAX_SPAN_S:
        total = _days(given_up_s)
        raise InputError(f"lets the last request wait until {total} after t0; {LIMIT}. Lower it, or leave it out", key="timeout_s")


def _days(seconds: float) -> str:
    return f"{seconds / 86400:.6g} days"


def _place_and_advice(load: Load) -> tuple[str, str]:
    """The key that says when requests arrive, and what to do if that is too late."""
    match load:
        case OpenLoop():
            return "load.arrivals", "Raise the rate, lower load.requests, or split the run"
        case Replay():
            return "load.trace", "Take a window of it with load.for_s or --window"
        case ClosedLoop():
            return "load.ramp_up_s", "Lower it"
        case _:
            assert_never(load)
