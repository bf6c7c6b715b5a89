"""A comparison as JSON, and in words that tables, pages and job summaries share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from loadlab.analysis.compare import ENOUGH_PAIRS, Comparison, Design, Difference, Finding
from loadlab.analysis.readings import DECILES, RunNumbers, is_relative, is_worse_when_higher
from loadlab.report.text import clean_text, three_digits
from loadlab.slo import Metric, Unit, parse_metric
from loadlab.units import format_duration, format_share

SMOOTHED_NOTE = (
    "Percentiles are smoothed (Harrell-Davis), or a difference would be the luck of one request; a run's report shows the order statistic."
)
BOUNDS_NOTE = "[..] one-sided 95 % bounds each way. Detectable: the smallest true change that so many pairs show in 80 % of cases."
COMPARE_SCHEMA = "loadlab/compare/1"
Json = dict[str, Any]
_BOUNDS_NOTE = "low and high are one-sided 95 % bounds each, together a 90 % interval"
_RATIO_NOTE, _PLAIN_NOTE = f"candidate / base - 1; {_BOUNDS_NOTE}", f"candidate - base; {_BOUNDS_NOTE}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedPage:
    """One scenario on both sides. `warnings`: what makes the numbers suspect; `notes`: what a reader must know of them."""

    name: str
    comparison: Comparison
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def comparison_block(comparison: Comparison) -> Json:
    """The comparison of one scenario, for machines: every effect beside its bounds, pairs, and what could have been detected."""
    return {
        "design": comparison.design.value,
        "pairs": comparison.num_pairs,
        "is_same_scenario": comparison.is_same_scenario,
        "claims": list(claims(comparison)),
        "base": [_run_block(run) for run in comparison.base],
        "candidate": [_run_block(run) for run in comparison.candidate],
        "metrics": [difference_block(d) for d in comparison.differences],
        "typical_request": [{"latency": t.latency, "effect": _effect(True, t.effect, t.low, t.high)} for t in comparison.typical],
        "shift": [
            {
                "latency": shift.latency,
                "deciles": [
                    {"p": p} | _effect(True, effect, low, high)
                    for p, effect, low, high in zip(DECILES, shift.effects, shift.lows, shift.highs, strict=True)
                ],
            }
            for shift in comparison.shifts
        ],
    }


def _run_block(run: RunNumbers) -> Json:
    return {
        "run": run.label, "seed": run.seed, "plan_digest": run.plan_digest, "scenario_digest": run.scenario_digest,
        "planned": run.planned, "ok": run.ok,
    }  # fmt: skip


def difference_block(d: Difference) -> Json:
    """One metric of a comparison."""
    relative = is_relative(d.metric)
    return {
        "metric": str(d.metric),
        "unit": d.metric.unit.value,
        "base": d.base,
        "candidate": d.candidate,
        "effect": _effect(relative, d.effect, d.low, d.high),
        "pairs": [_back(relative, x) for x in d.differences],
        "detectable": _back(relative, d.detectable),
        "worse_when": "higher" if is_worse_when_higher(d.metric) else "lower",
        "p_worse": d.p_worse,
        "p_better": d.p_better,
        "finding": d.finding.value,
        "note": d.note,
    }


def _effect(relative: bool, effect: float | None, low: float | None, high: float | None) -> Json:
    value, low, high = (_back(relative, x) for x in (effect, low, high))
    return {"value": value, "low": low, "high": high, "note": _RATIO_NOTE if relative else _PLAIN_NOTE}


def _back(relative: bool, x: float | None) -> float | None:
    """From the scale of differences to a share of the base; 12 digits, and None for an infinite bound."""
    if x is None or not math.isfinite(x):
        return None
    return float(f"{math.expm1(x) if relative else x:.12g}")


def claims(comparison: Comparison) -> Iterator[str]:
    """What may be said of such a comparison, and what not."""
    base, candidate = len(comparison.base), len(comparison.candidate)
    match comparison.design:
        case Design.PAIRS:
            yield f"Paired: {base} pairs of runs of equal plans. Differences between targets hold, as far as runs vary like these."
            if base < ENOUGH_PAIRS:
                yield f"{base} pairs know little of how runs vary: bounds are wide. {ENOUGH_PAIRS} or more are the rule."
        case Design.ONE_PAIR:
            yield "One pair: the same requests in two runs. Bounds say how these two runs differ, from sections of them."
            yield (
                "They do not say how the targets differ: two runs of one target differ as well, and one pair cannot show by how much. "
                f"Run {ENOUGH_PAIRS} pairs, each with a seed of its own."
            )
        case Design.STRANGERS:
            yield f"Unpaired: {base} and {candidate} runs of unlike plans. Part of every difference is that of the traffic (Welch's t)."
        case Design.TWO_STRANGERS:
            yield (
                f"Unpaired: {base} and {candidate} runs of unlike plans, and nothing says how runs vary: no findings. Bounds, where there "
                "are any, are what the length of each run leaves open."
            )
    if not comparison.is_same_scenario:
        yield "The scenarios differ, or are not known: a difference may be that of the traffic, not of the target."


def value_text(metric: Metric, value: float | None) -> str:
    """A metric's value with its unit: "812 ms", "99.2 %", "11.9 /s"."""
    if value is None:
        return "-"
    match metric.unit:
        case Unit.SECONDS:
            return format_duration(value)
        case Unit.SHARE:
            return format_share(value)
        case Unit.PER_SECOND:
            return f"{three_digits(value)} /s"
        case Unit.NUMBER:
            return three_digits(value)


