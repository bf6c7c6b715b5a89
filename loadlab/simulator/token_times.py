"""When each token came, and how long after the one before: expanded from a replica's log, in bulk."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from functools import cached_property
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from loadlab.simulator.sequence import Sequence, TokenSpan
from loadlab.simulator.timeline import KEPT

IntArray = NDArray[np.int64]
CodeArray = NDArray[Any]  # uint16 or int32

Pieces = Seq[TokenSpan]  # Sequence.pieces

SORTED_AT_ONCE = 192  # spans


class TokenClock:
    """Token times of one replica over the stretches of its log."""

    def __init__(self, table: IntArray) -> None:
        """`table`: rows of a StretchLog, at least one; their ticks are contiguous."""
        self._stretches = table[:, :KEPT].T
        ticks, steps, _, first, slope = self._stretches
        self.first_tick = int(ticks[0])
        self._done = np.arange(int(steps.sum())) - np.repeat(np.cumsum(steps) - steps, steps)  # steps of the stretch before each
        self.step_ps: IntArray = np.repeat(first, steps) + np.repeat(slope, steps) * self._done  # of the step from each tick to the next

    @cached_property
    def _end_ps(self) -> IntArray:
        _, steps, start, first, slope = self._stretches
        start, first, slope = (np.repeat(column, steps) for column in (start, first, slope))
        done = self._done
        ends: IntArray = start + (done + 1) * first + slope * (done * (done + 1) // 2)
        return ends

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
    whole = [i for i, pieces in enumerate(sequences) if len(pieces) == 1]
    if whole:
        replica, first, last = np.array([sequences[i][0] for i in whole], dtype=np.int64).T
        answer[whole] = _quantiles_of_spans(clocks, replica, first, last, percents)
    for i, pieces in enumerate(sequences):
        if len(pieces) > 1:
            gaps = np.sort(np.diff(token_times_ps(clocks, pieces)))
            answer[i] = gaps[_ranks(np.array([len(gaps)]), percents)[0]]
    return answer


def gap_quantiles_of_ended_ps(clocks: Clocks, sequences: Seq[Sequence], percents: Seq[int]) -> IntArray:
    """The same of sequences that have ended. Most have one piece: theirs are read without making lists of it."""
    first, last = _column("first_tick", sequences), _column("end_tick", sequences)
    if not any(map(attrgetter("earlier_pieces"), sequences)) and first.all():
        return _quantiles_of_spans(clocks, _column("replica", sequences), first, last, percents)
    is_whole = (first > 0) & np.array([not sequence.earlier_pieces for sequence in sequences], dtype=bool)
    answer = np.empty((len(sequences), len(percents)), dtype=np.int64)
    whole, others = np.flatnonzero(is_whole), np.flatnonzero(~is_whole)
    replica = _column("replica", [sequences[i] for i in whole.tolist()])
    answer[whole] = _quantiles_of_spans(clocks, replica, first[whole], last[whole], percents)
    answer[others] = gap_quantiles_ps(clocks, [sequences[i].pieces for i in others.tolist()], percents)
    return answer


def _column(name: str, sequences: Seq[Sequence]) -> IntArray:
    return np.fromiter(map(attrgetter(name), sequences), dtype=np.int64, count=len(sequences))


def _quantiles_of_spans(clocks: Clocks, replica: IntArray, first: IntArray, last: IntArray, percents: Seq[int]) -> IntArray:
    """The same of single pieces, told as columns: of the gaps between the ticks from `first` to `last` of a replica each."""
    answer = np.full((len(first), len(percents)), -1, dtype=np.int64)
    mine = np.flatnonzero(last > first)
    if not len(mine):
        return answer
    parts, length = [], 0  # all replicas' gaps, one behind the other
    shift = np.zeros(len(clocks), dtype=np.int64)  # from where each one's
    for index in np.unique(replica[mine]).tolist():
        clock, its = clocks[index], mine[replica[mine] == index]
        low, high = int(first[its].min()), int(last[its].max())
        assert clock is not None
        assert low > clock.first_tick, "the log was forgotten before its tokens were told"
        parts.append(clock.step_ps[low - clock.first_tick : high - clock.first_tick])
        shift[index] = length - low
        length += high - low
    moved = shift[replica[mine]]
    ranks = _ranks((last - first)[mine], percents)
    answer[mine] = order_statistics(np.concatenate(parts), first[mine] + moved, last[mine] + moved, ranks)
    return answer


def _ranks(counts: IntArray, percents: Seq[int]) -> IntArray:
    """Which of `counts` values in ascending order, from 0, is the ceil(p n)-th."""
    return np.stack([-(-percent * counts // 100) - 1 for percent in percents], axis=1)


def order_statistics(values: IntArray, first: IntArray, last: IntArray, ranks: IntArray) -> IntArray:
    """For each query i and column j the value of rank ranks[i, j] (0 is the least) among values[first[i]:last[i]].

    Sorting costs some 4 ns a value of every span, a wavelet matrix some 120 ns a value and 1 us a query: long answers need it.
    """
    order = np.argsort(values)
    codes = np.empty(len(values), dtype=np.uint16 if len(values) < 2**16 else np.int32)  # half the width sorts in less than half the time
    codes[order] = np.arange(len(values), dtype=codes.dtype)
    is_long = int((last - first).sum()) > 30 * len(values) + 250 * len(first)
    found = (ranks_by_wavelets if is_long else ranks_by_sorting)(codes, first, last, ranks)
    answer: IntArray = values[order[found]]
    return answer


def ranks_by_sorting(codes: CodeArray, first: IntArray, last: IntArray, ranks: IntArray) -> IntArray:
    """Spans of about one length are sorted together, as rows of one width: what exceeds a span is more than any code."""
    answer = np.empty_like(ranks)
    by_length = np.argsort(last - first)
    longest = int((last - first)[by_length[-1]])
    beyond = np.iinfo(codes.dtype).max
    rows_from = sliding_window_view(np.concatenate([codes, np.full(longest, beyond, dtype=codes.dtype)]), longest)
    for part in np.array_split(by_length, -(-len(first) // SORTED_AT_ONCE)):
        lengths = (last - first)[part]
        least, most = int(lengths[0]), int(lengths[-1])
        rows = rows_from[first[part], :most]
        np.copyto(rows[:, least:], beyond, where=np.arange(least, most) >= lengths[:, None])
        rows.sort(axis=1)
        answer[part] = rows[np.arange(len(part))[:, None], ranks[part]]
    return answer


def ranks_by_wavelets(codes: CodeArray, first: IntArray, last: IntArray, ranks: IntArray) -> IntArray:
    """A wavelet matrix (Information Systems 47, 2015, 15-32): the codes, bit by bit from the highest, are split stably in those
    with 0 and those with 1; counts of zeros before each place lead every query down at once. O((n + q) log n).
    """
    lower = np.repeat(first[:, None], ranks.shape[1], axis=1)
    upper = np.repeat(last[:, None], ranks.shape[1], axis=1)
    rank, found = ranks.copy(), np.zeros_like(ranks)
    for bit in reversed(range(max(1, int(len(codes) - 1).bit_length()))):
        is_one = (codes >> bit & 1).astype(bool)
        zeros = np.concatenate([[0], np.cumsum(~is_one)])
        lower_0, upper_0 = zeros[lower], zeros[upper]
        goes_0 = rank < upper_0 - lower_0
        found |= np.where(goes_0, 0, 1 << bit)
        rank -= np.where(goes_0, 0, upper_0 - lower_0)
        lower = np.where(goes_0, lower_0, zeros[-1] + lower - lower_0)
        upper = np.where(goes_0, upper_0, zeros[-1] + upper - upper_0)
        codes = np.concatenate([codes[~is_one], codes[is_one]])
    return found
