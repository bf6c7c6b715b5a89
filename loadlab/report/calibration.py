"""A calibration on a terminal: the verdict, the constants, and measured beside simulated at every level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadlab.report.columns import say
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
            say(console, _kv_words(run["kv_use"]), "dim", indent=6)
        for note in run["notes"]:
            say(console, clean_text(note), "dim", indent=6)
    for run in summary["left_out"]:
        say(console, f"left out   {clean_text(run['name'])}: {clean_text(run['why'])}", OPEN)
    console.print(constants_table(summary["constants"]))
    console.print(levels_table(summary["figures"]))
    say(
        console,
        f"[..] {100 * summary['confidence']:.0f} % intervals. !: more than {100 * summary['limit']:.0f} % off, and by more than "
        f"{format_duration(summary['unseen_s'])}. The same requests at the same times on both sides.",
        "dim",
    )
    if summary["what_next"]:
        say(console, f"{clean_text(summary['what_next'])}.")


def _kv_words(kv: Json) -> str:
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
        shown = [_value(row["name"], row[key]) for key in ("before", "after")]
        interval = "" if row["low"] is None else f"{_value(row['name'], row['low'])} to {_value(row['name'], row['high'])}"
        style = "" if row["is_told"] else "dim"
        table.add_row(
            row["words"], shown[0], shown[1] if row["is_told"] else "kept", interval or ("-" if row["is_told"] else ""), style=style
        )
    return table


def levels_table(figures: Sequence[Json]) -> Table:
    """A row for each figure of each level."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("rate", justify="right", no_wrap=True)
    table.add_column("latency", no_wrap=True)
    for head in ("measured", "[90 %]", "before", "off by", "after", "off by"):
        table.add_column(head, justify="right", no_wrap=True)
    last = None
    for row in figures:
        if last is not None and row["level"] != last:
            table.add_section()
        rate = f"{row['rate_per_s']:.3g}/s" if row["level"] != last else ""
        mark = "!" if row["is_too_far"] else ""
        after = Text(f"{mark}{100 * row['difference_after']:+.1f} %", style="bold red" if mark else "")
        table.add_row(
            rate, f"{LATENCIES[row['latency']]} {row['what']}", format_duration(row["measured"]), _interval(row),
            format_duration(row["before"]), f"{100 * row['difference_before']:+.0f} %", format_duration(row["after"]), after,
        )  # fmt: skip
        last = row["level"]
    return table


def _interval(row: Json) -> str:
    if row["low"] is None or row["high"] is None:
        return "unbounded"
    return f"{format_duration(row['low'])} to {format_duration(row['high'])}"


def _value(name: str, value: float) -> str:
    if name.endswith("_s"):
        return "0" if value < 1e-9 else format_duration(value)
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
