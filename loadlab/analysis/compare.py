"""Candidate against base: which runs are pairs, by how much each metric differs, and how sure that is.

Paired where both ran equal plans: then d_k = log Q(B_k) - log Q(A_k) holds nothing of how the plans differ, and a difference of 5 % that
a comparison of strangers misses is seen. Where plans differ the runs are strangers, and the comparison says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from loadlab.analysis.evidence import ALPHA, Evidence, bounds, detectable, evidence_of, holm, p_above, p_below, welch
from loadlab.analysis.readings import DECILES, Reading, RunNumbers, combined, is_worse_when_higher, scaled
from loadlab.analysis.table import FloatArray
from loadlab.slo import Metric

ENOUGH_PAIRS = 5
_NO_SPREAD = "one run a side: nothing says how runs vary"


class Design(StrEnum):
    """What was run, which decides what may be said."""

    PAIRS = "pairs"  # two or more pairs of equal plans
    ONE_PAIR = "one pair"  # equal plans, once a side: says how two runs differ, not how their targets do
    STRANGERS = "unpaired"  # plans differ; two or more runs a side
    TWO_STRANGERS = "unpaired, one run a side"


class Finding(StrEnum):
    """What a difference shows, corrected for how many were looked at (Holm)."""

    WORSE = "worse"
    BETTER = "better"
    NOTHING = "no difference shown"
    UNKNOWN = "unknown"  # nothing to judge: no number, or nothing that says how it varies


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric, candidate against base. `effect`, `low`, `high` and `detectable` are on its scale: log ratio, or plain difference.

    `low` and `high` are one-sided 95 % bounds each. `differences`: of each pair; empty for strangers. `p_worse`, `p_better`: adjusted
    one-sided p-values over all metrics of the comparison. None where it is not known; then `note` says why.
    """

    metric: Metric
    base: float | None
    candidate: float | None
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    detectable: float | None = None
    differences: tuple[float, ...] = ()
    evidence: Evidence | None = None
    p_worse: float | None = None
    p_better: float | None = None
    note: str = ""

    @property
    def worsening(self) -> float | None:
        """The effect, turned so that above 0 is worse."""
        return None if self.effect is None else self.effect if is_worse_when_higher(self.metric) else -self.effect

    @property
    def finding(self) -> Finding:
        """What it shows at 5 %, each side on its own."""
        if self.p_worse is None or self.p_better is None:
            return Finding.UNKNOWN
        if self.p_worse <= ALPHA:
            return Finding.WORSE
        return Finding.BETTER if self.p_better <= ALPHA else Finding.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Log ratios of the nine deciles of a latency, candidate to base, with one-sided 95 % bounds each; None where not known."""

    latency: str
    effects: tuple[float, ...]
    lows: tuple[float | None, ...]
    highs: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Typical:
    """By how much the typical request's latency changed, log ratio (Hodges and Lehmann), with one-sided 95 % bounds each if known."""

    latency: str
    effect: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Every metric of runs of one scenario, in the order asked."""

    design: Design
    base: tuple[RunNumbers, ...]
    candidate: tuple[RunNumbers, ...]
    differences: tuple[Difference, ...]
    shifts: tuple[Shift, ...] = ()
    typical: tuple[Typical, ...] = ()
    is_same_scenario: bool

    @property
    def num_pairs(self) -> int:
        """Pairs of equal plans; 0 for strangers."""
        return len(self.base) if self.design in (Design.PAIRS, Design.ONE_PAIR) else 0


def unrecorded(comparison: Comparison) -> list[Metric]:
    """Metrics that no run of either side recorded, though each had OK requests: a tool without tokens, an endpoint without a stream."""
    runs = (*comparison.base, *comparison.candidate)
    if not all(run.ok for run in runs):
        return []
    return [d.metric for d in comparison.differences if all(run.readings[str(d.metric)].value is None for run in runs)]


def pair_up(base: Sequence[RunNumbers], candidate: Sequence[RunNumbers]) -> list[tuple[int, int]] | None:
    """Positions (base, candidate) of runs of equal plans, each used once, in the order of base; None unless every run has its partner."""
    if len(base) != len(candidate):
        return None
    free: dict[str, list[int]] = {}
    for j, run in enumerate(candidate):
        free.setdefault(run.plan_digest, []).append(j)
    pairs = []
    for i, run in enumerate(base):
        if not free.get(run.plan_digest):
            return None
        pairs.append((i, free[run.plan_digest].pop(0)))
    return pairs


def design_of(base: Sequence[RunNumbers], candidate: Sequence[RunNumbers]) -> Design:
    """Which design two sides make."""
    if pair_up(base, candidate) is not None:
        return Design.ONE_PAIR if len(base) == 1 else Design.PAIRS
    return Design.TWO_STRANGERS if min(len(base), len(candidate)) == 1 else Design.STRANGERS


def is_one_scenario(runs: Sequence[RunNumbers]) -> bool:
    """True if all ran one scenario; False also where that is not known, as of imported runs."""
    digests = {run.scenario_digest for run in runs}
    return len(digests) == 1 and None not in digests


def compare_runs(
    base: Sequence[RunNumbers], candidate: Sequence[RunNumbers], metrics: Sequence[Metric], changes: Mapping[str, Sequence[float]] = {}
) -> Comparison:
    """The comparison of two sides. `changes`: by latency, the typical change of each pair, in the order of base.

    With one run a side nothing says how runs vary, and no difference has evidence; for one pair see `analysis/one_pair.py`.
    """
    pairs = pair_up(base, candidate)
    if pairs is not None:
        base, candidate = [base[i] for i, _ in pairs], [candidate[j] for _, j in pairs]
    is_paired = pairs is not None
    differences = [_difference(metric, base, candidate, is_paired=is_paired, tests=len(metrics)) for metric in metrics]
    return Comparison(
        design=design_of(base, candidate),
        base=tuple(base),
        candidate=tuple(candidate),
        differences=tuple(judged(differences)),
        shifts=tuple(_shifts(base, candidate, is_paired=is_paired)),
        typical=tuple(_typical(changes)),
        is_same_scenario=is_one_scenario((*base, *candidate)),
    )


def _difference(metric: Metric, base: Sequence[RunNumbers], candidate: Sequence[RunNumbers], *, is_paired: bool, tests: int) -> Difference:
    ours, theirs = [[run.readings[str(metric)] for run in side] for side in (base, candidate)]
    shown = Difference(metric=metric, base=combined(metric, ours), candidate=combined(metric, theirs))
    a, b = [[x for reading in side if (x := scaled(metric, reading.smoothed)) is not None] for side in (ours, theirs)]
    if len(a) < len(ours) or len(b) < len(theirs):
        return replace(shown, note="a run has no such number")
    if is_paired:
        known = tuple(y - x for x, y in zip(a, b, strict=True))
        return with_evidence(shown, evidence_of(known, tests), known)
    centre = sum(b) / len(b) - sum(a) / len(a)
    evidence = welch(a, b)
    if evidence is None and len(a) == 1 == len(b):
        low, high = _bounds_of_two(metric, ours[0], theirs[0], centre)
        return replace(shown, effect=centre, low=low, high=high, note=_NO_SPREAD)
    return with_evidence(replace(shown, effect=centre), evidence, ())


def _bounds_of_two(metric: Metric, base: Reading, candidate: Reading, centre: float) -> tuple[float | None, float | None]:
    """What the length of each run leaves open of their difference; None on a side that either does not bound.

    Limits of a difference from the limits of its terms (G. Y. Zou and A. Donner, Statistics in Medicine 27, 2008, p. 1693).
    """
    a, a_low, a_high, b, b_low, b_high = (
        scaled(metric, x) for reading in (base, candidate) for x in (reading.value, reading.low, reading.high)
    )
    if a is None or b is None:
        return None, None
    low = None if b_low is None or a_high is None else centre - math.hypot(b - b_low, a_high - a)
    high = None if b_high is None or a_low is None else centre + math.hypot(b_high - b, a - a_low)
    return low, high


def with_evidence(shown: Difference, evidence: Evidence | None, differences: tuple[float, ...]) -> Difference:
    """The difference with its effect, bounds and what could have been detected; without evidence, the effect alone."""
    effect = differences[0] if len(differences) == 1 else shown.effect
    if evidence is None:
        return replace(shown, effect=effect, differences=differences, note=_NO_SPREAD)
    low, high = bounds(evidence)
    return replace(
        shown, effect=evidence.centre, low=low, high=high, detectable=detectable(evidence), differences=differences, evidence=evidence
    )


def judged(differences: Sequence[Difference]) -> list[Difference]:
    """The differences with Holm's adjusted p-values, over all of them that have evidence, for worse and for better."""
    known = [i for i, d in enumerate(differences) if d.evidence is not None]
    up = [_p_value(differences[i], worse=True) for i in known]
    down = [_p_value(differences[i], worse=False) for i in known]
    found = list(differences)
    for i, p_worse, p_better in zip(known, holm(up), holm(down), strict=True):
        found[i] = replace(found[i], p_worse=p_worse, p_better=p_better)
    return found


