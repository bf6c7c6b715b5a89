"""The page of a sweep: how many cells hold, the capacities, the figures, a row for each cell, the command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from loadlab.report.study_page import PageFigure, PageTable, pool_facts, render_study
from loadlab.report.sweep import HEADS, SHOWN, at_text, capacity_text, medians, value_text
from loadlab.report.text import band_text, clean_tree

Json = Mapping[str, Any]
MAX_CELLS = 400  # rows of a page that one can scroll through; sweep.csv has all
MAX_VALUES = 6  # of an axis, or of the capacities, told one by one in the box
_READINGS = {
    "attainment": ("Where does the SLO hold?", "The share of planned requests that were good."),
    "ttft_p95_s": ("How long until the first token?", "TTFT, 95th percentile."),
    "output_tokens_per_s": ("How much is served?", "Output tokens a second of answered requests."),
}


def render_sweep(summary: Json, figures: Mapping[str, str]) -> bytes:
    """The page of sweep.json. `figures`: metric -> our own SVG."""
    summary = clean_tree(summary)
    axes = summary["axes"]
    cells = medians(pd.DataFrame.from_records(summary["rows"]), axes)
    one = "Median of the runs of a cell" if cells["seeds"].max() > 1 else "One run a cell"
    marked = f"{one}. Outlined in red: overloaded." if len(axes) > 1 and (cells["overloaded"] > 0).any() else f"{one}."
    drawn = [
        PageFigure(question=_READINGS[key][0], reading=f"{_READINGS[key][1]} {marked}", svg=svg, is_small=len(axes) < 3)
        for key, svg in figures.items()
    ]
    tables = [*_capacity_tables(summary), _cell_table(summary, cells)]
    return render_study(f"{summary['name']}: sweep", sweep_verdict(summary), drawn, tables, list(_facts(summary)), summary["command"])


def sweep_verdict(summary: Json) -> Json:
    """Of sweep.json: `word`, `tone` and `rows` for verdict.html.j2. Never green: a sweep counts and fits, it proves nothing."""
    cells = medians(pd.DataFrame.from_records(summary["rows"]), summary["axes"])
    word, tone, answer = _answer(summary, cells)
    rows = [("What was asked", list(_asked(summary, cells))), ("Answer", answer), ("How sure", list(_sure(summary, cells)))]
    return {"word": word, "tone": tone, "rows": rows}


def _answer(summary: Json, cells: pd.DataFrame) -> tuple[str, str, list[str]]:
    if summary["capacities_per_s"]:
        return _capacity_answer(summary["capacities_per_s"])
    if "attainment" in cells:
        target = summary["target_share"]
        held = cells[cells["attainment"] >= target]
        where = [f"{at_text({axis: row[axis] for axis in summary['axes']})}." for row in held.head(MAX_VALUES).to_dict("records")]
        more = [f"{len(held) - MAX_VALUES:,} more are in the table."] if len(held) > MAX_VALUES else []
        counted = (
            f"At least {100 * target:g} % of planned requests were good in {len(held):,} of {len(cells):,} cells{':' if where else '.'}"
        )
        return f"{len(held):,} OF {len(cells):,} CELLS AT THE SLO", "open" if len(held) else "alarm", [counted, *where, *more]
    low, high = (value_text("ttft_p95_s", cells["ttft_p95_s"].agg(end)) for end in ("min", "max")) if "ttft_p95_s" in cells else ("-", "-")
    return f"{len(cells):,} CELLS, NOT JUDGED", "open", [f"No SLO was given, so nothing is judged. TTFT p95 is {low} to {high}."]


def _capacity_answer(found: Sequence[Json]) -> tuple[str, str, list[str]]:
    known = [one["value"] for one in found if one["value"] is not None]
    lines = [f"{at_text(one['at']) + ': ' if one['at'] else ''}{capacity_text(one)}." for one in found[:MAX_VALUES]]
    if len(found) > MAX_VALUES:
        lines.append(f"{len(found) - MAX_VALUES:,} more are in the table.")
    if not known:
        return "NOT BRACKETED", "open", lines
    low, high = f"{min(known):.3g}", f"{max(known):.3g}"
    word = f"CAPACITY {low}/s" if low == high else f"CAPACITY {low} TO {high}/s"
    return word if len(known) == len(found) else f"{word}; {len(found) - len(known):,} OF {len(found):,} NOT BRACKETED", "open", lines


def _asked(summary: Json, cells: pd.DataFrame) -> Iterator[str]:
    told = [f"{axis} ({_values(list(dict.fromkeys(map(str, cells[axis]))))})" for axis in summary["axes"]]
    requests = sum(row["n"] for row in summary["rows"])
    every = "Every value" if len(told) == 1 else "Every combination"
    yield f"{every} of {' and '.join(told)}: {len(cells):,} cells, {len(summary['rows']):,} runs, {requests:,} requests."
    if summary["slo_text"]:
        yield f"SLO: {summary['slo_text']}."


def _values(values: Sequence[str]) -> str:
    return ", ".join(values) if len(values) <= MAX_VALUES else f"{values[0]} to {values[-1]}, {len(values)} values"


def _sure(summary: Json, cells: pd.DataFrame) -> Iterator[str]:
    if any(one["value"] is not None for one in summary["capacities_per_s"]):
        yield "A capacity is where the fit meets the budget: a best guess with its 90 % interval. To prove one: loadlab capacity."
    least, most = int(cells["seeds"].min()), int(cells["seeds"].max())
    if least == 1:
        yield f"{'One run a cell' if most == 1 else 'Some cells have one run'}: what another seed would give is not known."
    else:
        yield f"Medians over {least} runs a cell{'' if least == most else ' or more'}."
    if over := int((cells["overloaded"] > 0).sum()):
        yield f"In {over:,} of {len(cells):,} cells a run was overloaded: its latencies grow with its length."
    if failed := sum(row["success_rate"] < 1 for row in summary["rows"]):
        yield f"In {failed:,} of {len(summary['rows']):,} runs requests failed; latencies are of those that were answered."
    yield from _origin(summary)


def _origin(summary: Json) -> Iterator[str]:
    """Where the numbers come from: predictions with their bands, measurements with where their validity stands."""
    bands = list(dict.fromkeys(band for pool in summary["conditions"] if (band := band_text(pool))))
    if "sim:" in summary["target"]:
        yield (
            f"Simulated, so a prediction: step times {'; '.join(bands)}."
            if bands
            else "Simulated, so a prediction, of constants in the file."
        )
    if any("run" in row for row in summary["rows"]):
        yield "Whether a run is valid stands in its own report: loadlab report RUN."


def _capacity_tables(summary: Json) -> Iterator[PageTable]:
    if not summary["capacities_per_s"]:
        return
    rows = [
        [at_text(one["at"]) or "all", *("-" if one[key] is None else f"{one[key]:.3g}/s" for key in ("value", "low", "high")), one["note"]]
        for one in summary["capacities_per_s"][:MAX_CELLS]
    ]
    yield PageTable(
        title="Capacities", heads=("at", "capacity", "low", "high", "note"), rows=rows, texts=(0, 4), note="Low and high: 90 %."
    )


def _cell_table(summary: Json, cells: pd.DataFrame) -> PageTable:
    axes, frame = summary["axes"], pd.DataFrame.from_records(summary["rows"])
    numbers = [name for name in SHOWN if name in cells]
    grouped = frame.groupby(list(axes), sort=False)
    ends, n = grouped[numbers].agg(["min", "max"]), grouped["n"].sum()
    rows = []
    for i, row in enumerate(cells.head(MAX_CELLS).to_dict("records")):
        told = [_with_ends(name, row[name], ends[name].iloc[i], int(row["seeds"])) for name in numbers]
        mark = "! overloaded" if row["overloaded"] else ""
        rows.append([*(str(row[axis]) for axis in axes), f"{int(n.iloc[i]):,}", f"{int(row['seeds'])}", *told, mark])
    hidden = f" The first {MAX_CELLS} are here, all of them in sweep.csv." if len(cells) > MAX_CELLS else ""
    medians_of = "Medians over the runs of a cell, in brackets the least and the greatest. " if cells["seeds"].max() > 1 else ""
    note = f"{medians_of}Every run, with its plan's digest: sweep.csv.{hidden}"
    heads = (*axes, "n", "runs", *(HEADS[name] for name in numbers), "")
    return PageTable(title="Cells", heads=heads, rows=rows, note=note)


def _with_ends(name: str, value: float, ends: pd.Series[float], seeds: int) -> str:
    told = value_text(name, value)
    low, high = (value_text(name, float(ends[end])) for end in ("min", "max"))
    return told if seeds == 1 or low == high else f"{told} [{low} to {high}]"


def _facts(summary: Json) -> Iterator[tuple[str, str]]:
    yield "target", summary["target"]
    yield "seeds", f"{summary['seed']}, and {summary['seeds'] - 1} more" if summary["seeds"] > 1 else str(summary["seed"])
    yield from pool_facts(summary["conditions"])
    yield "versions", ", ".join(f"{name} {version}" for name, version in summary["versions"].items())
