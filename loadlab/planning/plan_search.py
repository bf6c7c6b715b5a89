"""The search for the cheapest cluster: how many replicas, which configurations are worth a longer look, and what is on the front.

Pure: it asks for simulations and judges what they showed. `campaign/plan.py` makes them.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loadlab.planning.levels import Level

CLEARLY = 1.25  # a latency of a short run is clearly worse from this factor on
ALIKE = 1.02  # figures nearer than this are not told apart on the front
SURE = 0.999  # of a short run's bound, before it rules a configuration out
POOLING = 0.75  # a fleet behind its router is tried with as few as this share of the replicas that each alone would need


class Fate(StrEnum):
    """What became of a configuration."""

    CHOSEN = "chosen"
    COSTS_MORE = "costs more"
    DOMINATED = "dominated"  # a short run showed another that is cheaper and clearly faster
    MISSES = "misses the SLO"  # however many replicas there are
    TOO_MANY_GPUS = "needs too many GPUs"
    DOES_NOT_FIT = "does not fit"
    CANNOT_SPLIT = "cannot be built"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What a run showed at one edge of the prediction band. Latencies at the SLO's target: p99 where 99 % must be good.

    `worst` is the limit that is nearest to being missed, or missed by most, "failed" where requests failed; `excess` its latency over the
    limit at the target, minus 1: 0.3 is 30 % over, -0.2 has a fifth to spare.
    """

    level: Level
    ttft_s: float | None
    tpot_s: float | None
    e2e_s: float | None
    worst: str
    excess: float

    def holds(self, budget: float) -> bool:
        """Whether the share of bad requests that was seen is within the budget."""
        return not self.level.is_overloaded and self.level.bad_share <= budget

    def surely_fails(self, budget: float) -> bool:
        """Whether chance does not explain what was seen."""
        return self.level.is_overloaded or self.level.lower_bound(SURE) > budget

    def is_proven(self, budget: float) -> bool:
        """Whether the bad share is within the budget at 95 %, n / tau counted."""
        return not self.level.is_overloaded and self.level.upper_bound(0.95) <= budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One configuration with so many replicas: at the median prediction, and at the pessimistic edge of its band."""

    replicas: int
    median: Edge
    edge: Edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A configuration that fits, with the replicas that it needs, and what they cost."""

    name: str
    replicas: int
    seen: Seen
    usd_per_hour: float
    usd_per_hour_at_least: float  # with one replica fewer, since a short run may be out by one

    def is_clearly_better_than(self, other: Judged) -> bool:
        """Cheaper even where both are out by a replica, and clearly faster to the first token and to each that follows."""
        ours, theirs = self.seen.median, other.seen.median
        margin = self.usd_per_hour / self.replicas
        return (
            self.usd_per_hour + margin <= other.usd_per_hour_at_least
            and _clearly_below(ours.ttft_s, theirs.ttft_s)
            and _clearly_below(ours.tpot_s, theirs.tpot_s)
        )


def _clearly_below(one: float | None, other: float | None) -> bool:
    """Latencies that nobody has (answers of one token have no TPOT) decide nothing."""
    return (one is None and other is None) or (one is not None and other is not None and one * CLEARLY < other)


def dominators(judged: Sequence[Judged]) -> dict[str, str]:
    """Names of what need not be looked at again: each with the cheapest that is clearly better."""
    by_cost = sorted(judged, key=lambda one: (one.usd_per_hour, one.name))
    found = {}
    for other in by_cost:
        better = next((one for one in by_cost if one.is_clearly_better_than(other)), None)
        if better is not None:
            found[other.name] = better.name
    return found


def fewest_in_a_fleet(alone: int) -> int:
    """The fewest replicas that are tried behind a router, where each alone, with its share of the traffic, would need `alone`.

    A router smooths what one replica meets unsmoothed, so that a fleet may need fewer. One replica is a fleet already.
    """
    return alone if alone <= 2 else max(2, math.ceil(POOLING * alone))


Steps = Generator[int, bool, int | None]  # yields how many replicas to try, is sent whether they hold; returns the fewest that do


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search over replicas found: the fewest that hold, and every look. `idle`: a look at next to no load, where none hold."""

    replicas: int | None
    looks: tuple[Seen, ...]
    requests: int
    idle: Seen | None = None


def halving(most: int) -> Steps:
    """The smallest number from 1 to `most` that holds, where what holds with n holds with more: the most first, then by halves."""
    if not (yield most):
        return None
    return (yield from _between(0, most))


def stepping(first: int, least: int, most: int) -> Steps:
    """The same from `least` on, from a number that is thought to be near, in steps that double."""
    at, step = min(max(first, least), most), 1
    if (yield at):
        while at > least:
            below = max(at - step, least)
            if not (yield below):
                return (yield from _between(below, at))
            at, step = below, 2 * step
        return at
    while at < most:
        above = min(at + step, most)
        if (yield above):
            return (yield from _between(at, above))
        at, step = above, 2 * step
    return None


def _between(fails: int, holds: int) -> Generator[int, bool, int]:
    while fails + 1 < holds:
        middle = (fails + holds) // 2
        if (yield middle):
            holds = middle
        else:
            fails = middle
    return holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A cluster on the plane of cost and quality. A latency is None where no request has it."""

    name: str
    usd_per_hour: float
    ttft_s: float | None
    tpot_s: float | None
    goodput_per_s: float


def front(points: Sequence[Point]) -> list[Point]:
    """The points that none beats: no other is as good in cost, TTFT, TPOT and goodput, and better in one by more than 2 %.

    By cost. Of points that are alike in everything the first stays.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.usd_per_hour, p.ttft_s or 0.0, p.tpot_s or 0.0, -p.goodput_per_s, p.name)):
        if not any(_covers(other, point) for other in kept):
            kept.append(point)
    return kept


def _covers(one: Point, other: Point) -> bool:
    """Whether `one`, which costs no more, is as good as `other` in everything, within what a run can tell apart."""
    pairs = ((one.ttft_s, other.ttft_s), (one.tpot_s, other.tpot_s))
    return one.goodput_per_s * ALIKE >= other.goodput_per_s and all((a or 0.0) <= ALIKE * (b or 0.0) for a, b in pairs)


def best(judged: Iterable[Judged]) -> Judged | None:
    """The cheapest; of equally cheap ones that with the lowest TTFT, then the first by name."""
    return min(judged, key=lambda one: (one.usd_per_hour, one.seen.median.ttft_s or 0.0, one.name), default=None)
