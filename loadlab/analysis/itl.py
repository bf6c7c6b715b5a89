"""Inter-token latency over every gap of a run, though a row keeps only four quantiles of its own gaps.

Between them a request's distribution is taken as linear, and below its median as linear from the smallest median of the run, which is
a decode step at the lightest load. What the true quantile can be at most and at least, whatever lies between, widens the interval: so
that is never narrower than what the rows leave open.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
from scipy import special

from loadlab.analysis.intervals import EFFECTIVE_FOR_A_QUANTILE, Estimate, autocorrelation_time, cautious_time, mean_estimate
from loadlab.analysis.table import FloatArray, RequestTable

MAX_REQUESTS = 20_000  # more are thinned evenly: gaps of one answer are alike, so that more of them add nothing
LEVELS = np.array([0.0, 0.50, 0.95, 0.99, 1.0])
_ROUNDING = 1e-12  # shares closer than that are equal


class Between(Enum):
    """How long the gaps are that lie between two known quantiles of their request."""

    LINEAR = "spread evenly"
    SHORTEST = "as short as the lower one, and below the median nothing"
    LONGEST = "as long as the upper one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """A distribution of gaps that have one of these lengths, ascending, seconds; `shares`: of all gaps, up to and with each."""

    values_s: FloatArray
    shares: FloatArray

    def quantile(self, p: float) -> float:
        """The smallest length that a share p of the gaps does not exceed."""
        return float(self.values_s[min(int(np.searchsorted(self.shares, p - _ROUNDING)), len(self.shares) - 1)])


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """The gaps of n requests in due order: how many each has, and its distribution at LEVELS, float64[n, 5], seconds."""

    counts: FloatArray
    knots_s: FloatArray
    every: int  # 1 in so many requests was looked at

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def distinct_knots_s(self) -> FloatArray:
        """Every knot once, ascending."""
        return np.unique(self.knots_s)

    @cached_property
    def shortest(self) -> Steps:
        """All gaps, each as short as the rows allow."""
        return _steps(np.column_stack([np.zeros(len(self)), self.knots_s[:, 1:-1]]), self.counts)

    @cached_property
    def longest(self) -> Steps:
        """All gaps, each as long as the rows allow."""
        return _steps(self.knots_s[:, 1:], self.counts)

    def share_below(self, x_s: float, between: Between = Between.LINEAR) -> float:
        """The share of all gaps that are at most x."""
        return float(np.average(self.shares_below(x_s, between), weights=self.counts))

    def shares_below(self, x_s: float, between: Between = Between.LINEAR) -> FloatArray:
        """float64[n]: the share of each request's gaps that are at most x."""
        total = np.zeros(len(self))
        for k, width in enumerate(np.diff(LEVELS)):
            left, right = self.knots_s[:, k], self.knots_s[:, k + 1]
            match between:
                case Between.LINEAR:
                    part = np.clip((x_s - left) / np.maximum(right - left, 1e-12), 0.0, 1.0)
                    total += width * np.where(x_s >= right, 1.0, part)
                case Between.SHORTEST:
                    total += width * (x_s >= left) if k > 0 else width
                case Between.LONGEST:
                    total += width * (x_s >= right)
        return total


