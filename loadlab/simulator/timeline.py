"""State of a replica over time, in at most 512 bins that double in width as the run grows, so that memory is bounded."""

from __future__ import annotations

from dataclasses import dataclass, fields
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from loadlab.simulator.sharding import KvCapacity

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

# A stretch: `steps` engine steps from `tick` on; step i of them takes first_ps + i * slope_ps. Counts as during it; KV in use (blocks,
# or tokens where there are no blocks), the tokens that sequences hold, and the blocks evicted since the start as at its end.
COLUMNS = (
    "tick", "steps", "start_ps", "first_ps", "slope_ps",
    "running", "waiting", "kv_used", "kv_tokens", "prefill_tokens", "decoding", "evicted",
)  # fmt: skip
KEPT = 5  # the first columns tell token times

MAX_BINS = 512
FIRST_WIDTH_S = 1.0
S_PER_PS = 1e-12

# Rows of the table of integrals over each bin.
BUSY, RUNNING, WAITING, KV, HELD, PREFILL, DECODE, EVICTED, PREEMPTED, OOM, CACHED = range(11)
MEANS = 5  # the first rows are divided by the width of the bin


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineBin:
    """[t_s, t_s + dt_s) of one replica: time means, the peak of KV use over the stretches that touch it, and counts.

    `kv_fragmentation` is the share of the KV memory in use that holds no token; None where nothing is reserved.
    """

    t_s: float
    dt_s: float
    gpu_busy: float
    running: float
    waiting: float
    kv_usage: float
    kv_usage_max: float
    kv_fragmentation: float | None
    prefill_tokens: int
    decode_tokens: int
    preemptions: int
    ooms: int
    cached_tokens: int
    evicted_blocks: int


BIN_COLUMNS = tuple(field.name for field in fields(TimelineBin))
values_of_bin = attrgetter(*BIN_COLUMNS)


class Timeline:
    """Bins of equal width from time zero. Integrals are exact: a stretch that spans bins is split at their edges."""

    def __init__(self, kv_capacity: float, tokens_per_block: int | None) -> None:
        """`kv_capacity`: what KV use counts, blocks or tokens, at its fullest; `tokens_per_block` None where nothing is reserved."""
        self.width_s = FIRST_WIDTH_S
        self._kv_capacity = kv_capacity
        self._tokens_per_block = tokens_per_block
        self._sums: FloatArray = np.zeros((CACHED + 1, MAX_BINS))
        self._kv_max: FloatArray = np.zeros(MAX_BINS)
        self._end_s = 0.0
        self._evicted = 0  # so far
        self._counts: list[tuple[int, int, int]] = []  # what `count` was told and is not yet in the sums

    def add(self, stretches: IntArray) -> None:
        """Rows of COLUMNS in order of time, each once."""
        self._add_counts()
        steps, start, first, slope, running, waiting, kv, held, prefill, decoding, _ = stretches[:, 1:].T.astype(np.float64)
        evicted = np.diff(stretches[:, -1], prepend=self._evicted)
        self._evicted = int(stretches[-1, -1])
        start_s = start * S_PER_PS
        length_s = (steps * first + slope * steps * (steps - 1) / 2) * S_PER_PS
        self._reach(float(start_s[-1] + length_s[-1]))
        rates = np.stack(
            [np.ones_like(kv), running, waiting, kv, held, prefill / length_s, decoding * steps / length_s, evicted / length_s]
        )
        self._sums[: len(rates)] += self._integrals(start_s, length_s, rates)
        first_bin, last_bin = ((t / self.width_s).astype(int) for t in (start_s, start_s + length_s))
        for offset in range(int((last_bin - first_bin).max()) + 1):  # a stretch counts in every bin that it touches
            np.maximum.at(self._kv_max, np.minimum(first_bin + offset, last_bin), kv)

    def _integrals(self, start_s: FloatArray, length_s: FloatArray, rates: FloatArray) -> FloatArray:
        """Integral of each rate over each bin: differences of its running integral at the bins' edges."""
        edges = np.arange(MAX_BINS + 1) * self.width_s
        last = np.maximum(np.searchsorted(start_s, edges, side="right") - 1, 0)  # stretch that begins before each edge
        amounts = rates * length_s
        before = np.cumsum(amounts, axis=1)[:, last] - amounts[:, last]
        reached: FloatArray = before + rates[:, last] * np.clip(edges - start_s[last], 0, length_s[last])
        return np.diff(reached, axis=1)

    def count(self, row: int, at_ps: int, number: int) -> None:
        """Adds `number` to the row PREEMPTED, OOM or CACHED at a moment."""
        self._counts.append((row, at_ps, number))

    def _add_counts(self) -> None:
        if not self._counts:
            return
        rows, at_ps, numbers = np.array(self._counts, dtype=np.int64).T
        self._counts.clear()
        at_s = at_ps * S_PER_PS
        self._reach(float(at_s.max()))
        np.add.at(self._sums, (rows, (at_s / self.width_s).astype(np.int64)), numbers)

    @property
    def busy_s(self) -> float:
        """Time in which any work ran, over all stretches added."""
        return float(self._sums[BUSY].sum())

    def _reach(self, end_s: float) -> None:
        self._end_s = max(self._end_s, end_s)
        while end_s >= self.width_s * MAX_BINS:
            self._sums = np.concatenate([self._sums[:, ::2] + self._sums[:, 1::2], np.zeros((CACHED + 1, MAX_BINS // 2))], axis=1)
            self._kv_max = np.concatenate([np.maximum(self._kv_max[::2], self._kv_max[1::2]), np.zeros(MAX_BINS // 2)])
            self.width_s *= 2

    def bins(self) -> list[TimelineBin]:
        """Every bin up to the last event."""
        self._add_counts()
        used = min(MAX_BINS, int(self._end_s / self.width_s) + 1)
        means = (self._sums[:MEANS, :used] / self.width_s).tolist()
        sums = np.diff(np.rint(np.cumsum(self._sums[:, :used], axis=1)), axis=1, prepend=0.0)  # whole tokens, none lost at an edge
        counts, peaks = sums.astype(np.int64).tolist(), self._kv_max.tolist()
        return [
            TimelineBin(
                t_s=i * self.width_s,
                dt_s=self.width_s,
                gpu_busy=means[BUSY][i],
                running=means[RUNNING][i],
                waiting=means[WAITING][i],
                kv_usage=means[KV][i] / self._kv_capacity,
                kv_usage_max=peaks[i] / self._kv_capacity,
                kv_fragmentation=self._fragmentation(means[KV][i], means[HELD][i]),
                prefill_tokens=counts[PREFILL][i],
                decode_tokens=counts[DECODE][i],
                preemptions=counts[PREEMPTED][i],
                ooms=counts[OOM][i],
                cached_tokens=counts[CACHED][i],
                evicted_blocks=counts[EVICTED][i],
            )
            for i in range(used)
        ]

    def _fragmentation(self, blocks: float, tokens: float) -> float | None:
        """Shared blocks hold the tokens of several sequences, so the share is at least, not exactly, what holds nothing."""
        if self._tokens_per_block is None or blocks == 0:
            return None
        return max(0.0, 1 - tokens / (blocks * self._tokens_per_block))


def timeline_for(capacity: KvCapacity) -> Timeline:
    """The timeline of a replica: KV use counts blocks, or tokens where there is no pool of blocks."""
    if capacity.num_blocks is None:
        return Timeline(capacity.memory_left_bytes / capacity.kv_bytes_per_token, None)
    return Timeline(capacity.num_blocks, capacity.block_size_tokens)
