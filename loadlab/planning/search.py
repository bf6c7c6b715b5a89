"""Looks for the highest rate that holds an SLO: brackets it, narrows it by sequential tests, and ends with a certificate.

Sans I/O: `search` asks for runs, and is told what each showed. Who runs them, on which clock, is no business of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from itertools import takewhile
from typing import TypeAlias

from loadlab.planning.capacity_curve import CapacityCurve, fit_capacity
from loadlab.planning.certificate import LOOKS as CERTIFICATE_LOOKS
from loadlab.planning.certificate import Bracket, Try, best_try, proves
from loadlab.planning.levels import SPRT_BOUND, Level

BRACKET_STEP = 1.6
MAX_BRACKETING = 14  # 1.6^14 is 720 either way
NARROW_TO = 1.27  # the bracket's ends, as a ratio, before the certificate is tried: nearer ones cost more than they tell
LOOKS = (500, 1000, 2000)  # requests after which a probe may end ..
LEAST_TO_HOLD = 1000  # .. by holding: a target that starts empty looks better than it is for its first few hundred
CERTIFICATE_CONFIDENCE = 0.95  # that the long-run capacity is not below the certified rate ..
CERTIFICATE_TOLERANCE = 0.02  # .. by more than this share of it: of a search as a whole, measured (docs/validation.md)
MAX_CERTIFICATES = 9
MOST_REQUESTS = 60_000  # after which no other certificate is begun


class Finding(Enum):
    """What one probe says."""

    HOLDS = "holds"
    FAILS = "fails"
    UNDECIDED = "undecided"


class Answer(Enum):
    """How a search ended."""

    CERTIFIED = "certified"
    NOT_CERTIFIED = "not certified"  # a point, but no rate near it could be proven to hold with the requests there are
    ALWAYS = "always holds"  # at every rate that was tried
    NEVER = "never holds"  # at no rate that was tried
    NOT_MONOTONE = "not monotone"  # a higher rate held where a lower one failed
    TARGET_FAILED = "target failed"  # nothing succeeds, or nobody answers any more


Judge: TypeAlias = Callable[[Level], Finding | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Run this rate for looks[-1] requests; at each look give `judge` the level so far, and stop where it answers."""

    rate_per_s: float
    looks: tuple[int, ...]
    judge: Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One run of a search, and what it was taken for."""

    level: Level
    finding: Finding
    is_certificate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The answer; `curve` has the point and the 90 % interval from all probes.

    `certified_per_s` is a rate that was tried and held: at 95 % confidence the capacity is not below it by more than `tolerance`, a
    share of the capacity. 0 where one level is judged by itself.
    """

    answer: Answer
    budget: float
    certified_per_s: float | None
    certificate: Level | None
    curve: CapacityCurve | None
    probes: tuple[Probe, ...]
    note: str
    tolerance: float = 0.0

    @property
    def requests(self) -> int:
        """Requests that it took."""
        return sum(probe.level.n for probe in self.probes)


def not_monotone(levels: Sequence[Level], budget: float) -> tuple[float, float] | None:
    """(lower rate that fails, higher rate that holds), both at 99 % confidence and stable; None where no such pair was seen."""
    stable = [level for level in levels if not level.is_overloaded]
    fails = [level.rate_per_s for level in stable if level.lower_bound(0.99) > budget]
    holds = [level.rate_per_s for level in stable if level.upper_bound(0.99) <= budget]
    return (min(fails), max(holds)) if fails and holds and min(fails) < max(holds) else None


def not_monotone_text(pair: tuple[float, float]) -> str:
    """What `not_monotone` found, in words."""
    return f"{pair[0]:.4g}/s fails and {pair[1]:.4g}/s holds, beyond chance: attainment does not fall with the rate here"


Search: TypeAlias = Generator[Ask, Level, SearchResult]


