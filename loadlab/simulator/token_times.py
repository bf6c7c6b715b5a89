"""When each token came, and how long after the one before: expanded from a replica's log, in bulk."""

from __future__ import annotations

from collections.abc import Sequence as Seq

import numpy as np
from numpy.typing import NDArray

from loadlab.simulator.timeline import KEPT

IntArray = NDArray[np.int64]

Pieces = list[tuple[int, int, int]]  # Sequence.pieces


class TokenClock:
    """Token times of one replica over the stretches of its log."""

    def __init__(self, table: IntArray) -> None:
        """`table`: rows of a StretchLog, at least one; their ticks are contiguous."""
        ticks, steps, start, first, slope = table[:, :KEPT].T
        done = np.arange(int(steps.sum())) - np.repeat(np.cumsum(steps) - steps, steps)
        first, slope = np.repeat(first, steps), np.repeat(slope, steps)
        self.first_tick = int(ticks[0])
        self.step_ps: IntArray = first + slope * done  # of the step from each tick to the next
        self._end_ps: IntArray = np.repeat(start, steps) + (done + 1) * first + slope * (done * (done + 1) // 2)

    def times_ps(self, first: int, last: int) -> IntArray:
        """When the ticks from `first` to `last` were reached: each at the end of the step before it."""
        assert first > self.first_tick, "the log was forgotten before its tokens were told"
        return self._end_ps[first - 1 - self.first_tick : last - self.first_tick]


Clocks = Seq[TokenClock | None]  # by replica; None where nothing was logged


def token_times_ps(clocks: Clocks, pieces: Pieces) -> IntArray:
    """When each token of a sequence came."""
    times = []
    for replica, first, last in pieces:
        clock = clocks[replica]
        assert clock is not None
        times.append(clock.times_ps(first, last))
    return np.concatenate(times) if times else np.empty(0, dtype=np.int64)


def gap_quantiles_ps(clocks: Clocks, sequences: Seq[Pieces], percents: Seq[int]) -> IntArray:
    """Order statistics ceil(p n) of each sequence's own gaps between tokens: int64[sequences, percents], -1 where it has no gap.

    Sequences of one piece are answered together, replica by replica; those that were preempted one by one.
    """
    answer = np.full((len(sequences), len(percents)), -1, dtype=np.int64)
    whole: dict[int, list[int]] = {}
    for i, pieces in enumerate(sequences):
        if len(pieces) == 1:
            whole.setdefault(pieces[0][0], []).append(i)
        elif pieces:
            gaps = np.sort(np.diff(token_times_ps(clocks, pieces)))
            if len(gaps):
                answer[i] = [gaps[-(-percent * len(gaps) // 100) - 1] for percent in percents]
    for replica, rows in whole.items():
        clock = clocks[replica]
        assert clock is not None
        spans = np.array([sequences[i][0][1:] for i in rows], dtype=np.int64) - clock.first_tick
        at = np.array(rows)[spans[:, 1] > spans[:, 0]]
        spans = spans[spans[:, 1] > spans[:, 0]]
        if len(at):
            counts = spans[:, 1] - spans[:, 0]
            ranks = np.stack([-(-percent * counts // 100) - 1 for percent in percents], axis=1)
            low, high = int(spans.min()), int(spans.max())
            answer[at] = order_statistics(clock.step_ps[low:high], spans[:, 0] - low, spans[:, 1] - low, ranks)
    return answer


def order_statistics(values: IntArray, first: IntArray, last: IntArray, ranks: IntArray) -> IntArray:
    """For each query i and column j the value of rank ranks[i, j] (0 is the least) among values[first[i]:last[i]].

    A wavelet matrix (Claude, Navarro and Ordonez 2015): the values' ranks, bit by bit from the highest, are split stably in those
    with 0 and those with 1; counts of zeros before each place lead every query down at once. O((n + q) log n).
    """
    distinct, codes = np.unique(values, return_inverse=True)
    lower = np.repeat(first[:, None], ranks.shape[1], axis=1)
    upper = np.repeat(last[:, None], ranks.shape[1], axis=1)
    rank, found = ranks.copy(), np.zeros_like(ranks)
    for bit in reversed(range(max(1, int(len(distinct) - 1).bit_length()))):
        is_one = (codes >> bit & 1).astype(bool)
        zeros = np.concatenate([[0], np.cumsum(~is_one)])
        lower_0, upper_0 = zeros[lower], zeros[upper]
        goes_0 = rank < upper_0 - lower_0
        found |= np.where(goes_0, 0, 1 << bit)
        rank -= np.where(goes_0, 0, upper_0 - lower_0)
        lower = np.where(goes_0, lower_0, zeros[-1] + lower - lower_0)
        upper = np.where(goes_0, upper_0, zeros[-1] + upper - upper_0)
        codes = np.concatenate([codes[~is_one], codes[is_one]])
    answer: IntArray = distinct[found]
    return answer
