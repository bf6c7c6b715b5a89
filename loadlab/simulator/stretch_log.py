"""What a replica did, stretch by stretch: enough to tell every token's time, and the state over time, afterwards."""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray

from loadlab.simulator.timeline import COLUMNS, Timeline

IntArray = NDArray[np.int64]


class StretchLog:
    """Stretches in order of time, a row of integers each (timeline.COLUMNS). `settle` moves them into the timeline, and keeps only
    those still needed for token times."""

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self._rows: array[int] = array("q")
        self.append = self._rows.extend  # takes the values of timeline.COLUMNS, in that order
        self._settled_tick = -1

    @property
    def table(self) -> IntArray:
        """The stretches at hand: int64[n, len(COLUMNS)]."""
        return np.array(self._rows, dtype=np.int64).reshape(-1, len(COLUMNS))

    @property
    def last_tick(self) -> int:
        """The tick that the last stretch reached; -1 if nothing was logged or all was forgotten."""
        return self._rows[-len(COLUMNS)] + self._rows[1 - len(COLUMNS)] if self._rows else -1

    def settle(self, needed_from_tick: int) -> None:
        """Adds what is new to the timeline; drops stretches that ended before `needed_from_tick` was reached."""
        table = self.table
        new = table[table[:, 0] > self._settled_tick]
        if len(new):
            self.timeline.add(new)
            self._settled_tick = int(new[-1, 0])
        kept = table[table[:, 0] + table[:, 1] >= needed_from_tick]
        if len(kept) < len(table):
            self._rows[:] = array("q", kept.tobytes())
