"""What a replica did, stretch by stretch: enough to tell every token's time, and the state over time, afterwards."""

from __future__ import annotations

from struct import Struct

import numpy as np
from numpy.typing import NDArray

from loadlab.simulator.timeline import COLUMNS, KEPT, Timeline

IntArray = NDArray[np.int64]

STRETCH = Struct(f"{len(COLUMNS)}q")
pack_stretch = STRETCH.pack

NOTHING: IntArray = np.empty((0, len(COLUMNS)), dtype=np.int64)


class StretchLog:
    """Stretches in order of time, a row of integers each (timeline.COLUMNS). `settle` moves them into the timeline, and keeps only
    those still needed for token times.

    `packed` takes new ones: `log.packed += pack_stretch(...)` is the cheapest way to note a row in Python.
    """

    def __init__(self, timeline: Timeline) -> None:
        self.timeline = timeline
        self.packed = bytearray()
        self._table = NOTHING  # what was taken from `packed` already
        self._settled_tick = -1

    @property
    def table(self) -> IntArray:
        """The stretches at hand: int64[n, len(COLUMNS)]."""
        if self.packed:
            new = np.frombuffer(bytes(self.packed), dtype=np.int64).reshape(-1, len(COLUMNS))
            self._table = np.concatenate([self._table, new]) if len(self._table) else new
            self.packed.clear()
        return self._table

    @property
    def last_tick(self) -> int:
        """The tick that the last stretch reached; -1 if nothing was logged or all was forgotten."""
        table = self.table
        return int(table[-1, 0] + table[-1, 1]) if len(table) else -1

    def newest(self, after_tick: int) -> list[tuple[int, ...]]:
        """The KEPT columns of stretches in `packed` that reached a tick behind `after_tick`, in order."""
        found: list[tuple[int, ...]] = []
        for offset in range(len(self.packed) - STRETCH.size, -1, -STRETCH.size):
            stretch = STRETCH.unpack_from(self.packed, offset)[:KEPT]
            if stretch[0] + stretch[1] <= after_tick:
                break
            found.append(stretch)
        return found[::-1]

    def settle(self, needed_from_tick: int) -> None:
        """Adds what is new to the timeline; drops stretches that ended before `needed_from_tick` was reached."""
        table = self.table
        if len(table) and table[-1, 0] > self._settled_tick:
            self.timeline.add(table[np.searchsorted(table[:, 0], self._settled_tick, side="right") :])
            self._settled_tick = int(table[-1, 0])
        first_kept = int(np.searchsorted(table[:, 0] + table[:, 1], needed_from_tick))
        if first_kept:
            self._table = table[first_kept:].copy()