def gaps_of(table: RequestTable) -> Gaps:
    """The gaps of the OK rows that have them; `table` is in due order."""
    rows = np.flatnonzero(table.ok & ~np.isnan(table.itl_max_s) & (table.output_tokens >= 2))
    every = -(-len(rows) // MAX_REQUESTS) if len(rows) else 1
    rows = rows[::every]
    knots = [table.itl_p50_s[rows], table.itl_p95_s[rows], table.itl_p99_s[rows], table.itl_max_s[rows]]
    floor = np.full(len(rows), min(knots[0], default=0.0))
    return Gaps(counts=table.output_tokens[rows] - 1, knots_s=np.column_stack([floor, *knots]), every=every)


def itl_quantile(gaps: Gaps, p: float, confidence: float = 0.95) -> Estimate:
    """The p-quantile over all gaps, with R. S. Woodruff's interval (JASA 47, 1952, p. 635) for clustered samples.

    The error of the share below x comes from the requests, which are the independent things, not from the gaps: z_i = gaps_i * (share
    of i's gaps below x - p), with tau of that series, or of the requests' own p95 if it is larger. The share's interval is then read off
    the distribution.
    """
    n = len(gaps)
    if n == 0:
        return Estimate(value=None, n=0, note="no OK request has gaps between tokens")
    value = _solve(gaps, p, Between.LINEAR)
    deviations = gaps.counts * (gaps.shares_below(value) - p)
    tau = max(cautious_time(deviations), autocorrelation_time(gaps.knots_s[:, 2], p))
    low_share, high_share = _band(deviations, float(gaps.counts.mean()), p, n / tau, confidence)
    low = None if low_share <= 0 else _solve(gaps, low_share, Between.SHORTEST)
    high = None if high_share >= 1 else _solve(gaps, high_share, Between.LONGEST)
    needed = math.ceil(EFFECTIVE_FOR_A_QUANTILE * tau)
    return Estimate(
        value=value,
        low=low,  # 0 where a row's gaps below its median may be anything
        high=high,
        n=n,
        tau=tau,
        n_effective=n / tau,
        note=_note(gaps.every, is_open=low is None or high is None),
        needs_n=needed if n < needed else None,
    )


def _note(every: int, *, is_open: bool) -> str:
    said = "95 %, Woodruff on n / tau; over all gaps, read between each request's own p50, p95, p99 and max, which widens the interval"
    thinned = f"; every {every}th request" if every > 1 else ""
    return said + thinned + ("; an end is open: the rows leave it open, or they are too few" if is_open else "")


def _band(deviations: FloatArray, gaps_each: float, p: float, n_effective: float, confidence: float) -> tuple[float, float]:
    """Interval of the share of gaps below x; (0, 1), which bounds nothing, where fewer than two effective requests are there."""
    if n_effective < 2:
        return 0.0, 1.0
    error = float(deviations.std(ddof=1)) / gaps_each / math.sqrt(n_effective)
    half = float(special.stdtrit(n_effective - 1, (1 + confidence) / 2)) * error
    return p - half, p + half


def _solve(gaps: Gaps, p: float, between: Between) -> float:
    """The smallest x at which a share p of all gaps is at most x, to nine digits."""
    match between:
        case Between.LINEAR:
            x_s = _solve_linear(gaps, p)
        case Between.SHORTEST:
            x_s = gaps.shortest.quantile(p)
        case Between.LONGEST:
            x_s = gaps.longest.quantile(p)
    return float(f"{x_s:.9g}")


def _steps(values_s: FloatArray, counts: FloatArray) -> Steps:
    """Of lengths float64[n, 4]: those of each request's gaps in the shares between LEVELS."""
    order = np.argsort(values_s, axis=None)
    shares = np.cumsum(np.outer(counts, np.diff(LEVELS)).ravel()[order]) / counts.sum()
    return Steps(values_s=values_s.ravel()[order], shares=shares)


def _solve_linear(gaps: Gaps, p: float) -> float:
    """The share below x is a straight line between neighbours among all knots: halve the knots, not the time, then read the line."""
    knots = gaps.distinct_knots_s
    at = bisect.bisect_left(range(len(knots) - 1), p - _ROUNDING, key=lambda i: gaps.share_below(float(knots[i])))
    if at == 0:
        return float(knots[0])
    left, right = float(knots[at - 1]), float(knots[at])
    middle = (left + right) / 2
    share = gaps.share_below(left)
    slope = (gaps.share_below(middle) - share) / (middle - left) if left < middle < right else 0.0
    return min(right, left + (p - share) / slope) if slope > 0 else right


def mean_itl(table: RequestTable) -> Estimate:
    """Mean of all gaps of OK rows: exact, since gaps add up to last token - first. Rows in due order.

    A ratio of sums, its interval by the linearised residuals (W. G. Cochran, Sampling Techniques, 3rd ed. 1977, section 2.11).
    """
    rows = np.flatnonzero(table.ok & (table.output_tokens >= 2) & ~np.isnan(table.last_token_s - table.first_token_s))
    if len(rows) == 0:
        return Estimate(value=None, n=0, note="no OK request has gaps between tokens")
    gaps = table.output_tokens[rows] - 1
    spans_s = table.last_token_s[rows] - table.first_token_s[rows]
    mean = float(spans_s.sum() / gaps.sum())
    return mean_estimate(mean + (spans_s - mean * gaps) / gaps.mean())