def _p_value(d: Difference, *, worse: bool) -> float:
    assert d.evidence is not None
    return p_above(d.evidence, 0.0) if worse == is_worse_when_higher(d.metric) else p_below(d.evidence, 0.0)


def typical_of(latency: str, effect: float, evidence: Evidence | None) -> Typical:
    """An effect with the bounds that its evidence gives."""
    low, high = (None, None) if evidence is None else bounds(evidence)
    return Typical(latency=latency, effect=effect, low=low, high=high)


def _typical(changes: Mapping[str, Sequence[float]]) -> list[Typical]:
    return [typical_of(name, sum(found) / len(found), evidence_of(found)) for name, found in changes.items() if found]


def shift_of(latency: str, effects: FloatArray, found: Sequence[Evidence | None] | None) -> Shift:
    """Effects float64[9] with the bounds that the evidence of each decile gives."""
    limits = [(None, None) if evidence is None else bounds(evidence) for evidence in found or [None] * len(DECILES)]
    lows, highs = tuple(low for low, _ in limits), tuple(high for _, high in limits)
    return Shift(latency=latency, effects=tuple(map(float, effects)), lows=lows, highs=highs)


def _shifts(base: Sequence[RunNumbers], candidate: Sequence[RunNumbers], *, is_paired: bool) -> list[Shift]:
    """K. A. Doksum's shift function (Ann. Statist. 2, 1974, p. 267) at the deciles, on logs: where in the distribution it differs."""
    shifts = []
    for name in base[0].deciles:
        if all(name in run.deciles for run in (*base, *candidate)):
            a, b = (np.log([run.deciles[name] for run in side]) for side in (base, candidate))
            found = [evidence_of(b[:, k] - a[:, k]) if is_paired else welch(a[:, k], b[:, k]) for k in range(len(DECILES))]
            shifts.append(shift_of(name, b.mean(axis=0) - a.mean(axis=0), found))
    return shifts
