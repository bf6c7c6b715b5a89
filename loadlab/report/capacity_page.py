"""The page of a capacity study: the verdict, the figure, every level, the conditions, the command. One file, no script."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadlab.planning.search import Answer
from loadlab.report.capacity import edges_sentence, rate_text
from loadlab.report.text import band_text, clean_tree
from loadlab.units import format_duration, format_share

Json = Mapping[str, Any]
_WORDS = {
    Answer.CERTIFIED: "HOLDS",
    Answer.NOT_CERTIFIED: "NOT PROVEN",
    Answer.ALWAYS: "NOT BRACKETED",
    Answer.NEVER: "NEVER HOLDS",
    Answer.NOT_MONOTONE: "NO ANSWER",
    Answer.TARGET_FAILED: "TARGET FAILED",
}
_TONES = {Answer.CERTIFIED: "good", Answer.NEVER: "alarm", Answer.TARGET_FAILED: "alarm"}


def render_capacity(summary: Json, figure: str) -> bytes:
    """The page. `figure`: our own SVG, in which names are escaped; every other text is escaped here."""
    summary = clean_tree(summary)
    answer = Answer(summary["answer"])
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.get_template("capacity.html.j2").render(
        summary=summary,
        word=_word(summary, answer),
        tone="open" if _fails_at_slow_edge(summary) else _TONES.get(answer, "open"),
        rows=list(_box_rows(summary)),
        figure=Markup(figure),  # noqa: S704  our own, names escaped
        levels=[_level_cells(level) for level in summary["levels"]],
        pairs=[_pair_cells(pair) for pair in summary.get("hybrid", {}).get("levels", ())],
        facts=list(_facts(summary)),
    )
    return page.encode()


def _word(summary: Json, answer: Answer) -> str:
    if answer is Answer.CERTIFIED:
        where = ", NOT AT THE SLOW EDGE" if _fails_at_slow_edge(summary) else ""
        world = " IN SIMULATION" if summary["target"].startswith("sim:") else ""
        return f"{_WORDS[answer]} {rate_text(summary['certified_per_s'])}{world}{where}"
    if "hybrid" in summary and summary["capacity_per_s"]["value"] is not None:
        return f"PREDICTED {rate_text(summary['capacity_per_s']['value'])}"
    return _WORDS[answer]


def _pair_cells(pair: Json) -> list[str]:
    """A measured level and the same rate simulated."""
    measured, simulated = pair["measured"], pair["simulated"]
    return [
        rate_text(pair["rate_per_s"]), f"{pair['n']:,}", format_share(measured["bad_share"]),
        f"{format_share(measured['low'])} to {format_share(measured['high'])}", format_share(simulated["bad_share"]),
        format_duration(measured["ttft_p99_s"]), format_duration(simulated["ttft_p99_s"]),
        pair["digest"].removeprefix("sha256:")[:12],
    ]  # fmt: skip


def _box_rows(summary: Json) -> Iterator[tuple[str, Sequence[str]]]:
    yield "What was asked", [f"The highest rate at which {summary['slo_text']}."]
    note = summary["note"] if summary["note"] not in summary["sentence"] else ""
    yield "Answer", [text for text in (f"{summary['sentence']}.", note, summary["rate_note"]) if text]
    yield "How sure", list(_sure(summary))


def _sure(summary: Json) -> Iterator[str]:
    if "hybrid" in summary:
        yield f"Measured at moderate load only, and {summary['hybrid']['calibration']['sentence']}; the rest is simulated."
    found = summary["certificate"]
    if found is not None and summary["certified_per_s"] is not None:
        yield (
            f"At {rate_text(summary['certified_per_s'])}, {found['bad']:,} of {found['n']:,} requests were bad "
            f"(worth {found['n_effective']:,.0f} independent ones): {_proven(summary)}."
        )
    if summary["capacity_per_s"]["value"] is not None:
        yield "The capacity is where the fit meets the budget: a best guess, too high in half of all studies. Plan with what is proven."
    yield f"{summary['requests']:,} requests in {len(summary['levels'])} levels; each [90 %] interval counts n / tau of them, not n."
    if bands := _bands(summary):
        yield f"Simulated, so a prediction: step times {'; '.join(bands)}."
    if (edges := edges_sentence(summary)) is not None:
        yield f"{edges}."


def _bands(summary: Json) -> list[str]:
    """Of the step times of each pool, each once; none where the target was measured."""
    return list(dict.fromkeys(band for pool in summary["conditions"] if (band := band_text(pool))))


def _fails_at_slow_edge(summary: Json) -> bool:
    """Whether a certified rate lies above what was simulated at the slow edge of the band: a prediction that may not come true."""
    edge, certified = summary.get("slow_edge_per_s"), summary["certified_per_s"]
    return edge is not None and certified is not None and edge < certified


def _proven(summary: Json) -> str:
    confidence, tolerance = 100 * summary["certificate_confidence"], 100 * summary["certificate_tolerance"]
    if tolerance:
        return f"the capacity is at most {tolerance:g} % below this rate, at {confidence:g} % confidence of a search as a whole"
    return f"the budget of {format_share(summary['error_budget'])} is kept with {confidence:g} % confidence"


def _level_cells(level: Json) -> dict[str, Any]:
    lasts = level["budget_gone_after_h"]
    return {
        "rate": rate_text(level["rate_per_s"]),
        "cells": [
            f"{level['n']:,}",
            f"{level['tau']:.1f}",
            format_share(level["bad_share"]),
            f"{format_share(level['bad_low'])} to {format_share(level['bad_high'])}",
            rate_text(level["served_per_s"]),
            format_duration(level["ttft_p99_s"]),
            "for ever" if lasts is None else f"{lasts:,.0f} h" if lasts >= 10 else f"{lasts:.1f} h",
        ],
        "state": "overloaded, not fitted" if level["is_overloaded"] else "",
        "digest": level["digest"].removeprefix("sha256:")[:12],
    }


def _facts(summary: Json) -> Iterator[tuple[str, str]]:
    yield "target", summary["target"]
    yield "seed", str(summary["seed"])
    for pool in summary["conditions"]:
        said = ", ".join(
            f"{key} {value}" for key, value in pool.items() if isinstance(value, str | int | float) and not isinstance(value, bool)
        )
        yield f"pool {pool.get('pool', '')}".strip(), said
    yield "versions", ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
