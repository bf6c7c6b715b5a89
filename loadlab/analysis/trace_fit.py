"""A scenario that is statistically like a trace, and how like it is: everything is generated anew from the scenario and measured again."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from loadlab.analysis.burstiness import Burstiness, burstiness_of, seconds_of
from loadlab.analysis.fit_arrivals import SEEDS, ArrivalFit, fit_arrivals
from loadlab.analysis.fit_lengths import LengthFit, fit_lengths
from loadlab.analysis.fit_reuse import Hits, fit_reuse, hits_of
from loadlab.analysis.goodness import MAX_HIT_ERROR, MAX_LENGTH_KS, ArrivalGoodness, ks_distance, median_bursts, misses
from loadlab.analysis.table import FloatArray, IntArray
from loadlab.analysis.trace_profile import spearman
from loadlab.analysis.trace_seen import SeenBlocks, tick_of
from loadlab.errors import InputError
from loadlab.scenario.build import build_plan
from loadlab.scenario.joint import Copula
from loadlab.scenario.load import OpenLoop, Replay
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.scenario.plan import RequestPlan
from loadlab.scenario.replay import reshaped
from loadlab.scenario.traces import TraceColumns

LEAST_ROWS = 30  # of a class, and of a trace
MAX_CLASSES = 20  # the largest sorts; the others are one class
LEAST_CORRELATION = 0.05
MAX_HIT_ROWS = 50_000  # of a generated plan, whose hits are counted one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassFit:
    """One sort of request. `hit_ratio`: of the trace's rows and of the law, where the trace tells blocks."""

    name: str
    rows: int
    prompt: LengthFit
    prompt_tried: tuple[LengthFit, ...]
    output: LengthFit
    output_tried: tuple[LengthFit, ...]
    correlation: float
    hit_ratio: tuple[float, float] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """The whole scenario generated anew, medians over seeds, beside the trace."""

    arrivals: ArrivalGoodness
    prompt_ks: float
    output_ks: float
    hit_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFit:
    """A scenario and what is known of it. `misses`: in words, what it does not reproduce; none for a good fit."""

    scenario: Scenario
    rows: int
    span_s: float
    bursts: tuple[Burstiness, ...]  # of the trace
    chosen: ArrivalFit
    tried: tuple[ArrivalFit, ...]
    classes: tuple[ClassFit, ...]
    hit_ratio: float | None  # of the trace
    likeness: Likeness
    misses: tuple[str, ...]
    notes: tuple[str, ...]
    trace: TraceColumns  # as it was fitted: ticks spread
    arrivals_assumed: bool  # for a trace without times

    @property
    def is_good(self) -> bool:
        return not self.misses


def fit_trace(
    trace: TraceColumns,
    *,
    name: str,
    model: str = "model",
    family: str | None = None,
    say: Callable[[str], None] | None = None,
    arrivals_assumed: bool = False,
) -> TraceFit:
    """Fits arrivals, lengths, classes and shared beginnings. Raises InputError on fewer than LEAST_ROWS rows, or rows all at once.

    `family` forces a family of arrival laws (poisson, gamma, weibull, lognormal, mmpp or steps), good or not.
    """
    if len(trace) < LEAST_ROWS or trace.arrival_s[-1] <= trace.arrival_s[0]:
        raise InputError(
            f"has {len(trace):,} rows that did not fail, and a fit takes at least {LEAST_ROWS} at different times", source=name
        )
    notes = list(trace.warnings)
    tick_s = tick_of(np.rint(trace.arrival_s * 1e9).astype(np.int64).tolist())
    if tick_s is not None:
        trace = reshaped(trace, Replay(dequantize_s=tick_s), 1)
        notes.append(f"its clock ticks every {tick_s:g} s: fitted with each row anywhere in its tick, so nothing below it is known")
    trace = replace(trace, arrival_s=trace.arrival_s - trace.arrival_s[0])
    span_s = float(f"{trace.arrival_s[-1] * (len(trace) + 1) / len(trace):.9g}")
    chosen, tried = fit_arrivals(trace.arrival_s, span_s, family, say)
    hits = None if trace.blocks is None else hits_of(trace.blocks, trace.prompt_tokens)
    classes, fits = _classes(trace, hits, model)
    if len(trace.images):
        notes.append("images are not generated: the trace says how many there are, not how large; their class keeps its lengths")
    scenario = Scenario(
        name=name, load=OpenLoop(arrivals=chosen.law, duration_s=span_s), classes=classes,
        description=f"Fitted to the lengths of {len(trace):,} requests; their arrivals are assumed."
        if arrivals_assumed else f"Fitted to {len(trace):,} requests in {span_s:.6g} s: {chosen.name}.",
    )  # fmt: skip
    likeness = _likeness(scenario, trace, span_s)
    bursts = burstiness_of(seconds_of(trace.arrival_s))
    hit_ratio = None if hits is None else hits.ratio
    problems = (*misses(likeness.arrivals, bursts), *_other_misses(likeness, hit_ratio))
    return TraceFit(
        scenario=scenario, rows=len(trace), span_s=span_s, bursts=bursts, chosen=chosen, tried=tried, classes=fits,
        hit_ratio=hit_ratio, likeness=likeness, misses=problems, notes=tuple(notes), trace=trace, arrivals_assumed=arrivals_assumed,
    )  # fmt: skip