def change_text(metric: Metric, effect: float | None) -> str:
    """A difference as people say it: "+5.1 %" of the base, "-1.2 pt" of a share."""
    if effect is None:
        return "-"
    if is_relative(metric):
        return f"{_signed(100 * math.expm1(effect))} %" if effect < math.log(11) else f"x {math.exp(effect):.3g}"
    if metric.unit is Unit.SHARE:
        return f"{_points(effect)} pt"
    return _signed(effect)


def bounds_text(d: Difference) -> str:
    """ "[+3.2, +7.0]" beside a change, in its unit; "" where nothing bounds it."""
    if d.low is None or d.high is None:
        return ""
    return f"[{_bound(d.metric, d.low)}, {_bound(d.metric, d.high)}]"


def _bound(metric: Metric, x: float) -> str:
    if not math.isfinite(x) or (is_relative(metric) and abs(x) > math.log(1000)):
        return "-inf" if x < 0 else "inf"
    if metric.unit is Unit.SHARE:
        return _points(x)
    return _signed(100 * math.expm1(x) if is_relative(metric) else x)


def _points(x: float) -> str:
    return f"{100 * x if abs(x) >= 0.00005 else 0.0:+.2f}"


def _signed(x: float) -> str:
    return f"{x:+,.0f}" if abs(x) >= 99.95 else f"{x if abs(x) >= 0.05 else 0.0:+.1f}"


def typical_text(comparison: Comparison) -> str:
    """By how much the same request took longer: "ttft +4.7 % [+3.8, +5.5], .."; "" where that is not known."""
    seconds, said = parse_metric("e2e.p50"), []
    for t in comparison.typical:
        d = Difference(metric=seconds, base=None, candidate=None, effect=t.effect, low=t.low, high=t.high)
        said.append(f"{t.latency} {change_text(seconds, t.effect)} {bounds_text(d)}".rstrip())
    return ", ".join(said)


def finding_text(d: Difference) -> str:
    """ "WORSE", "better", "no difference shown", "unknown"."""
    return d.finding.value.upper() if d.finding is Finding.WORSE else d.finding.value


def side_text(runs: Sequence[RunNumbers]) -> str:
    """Where a side was read from, and how much it holds: "runs/a: 5 runs, 2,000 requests, 1,990 OK"."""
    planned, ok = sum(run.planned for run in runs), sum(run.ok for run in runs)
    first = runs[0].label.partition("#")[0]  # of a baseline: file#runs[0]
    label = clean_text(first if len(runs) == 1 or first != runs[0].label else first.rpartition("/")[0] or first)
    return f"{label}: {len(runs)} run{'s' * (len(runs) > 1)}, {planned:,} requests planned, {ok:,} OK"


def document(pages: Sequence[ComparedPage]) -> Json:
    """`loadlab compare --json`: comparisons by scenario."""
    return {
        "schema": COMPARE_SCHEMA,
        "warnings": [warning for page in pages for warning in page.warnings],
        "comparisons": [{"scenario": page.name, "notes": list(page.notes)} | comparison_block(page.comparison) for page in pages],
    }
