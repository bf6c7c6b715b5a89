"""Whether a simulated day of a fleet held its SLO, hour by hour, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from loadlab.planning.levels import Level

SIDE_CONFIDENCE = 0.95  # of each bound on the bad share: both together are a 90 % interval


class Held(StrEnum):
    """The verdict on an hour."""

    HELD = "held"  # the upper bound on the bad share is within the budget
    OPEN = "open"  # the bounds are on both sides of it: more requests would tell
    BROKEN = "broken"  # the lower bound is above it
    EMPTY = "empty"  # nothing came


def verdict(level: Level | None, budget: float) -> Held:
    """Of a level against an error budget, by the 90 % interval on n / tau."""
    if level is None:
        return Held.EMPTY
    if level.lower_bound(SIDE_CONFIDENCE) > budget:
        return Held.BROKEN
    return Held.HELD if level.upper_bound(SIDE_CONFIDENCE) <= budget else Held.OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class HourOfFleet:
    """How an hour went, of all regions together, and the share of good requests of each region that had any."""

    level: Level
    by_region: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class DayResult:
    """One simulated day: an hour without a request is None; `whole` weighs all requests alike. `minutes` of each hour were played."""

    name: str
    about: str
    hours: tuple[HourOfFleet | None, ...]
    whole: Level
    minutes: int
    up: tuple[int, ...]  # fewest replicas of all regions together that were up in each hour
    plan_digest: str

    def verdicts(self, budget: float) -> list[Held]:
        """Of each hour."""
        return [verdict(None if hour is None else hour.level, budget) for hour in self.hours]
