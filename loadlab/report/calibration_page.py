"""The page of a calibration: does the simulator do what was measured, the figure, constants, every level, the command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from loadlab.report.calibration import LATENCIES, constant_cells, interval_text, kv_words
from loadlab.report.study_page import PageFigure, PageTable, render_study
from loadlab.report.text import clean_tree
from loadlab.units import format_duration

Json = Mapping[str, Any]
ENOUGH_RUNS = 3  # by which one checks another
_QUESTION = "Does the simulator do what was measured?"
_READING = "Marks: measured, with 90 % intervals. Blue lines: simulated with the fitted constants. Orange: as the file was before."


def render_calibration(summary: Json, figure: str, versions: Mapping[str, str]) -> bytes:
    """The page. `figure`: our own SVG."""
    summary = clean_tree(summary)
    facts = [("cluster file", summary["cluster"]), ("pools", ", ".join(summary["pools"])), ("simulations", f"{summary['simulations']:,}")]
    facts += [("written to", summary["out"] or "nothing was written")]
    facts += [("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))]
    drawn = [PageFigure(question=_QUESTION, reading=_READING, svg=figure)]
    tables = [_levels(summary), _constants(summary), *_runs(summary)]
    return render_study(f"{summary['cluster']}: calibration", calibration_verdict(summary), drawn, tables, facts, summary["command"])


def calibration_verdict(summary: Json) -> Json:
    """`word`, `tone` and `rows` for verdict.html.j2. Green only where runs at several levels check one another."""
    runs, rates = summary["runs"], [run["rate_per_s"] for run in summary["runs"]]
    if summary["is_refused"]:
        word, tone = "REFUSED", "alarm"
    else:
        worst = f"{100 * summary['calibration']['worst_difference']:.1f} %"
        word, tone = f"WITHIN {worst}", "good" if len(runs) >= ENOUGH_RUNS else "open"
        word = word if tone == "good" else f"{word} OF {len(runs)} RUN{'S' if len(runs) > 1 else ''} ALONE"
    span = f"{min(rates):.3g}/s" if len(runs) == 1 else f"{min(rates):.3g} to {max(rates):.3g}/s"
    asked = (
        f"Constants of {summary['cluster']} with which the simulator does what {len(runs)} run{'s' if len(runs) > 1 else ''} at {span} did."
    )
    rows = [
        ("What was asked", [asked]),
        ("Answer", [f"{summary['sentence'][:1].upper()}{summary['sentence'][1:]}."]),
        ("How sure", list(_sure(summary))),
        ("What next", [f"{summary['what_next']}."] if summary["what_next"] else []),
    ]
    return {"word": word, "tone": tone, "rows": [row for row in rows if row[1]]}


def _sure(summary: Json) -> Iterator[str]:
    bounded = [row for row in summary["figures"] if row["low"] is not None and row["high"] is not None]
    inside = sum(row["low"] <= row["after"] <= row["high"] for row in bounded)
    n = sum(run["n"] for run in summary["runs"])
    yield f"Of {len(summary['figures'])} figures of {n:,} requests {len(bounded)} have a 90 % interval; {inside} are simulated within it."
    yield "Judged on the runs that it was fitted to: at other rates, and near saturation, it is a prediction."
    if any(run["is_simulated"] for run in summary["runs"]):
        yield "A run that it was fitted to is itself simulated: this says nothing of hardware."
    if summary["left_out"]:
        yield f"{len(summary['left_out'])} runs were left out, for the reasons below."


def _levels(summary: Json) -> PageTable:
    rows = [
        [
            f"{row['rate_per_s']:.3g}/s", f"{LATENCIES[row['latency']]} {row['what']}", f"{row['n']:,}", format_duration(row["measured"]),
            interval_text(row), format_duration(row["before"]), f"{100 * row['difference_before']:+.0f} %", format_duration(row["after"]),
            f"{'! ' if row['is_too_far'] else ''}{100 * row['difference_after']:+.1f} %",
        ]
        for row in summary["figures"]
    ]  # fmt: skip
    heads = ("rate", "latency", "n", "measured", "[90 %]", "before", "off by", "after", "off by")
    note = (
        f"!: more than {100 * summary['limit']:.0f} % off, and by more than {format_duration(summary['unseen_s'])}. The same requests at "
        "the same times on both sides."
    )
    return PageTable(title="Measured and simulated", heads=heads, rows=rows, texts=(1,), note=note)


def _constants(summary: Json) -> PageTable:
    rows = [[row["words"], *constant_cells(row), row["why"]] for row in summary["constants"]]
    return PageTable(title="Constants", heads=("constant", "in the file", "fitted", "[90 %]", "why it is kept"), rows=rows, texts=(0, 4))


def _runs(summary: Json) -> Iterator[PageTable]:
    rows = []
    for run in summary["runs"]:
        notes = [*([] if run["kv_use"] is None else [kv_words(run["kv_use"])]), *run["notes"]]
        digest = run["plan_digest"].removeprefix("sha256:")[:12]
        rows.append([run["name"], run["target"], f"{run['rate_per_s']:.3g}/s", f"{run['n']:,}", digest, "; ".join(notes)])
    yield PageTable(title="Runs", heads=("run", "target", "rate", "n", "plan digest", "notes"), rows=rows, texts=(0, 1, 5))
    if summary["left_out"]:
        left = [[run["name"], run["why"]] for run in summary["left_out"]]
        yield PageTable(title="Left out", heads=("run", "why"), rows=left, texts=(0, 1))
