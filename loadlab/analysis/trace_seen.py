"""Two questions that are asked of a trace as it is read: which blocks were there before, and does its clock tick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadlab.analysis.table import FloatArray

MAX_DENSE_ID = 2**31  # a quarter of a gigabyte as bits; ids of the published traces count up from 0
COARSE_TICK_S = 0.1  # a clock that ticks so slowly changes what a server sees
MIN_GAPS = 20
OFF_TICK = 0.01  # of a tick: how far from whole ticks a gap may lie


class SeenBlocks:
    """The set of block ids, as a bit each where they are small, so that a hundred million of them fit."""

    def __init__(self) -> None:
        self._bits = bytearray()
        self._large: set[int] = set()
        self.distinct = 0

    def leading(self, ids: Sequence[int]) -> int:
        """How many of the first ids were there before; then all of them are."""
        count, is_leading = 0, True
        for block in ids:
            is_new = self._add(block)
            is_leading = is_leading and not is_new
            count += is_leading
        return count

    def _add(self, block: int) -> bool:
        if block >= MAX_DENSE_ID:
            is_new = block not in self._large
            self._large.add(block)
        else:
            place, bit = block >> 3, 1 << (block & 7)
            if place >= len(self._bits):
                self._bits.extend(bytes(max(place + 1 - len(self._bits), len(self._bits))))
            is_new = not self._bits[place] & bit
            self._bits[place] |= bit
        self.distinct += is_new
        return is_new


def tick_of(times_ns: Sequence[int]) -> float | None:
    """Seconds between ticks of a clock on which all times lie, give or take OFF_TICK of one; None for a fine clock, or too few times.

    First by the least gap between different times, for ticks that wander by a millisecond; then by the greatest common divisor.
    """
    different = np.unique(np.asarray(times_ns, dtype=np.int64))
    gaps = np.diff(different)
    if len(gaps) < MIN_GAPS or len(gaps) < 2:
        return None
    least = float(gaps.min())
    if least >= COARSE_TICK_S * 1e9:
        tick = _refined(gaps, float(gaps[gaps <= 1.1 * least].mean()))
        if tick is not None:
            return tick / 1e9
    divisor = float(np.gcd.reduce(gaps))
    return divisor / 1e9 if divisor >= COARSE_TICK_S * 1e9 else None


def _refined(gaps: FloatArray | np.ndarray[tuple[int], np.dtype[np.int64]], tick: float) -> float | None:
    for _ in range(3):
        whole = np.maximum(1, np.rint(gaps / tick))
        tick = float(gaps.sum() / whole.sum())
    off = np.abs(gaps - np.maximum(1, np.rint(gaps / tick)) * tick)
    return float(round(tick, -6)) if np.all(off <= OFF_TICK * tick) else None
