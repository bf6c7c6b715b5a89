"""A capacity study for machines (JSON) and for people (a terminal)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadlab.planning.capacity_curve import CONFIDENCE
from loadlab.planning.levels import Level
from loadlab.planning.search import CERTIFICATE_CONFIDENCE, Answer, SearchResult
from loadlab.report.text import clean_text
from loadlab.slo import Slos
from loadlab.units import format_duration, format_share

SCHEMA = "loadlab/capacity/1"
BUDGET_DAYS = 30
Json = dict[str, Any]


def summarise_capacity(
    result: SearchResult, *, name: str, target: str, conditions: Sequence[Mapping[str, Any]], slos: Slos, seed: int, rate_note: str,
    tokens_per_arrival: float | None, versions: Mapping[str, str], command: str,
) -> Json:  # fmt: skip
    """The JSON of a study. Rates in arrivals a second; shares are of planned requests."""
    curve = result.curve
    return {
        "schema": SCHEMA,
        "name": name,
        "answer": result.answer.value,
        "note": result.note,
        "sentence": sentence(result),
        "slo": {"default": asdict(slos.default), "by_class": {key: asdict(slo) for key, slo in slos.by_class.items()}},
        "slo_text": slo_text(slos),
        "target_share": 1 - result.budget,
        "error_budget": result.budget,
        "capacity_per_s": {
            "value": None if curve is None else curve.rate_per_s,
            "low": None if curve is None else curve.low_per_s,
            "high": None if curve is None else curve.high_per_s,
            "note": f"{CONFIDENCE:.0%} interval, on n / tau; null: not bracketed",
        },
        "certified_per_s": result.certified_per_s,
        "certificate": None if result.certificate is None else _level(result.certificate, result.budget),
        "certificate_confidence": CERTIFICATE_CONFIDENCE,
        "certificate_tolerance": result.tolerance,
        "rate_note": rate_note,
        "tokens_per_arrival": tokens_per_arrival,
        "levels": [] if curve is None else [_level(level, result.budget) for level in curve.levels],
        "fitted": None if curve is None else {"rates_per_s": curve.rates_per_s, "bad_share": curve.fitted, "band": curve.band},
        "requests": result.requests,
        "target": target,
        "conditions": [dict(table) for table in conditions],
        "seed": seed,
        "versions": dict(versions),
        "command": command,
    }


def _level(level: Level, budget: float) -> Json:
    """A level with what it means for the error budget."""
    burn = level.bad_share / budget
    return asdict(level) | {
        "bad_share": level.bad_share,
        "bad_low": level.lower_bound(0.95),
        "bad_high": level.upper_bound(0.95),
        "n_effective": level.n_effective,
        "burn": burn,
        "budget_gone_after_h": None if burn == 0 else BUDGET_DAYS * 24 / burn,
    }


def rate_text(rate_per_s: float | None) -> str:
    """ "5.31/s"; "-" for None."""
    return "-" if rate_per_s is None else f"{rate_per_s:.3g}/s"


def sure_text(confidence: float, tolerance: float) -> str:
    """ "95 %"; "95 %, to 2 %" where the capacity may lie 2 % below."""
    return f"{100 * confidence:g} %" + (f", to {100 * tolerance:g} %" if tolerance else "")


def sentence(result: SearchResult) -> str:
    """The answer in a line."""
    curve = result.curve
    point = "" if curve is None or curve.rate_per_s is None else _interval_text(curve.rate_per_s, curve.low_per_s, curve.high_per_s)
    match result.answer:
        case Answer.CERTIFIED:
            held = f"holds {rate_text(result.certified_per_s)}, proven at {sure_text(CERTIFICATE_CONFIDENCE, result.tolerance)}"
            return f"{held}; capacity is {point or 'not bracketed'}"
        case Answer.NOT_CERTIFIED:
            return f"capacity is {point or 'not bracketed'}; no rate near it is proven"
        case Answer.ALWAYS | Answer.NEVER | Answer.NOT_MONOTONE | Answer.TARGET_FAILED:
            return f"{result.answer.value}: {result.note}"


def edges_sentence(summary: Mapping[str, Any]) -> str | None:
    """The capacity at both edges of the band of step times, where they were simulated."""
    found = summary.get("band_edges")
    if found is None:
        return None
    if summary["slow_edge_per_s"] is None:
        return "; ".join(found["notes"])
    ends = f"{rate_text(summary['slow_edge_per_s'])} to {rate_text(summary['fast_edge_per_s'])}"
    text = f"at the slow and the fast edge of the band of step times: {ends}, simulated with {found['requests_each']:,} requests a rate"
    return "; ".join([text, *found["notes"]])


def _interval_text(value: float, low: float | None, high: float | None) -> str:
    ends = f"{'?' if low is None else f'{low:.3g}'} to {'?' if high is None else f'{high:.3g}'}"
    return f"{value:.3g}/s [{ends}]"


def slo_text(slos: Slos) -> str:
    """ "TTFT <= 800 ms, 99 % of requests"."""
    limits = [f"{key.upper() if key != 'e2e' else 'end to end'} <= {format_duration(value)}" for key, value in _limits(slos)]
    own = f"; {len(slos.by_class)} classes have their own" if slos.by_class else ""
    return f"{', '.join(limits) or 'success'}, for {100 * slos.target_of(None):g} % of planned requests{own}"


def _limits(slos: Slos) -> list[tuple[str, float]]:
    default = slos.default
    return [(key, value) for key, value in (("ttft", default.ttft), ("tpot", default.tpot), ("e2e", default.e2e)) if value is not None]


def print_capacity(summary: Json, slos: Slos, console: Console) -> None:
    """The answer, its conditions, and every level."""
    console.print(clean_text(summary["name"]), style="bold", markup=False)
    console.print(f"SLO: {slo_text(slos)}", markup=False)
    console.print(summary["sentence"], style="bold", markup=False)
    if summary["note"] and summary["note"] not in summary["sentence"]:
        console.print(summary["note"], markup=False)
    if summary["rate_note"]:
        console.print(summary["rate_note"], markup=False)
    if (edges := edges_sentence(summary)) is not None:
        console.print(edges, markup=False)
    console.print(level_table(summary["levels"]))
    console.print(
        f"{summary['requests']:,} requests in {len(summary['levels'])} probes. bad: failed, or over a limit. tau: so many neighbouring "
        "requests say as much as one independent one. [90 %] of the bad share, on n / tau. plan: how its digest begins; capacity.json has "
        "all of it. !: overloaded, not fitted.",
        markup=False,
    )
    console.print(f"target: {clean_text(summary['target'])}", markup=False)


def level_table(levels: Sequence[Json]) -> Table:
    """A row for each level, by rate; two blanks between columns, so that no figure is cut at 80."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("rate", "n", "tau", "bad", "[90 %]", "TTFT\np99", "30-day\nbudget\nlasts", "plan"):
        table.add_column(head, justify="right", no_wrap=True)
    for level in levels:
        lasts, mark = level["budget_gone_after_h"], "!" if level["is_overloaded"] else ""
        band = f"{_percent(level['bad_low'])} to {_percent(level['bad_high'])} %"
        table.add_row(
            mark + rate_text(level["rate_per_s"]), f"{level['n']:,}", f"{level['tau']:.1f}", format_share(level["bad_share"]), band,
            format_duration(level["ttft_p99_s"]), "for ever" if lasts is None else f"{lasts:,.0f} h" if lasts >= 10 else f"{lasts:.1f} h",
            level["digest"].removeprefix("sha256:")[:6],
        )  # fmt: skip
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.2f}" if share < 0.1 else f"{100 * share:.0f}"
