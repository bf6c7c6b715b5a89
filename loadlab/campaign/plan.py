"""`plan`: every configuration of a lattice on the simulator, on every core, until the cheapest cluster that holds an SLO is known.

Short runs of one replica with its share of the traffic rank them; longer ones judge those that can be cheapest or on the front; then
whole fleets behind their router, cheapest first; at last the winner alone, until its runs prove something.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import joblib

from loadlab.campaign.plan_journal import Searches
from loadlab.campaign.plan_trials import Base, Traffic, look, quickest, unfit
from loadlab.catalog.specs import AddedRows, added_rows, find, gpus, models, put_rows
from loadlab.planning.candidates import Candidate, Chosen, Outcome
from loadlab.planning.configurations import Configuration, Lattice, configurations
from loadlab.planning.offers import Offer, cheapest
from loadlab.planning.plan_search import (
    Edge,
    Fate,
    Found,
    Judged,
    Seen,
    Steps,
    best,
    dominators,
    fewest_in_a_fleet,
    halving,
    stepping,
)

SHORT_REQUESTS = 400
IDLE_EVERY_S = 60.0  # between requests of an idle replica: what is missed then is missed however many there are
FLEET_REQUESTS_A_REPLICA = 300
FLEETS_AT_ONCE = 8  # a number of its own, not that of cores: equal answers on every machine
CONFIRMING = (4_000, 10_000, 30_000)
Say = Callable[[str, int, int], None]  # (what, done, of how many)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. `requests` of each longer run; `is_exhaustive`: every configuration that fits is run so, none left out."""

    base: Base
    traffic: Traffic
    lattice: Lattice
    offers: Mapping[str, Sequence[Offer]]  # by GPU
    requests: int = 2000
    is_exhaustive: bool = False
    at_median: bool = False  # judge the median prediction, not the pessimistic edge of its band

    def most(self, one: Configuration) -> int:
        """The most replicas that are allowed."""
        return self.lattice.max_gpus // one.gpus

    def usd_per_hour(self, one: Configuration, replicas: int) -> float:
        """Of so many replicas, each on GPUs of its own."""
        gpus_ = one.gpus * replicas
        return cheapest(self.offers[one.gpu], gpus_).usd_per_hour(gpus_)

    def holds(self, seen: Seen) -> bool:
        """Whether the SLO held where it is judged."""
        return self.edge_of(seen).holds(self.traffic.budget)

    def edge_of(self, seen: Seen) -> Edge:
        """The prediction that is judged."""
        return seen.median if self.at_median else seen.edge


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """What a worker process needs to know."""

    question: Question
    ones: tuple[Configuration, ...]  # of one shape: what the first needs is where the next begins
    first: int | None  # None: the first searches from the most replicas down
    least: int
    requests: int | None  # None: by the number of replicas
    is_fleet: bool
    added: AddedRows


def make_plan(question: Question, journal: Searches, say: Say) -> Outcome:
    """The cheapest cluster of the lattice that holds. On KeyboardInterrupt the journal has every search that ended.

    Where nothing holds at the pessimistic edge, but something does at the median prediction, the search is made again at the median.
    """
    result = _make(question, journal, say)
    if result.chosen is not None or not any(_holds_at_median(candidate, question) for candidate in result.candidates):
        return result
    return _make(replace(question, at_median=True), journal, say)


def _holds_at_median(candidate: Candidate, question: Question) -> bool:
    return candidate.seen is not None and candidate.seen.median.holds(question.traffic.budget)


def _make(question: Question, journal: Searches, say: Say) -> Outcome:
    wanted = configurations(question.lattice, find(models(), question.base.model, what="model"), gpus())
    candidates = {one.name: _considered(one, question) for one in wanted}
    fitting = [candidate for candidate in candidates.values() if candidate.fate is None]
    searching = _Searching(question, journal, say)
    if not question.is_exhaustive:
        for candidate, found in searching.run("short runs", fitting, None, requests=SHORT_REQUESTS):
            _take(candidate, found, question, is_short=True)
        _leave_dominated([c for c in fitting if c.fate is None], question)
    left = [candidate for candidate in fitting if candidate.fate is None]
    for candidate, found in searching.run("longer runs", left, lambda c: (c.seen.replicas if c.seen else None, 1), question.requests):
        _take(candidate, found, question, is_short=False)
    chosen = _confirmed_fleet(candidates, searching)
    for candidate in fitting:
        if candidate.fate is None:
            candidate.fate = Fate.COSTS_MORE
    if chosen is not None:
        chosen.candidate.fate = Fate.CHOSEN
    return Outcome(candidates=list(candidates.values()), chosen=chosen, at_median=question.at_median)