def _classes(trace: TraceColumns, hits: Hits | None, model: str) -> tuple[dict[str, TrafficClass], tuple[ClassFit, ...]]:
    classes: dict[str, TrafficClass] = {}
    fits = []
    for name, rows in _sorts(trace):
        prompt, output = trace.prompt_tokens[rows], trace.output_tokens[rows]
        prompt_fit, prompt_tried = fit_lengths(prompt)
        output_fit, output_tried = fit_lengths(output)
        rank = spearman(prompt, output)
        joint = Copula(correlation=float(f"{max(-0.95, min(0.95, rank)):.3f}")) if abs(rank) >= LEAST_CORRELATION else None
        mine = None if hits is None else Hits(tokens=hits.tokens[rows], rows_back=hits.rows_back[rows], prompt_tokens=prompt)
        reuse = None
        if mine is not None and trace.blocks is not None:
            reuse = fit_reuse(mine, trace.blocks.of_rows(rows, np.zeros_like(rows)))
        classes[name] = TrafficClass(
            model=model, share=len(rows), prompt_tokens=prompt_fit.law, output_tokens=output_fit.law, joint=joint,
            reuse=None if reuse is None else reuse[0],
        )  # fmt: skip
        ratios = None if mine is None else (mine.ratio, 0.0 if reuse is None else reuse[1])
        fits.append(
            ClassFit(
                name=name, rows=len(rows), prompt=prompt_fit, prompt_tried=prompt_tried, output=output_fit, output_tried=output_tried,
                correlation=rank, hit_ratio=ratios,
            )
        )  # fmt: skip
    return classes, tuple(fits)


def _sorts(trace: TraceColumns) -> list[tuple[str, IntArray]]:
    """Names and rows of the classes: the trace's sorts, of which small ones are put together."""
    if not trace.labels:
        return [("all", np.arange(len(trace)))]
    counts = np.bincount(trace.label, minlength=len(trace.labels))
    large = [k for k in np.argsort(-counts).tolist() if counts[k] >= LEAST_ROWS][: MAX_CLASSES - 1]
    names: dict[str, IntArray] = {}
    for k in large:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", trace.labels[k]).strip("-._")[:70] or "plain"
        names[name if name not in names else f"{name}-{k}"] = np.flatnonzero(trace.label == k)
    rest = np.flatnonzero(~np.isin(trace.label, large))
    if len(rest):
        names["others" if "others" not in names else "others-2"] = rest
    return list(names.items())


def _likeness(scenario: Scenario, trace: TraceColumns, span_s: float) -> Likeness:
    plans = [build_plan(scenario, seed) for seed in SEEDS]
    arrivals = ArrivalGoodness(
        rate_ratio=float(np.median([len(plan) for plan in plans])) / len(trace),
        bursts=median_bursts([burstiness_of(_whole(plan.arrival_s, span_s)) for plan in plans]),
        gap_ks=float(np.median([ks_distance(np.diff(plan.arrival_s), np.diff(trace.arrival_s)) for plan in plans])),
    )
    return Likeness(
        arrivals=arrivals,
        prompt_ks=float(np.median([ks_distance(plan.prompt_tokens, trace.prompt_tokens) for plan in plans])),
        output_ks=float(np.median([ks_distance(plan.output_tokens, trace.output_tokens) for plan in plans])),
        hit_ratio=None if trace.blocks is None else float(np.median([plan_hit_ratio(plan) for plan in plans[:3]])),
    )


def _whole(times_s: FloatArray, span_s: float) -> IntArray:
    """Counts by second over the whole span: a quiet end counts."""
    return np.bincount(times_s.astype(np.int64), minlength=int(span_s))[: int(span_s)]


def plan_hit_ratio(plan: RequestPlan) -> float:
    """Share of prompt tokens in pieces that stood at the beginning of an earlier prompt; of the first MAX_HIT_ROWS requests."""
    n = min(len(plan), MAX_HIT_ROWS)
    _, ids = np.unique(plan.segment_content[: plan.segment_offsets[n]], return_inverse=True)
    offsets, tokens = plan.segment_offsets[: n + 1], np.append(0, np.cumsum(plan.segment_tokens))
    ends = offsets[:-1] + SeenBlocks().leading(np.diff(offsets), ids)
    hit = int((tokens[ends] - tokens[offsets[:-1]]).sum())
    return hit / max(1, int(plan.prompt_tokens[:n].sum()))


def _other_misses(likeness: Likeness, hit_ratio: float | None) -> list[str]:
    words = [
        f"{name} lengths have a KS distance of {ks:.2f}"
        for name, ks in (("prompt", likeness.prompt_ks), ("answer", likeness.output_ks))
        if ks > MAX_LENGTH_KS
    ]
    if hit_ratio is not None and likeness.hit_ratio is not None and abs(likeness.hit_ratio - hit_ratio) > MAX_HIT_ERROR:
        words.append(f"prefix hits are {likeness.hit_ratio:.1%} of prompt tokens and the trace's {hit_ratio:.1%}")
    return words
