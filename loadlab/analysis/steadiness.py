"""Whether a run was steady: how long it warmed up, and whether it was asked for more than it could serve."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from loadlab.analysis.intervals import cautious_time
from loadlab.analysis.table import FloatArray, RequestTable

BATCH = 5
BLOCKS = 10
SIGNIFICANCE = 0.05
BACKLOG_GROWTH = 0.03  # of the requests that came meanwhile
MIN_SETTLED = 200  # 40 means of five: with fewer, chance cuts as much as warm-up does
DIFFERS_AT = 5.0
MIN_REQUESTS = 100  # ten a block: fewer say nothing of a trend


def warm_up_length(values: FloatArray) -> int | None:
    """How many first values of a series in time order belong to its warm-up; None if it never settles.

    MSER-5 (K. P. White, M. J. Cobb, S. C. Spratt, "A comparison of five steady-state truncation heuristics for simulation", WSC 2000):
    in means of five, leave out as many first ones as minimise the standard error of the mean of the rest. A minimum in the second half
    is none: the run is too short, or has no steady state.
    """
    k = len(values) // BATCH
    if k < 2:
        return None
    means = values[: k * BATCH].reshape(k, BATCH).mean(axis=1)
    means = means - means.mean()  # sums of squares of large numbers would cancel
    left = np.arange(k, 0, -1)
    sums, squares = np.cumsum(means[::-1])[::-1], np.cumsum((means**2)[::-1])[::-1]
    spread = squares - sums**2 / left
    spread[spread < 1e-12 * squares[0]] = 0.0  # what is left of differences of float64
    errors = spread / left.astype(np.float64) ** 2
    first = int(np.argmin(errors[: k - BATCH + 1] if k > BATCH else errors[:1]))
    return BATCH * first if 2 * first <= k else None


def warm_up_s(table: RequestTable) -> tuple[float | None, str]:
    """The due time at which a run had settled, None where nothing is cut; and what was found, in words. `table` is in due order.

    Judged by TTFT of OK rows, or by end to end where answers have no first token. What never settles is not cut: then either the run is
    too short or it has no steady state, and leaving out any part of it would be arbitrary.
    """
    latency_s = np.where(np.isnan(table.first_token_s), table.finished_s, table.first_token_s) - table.scheduled_s
    rows = np.flatnonzero(table.ok & ~np.isnan(latency_s))
    if len(rows) < MIN_SETTLED:
        return None, f"not looked for: fewer than {MIN_SETTLED} OK requests"
    length = warm_up_length(latency_s[rows])
    if length is None:
        return None, "none cut: the run never settled (MSER-5): it is too short, or has no steady state"
    if length == 0 or not _differs(latency_s[rows], length):
        return None, "none (MSER-5)"
    return float(table.scheduled_s[rows[length]]), "left out of latencies, not of counts (MSER-5)"


def _differs(values: FloatArray, length: int) -> bool:
    """True if the first values are none that the others could have been: their mean is DIFFERS_AT standard errors away.

    MSER-5 alone also finds bursts that happen to come first: it cut 45 % of steady runs at half load, and read their p99 4 % too low. A
    cut that follows the values needs more than the usual two errors.
    """
    first, rest = values[:length], values[length:]
    error = math.sqrt(float(rest.var()) * cautious_time(rest) * (1 / len(first) + 1 / len(rest)))
    return abs(float(first.mean() - rest.mean())) > DIFFERS_AT * error


@dataclass(frozen=True, slots=True, kw_only=True)
class Overload:
    """Two signs that more came than was served; one alone is chance. `trend_p`: one-sided p-value of latency rising over the run.

    `backlog_growth`: by how much the requests in the system grew, as a share of those that came meanwhile.
    """

    trend_p: float
    backlog_growth: float

    @property
    def is_overloaded(self) -> bool:
        """True if both signs are there."""
        return self.trend_p < SIGNIFICANCE and self.backlog_growth > BACKLOG_GROWTH


def overload(table: RequestTable) -> Overload | None:
    """The signs of overload in an open-loop run; None below MIN_REQUESTS requests. `table` is in due order.

    Time in the system counts whatever the outcome: requests that are given up queue as well.
    """
    seen = ~np.isnan(table.scheduled_s) & ~np.isnan(table.finished_s)
    due_s, ended_s = table.scheduled_s[seen], table.finished_s[seen]
    n = len(due_s)
    if n < MIN_REQUESTS:
        return None
    backlog = np.arange(1, n + 1) - np.searchsorted(np.sort(ended_s), due_s, side="right")
    filled = _filled(due_s, ended_s)
    levels = _block_means(backlog[filled:].astype(np.float64))
    growth = float(levels[-1] - levels[0]) / ((n - filled) * (BLOCKS - 1) / BLOCKS)
    return Overload(trend_p=rising_p(_block_means((ended_s - due_s)[filled:])), backlog_growth=growth)


def _filled(due_s: FloatArray, ended_s: FloatArray) -> int:
    """How many requests were due while the target, which begins empty, still filled: for as long as 95 % of the first tenth took.

    At most half of the run, since in an overload they take ever longer.
    """
    took_s = float(np.quantile((ended_s - due_s)[: max(1, len(due_s) // 10)], 0.95))
    return int(np.searchsorted(due_s, due_s[0] + min(took_s, float(due_s[-1] - due_s[0]) / 2)))


def _block_means(series: FloatArray) -> FloatArray:
    return np.array([block.mean() for block in np.array_split(series, BLOCKS)])


def rising_p(series: FloatArray) -> float:
    """One-sided p-value of the Mann-Kendall test for a rising trend: P(S >= s) if every order of the values is as likely.

    H. B. Mann, Econometrica 13 (1945), p. 245. Exact for values without ties; ties count as no step either way, which is cautious.
    """
    n = len(series)
    steps = np.sign(series[None, :] - series[:, None])[np.triu_indices(n, 1)]
    score, pairs = int(steps.sum()), n * (n - 1) // 2
    inversions = -((score - pairs) // 2)  # S = pairs - 2 * inversions; a tie is half of one, rounded to the cautious side
    return sum(_orders_with_inversions(n)[: inversions + 1]) / math.factorial(n)


@cache
def _orders_with_inversions(n: int) -> tuple[int, ...]:
    """How many orders of n things have 0, 1, 2 .. inversions: Mahonian numbers, by their recursion."""
    counts = [1]
    for size in range(2, n + 1):
        longer = [0] * (len(counts) + size - 1)
        for k, count in enumerate(counts):
            for shift in range(size):
                longer[k + shift] += count
        counts = longer
    return tuple(counts)
