"""A plan drawn: what each cluster costs against TTFT, TPOT and goodput. Equal summaries give equal bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from loadlab.report.figure_style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RC, SKY, VERMILION, as_svg
from loadlab.report.plan_terminal import percent
from loadlab.units import format_duration

Json = Mapping[str, Any]
_COLOURS = (BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, BLACK)  # by GPU, in the order asked
_MARKERS = "osD^vPX"
PANELS = (("ttft_s", "TTFT"), ("tpot_s", "TPOT"), ("goodput_per_s", "good requests a second"))


def draw_plan(summary: Json) -> str:
    """Three panels over the bill: every cluster that was run, filled where it holds, with the front and the chosen one."""
    looks = dict(zip(summary["gpus"], zip(_COLOURS * 2, _MARKERS * 2, strict=False), strict=False))
    with mpl.rc_context(RC | {"svg.hashsalt": f"plan {summary['name']}"}):
        figure = Figure(figsize=(8.4, 9.6))
        panels = figure.subplots(3, 1, sharex=True)
        for axes, (key, words) in zip(panels, PANELS, strict=True):
            _draw_clusters(axes, summary["clusters"], key, looks)
            _draw_front(axes, summary, key)
            axes.set_xscale("log")
            is_time = key != "goodput_per_s"
            if is_time:
                axes.set_yscale("log")
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: format_duration(y)))
                axes.yaxis.set_minor_locator(NullLocator())
            axes.set_ylabel(f"{words} {percent(summary)}" if is_time else words)
            limit = summary["limits_s"].get(key.removesuffix("_s"))
            if limit is not None:
                axes.axhline(limit, color=VERMILION, linewidth=0.9, linestyle="--", label=f"limit {format_duration(limit)}")
            axes.legend(loc="best", fontsize=7.5, ncols=2)
        _money_axis(panels[-1])
        figure.align_ylabels(panels)
        figure.subplots_adjust(left=0.11, right=0.98, top=0.99, bottom=0.06, hspace=0.09)
        return as_svg(figure, f"cost a month against TTFT, TPOT and goodput of {summary['name']}: {summary['sentence']}")


def _money_axis(axes: Axes) -> None:
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"${x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("rent a month")


def _draw_clusters(axes: Axes, clusters: Sequence[Json], key: str, looks: Mapping[str, tuple[str, str]]) -> None:
    for gpu, (colour, marker) in looks.items():
        own = [(row["usd_per_month"], value, row["holds"]) for row in clusters if row["gpu"] == gpu and (value := _value(row, key))]
        for holds in (False, True):
            bills, values = ([one[i] for one in own if one[2] is holds] for i in (0, 1))
            label = f"{gpu}{'' if holds else ', misses'}" if bills else None
            axes.scatter(
                bills, values, s=16, marker=marker, linewidths=0.7, facecolors=colour if holds else "none", edgecolors=colour, alpha=0.75,
                label=label,
            )  # fmt: skip


def _draw_front(axes: Axes, summary: Json, key: str) -> None:
    """The best of this panel alone that can be had for a bill, among those that hold; and where the chosen one lies."""
    holding = sorted((r for r in summary["clusters"] if r["holds"] and _value(r, key) is not None), key=lambda r: r["usd_per_month"])
    best: list[tuple[float, float]] = []
    for row in holding:
        value = _value(row, key)
        assert value is not None
        if not best or (value > best[-1][1] if key == "goodput_per_s" else value < best[-1][1]):
            best.append((row["usd_per_month"], value))
    if best:
        best.append((holding[-1]["usd_per_month"], best[-1][1]))
        axes.step(*zip(*best, strict=True), where="post", color=BLACK, linewidth=0.9, label="best for the money")
    chosen = summary["chosen"]
    if chosen is None:
        return
    value = chosen["edges"]["median"].get(key, chosen.get(key))
    if value is not None:
        axes.plot([chosen["usd_per_month"]], [value], marker="*", markersize=13, color=VERMILION, linestyle="none", label="chosen")


def _value(row: Json, key: str) -> float | None:
    found = row[key]
    value: float | None = found["value"] if isinstance(found, Mapping) else found
    return value
