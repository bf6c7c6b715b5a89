"""Does a candidate pass? Each blocking metric may be worse than the base by a margin and no more.

- `regressed`: some metric is surely worse by more than its margin. Many are looked at, so that is corrected (Holm).
- `passed`: every metric is surely not. All have to be, which needs no correction (R. L. Berger, Technometrics 24, 1982, p. 295).
- `inconclusive`: neither. Then the pairs that would settle it are told.

Each statement errs with probability 5 % at most, as far as runs vary like the ones seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from loadlab.analysis.compare import ENOUGH_PAIRS, Comparison, Design, Difference
from loadlab.analysis.evidence import ALPHA, Evidence, holm, p_above, p_below, pairs_needed
from loadlab.analysis.readings import is_relative, is_worse_when_higher
from loadlab.slo import Metric, Slos, Unit, parse_metric
from loadlab.units import parse_count, parse_share, quoted

FEWEST_PAIRS = 2
SUCCESS_MARGIN = 0.01  # a point: latencies are those of OK requests, so that losing the slow ones would look like a gain
# What a target against itself passes in more than four of five gates of 5 x 400 requests whose medians differ by 2 %
# (docs/validation.md). p99 differs by 14 % there: no margin that means something would be quiet, so it is shown, and blocks only where
# somebody says so.
DEFAULT_MARGINS = ("ttft.p50=5%", "ttft.p90=10%", "tpot.p50=5%", "tpot.p90=10%", "e2e.p50=5%", "e2e.p90=10%")


class GateVerdict(StrEnum):
    """Of one check, or of a whole gate: there the first of these that any check has, in the order written."""

    INVALID = "invalid"  # the load generator spoilt the measurement
    INCOMPLETE = "incomplete"  # a run did not end
    REGRESSED = "regressed"  # surely worse than the base by more than a margin
    FAILED = "failed"  # surely beyond a threshold
    INCONCLUSIVE = "inconclusive"
    PASSED = "passed"


def common_verdict(verdicts: Sequence[GateVerdict]) -> GateVerdict:
    """Of several: the gravest; inconclusive of none, since nothing was shown."""
    order = list(GateVerdict)
    return min(verdicts, key=order.index, default=GateVerdict.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """How much worse a metric may be. `allowed`: share of the base for seconds and rates, a difference of shares or counts else; >= 0."""

    metric: Metric
    allowed: float

    @property
    def worsening(self) -> float:
        """The margin on the scale of differences, where above 0 is worse: log(1 + allowed), or -log(1 - allowed) of what shall be high."""
        if not is_relative(self.metric):
            return self.allowed
        return math.log1p(self.allowed) if is_worse_when_higher(self.metric) else -math.log1p(-self.allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One blocking metric: its difference, its margin, and what follows. `more_pairs`: how many more would settle it; None if unknown."""

    margin: Margin
    difference: Difference
    verdict: GateVerdict
    p_regressed: float | None = None  # Holm's, that it is worse by more than the margin
    p_passed: float | None = None  # that it is not
    more_pairs: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Every check, and their common verdict."""

    verdict: GateVerdict
    checks: tuple[Check, ...]

    @property
    def more_pairs(self) -> int | None:
        """How many more pairs would settle every check that is open; None if that is not known of one of them, or none is open."""
        needed = [check.more_pairs for check in self.checks if check.verdict is GateVerdict.INCONCLUSIVE]
        known = [n for n in needed if n is not None]
        return max(known) if known and len(known) == len(needed) else None


def parse_margin(text: str) -> Margin:
    """The margin of "ttft.p99=5%", "success_rate=1pt", "oom.count=0". Raises ValueError, saying what is allowed."""
    name, equals, amount = text.rpartition("=")
    if not equals or name.count("{") != name.count("}"):  # the last = stands inside labels
        raise ValueError(f"{quoted(text)} is not a margin such as ttft.p99=5%, success_rate=1pt or oom.count=0")
    metric = parse_metric(name)
    try:
        allowed = parse_count(amount) if metric.unit is Unit.NUMBER else _parse_allowed(amount.strip())
    except ValueError as error:
        raise ValueError(f"{quoted(text)}: {error}") from None
    if allowed < 0 or (is_relative(metric) and not is_worse_when_higher(metric) and allowed >= 1):
        raise ValueError(f"{quoted(text)} must be 0 or more{'' if is_worse_when_higher(metric) else ', and below 100 %'}")
    return Margin(metric=metric, allowed=allowed)


def _parse_allowed(amount: str) -> float:
    """Of "5%" or "1pt", which of a share are the same: points."""
    return parse_share(f"{amount.removesuffix('pt').strip()}%" if amount.endswith("pt") else amount)


def complete_margins(margins: Sequence[Margin], slos: Slos | None) -> list[Margin]:
    """The margins asked for, or the default ones; success always has one, and without an own choice attainment where there is an SLO."""
    found = list(margins) or [parse_margin(text) for text in DEFAULT_MARGINS]
    if not margins and slos is not None:
        found.append(Margin(metric=parse_metric("attainment"), allowed=SUCCESS_MARGIN))
    success = parse_metric("success_rate")
    if all(margin.metric != success for margin in found):
        found.append(Margin(metric=success, allowed=SUCCESS_MARGIN))
    return found


def judge(comparison: Comparison, margins: Sequence[Margin], fewest_pairs: int = FEWEST_PAIRS) -> GateResult:
    """The verdict on a comparison that holds every metric of `margins`.

    Inconclusive below `fewest_pairs` pairs, whatever they show, and on runs of unlike plans with fewer than so many a side.
    """
    differences = {d.metric: d for d in comparison.differences}
    checks = [_check(margin, differences[margin.metric]) for margin in margins]
    checks = _corrected(checks)
    runs = min(len(comparison.base), len(comparison.candidate))
    if runs < max(fewest_pairs, FEWEST_PAIRS) or comparison.design in (Design.ONE_PAIR, Design.TWO_STRANGERS):
        checks = [_too_few(check, runs, max(fewest_pairs, FEWEST_PAIRS)) for check in checks]
    return GateResult(verdict=common_verdict([check.verdict for check in checks]), checks=tuple(checks))


def _check(margin: Margin, d: Difference) -> Check:
    if d.evidence is None:
        return Check(margin=margin, difference=d, verdict=GateVerdict.INCONCLUSIVE, note=d.note or "nothing says how it varies")
    p_regressed, p_passed = _p_values(d.evidence, margin)
    return Check(margin=margin, difference=d, verdict=GateVerdict.INCONCLUSIVE, p_regressed=p_regressed, p_passed=p_passed)


def _p_values(evidence: Evidence, margin: Margin) -> tuple[float, float]:
    """That the worsening is above the margin, and that it is below."""
    if is_worse_when_higher(margin.metric):
        return p_above(evidence, margin.worsening), p_below(evidence, margin.worsening)
    return p_below(evidence, -margin.worsening), p_above(evidence, -margin.worsening)


def _corrected(checks: Sequence[Check]) -> list[Check]:
    judged = [check for check in checks if check.p_regressed is not None]
    adjusted = iter(holm([check.p_regressed for check in judged if check.p_regressed is not None]))
    return [check if check.p_regressed is None else _settled(replace(check, p_regressed=next(adjusted))) for check in checks]


def _settled(check: Check) -> Check:
    assert check.p_regressed is not None
    assert check.p_passed is not None
    if check.p_regressed <= ALPHA:
        return replace(check, verdict=GateVerdict.REGRESSED)
    if check.p_passed <= ALPHA:
        return replace(check, verdict=GateVerdict.PASSED)
    return replace(check, more_pairs=_more_pairs(check), note=_open_note(check))


def _more_pairs(check: Check) -> int | None:
    d = check.difference
    sign = 1 if is_worse_when_higher(check.margin.metric) else -1
    needed = pairs_needed([sign * x for x in d.differences], check.margin.worsening)
    return None if needed is None else max(1, needed - len(d.differences))


def _open_note(check: Check) -> str:
    d = check.difference
    if d.worsening is not None and d.detectable is not None and d.worsening > check.margin.worsening:
        return "worse by more than the margin, but not surely"
    return "within the margin, but not surely"


def _too_few(check: Check, runs: int, fewest: int) -> Check:
    if check.difference.effect is None:
        return check  # nothing was measured, and more runs would not change that
    more = max(fewest, ENOUGH_PAIRS) - runs if runs < FEWEST_PAIRS else max(fewest - runs, 1)
    said = f"{runs} run{'s' * (runs != 1)} a side: too few to say how runs vary, {fewest} are asked for"
    return replace(check, verdict=GateVerdict.INCONCLUSIVE, more_pairs=more, note=said)
