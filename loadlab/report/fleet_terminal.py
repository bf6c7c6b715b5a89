"""A fleet plan for people at a terminal: the answer, the day hour by hour, the year."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from loadlab.report.fleet import capacity_text, demand_text, rule_text
from loadlab.report.text import clean_text

Json = dict[str, Any]
MARKS = {"held": "", "open": "?", "broken": "!", "empty": ""}
MOST_DAYS = 4  # columns of simulated days that fit 80


def print_fleet(summary: Json, console: Console) -> None:
    """The whole plan."""
    console.print(clean_text(summary["name"]), style="bold", markup=False)
    for sentence in summary["sentences"]:
        console.print(clean_text(sentence), style="bold", markup=False)
    for text in (demand_text(summary), capacity_text(summary), rule_text(summary)):
        console.print(clean_text(text), markup=False)
    console.print(hour_table(summary))
    if summary["days"]:
        console.print(
            "per cent: good requests of the simulated hour. !: the SLO was broken, ?: not proven (90 % interval; fleet.json has "
            "it). Replicas of all regions together.",
            markup=False,
        )
    console.print(year_table(summary))
    if summary["tiers"]:
        console.print(tier_table(summary))
    for note in (*summary["notes"], *summary["unsure"]):
        console.print(f"note: {clean_text(note)}", markup=False)
    if summary["break_even"] is not None:
        console.print("its break-even:", markup=False)
        console.print(clean_text(summary["break_even"]["command"]), markup=False, soft_wrap=True)


def _table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def hour_table(summary: Json) -> Table:
    """A row for each hour of the busiest day."""
    days = summary["days"][:MOST_DAYS]
    table = _table("hour", "demand", "needed", "static", "scaled", *(_head(day["name"]) for day in days))
    static = str(summary["static"]["replicas"])
    for row in summary["hours"]:
        h = row["hour"]
        scaled = f"{row['started']}" if row["started"] == row["started_least"] else f"{row['started_least']}-{row['started']}"
        table.add_row(
            f"{h}", f"{row['mean_per_s']:.3g}/s", str(row["needed"]), static, scaled, *(cell(day["hours"][h]) for day in days)
        )  # fmt: skip
    return table


def _head(name: str) -> str:
    return clean_text(name).replace(", ", "\n").replace(" lost", "\nlost")


def cell(hour: Json) -> str:
    """ "99.7!": attainment in per cent, and whether that is too little."""
    return "-" if hour["attainment"] is None else f"{MARKS[hour['verdict']]}{percent(hour['attainment'])}"


def percent(share: float) -> str:
    """100 only where nothing was bad."""
    text = f"{100 * share:.2f}" if share > 0.99 else f"{100 * share:.1f}"
    return text if share == 1 or not text.startswith("100") else "99.99"


def year_table(summary: Json) -> Table:
    """A row for each month, and the year."""
    table = _table("month", "peak", "static", "scaled", "GPU-hours\nstatic", "GPU-hours\nscaled", "USD\nstatic", "USD\nscaled")
    for row in summary["months"]:
        table.add_row(
            str(row["month"] + 1), f"{row['peak_per_s']:.3g}/s", str(row["static_replicas"]), f"up to {row['scaled_most']}",
            *_amounts(row["static"], row["autoscaled"]),
        )  # fmt: skip
    table.add_row("year", "", "", "", *_amounts(summary["year"]["static"], summary["year"]["autoscaled"]), style="bold")
    return table


def _amounts(static: Json, scaled: Json) -> list[str]:
    return [amount(one[key]) for key in ("gpu_hours", "usd") for one in (static, scaled)]


def amount(value: float | None) -> str:
    """ "10,220"; "-" where it is not known."""
    return "-" if value is None else f"{value:,.0f}"


def tier_table(summary: Json) -> Table:
    """A row for each share of the small model."""
    table = _table("small model answers", "small\nreplicas", "large\nreplicas", "small\nGPUs", "large\nGPUs", "USD a\nmonth")
    static = summary["static"]
    table.add_row("0 %", "0", str(static["replicas"]), "0", amount(static["gpus"]), amount(static["month"]["usd"]))
    for row in summary["tiers"]:
        name = f"{100 * row['small_share']:g} % ({row['style']})"
        table.add_row(
            name,
            str(row["small_replicas"]),
            str(row["large_replicas"]),
            str(row["small_gpus"]),
            amount(row["large_gpus"]),
            amount(row["usd_per_month"]),
        )
    return table
