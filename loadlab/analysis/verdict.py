"""Whether a run keeps its thresholds: passed, failed, or undecided, by the interval of each number and not by the number alone.

Failing is claimed when the whole interval lies beyond the limit, passing when all of it lies within. A run too short for its
quantile (n < 300 tau) cannot pass one: what it under-reads is the tail. It can fail one, since a short run errs to the fast side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from loadlab.analysis.intervals import Estimate
from loadlab.slo import Comparison, Threshold


class Verdict(Enum):
    """What can be said of a threshold."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A threshold, the estimate that it was judged by, and why. `suffices_n`: about how many requests would decide it; None if decided."""

    threshold: Threshold
    estimate: Estimate
    verdict: Verdict
    why: str
    suffices_n: int | None = None

    @property
    def leans(self) -> Verdict:
        """What the number alone would say."""
        value = self.estimate.value
        holds = value is not None and self.threshold.comparison.holds(value, self.threshold.limit)
        return Verdict.PASSED if holds else Verdict.FAILED


def judge(threshold: Threshold, estimate: Estimate) -> Judgement:
    """The verdict on a threshold. What was not measured has failed: silence is no proof."""
    if estimate.value is None:
        why = f"nothing to judge: {estimate.note or 'no such request'}"
        return Judgement(threshold=threshold, estimate=estimate, verdict=Verdict.FAILED, why=why)
    ends = [None if end is None else threshold.comparison.holds(end, threshold.limit) for end in (estimate.low, estimate.high)]
    if ends == [True, True] and not estimate.is_inconclusive:
        return Judgement(threshold=threshold, estimate=estimate, verdict=Verdict.PASSED, why="the whole interval is within the limit")
    if _is_beyond(threshold, estimate):
        return Judgement(threshold=threshold, estimate=estimate, verdict=Verdict.FAILED, why="the whole interval is beyond the limit")
    if all(end is not False for end in ends) and estimate.is_inconclusive:
        why = "the run is too short to claim that its tail is within the limit"
    else:
        why = "the interval holds the limit" if None not in ends else f"the interval is open: {estimate.note}"
    return Judgement(threshold=threshold, estimate=estimate, verdict=Verdict.UNDECIDED, why=why, suffices_n=_suffices(threshold, estimate))


def _is_beyond(threshold: Threshold, estimate: Estimate) -> bool:
    """True if even the end nearest to the limit breaks it."""
    match threshold.comparison:
        case Comparison.LESS | Comparison.AT_MOST:
            nearest = estimate.low
        case Comparison.GREATER | Comparison.AT_LEAST:
            nearest = estimate.high
        case Comparison.EQUAL:
            nearest = estimate.value  # a count is exact
    return nearest is not None and not threshold.comparison.holds(nearest, threshold.limit)


def _suffices(threshold: Threshold, estimate: Estimate) -> int | None:
    """About how many requests would narrow the interval to the distance of the limit: widths go as 1 / sqrt(n)."""
    assert estimate.value is not None
    distance = threshold.limit - estimate.value
    end = estimate.high if distance > 0 else estimate.low
    least = estimate.needs_n or 0
    if end is None or distance == 0:
        return least or None
    return max(least, math.ceil(estimate.n * max(1.0, (end - estimate.value) / distance) ** 2))