def _considered(one: Configuration, question: Question) -> Candidate:
    why = unfit(one, question.base)
    if why is not None:
        return Candidate(one=one, fate=why[0], problem=why[1], lacking_bytes=why[2])
    return Candidate(one=one)


def _take(candidate: Candidate, found: Found, question: Question, *, is_short: bool) -> None:
    """What a search says of a candidate. A short one rules out only what chance does not explain."""
    candidate.requests += found.requests
    if not is_short:
        candidate.looks += found.looks
    if found.replicas is not None:
        candidate.seen = next(look for look in found.looks if look.replicas == found.replicas)
        candidate.usd_per_hour = question.usd_per_hour(candidate.one, found.replicas)
        return
    last = max(found.looks, key=lambda look: look.replicas)
    candidate.seen, candidate.usd_per_hour = last, question.usd_per_hour(candidate.one, last.replicas)
    if is_short and not question.edge_of(last).surely_fails(question.traffic.budget):
        return
    idle_misses = found.idle is not None and not question.holds(found.idle)
    candidate.fate, candidate.idle = (Fate.MISSES, found.idle) if idle_misses else (Fate.TOO_MANY_GPUS, None)


def _leave_dominated(held: Sequence[Candidate], question: Question) -> None:
    better = dominators([_judged(candidate, question) for candidate in held])
    for candidate in held:
        if candidate.one.name in better:
            candidate.fate, candidate.better = Fate.DOMINATED, better[candidate.one.name]


def _judged(candidate: Candidate, question: Question) -> Judged:
    assert candidate.seen is not None
    n = candidate.seen.replicas
    return Judged(
        name=candidate.one.name,
        replicas=n,
        seen=candidate.seen,
        usd_per_hour=question.usd_per_hour(candidate.one, n),
        usd_per_hour_at_least=question.usd_per_hour(candidate.one, max(1, n - 1)),
    )


def _confirmed_fleet(candidates: Mapping[str, Candidate], searching: _Searching) -> Chosen | None:
    """Whole fleets, those first that may be cheapest, until nothing left can be cheaper than what was confirmed."""
    question = searching.question

    def at_least_usd(candidate: Candidate) -> float:
        assert candidate.seen is not None
        return question.usd_per_hour(candidate.one, fewest_in_a_fleet(candidate.seen.replicas))

    waiting = sorted((c for c in candidates.values() if c.fate is None), key=lambda c: (at_least_usd(c), c.one.name))
    held: dict[str, Judged] = {}
    while True:
        cheapest_yet = best(held.values())
        bound = float("inf") if cheapest_yet is None else cheapest_yet.usd_per_hour
        batch = [candidate for candidate in waiting[:FLEETS_AT_ONCE] if at_least_usd(candidate) <= bound]
        if batch:
            waiting = waiting[len(batch) :]
            for candidate, found in searching.fleets(batch):
                _take(candidate, found, question, is_short=False)
                if candidate.fate is None:
                    held[candidate.one.name] = _judged(candidate, question)
            continue
        if cheapest_yet is None:
            return None
        chosen = _confirm(candidates[cheapest_yet.name], searching)
        if chosen is not None and chosen.usd_per_hour <= bound:
            return chosen
        del held[cheapest_yet.name]
        if chosen is not None:  # needs more replicas than shorter runs showed
            held[cheapest_yet.name] = _judged(chosen.candidate, question)


def _confirm(candidate: Candidate, searching: _Searching) -> Chosen | None:
    """Longer runs of the fleet, until its bad share is proven to be within the budget or above; with a replica more where it is above."""
    question = searching.question
    assert candidate.seen is not None
    budget, n = question.traffic.budget, candidate.seen.replicas
    for requests in (*CONFIRMING,):
        requests = max(requests, FLEET_REQUESTS_A_REPLICA * n)
        seen = searching.one_look(candidate, n, requests)
        edge = question.edge_of(seen)
        if edge.is_proven(budget) or edge.level.lower_bound(0.95) > budget or edge.level.is_overloaded:
            break
    candidate.looks.append(seen)
    if not question.holds(seen):
        if n == question.most(candidate.one):
            candidate.seen, candidate.fate = seen, Fate.TOO_MANY_GPUS
            return None
        candidate.seen = replace(candidate.seen, replicas=n + 1)
        return _confirm(candidate, searching)
    candidate.seen, candidate.usd_per_hour = seen, question.usd_per_hour(candidate.one, n)
    gpus_ = candidate.one.gpus * n
    return Chosen(
        candidate=candidate, seen=seen, requests=requests, offer=cheapest(question.offers[candidate.one.gpu], gpus_),
        quick=quickest(candidate.one, n, requests, question.base, question.traffic),
        usd_per_hour=question.usd_per_hour(candidate.one, n), is_proven=question.edge_of(seen).is_proven(budget),
    )  # fmt: skip


