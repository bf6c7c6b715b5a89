"""What a plan's search knows of each configuration, what it chose, and why the others lost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from loadlab.planning.configurations import Configuration
from loadlab.planning.offers import Offer
from loadlab.planning.plan_search import Edge, Fate, Point, Seen


@dataclass(slots=True)
class Candidate:
    """A configuration and what is known of it so far."""

    one: Configuration
    fate: Fate | None = None  # None: holds, and was not chosen yet
    problem: str = ""  # why it cannot be built
    lacking_bytes: float | None = None  # on each GPU
    seen: Seen | None = None  # with the fewest replicas that hold; where none do, with the most
    idle: Seen | None = None  # next to no load: what it misses there, no number of replicas mends
    looks: list[Seen] = field(default_factory=list)  # longer runs, fleets included
    requests: int = 0  # that were simulated for it, at every edge
    better: str | None = None  # whose name dominates it
    usd_per_hour: float | None = None  # with the replicas of `seen`


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The winner: confirmed with longer runs of the whole fleet. `quick`: the favourable edge of its band."""

    candidate: Candidate
    seen: Seen
    quick: Edge
    requests: int
    offer: Offer
    usd_per_hour: float
    is_proven: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer. `chosen` None: nothing holds; `at_median`: nothing holds at the pessimistic edge, this at the median prediction only."""

    candidates: list[Candidate]
    chosen: Chosen | None
    at_median: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A candidate with so many replicas, as it was seen in a longer run."""

    candidate: Candidate
    seen: Seen
    usd_per_hour: float

    def point(self, goodput_per_s: float) -> Point:
        """Its place on the plane of cost and quality, at the median prediction."""
        return Point(
            name=f"{self.candidate.one.name} x {self.seen.replicas}",
            usd_per_hour=self.usd_per_hour,
            ttft_s=self.seen.median.ttft_s,
            tpot_s=self.seen.median.tpot_s,
            goodput_per_s=goodput_per_s,
        )


def held(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """Those that hold, the chosen one among them."""
    return (candidate for candidate in candidates if candidate.fate in (Fate.CHOSEN, Fate.COSTS_MORE))
