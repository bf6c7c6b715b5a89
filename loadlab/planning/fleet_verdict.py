"""Whether a simulated day of a fleet held its SLO, hour by hour, and how sure that is: the same day is drawn several times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from scipy import special

from loadlab.planning.levels import Level, pooled

SIDE_CONFIDENCE = 0.95  # of each bound on the bad share: both together are a 90 % interval
BAD_FOR_STUDENT = 10  # bad requests of an hour in each draw, from which on draws are compared


class Held(StrEnum):
    """The verdict on an hour."""

    HELD = "held"  # the upper bound on the bad share is within the budget
    OPEN = "open"  # the bounds are on both sides of it: more requests would tell
    BROKEN = "broken"  # the lower bound is above it
    EMPTY = "empty"  # nothing came


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """An hour (or a day) in each draw that had requests in it, at least one; `by_region`: the share of good requests of each region.

    Bounds on the bad share, 95 % each. Where few were bad: of all draws pooled, on n / tau. Where each draw had ten or more: Student's
    interval over the draws. A start that comes late makes the first half of an hour bad and the second good: within one draw that
    looks like endless dependence, from draw to draw it is the same.
    """

    draws: tuple[Level, ...]
    by_region: Mapping[str, float]

    @property
    def level(self) -> Level:
        """All draws pooled."""
        return pooled(self.draws)

    @property
    def is_by_draws(self) -> bool:
        """Whether the bounds come from how the draws differ."""
        return len(self.draws) >= 3 and min(level.bad for level in self.draws) >= BAD_FOR_STUDENT

    @property
    def bounds(self) -> tuple[float, float]:
        """(lower, upper) of the bad share."""
        if not self.is_by_draws:
            return self.level.lower_bound(SIDE_CONFIDENCE), self.level.upper_bound(SIDE_CONFIDENCE)
        shares = np.array([level.bad_share for level in self.draws])
        reach = float(special.stdtrit(len(shares) - 1, SIDE_CONFIDENCE) * shares.std(ddof=1)) / len(shares) ** 0.5
        return max(0.0, float(shares.mean()) - reach), min(1.0, float(shares.mean()) + reach)


def verdict(hour: Hour | None, budget: float) -> Held:
    """Of an hour against an error budget."""
    if hour is None:
        return Held.EMPTY
    low, high = hour.bounds
    if low > budget:
        return Held.BROKEN
    return Held.HELD if high <= budget else Held.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class DayResult:
    """One way to run the day: an hour without a request is None; `whole` weighs all requests alike. `minutes` of each hour were played."""

    name: str
    about: str
    hours: tuple[Hour | None, ...]
    whole: Hour
    minutes: int
    up: tuple[int, ...]  # fewest replicas of all regions together that were up in each hour
    plan_digests: tuple[str, ...]  # of each draw

    def verdicts(self, budget: float) -> list[Held]:
        """Of each hour."""
        return [verdict(hour, budget) for hour in self.hours]
