"""The figures of a fleet plan: replicas over the day, attainment by hour, the year. Equal summaries give equal bytes."""

from __future__ import annotations

import textwrap
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from loadlab.report.figure_style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RC, SKY, VERMILION, as_svg
from loadlab.report.fleet import capacity_text
from loadlab.report.text import clean_text

Json = dict[str, Any]
MARKERS = ("o", "s", "^", "D", "v", "P")
COLOURS = (BLACK, BLUE, ORANGE, PURPLE, GREEN, SKY)  # vermilion says that something broke
HOURS = 24


def draw_day(summary: Json) -> str:
    """Demand and replicas over the busiest day: what it needs, always on, autoscaled ahead, and late."""
    hours = summary["hours"]
    edges = np.arange(HOURS + 1)
    with mpl.rc_context(RC | {"svg.hashsalt": f"fleet day {summary['name']}"}):
        figure = Figure(figsize=(8.4, 5.2))
        top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [1, 2]})
        top.stairs([row["mean_per_s"] for row in hours], edges, color=BLUE, label="mean of the hour", fill=True, alpha=0.25)
        top.stairs([row["peak_per_s"] for row in hours], edges, color=BLUE, label="its highest minute")
        top.set_ylabel("arrivals a second")
        top.set_ylim(bottom=0)
        static = summary["static"]["replicas"]
        bottom.stairs([static] * HOURS, edges, color=BLACK, label=f"always on: {static}")
        bottom.stairs([row["started"] for row in hours], edges, color=BLUE, label="autoscaled ahead, at most, starting too", linewidth=1.8)
        bottom.stairs([row["needed"] for row in hours], edges, color=GREEN, label="needed", linestyle="--")
        if any(row["late_by"] > 0 for row in hours):
            bottom.stairs(
                [row["late_least"] for row in hours], edges, color=VERMILION, label="up in the worst minute, if started late", linestyle=":"
            )
        bottom.set_ylabel("replicas, all regions")
        bottom.set_ylim(0, static * 1.3 + 1)
        bottom.yaxis.set_major_locator(MaxNLocator(integer=True))
        _hour_axis(bottom)
        for axes in (top, bottom):
            axes.legend(loc="upper left", ncols=2)
        top.set_ylim(top=1.35 * max(row["peak_per_s"] for row in hours))
        _caption(figure, capacity_text(summary))
        return as_svg(figure, f"demand and replicas over the day of {summary['name']}: {summary['sentences'][0]}")


def draw_held(summary: Json) -> str:
    """Share of good requests in each hour of each simulated day, with its 90 % interval, against the target."""
    days, target = summary["days"], 1 - summary["error_budget"]
    with mpl.rc_context(RC | {"svg.hashsalt": f"fleet held {summary['name']}"}):
        figure = Figure(figsize=(8.4, 1.5 + 1.55 * len(days)))
        grid = figure.subplots(len(days), 1, sharex=True, squeeze=False)[:, 0]
        for axes, day, colour, marker in zip(grid, days, COLOURS, MARKERS, strict=False):
            _draw_day(axes, day, colour, marker)
            axes.axhline(100 * target, color=VERMILION, linewidth=1, linestyle="--")
            axes.set_title(f"{clean_text(day['name'])}: {clean_text(day['about'])}", fontsize=8.5, loc="left")
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} %"))
            low = min((hour["low"] for hour in day["hours"] if hour["low"] is not None), default=target)
            axes.set_ylim(100 * min(low, target) - 0.08 * (100 - 100 * min(low, target)) - 0.05, 100 + 0.1 * (100 - 100 * min(low, target)))
        _hour_axis(grid[-1])
        first = days[0]
        played = "the whole day" if first["minutes_of_each_hour"] == 60 else f"{first['minutes_of_each_hour']} min of each hour"
        _caption(figure, f"good requests; target {100 * target:g} % (dashed); bars: 90 % interval; {played}, seed {summary['seed']}")
        return as_svg(figure, f"SLO attainment by hour of {summary['name']}: {'; '.join(summary['sentences'][1:])}")


def _draw_day(axes: Axes, day: Json, colour: str, marker: str) -> None:
    for hour in day["hours"]:
        if hour["attainment"] is None:
            continue
        at, low, high = (100 * hour[key] for key in ("attainment", "low", "high"))
        face = colour if hour["verdict"] == "held" else "white"
        edge = VERMILION if hour["verdict"] == "broken" else colour
        axes.errorbar(
            [hour["hour"] + 0.5], [at], yerr=[[max(0.0, at - low)], [max(0.0, high - at)]], fmt=marker, color=edge, markerfacecolor=face,
            markersize=4.5, capsize=2, linewidth=1,
        )  # fmt: skip


def draw_year(summary: Json) -> str:
    """Replicas by month of growth, and what the months cost: GPU-hours, or replica-hours where GPUs are not known."""
    months = summary["months"]
    key = "usd" if summary["price"] is not None and months[0]["static"]["usd"] is not None else "gpu_hours"
    key = key if months[0]["static"][key] is not None else "replica_hours"
    edges = np.arange(len(months) + 1) + 0.5
    with mpl.rc_context(RC | {"svg.hashsalt": f"fleet year {summary['name']}"}):
        figure = Figure(figsize=(8.4, 4.2))
        left, right = figure.subplots(1, 2)
        left.stairs([m["static_replicas"] for m in months], edges, color=BLACK, label="always on")
        left.stairs([m["scaled_most"] for m in months], edges, color=BLUE, label="autoscaled, at most", linestyle="--")
        left.set_ylabel("replicas, all regions")
        left.set_ylim(0, 1.25 * max(m["static_replicas"] for m in months) + 1)
        left.yaxis.set_major_locator(MaxNLocator(integer=True))
        at = np.arange(len(months)) + 1
        right.bar(at - 0.2, [m["static"][key] for m in months], 0.4, color=BLACK, label="always on", alpha=0.75)
        right.bar(at + 0.2, [m["autoscaled"][key] for m in months], 0.4, color=SKY, label="autoscaled")
        right.set_ylabel({"usd": "USD a month", "gpu_hours": "GPU-hours a month", "replica_hours": "replica-hours a month"}[key])
        right.set_ylim(0, 1.25 * max(m["static"][key] for m in months))
        right.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.0f}"))
        for axes in (left, right):
            axes.set_xlabel("month")
            axes.set_xticks(range(1, len(months) + 1))
            axes.legend(loc="upper left")
        growth = 100 * summary["demand"]["monthly_growth_share"]
        _caption(figure, f"demand grows {growth:g} % a month; each month is planned anew; a month is 730 hours")
        return as_svg(figure, f"replicas and their cost over the year of {summary['name']}")


def _hour_axis(axes: Axes) -> None:
    axes.set_xlim(0, HOURS)
    axes.set_xticks(range(0, HOURS + 1, 3))
    axes.set_xlabel("hour of the busiest day")


def _caption(figure: Figure, text: str) -> None:
    figure.tight_layout(rect=(0, 0.3 / figure.get_figheight(), 1, 1))
    figure.text(0.02, 0.08 / figure.get_figheight(), textwrap.fill(clean_text(text), 130), fontsize=7.5, color="#555555")
