"""A sweep as one tidy table: CSV and JSON for machines, a table of medians over seeds for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from loadlab.record.atomic_file import save_bytes
from loadlab.report.break_even import dump_json
from loadlab.units import format_duration, format_share

SCHEMA = "loadlab/sweep/1"
SHOWN = ("attainment", "success_rate", "ttft_p95_s", "tpot_p95_s", "e2e_p95_s", "output_tokens_per_s")
HEADS: Mapping[str, str] = {
    "attainment": "attainment", "success_rate": "success", "ttft_p95_s": "TTFT p95", "tpot_p95_s": "TPOT p95",
    "e2e_p95_s": "e2e p95", "output_tokens_per_s": "output tok/s",
}  # fmt: skip
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


def save_sweep(frame: pd.DataFrame, axes: Sequence[str], out: Path, facts: Mapping[str, Any]) -> Json:
    """Writes sweep.csv, sweep.json and the figures into `out`. Returns the JSON."""
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_sweep import draw_sweep

    summary = {"schema": SCHEMA, **facts, "axes": list(axes), "rows": frame.astype(object).where(frame.notna(), None).to_dict("records")}
    save_bytes(out / "sweep.csv", frame.to_csv(index=False).encode())
    save_bytes(out / "sweep.json", dump_json(summary))
    for metric in (name for name in ("attainment", "ttft_p95_s", "output_tokens_per_s") if frame[name].notna().any()):
        save_bytes(out / f"{metric}.svg", as_svg_file(draw_sweep(medians(frame, axes), axes, metric, str(facts["name"]))))
    return summary


def print_sweep(frame: pd.DataFrame, axes: Sequence[str], console: Console) -> None:
    """A row for each cell: medians over its seeds."""
    cells = medians(frame, axes)
    numbers = [name for name in SHOWN if name in cells]
    table = Table(box=box.SIMPLE_HEAD)
    for head in (*axes, *(HEADS[name] for name in numbers), ""):
        table.add_column(str(head), justify="right")
    for row in cells.head(MAX_ROWS).to_dict("records"):
        mark = "" if not row["overloaded"] else "overloaded" if row["overloaded"] == 1 else "overloaded in some"
        table.add_row(*(f"{row[name]}" for name in axes), *(value_text(name, row[name]) for name in numbers), mark)
    console.print(table)
    seeds = int(cells["seeds"].max())
    console.print(f"Medians over {seeds} seed{'s' if seeds > 1 else ''} a cell; one row for each run in sweep.csv.")
    if len(cells) > MAX_ROWS:
        console.print(f"{len(cells) - MAX_ROWS:,} more cells are in sweep.csv.")


def value_text(name: str, value: float | None) -> str:
    """A number of a sweep, as a person reads it."""
    if value is None or value != value:
        return "-"
    if name in ("attainment", "success_rate"):
        return format_share(value)
    return format_duration(value) if name.endswith("_s") and not name.endswith("_per_s") else f"{value:,.3g}"