@dataclass(slots=True)
class _Log:
    """The probes so far."""

    budget: float
    probes: list[Probe] = field(default_factory=list)

    def rates(self, finding: Finding) -> list[float]:
        return [probe.level.rate_per_s for probe in self.probes if probe.finding is finding]

    def death(self) -> str:
        """Where a target that held a rate has not one good request at it, or at a lower one, later: what happened, in words."""
        held = 0.0
        for probe in self.probes:
            level = probe.level
            if level.bad == level.n and level.rate_per_s <= held:
                return f"{held:.4g}/s held, and later at {level.rate_per_s:.4g}/s not one request was good: the target failed half-way"
            if probe.finding is Finding.HOLDS:
                held = max(held, level.rate_per_s)
        return ""

    def result(self, answer: Answer, note: str, certificate: Level | None = None) -> SearchResult:
        levels = [probe.level for probe in self.probes]
        died, odd = self.death(), not_monotone(levels, self.budget)
        if died:
            answer, certificate, note = Answer.TARGET_FAILED, None, died
        elif odd is not None:
            answer, certificate = Answer.NOT_MONOTONE, None
            note = not_monotone_text(odd)
        return SearchResult(
            answer=answer,
            budget=self.budget,
            certified_per_s=None if certificate is None else certificate.rate_per_s,
            certificate=certificate,
            curve=fit_capacity(levels, self.budget) if levels else None,
            probes=tuple(self.probes),
            note=note,
            tolerance=CERTIFICATE_TOLERANCE,
        )


def search(first_per_s: float, budget: float, *, lowest_per_s: float = 0.0, highest_per_s: float = math.inf) -> Search:
    """A search that begins at `first_per_s` for the highest rate at which at most `budget` of the requests are bad.

    `budget`: 1 - the SLO's target, in (0, 1). Yields `Ask`, is sent the `Level` that the run showed, returns a `SearchResult`.
    Bounds keep it to rates that can be offered.
    """
    if not (0 < budget < 1 and 0 < first_per_s < math.inf):
        raise ValueError(f"first_per_s = {first_per_s}, budget = {budget}: rates are above 0, budgets inside (0, 1)")
    log = _Log(budget)
    bracket = yield from _bracket(first_per_s, lowest_per_s, highest_per_s, log)
    if isinstance(bracket, SearchResult):
        return bracket
    low, high = yield from _narrow(*bracket, log)
    within = Bracket(low_per_s=low, high_per_s=high, lowest_per_s=lowest_per_s, highest_per_s=highest_per_s)
    return (yield from _certify(within, log))


def _probe(rate_per_s: float, log: _Log) -> Generator[Ask, Level, Finding]:
    """A sequential test at one rate. Where it stays undecided, the nearer hypothesis counts."""
    budget = log.budget
    level = yield Ask(rate_per_s=rate_per_s, looks=LOOKS, judge=lambda level: judge(level, budget))
    finding = judge(level, budget) or (Finding.HOLDS if level.log_likelihood_ratio(budget) <= 0 else Finding.FAILS)
    log.probes.append(Probe(level=level, finding=finding))
    return finding


def judge(level: Level, budget: float) -> Finding | None:
    """Wald's sequential test, or at once where the backlog grows; None: go on."""
    if level.is_overloaded:
        return Finding.FAILS
    ratio = level.log_likelihood_ratio(budget)
    if ratio >= SPRT_BOUND:
        return Finding.FAILS
    return Finding.HOLDS if ratio <= -SPRT_BOUND and level.n + level.warm_up >= LEAST_TO_HOLD else None


def _bracket(first: float, lowest: float, highest: float, log: _Log) -> Generator[Ask, Level, tuple[float, float] | SearchResult]:
    """The highest rate that holds and the lowest that fails, a factor of 1.6 apart at most."""
    rate = min(max(first, lowest), highest)
    for _ in range(MAX_BRACKETING):
        finding = yield from _probe(rate, log)
        if log.probes[-1].level.is_dead and rate <= lowest:
            return log.result(Answer.TARGET_FAILED, f"at {rate:.4g}/s not one request was good")
        holds, fails = log.rates(Finding.HOLDS), log.rates(Finding.FAILS)
        if holds and fails:
            return max(holds), min(fails)
        following = rate * BRACKET_STEP if finding is Finding.HOLDS else rate / BRACKET_STEP
        following = min(max(following, lowest), highest)
        if following == rate:
            break
        rate = following
    if log.rates(Finding.HOLDS):
        highest_tried = max(log.rates(Finding.HOLDS))
        return log.result(Answer.ALWAYS, f"not bracketed: every rate up to {highest_tried:.4g}/s holds; raise the highest rate")
    lowest_tried = min(log.rates(Finding.FAILS))
    if all(probe.level.is_dead for probe in log.probes):
        return log.result(Answer.TARGET_FAILED, f"not one request was good, at any rate down to {lowest_tried:.4g}/s")
    return log.result(
        Answer.NEVER, f"not bracketed: no rate down to {lowest_tried:.4g}/s holds; the SLO asks for more than an idle target gives"
    )


