"""A calibration on a terminal: the verdict, the constants, and measured beside simulated at every level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadlab.report.columns import print_first_that_fits, say
from loadlab.report.terminal_styles import GOOD, OPEN
from loadlab.report.text import clean_text
from loadlab.units import format_duration

Json = Mapping[str, Any]
LATENCIES = {"ttft": "TTFT", "tpot": "TPOT", "e2e": "end to end"}


def print_calibration(summary: Json, console: Console) -> None:
    """What was fitted, to what, and how well."""
    say(console, clean_text(summary["sentence"]), "bold red" if summary["is_refused"] else f"bold {GOOD}")
    for run in summary["runs"]:
        digest = run["plan_digest"].removeprefix("sha256:")[:8]
        say(console, f"run   {clean_text(run['name'])}: {run['rate_per_s']:.3g}/s, {run['n']:,} requests, plan {digest}")
        if run["kv_use"] is not None:
            say(console, kv_words(run["kv_use"]), "dim", indent=6)
        for note in run["notes"]:
            say(console, clean_text(note), "dim", indent=6)
    for run in summary["left_out"]:
        say(console, f"left out   {clean_text(run['name'])}: {clean_text(run['why'])}", OPEN)
    console.print(constants_table(summary["constants"]))
    print_first_that_fits(level_tables(summary["figures"]), console)
    say(
        console,
        f"[..] {100 * summary['confidence']:.0f} % intervals. !: more than {100 * summary['limit']:.0f} % off, and by more than "
        f"{format_duration(summary['unseen_s'])}. The same requests at the same times on both sides.",
        "dim",
    )
    if summary["what_next"]:
        say(console, f"{clean_text(summary['what_next'])}.")


def kv_words(kv: Json) -> str:
    """How full the KV memory was, measured and simulated."""
    before, after = ("next to none" if kv[key] is None else f"{100 * kv[key]:.1f} %" for key in ("before", "after"))
    return f"KV memory in use {100 * kv['measured']:.1f} %, simulated {before} before and {after} after"


def constants_table(constants: Sequence[Json]) -> Table:
    """A row for each constant: before, after, interval."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("constant", overflow="fold")
    for head in ("in the file", "fitted"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("[90 %]", no_wrap=True)
    for row in constants:
        table.add_row(row["words"], *constant_cells(row), style="" if row["is_told"] else "dim")
    return table


def constant_cells(row: Json) -> list[str]:
    """A constant in the file, as fitted, and its interval."""
    before, after = (_value(row["name"], row[key]) for key in ("before", "after"))
    interval = "-" if row["is_told"] else ""
    if row["low"] is not None:
        interval = f"{_value(row['name'], row['low'])} to {_value(row['name'], row['high'])}"
    return [before, after if row["is_told"] else "kept", interval]


def level_tables(figures: Sequence[Json]) -> list[Table]:
    """A row for each figure of each level: with all columns, without how it was before, and without the interval too."""
    heads = ("measured", "[90 %]", "before", "off by", "after", "off by")
    return [_level_table(figures, heads, shown) for shown in (range(6), (0, 1, 4, 5), (0, 4, 5))]


def _level_table(figures: Sequence[Json], heads: Sequence[str], shown: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("latency", no_wrap=True)
    for i in shown:
        table.add_column(heads[i], justify="right", no_wrap=True)
    last = None
    for row in figures:
        if last is not None and row["level"] != last:
            table.add_section()
        rate = f"{row['rate_per_s']:.3g}/s" if row["level"] != last else ""
        mark = "!" if row["is_too_far"] else ""
        cells = (
            format_duration(row["measured"]), interval_text(row),
            format_duration(row["before"]), f"{100 * row['difference_before']:+.0f} %",
            format_duration(row["after"]), Text(f"{mark}{100 * row['difference_after']:+.1f} %", style="bold red" if mark else ""),
        )  # fmt: skip
        table.add_row(rate, f"{LATENCIES[row['latency']]} {row['what']}", *(cells[i] for i in shown))
        last = row["level"]
    return table


def interval_text(row: Json) -> str:
    """The measured 90 % interval of a latency."""
    if row["low"] is None or row["high"] is None:
        return "unbounded"
    return f"{format_duration(row['low'])} to {format_duration(row['high'])}"


def _value(name: str, value: float) -> str:
    if name.endswith("_s"):
        return "0" if value < 1e-9 else format_duration(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
