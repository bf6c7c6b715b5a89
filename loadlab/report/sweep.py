"""A sweep as one tidy table: CSV and JSON for machines, a table of medians over seeds for people."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from loadlab.planning.capacity_curve import CONFIDENCE, fit_capacity
from loadlab.planning.grid import RATE
from loadlab.planning.levels import Level
from loadlab.record.atomic_file import make_folder, save_bytes
from loadlab.record.run_dir import REPORT_FILE
from loadlab.report.break_even import dump_json
from loadlab.units import format_duration, format_share

SCHEMA = "loadlab/sweep/1"
SHOWN = ("attainment", "success_rate", "ttft_p95_s", "tpot_p95_s", "e2e_p95_s", "output_tokens_per_s")
HEADS: Mapping[str, str] = {
    "attainment": "attainment", "success_rate": "success", "ttft_p95_s": "TTFT p95", "tpot_p95_s": "TPOT p95",
    "e2e_p95_s": "e2e p95", "output_tokens_per_s": "output tok/s",
}  # fmt: skip
SPARED = ("e2e_p95_s", "output_tokens_per_s", "success_rate", "tpot_p95_s")  # where a terminal is narrow, in this order
DRAWN = ("attainment", "ttft_p95_s", "output_tokens_per_s")
MAX_ROWS = 60
Json = dict[str, Any]


def build_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """One row for each point and seed; columns: point, the axes, seed, plan_digest, and the numbers."""
    return pd.DataFrame.from_records(list(rows)).sort_values("point", ignore_index=True)


def medians(frame: pd.DataFrame, axes: Sequence[str]) -> pd.DataFrame:
    """The median of each number over the seeds of a cell; `seeds` of them; `overloaded`: the share of seeds that were."""
    numbers = [name for name in SHOWN if name in frame and frame[name].notna().any()]
    grouped = frame.assign(overloaded=frame["overloaded"].astype(float)).groupby(list(axes), sort=False)
    cells = grouped[numbers].median()
    return cells.assign(overloaded=grouped["overloaded"].mean(), seeds=grouped.size()).reset_index()


def capacities(frame: pd.DataFrame, axes: Sequence[str], budget: float) -> list[Json]:
    """The capacity of each combination of the other axes, from its rates: the point and its 90 % interval, None where not bracketed.

    Empty where the rate is no axis, or there is no SLO.
    """
    if RATE not in axes or "judged_n" not in frame:
        return []
    others = [axis for axis in axes if axis != RATE]
    groups = frame.groupby(others, sort=False) if others else [((), frame)]
    found = []
    for values, part in groups:
        curve = fit_capacity([_level(row) for row in part.to_dict("records")], budget)
        at = dict(zip(others, values, strict=True))
        found.append({"at": at, "value": curve.rate_per_s, "low": curve.low_per_s, "high": curve.high_per_s, "note": curve.note})
    return found


def _level(row: Mapping[Any, Any]) -> Level:
    return Level(
        rate_per_s=row["rate_per_s"], n=int(row["judged_n"]), bad=int(row["bad"]), tau=row["tau"], is_overloaded=bool(row["overloaded"])
    )


def save_sweep(frame: pd.DataFrame, axes: Sequence[str], out: Path, facts: Mapping[str, Any], found: Sequence[Json] = ()) -> Json:
    """Writes sweep.csv, sweep.json, the figures and report.html into `out`; `found`: what `capacities` said. Returns the JSON."""
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_sweep import draw_sweep
    from loadlab.report.sweep_page import render_sweep

    make_folder(out)
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    summary = {"schema": SCHEMA, **facts, "axes": list(axes), "capacities_per_s": list(found), "rows": rows}
    save_bytes(out / "sweep.csv", frame.to_csv(index=False).encode())
    save_bytes(out / "sweep.json", dump_json(summary))
    drawn = {metric: draw_sweep(medians(frame, axes), axes, metric, str(facts["name"])) for metric in DRAWN if frame[metric].notna().any()}
    for metric, svg in drawn.items():
        save_bytes(out / f"{metric}.svg", as_svg_file(svg))
    save_bytes(out / REPORT_FILE, render_sweep(summary, drawn))
    return summary


def print_sweep(frame: pd.DataFrame, axes: Sequence[str], console: Console, found: Sequence[Json] = ()) -> None:
    """A row for each cell, medians over its seeds, in as many columns as fit; then the capacities."""
    cells = medians(frame, axes)
    numbers = [name for name in SHOWN if name in cells]
    for spared in SPARED:
        table = _cell_table(cells, axes, numbers)
        if console.measure(table).maximum <= console.width:
            break
        numbers = [name for name in numbers if name != spared]
    console.print(_cell_table(cells, axes, numbers))
    seeds = int(cells["seeds"].max())
    runs = "one run a cell" if seeds == 1 else f"medians over {seeds} runs a cell"
    legend = " ! overloaded, in one run at least: its latencies grow with its length." if (cells["overloaded"] > 0).any() else ""
    plans = (
        f"{frame['plan_digest'].nunique():,} plans, from {_short(frame['plan_digest'].iloc[0])} to {_short(frame['plan_digest'].iloc[-1])}"
    )
    console.print(f"{runs[0].upper()}{runs[1:]}; {plans}: every run, with its digest, in sweep.csv.{legend}", markup=False)
    if len(cells) > MAX_ROWS:
        console.print(f"{len(cells) - MAX_ROWS:,} more cells are in sweep.csv.")
    if found:
        _print_capacities(found, console)


def _short(digest: str) -> str:
    """The beginning of a digest, enough to find it."""
    return digest.removeprefix("sha256:")[:8]


def _cell_table(cells: pd.DataFrame, axes: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for axis in axes:
        table.add_column(re.sub(r"([._])", r"\1\n", axis.rpartition(":")[2]), justify="right", no_wrap=True)
    for head in (*(HEADS[name] for name in numbers), ""):
        table.add_column(head.replace(" ", "\n", 1), justify="right", no_wrap=True)
    for row in cells.head(MAX_ROWS).to_dict("records"):
        mark = "!" if row["overloaded"] else ""
        table.add_row(*(f"{row[name]}" for name in axes), *(value_text(name, row[name]) for name in numbers), mark)
    return table


def _print_capacities(found: Sequence[Json], console: Console) -> None:
    """A row for each combination of the other axes."""
    console.print(f"Capacity at the SLO, with its {100 * CONFIDENCE:g} % interval:", markup=False)
    for one in found:
        at = at_text(one["at"])
        console.print(f"  {at + ': ' if at else ''}{capacity_text(one)}", markup=False, soft_wrap=True)


def at_text(values: Mapping[str, Any]) -> str:
    """Where in the grid: "tp=2, max_running=32"."""
    return ", ".join(f"{name}={value}" for name, value in values.items())


def capacity_text(one: Mapping[str, Any]) -> str:
    """A capacity with its interval, or why there is none."""
    low, high = ("?" if one[end] is None else f"{one[end]:.3g}" for end in ("low", "high"))
    return str(one["note"]) if one["value"] is None else f"{one['value']:.3g}/s [{low} to {high}]"


def value_text(name: str, value: float | None) -> str:
    """A number of a sweep, as a person reads it."""
    if value is None or value != value:
        return "-"
    if name in ("attainment", "success_rate"):
        return format_share(value)
    return (
        format_duration(value)
        if name.endswith("_s") and not name.endswith("_per_s")
        else f"{value:,.0f}"
        if value >= 100
        else f"{value:.3g}"
    )