def _narrow(low: float, high: float, log: _Log) -> Generator[Ask, Level, tuple[float, float]]:
    """Bisects, in ratios, until the ends are near."""
    while low < high and high / low > NARROW_TO:
        middle = math.sqrt(low * high)
        finding = yield from _probe(middle, log)
        low, high = (middle, high) if finding is Finding.HOLDS else (low, middle)
    return low, high


def _certify(bracket: Bracket, log: _Log) -> Search:
    """Tries the run that promises most, again and again, until none is worth its requests; the highest rate proven is the answer."""
    budget, best = log.budget, None
    for tries in range(MAX_CERTIFICATES):
        levels = [probe.level for probe in log.probes]
        run = best_try(levels, budget, bracket, None if best is None else best.rate_per_s, tries)
        if run is None or sum(level.n + level.warm_up for level in levels) > MOST_REQUESTS:
            break
        verdict = partial(_proven, run=run, budget=budget, probes=levels, higher=_stable_above(run.rate_per_s, log))
        level = yield Ask(rate_per_s=run.rate_per_s, looks=run.looks, judge=verdict)
        finding = verdict(level) or Finding.UNDECIDED
        log.probes.append(Probe(level=level, finding=finding, is_certificate=True))
        if finding is Finding.HOLDS:
            best = level
        if log.death() or not_monotone([*levels, level], budget) is not None:
            break
    if best is not None:
        return log.result(Answer.CERTIFIED, _why_lower(log, best.rate_per_s), best)
    return log.result(Answer.NOT_CERTIFIED, _why_not(log))


def _proven(level: Level, run: Try, budget: float, probes: Sequence[Level], higher: Sequence[Level]) -> Finding | None:
    """What `proves` says, as a finding."""
    match proves(level, run, budget, probes, higher):
        case None:
            return None
        case True:
            return Finding.HOLDS
        case _:
            return Finding.FAILS


def _stable_above(rate: float, log: _Log) -> tuple[Level, ...]:
    """Certificates at this rate and above, nearest first, as far as they were stable. What chose the bracket is not counted again."""
    above = sorted((p.level for p in log.probes if p.is_certificate and p.level.rate_per_s >= rate), key=lambda level: level.rate_per_s)
    return tuple(takewhile(lambda level: not level.is_overloaded, above))


def _why_not(log: _Log) -> str:
    """What was tried, and what would settle it, in words."""
    tried = [probe.level.rate_per_s for probe in log.probes if probe.is_certificate]
    if not tried:
        tau = max(probe.level.tau for probe in log.probes if not probe.level.is_overloaded)
        most = CERTIFICATE_LOOKS[-1]
        return f"inconclusive: {most:,} requests say as much as {most / tau:,.0f} independent ones, too few to prove {log.budget:.2%} bad"
    span = f"{len(tried)} tries from {max(tried):.4g} down to {min(tried):.4g}/s"
    return f"inconclusive: {span}, none proven with up to {CERTIFICATE_LOOKS[-1]:,} requests each"


def _why_lower(log: _Log, certified: float) -> str:
    """Why the certified rate is not the point, in words."""
    point = fit_capacity([probe.level for probe in log.probes], log.budget).rate_per_s
    if point is None or point <= certified:
        return ""
    return f"{100 * (1 - certified / point):.0f} % below the point, {point:.4g}/s: so many requests can prove no more"
