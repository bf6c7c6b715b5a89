"""Two questions that are asked of a trace as it is read: which blocks were there before, and does its clock tick."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from loadlab.analysis.table import FloatArray, IntArray

MAX_DENSE_ID = 2**29  # 64 MB as bits; ids of the published traces count up from 0
HASHED_BITS = 2**31  # 256 MB, for ids that are larger
HASHES = 4
TABLE_PER_ID = 8
COARSE_TICK_S = 0.1  # a clock that ticks so slowly changes what a server sees
MIN_GAPS = 20
OFF_TICK = 0.01  # of a tick: how far from whole ticks a gap may lie


class SeenBlocks:
    """The set of block ids in bounded memory: a bit each where they are small, else a Bloom filter (Bloom 1970), which now and then takes
    a new id for an old one, never an old one for new."""

    def __init__(self) -> None:
        self._small = np.zeros(MAX_DENSE_ID // 8, dtype=np.uint8)  # a page of it is in memory once it is touched
        self._large: NDArray[np.uint8] | None = None
        self.distinct = self.distinct_large = 0

    @property
    def false_share(self) -> float:
        """Share of new large ids that pass for old ones, by now; 0 where there are none."""
        return float((1 - np.exp(-HASHES * self.distinct_large / HASHED_BITS)) ** HASHES)

    def leading(self, counts: IntArray, ids: IntArray) -> IntArray:
        """How many of each row's first ids were there before; then all of them are. Row i has counts[i] ids, in a row in `ids`."""
        ends = np.cumsum(counts)
        starts = ends - counts
        news = np.flatnonzero(self._add(ids))
        first_new = np.append(news, len(ids))[np.searchsorted(news, starts)]
        leading: IntArray = np.minimum(first_new, ends) - starts
        return leading

    def _add(self, ids: IntArray) -> NDArray[np.bool_]:
        """Whether each id is there for the first time."""
        is_new = _first_times(ids)
        different = ids[is_new]
        is_large = different >= MAX_DENSE_ID
        is_old = np.empty(len(different), dtype=np.bool_)
        is_old[~is_large] = _set_bits(self._small, different[~is_large])
        is_old[is_large] = self._add_large(different[is_large])
        self.distinct += len(different) - int(is_old.sum())
        is_new[is_new] = ~is_old
        return is_new

    def _add_large(self, ids: IntArray) -> NDArray[np.bool_]:
        is_old = np.full(len(ids), len(ids) > 0)
        if not len(ids):
            return is_old
        if self._large is None:
            self._large = np.zeros(HASHED_BITS // 8, dtype=np.uint8)
        mixed = _mixed(ids)
        step = (mixed >> np.uint64(32)) | np.uint64(1)
        for k in range(HASHES):
            places = ((mixed + np.uint64(k) * step) % np.uint64(HASHED_BITS)).astype(np.int64)
            is_old &= _set_bits(self._large, places)
        self.distinct_large += len(ids) - int(is_old.sum())
        return is_old


def _first_times(ids: IntArray) -> NDArray[np.bool_]:
    """Whether each id stands nowhere before in `ids`. Ids that lie close together are put into a table, which is faster than sorting."""
    if not len(ids):
        return np.zeros(0, dtype=np.bool_)
    low, span = int(ids.min()), int(ids.max()) - int(ids.min()) + 1
    if span > TABLE_PER_ID * len(ids):
        is_first = np.zeros(len(ids), dtype=np.bool_)
        is_first[np.unique(ids, return_index=True)[1]] = True
        return is_first
    at = np.arange(len(ids))
    table = np.empty(span, dtype=np.int64)
    table[ids[::-1] - low] = at[::-1]  # of a place that is written twice the last value stays
    return np.asarray(table[ids - low] == at)


def _set_bits(bits: NDArray[np.uint8], places: IntArray) -> NDArray[np.bool_]:
    """Sets the bits; whether each was set before."""
    byte, mask = places >> 3, np.left_shift(1, places & 7).astype(np.uint8)
    was_set: NDArray[np.bool_] = (bits[byte] & mask) != 0
    np.bitwise_or.at(bits, byte, mask)
    return was_set


def _mixed(ids: IntArray) -> NDArray[np.uint64]:
    """Ids spread over 64 bits (the finaliser of splitmix64, Steele et al. 2014)."""
    x = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


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