class _Searching:
    """Searches over replicas, on every core; each that ended is journalled, and read from there where it is known."""

    def __init__(self, question: Question, journal: Searches, say: Say) -> None:
        self.question = question
        self._journal, self._say = journal, say
        self._added = added_rows()

    def run(
        self, what: str, candidates: Sequence[Candidate], start: Callable[[Candidate], tuple[int | None, int]] | None, requests: int | None,
        *, is_fleet: bool = False,
    ) -> Iterator[tuple[Candidate, Found]]:  # fmt: skip
        """One search for each candidate, as they end. `start`: (replicas to begin with, the fewest to try); None: by shape."""
        by_name = {candidate.one.name: candidate for candidate in candidates}
        stage = f"{what}{' at the median' * self.question.at_median}"
        jobs, done = [], 0
        for group in _alike(candidates) if start is None else [[candidate] for candidate in candidates]:
            known = [self._journal.known(stage, candidate.one.name) for candidate in group]
            if None in known:  # a group that was cut short is searched anew, as it was
                first, least = (None, 1) if start is None else start(group[0])
                jobs.append(self._job(group, first, least, requests, is_fleet=is_fleet))
                continue
            done += len(group)
            yield from ((candidate, found) for candidate, found in zip(group, known, strict=True) if found is not None)
        self._say(stage, done, len(by_name))
        with closing(_results(jobs)) as results:
            for found_of_group in results:
                self._journal.add(stage, found_of_group)
                done += len(found_of_group)
                self._say(stage, done, len(by_name))
                yield from ((by_name[name], found) for name, found in found_of_group)

    def _job(self, group: Sequence[Candidate], first: int | None, least: int, requests: int | None, *, is_fleet: bool) -> _Job:
        ones = tuple(candidate.one for candidate in group)
        return _Job(question=self.question, ones=ones, first=first, least=least, requests=requests, is_fleet=is_fleet, added=self._added)

    def fleets(self, candidates: Sequence[Candidate]) -> list[tuple[Candidate, Found]]:
        """The fewest replicas behind a router, from what each alone would need."""

        def start(candidate: Candidate) -> tuple[int, int]:
            assert candidate.seen is not None
            alone = candidate.seen.replicas
            return alone, fewest_in_a_fleet(alone)

        return list(self.run("fleets", candidates, start, None, is_fleet=True))

    def one_look(self, candidate: Candidate, replicas: int, requests: int) -> Seen:
        """One run of the whole fleet."""
        question = self.question
        self._say(f"confirming {candidate.one.shape} x {replicas} with {requests:,} requests", 0, 1)
        candidate.requests += 2 * requests
        return look(candidate.one, replicas, requests, question.base, question.traffic, is_fleet=True)


def _results(jobs: Sequence[_Job]) -> Generator[list[tuple[str, Found]], None, None]:
    if len(jobs) < 3:
        yield from map(_search, jobs)
        return
    runs = joblib.Parallel(n_jobs=-1, return_as="generator_unordered", batch_size=4)(joblib.delayed(_search)(job) for job in jobs)
    try:
        for found in runs:  # noqa: UP028 - `yield from` would close it before the warning is silenced
            yield found
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that searches were given up is what an interrupt asks for
            runs.close()


def _alike(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Candidates by shape: they differ in the engine's limits, and need about as many replicas."""
    groups: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(candidate.one.shape, []).append(candidate)
    return list(groups.values())


def _search(job: _Job) -> list[tuple[str, Found]]:
    """Runs the searches of a job to their end, in whatever process it finds itself."""
    put_rows(job.added)
    found: list[tuple[str, Found]] = []
    first = job.first
    for one in job.ones:
        found.append((one.name, _search_one(job, one, first)))
        first = found[-1][1].replicas
    return found


def _search_one(job: _Job, one: Configuration, first: int | None) -> Found:
    question, most = job.question, job.question.most(one)
    looks: list[Seen] = []
    spent = 0

    def show(replicas: int) -> Seen:
        nonlocal spent
        requests = job.requests or max(question.requests, FLEET_REQUESTS_A_REPLICA * replicas)
        spent += 2 * requests
        return look(one, replicas, requests, question.base, question.traffic, is_fleet=job.is_fleet)

    steps: Steps = halving(most) if first is None else stepping(first, job.least, most)
    replicas = next(steps)
    while True:
        looks.append(show(replicas))
        try:
            replicas = steps.send(question.holds(looks[-1]))
        except StopIteration as end:
            idle = None
            if end.value is None and not job.is_fleet:
                idle = show(max(most, math.ceil(question.traffic.rate_per_s * IDLE_EVERY_S)))
            return Found(replicas=end.value, looks=tuple(looks), requests=spent, idle=idle)
