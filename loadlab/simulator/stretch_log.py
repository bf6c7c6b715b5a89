"""What a replica did, stretch by stretch: enough to tell every token's time, and the state over time, afterwards."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from loadlab.simulator.timeline import Timeline

IntArray = NDArray[np.int64]


class Stretch(NamedTuple):
    """`steps` engine steps from `tick` on; step i of them takes first_ps + i * slope_ps. Counts as during it, KV as at its end."""

    tick: int
    steps: int
    start_ps: int
    first_ps: int
    slope_ps: int
    running: int
    waiting: int
    kv_usage: float
    prefill_tokens: int
    decoding: int


class StretchLog:
    """Stretches in order of time. `settle` moves them into the timeline, and keeps only those still needed for token times."""

    def __init__(self) -> None:
        self.stretches: list[Stretch] = []
        self.append = self.stretches.append
        self.timeline = Timeline()
        self._settled_ticks = 0

    def clock(self) -> TokenClock:
        """Token times over the stretches at hand."""
        return TokenClock(self.stretches)

    def settle(self, needed_from_tick: int) -> None:
        """Adds what is new to the timeline; drops stretches that ended before `needed_from_tick` was reached."""
        new = [s for s in self.stretches if s.tick >= self._settled_ticks]
        if new:
            self.timeline.add(new)
            self._settled_ticks = new[-1].tick + 1
        self.stretches[:] = [s for s in self.stretches if s.tick + s.steps >= needed_from_tick]


class TokenClock:
    """Token times of one replica, expanded from its log."""

    def __init__(self, stretches: list[Stretch]) -> None:
        """At least one stretch; their ticks are contiguous."""
        ticks, steps, start, first, slope = np.array([s[:5] for s in stretches], dtype=np.int64).T
        done = np.arange(int(steps.sum())) - np.repeat(np.cumsum(steps) - steps, steps)
        first, slope = np.repeat(first, steps), np.repeat(slope, steps)
        self._first_tick = int(ticks[0])
        self._step_ps: IntArray = first + slope * done
        self._end_ps: IntArray = np.repeat(start, steps) + (done + 1) * first + slope * (done * (done + 1) // 2)

    def times_ps(self, pieces: list[tuple[int, int]]) -> IntArray:
        """When each token of a sequence with these pieces came. A tick is reached at the end of the step before it."""
        assert pieces[0][0] > self._first_tick, "the log was forgotten before its tokens were told"
        return np.concatenate([self._end_ps[first - 1 - self._first_tick : last - self._first_tick] for first, last in pieces])

    def gaps_ps(self, pieces: list[tuple[int, int]]) -> IntArray:
        """Times between consecutive tokens, waits between pieces included: one less than tokens."""
        if len(pieces) == 1:
            (first, last) = pieces[0]
            return self._step_ps[first - self._first_tick : last - self._first_tick]
        return np.diff(self.times_ps(pieces))
