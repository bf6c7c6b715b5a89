"""Looks for the highest rate that holds an SLO: brackets it, narrows it by sequential tests, and ends with a certificate.

Sans I/O: `search` asks for runs, and is told what each showed. Who runs them, on which clock, is no business of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

import numpy as np

from loadlab.planning.capacity_curve import CapacityCurve, fit_capacity
from loadlab.planning.levels import SPRT_BOUND, Level

BRACKET_STEP = 1.6
MAX_BRACKETING = 14  # 1.6^14 is 720 either way
NARROW_TO = 1.12  # the bracket's ends, as a ratio, before the certificate is tried: nearer ones cost more than they tell
LOOKS = (500, 1000, 2000, 4000)  # requests after which a probe may end ..
LEAST_TO_HOLD = 1000  # .. by holding: a target that starts empty looks better than it is for its first few hundred
CERTIFICATE_LOOKS = (4000, 8000, 12000)
CERTIFICATE_CONFIDENCE = 0.95
MAX_CERTIFICATES = 6
_LEAST_STEP_DOWN, _MOST_STEP_DOWN = 0.02, 0.25


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
    """The answer. `certified_per_s` holds at 95 % confidence; `curve` has the point and the 90 % interval from all probes."""

    answer: Answer
    budget: float
    certified_per_s: float | None
    certificate: Level | None
    curve: CapacityCurve | None
    probes: tuple[Probe, ...]
    note: str

    @property
    def requests(self) -> int:
        """Requests that it took."""
        return sum(probe.level.n for probe in self.probes)


Search: TypeAlias = Generator[Ask, Level, SearchResult]


@dataclass(slots=True)
class _Log:
    """The probes so far."""

    budget: float
    probes: list[Probe] = field(default_factory=list)

    def rates(self, finding: Finding) -> list[float]:
        return [probe.level.rate_per_s for probe in self.probes if probe.finding is finding]

    def result(self, answer: Answer, note: str, certificate: Level | None = None) -> SearchResult:
        levels = [probe.level for probe in self.probes]
        return SearchResult(
            answer=answer,
            budget=self.budget,
            certified_per_s=None if certificate is None else certificate.rate_per_s,
            certificate=certificate,
            curve=fit_capacity(levels, self.budget) if levels else None,
            probes=tuple(self.probes),
            note=note,
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
    if low >= high:
        return log.result(Answer.NOT_MONOTONE, f"{low:.4g}/s held and {high:.4g}/s failed: attainment does not fall with the rate here")
    return (yield from _certify(low, high, log))


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
        if log.probes[-1].level.bad == log.probes[-1].level.n and rate <= lowest:
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
    if all(probe.level.bad == probe.level.n for probe in log.probes):
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


def _certify(low: float, high: float, log: _Log) -> Search:
    """Tries rates from the point downwards until one is proven: the upper bound of its bad share, on n / tau, is within the budget."""
    budget = log.budget
    rate = _first_candidate(low, high, log)
    for _ in range(MAX_CERTIFICATES):
        level = yield Ask(rate_per_s=rate, looks=CERTIFICATE_LOOKS, judge=lambda level: judge_certificate(level, budget))
        finding = judge_certificate(level, budget) or Finding.UNDECIDED
        log.probes.append(Probe(level=level, finding=finding, is_certificate=True))
        if finding is Finding.HOLDS:
            return log.result(Answer.CERTIFIED, _why_lower(log, rate), level)
        rate *= 1 - _step_down(level, log)
    tried = [probe.level.rate_per_s for probe in log.probes if probe.is_certificate]
    span = f"{len(tried)} rates from {max(tried):.4g} down to {min(tried):.4g}/s"
    return log.result(Answer.NOT_CERTIFIED, f"inconclusive: {span}, none proven with {CERTIFICATE_LOOKS[-1]:,} requests")


def judge_certificate(level: Level, budget: float) -> Finding | None:
    """HOLDS where the bound is within the budget, FAILS where it cannot come to be so with the requests there are; None: go on.

    Looking up to three times at 95 % would be wrong more often than 5 %, so that each look asks for a third of it (Bonferroni).
    """
    if level.is_overloaded:
        return Finding.FAILS
    confidence = 1 - (1 - CERTIFICATE_CONFIDENCE) / len(CERTIFICATE_LOOKS)
    if level.upper_bound(confidence) <= budget:
        return Finding.HOLDS
    rest = CERTIFICATE_LOOKS[-1] - level.n
    hoped = Level(rate_per_s=level.rate_per_s, n=level.n + rest, bad=level.bad + round(0.5 * level.bad_share * rest), tau=level.tau)
    return None if rest > 0 and hoped.upper_bound(confidence) <= budget else Finding.FAILS


def _first_candidate(low: float, high: float, log: _Log) -> float:
    """Somewhat below the fitted point: where the bad share is low enough for the bound to be reached in one run."""
    curve = fit_capacity([probe.level for probe in log.probes], log.budget)
    point = curve.rate_per_s or low
    tau = _tau_near(point, [probe.level for probe in log.probes])
    wanted = _provable_share(log.budget, CERTIFICATE_LOOKS[-1] / tau)
    return float(np.clip(point * (wanted / log.budget) ** (1 / _steepness(log)), low / 1.1, high))


def _tau_near(rate: float, levels: Sequence[Level]) -> float:
    """The tau of the stable level nearest to a rate."""
    stable = [level for level in levels if not level.is_overloaded] or list(levels)
    return min(stable, key=lambda level: abs(math.log(level.rate_per_s / rate))).tau


def _provable_share(budget: float, n_effective: float) -> float:
    """The bad share whose upper bound on so many effective requests is the budget; a twentieth of the budget at the least."""
    for share in np.linspace(0.9, 0.05, 18) * budget:
        level = Level(rate_per_s=1.0, n=max(1, round(n_effective)), bad=round(share * n_effective), tau=1.0)
        if level.upper_bound(CERTIFICATE_CONFIDENCE) <= budget:
            return float(share)
    return 0.05 * budget


def _steepness(log: _Log) -> float:
    """d log(bad share) / d log(rate) near the budget, from the levels on both sides of it; at least 3, at most 60."""
    levels = sorted((p.level for p in log.probes if not p.level.is_overloaded and p.level.bad), key=lambda level: level.rate_per_s)
    near = sorted(levels, key=lambda level: abs(math.log(level.bad_share / log.budget)))[:3]
    if len(near) < 2:
        return 20.0
    rates, shares = np.log([level.rate_per_s for level in near]), np.log([level.bad_share for level in near])
    spread = float(np.ptp(rates))
    return 20.0 if spread < 1e-3 else float(np.clip(np.polyfit(rates, shares, 1)[0], 3.0, 60.0))


def _step_down(level: Level, log: _Log) -> float:
    """How much lower to try next, as a share: what the excess of the bound over the budget asks for at the curve's steepness."""
    excess = 1.0 if level.is_overloaded else level.upper_bound(CERTIFICATE_CONFIDENCE)
    return float(np.clip(1 - (log.budget / excess) ** (1 / _steepness(log)), _LEAST_STEP_DOWN, _MOST_STEP_DOWN))


def _why_lower(log: _Log, certified: float) -> str:
    """Why the certified rate is not the point, in words."""
    point = fit_capacity([probe.level for probe in log.probes], log.budget).rate_per_s
    if point is None or point <= certified:
        return ""
    return f"{100 * (1 - certified / point):.0f} % below the point, {point:.4g}/s: so many requests can prove no more"
