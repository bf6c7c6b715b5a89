"""The figure of a capacity study that goes into a design review. Equal summaries give equal bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from loadlab.planning.capacity_curve import interpolate
from loadlab.planning.overlays import fit_usl
from loadlab.report.capacity import rate_text, sure_text
from loadlab.report.figure_style import BLACK, BLUE, GREEN, ORANGE, RC, VERMILION, Drawing, as_svg
from loadlab.report.text import clean_text

Json = Mapping[str, Any]
LEAST_SHARE = 1e-4  # a level without a bad request is drawn here, as an open circle


def draw_capacity(summary: Json) -> Drawing:
    """Two panels over the rate: the bad share with its interval, fit, band, budget and capacity; and what was served."""
    levels = summary["levels"]
    with mpl.rc_context(RC | {"svg.hashsalt": f"capacity {summary['name']}"}):
        figure = Figure(figsize=(8.4, 6.6))
        top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [2, 1]})
        _draw_shares(top, summary)
        _draw_served(bottom, levels)
        for axes in (top, bottom):
            _shade_overload(axes, levels)
        bottom.set_xlabel("offered, arrivals a second")
        figure.text(0.1, 0.015, _caption(summary), fontsize=7.5, color="#555555")
        figure.align_ylabels([top, bottom])
        figure.subplots_adjust(left=0.1, right=0.97, top=0.97, bottom=0.13, hspace=0.1)
        return as_svg(figure, f"bad share against rate of {summary['name']}: {summary['sentence']}")


def _draw_shares(axes: Axes, summary: Json) -> None:
    levels, budget = summary["levels"], summary["error_budget"]
    stable = [level for level in levels if not level["is_overloaded"]]
    axes.set_yscale("log")
    for level in stable:
        share = max(level["bad_share"], LEAST_SHARE)
        low, high = max(level["bad_low"], LEAST_SHARE), max(level["bad_high"], LEAST_SHARE)
        face = BLUE if level["bad"] else "white"
        axes.errorbar(
            [level["rate_per_s"]], [share], yerr=[[max(0.0, share - low)], [max(0.0, high - share)]],
            fmt="o", color=BLUE, markerfacecolor=face, capsize=2, markersize=4, linewidth=1,
        )  # fmt: skip
    _draw_fit(axes, summary, len(stable))
    if "hybrid" in summary:
        _draw_measured(axes, summary["hybrid"]["levels"])
    axes.axhline(budget, color=VERMILION, linewidth=1, label=f"error budget, {100 * budget:g} %")
    capacity = summary["capacity_per_s"]
    if capacity["value"] is not None:
        axes.axvline(capacity["value"], color=BLACK, linewidth=0.8, label=f"capacity {rate_text(capacity['value'])}")
        _shade_interval(axes, capacity, [level["rate_per_s"] for level in levels])
    if summary["certified_per_s"] is not None:
        sure = sure_text(summary["certificate_confidence"], summary["certificate_tolerance"])
        label = f"certified {rate_text(summary['certified_per_s'])} ({sure})"
        axes.axvline(summary["certified_per_s"], color=GREEN, linewidth=1.6, label=label)
    axes.set_ylim(LEAST_SHARE * 0.7, 1.3)
    axes.set_ylabel("bad requests")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g} %"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(loc="upper left")


def _draw_measured(axes: Axes, pairs: list[Json]) -> None:
    """Of a hybrid: each measured level with its interval, and the same rate simulated."""
    rates = [pair["rate_per_s"] for pair in pairs]
    sides = {name: [max(pair[name]["bad_share"], LEAST_SHARE) for pair in pairs] for name in ("measured", "simulated")}
    lows = [share - min(share, max(pair["measured"]["low"], LEAST_SHARE)) for share, pair in zip(sides["measured"], pairs, strict=True)]
    highs = [max(share, pair["measured"]["high"]) - share for share, pair in zip(sides["measured"], pairs, strict=True)]
    axes.errorbar(
        rates, sides["measured"], yerr=[lows, highs], fmt="s", color=ORANGE, capsize=2, markersize=5, linewidth=1, label="measured, 90 %"
    )
    axes.plot(rates, sides["simulated"], "x", color=BLUE, markersize=6, label="the same rates, simulated")


def _shade_interval(axes: Axes, capacity: Json, rates: list[float]) -> None:
    """The interval, to the edge of what was measured where it has no end."""
    open_on = [side for side, end in (("below", "low"), ("above", "high")) if capacity[end] is None]
    low = min(rates) if capacity["low"] is None else capacity["low"]
    high = max(rates) if capacity["high"] is None else capacity["high"]
    label = f"its 90 % interval{', open ' + ' and '.join(open_on) if open_on else ''}"
    axes.axvspan(low, high, color=BLACK, alpha=0.08, linewidth=0, label=label)


def _draw_fit(axes: Axes, summary: Json, stable: int) -> None:
    """The monotone fit and its band, between the first and the last stable level."""
    fitted = summary["fitted"]
    if fitted is None or stable < 2:
        return
    rates = np.asarray(fitted["rates_per_s"], dtype=np.float64)[:stable]
    grid = np.geomspace(rates[0], rates[-1], 120)
    lines = []
    for shares in (fitted["bad_share"], *fitted["band"]):
        at = interpolate(rates, np.maximum(np.asarray(shares, dtype=np.float64)[:stable], LEAST_SHARE))
        lines.append([float(np.exp(at(rate))) for rate in grid])
    axes.plot(grid, lines[0], color=BLUE, label="simulated: monotone fit" if "hybrid" in summary else "monotone fit")
    axes.fill_between(grid, lines[1], lines[2], color=BLUE, alpha=0.15, linewidth=0)


def _draw_served(axes: Axes, levels: list[Json]) -> None:
    known = [level for level in levels if level["served_per_s"] is not None]
    rates, served = [level["rate_per_s"] for level in known], [level["served_per_s"] for level in known]
    axes.plot(rates, served, "o-", color=BLUE, markersize=3, label="OK a second")
    if rates:
        axes.plot(
            [min(rates), max(rates)], [min(rates), max(rates)], color=BLACK, linewidth=0.6, linestyle=":", label="all that is offered"
        )
    usl = fit_usl(known)
    if usl is not None:
        axes.plot(rates, [min(rate, usl.peak_per_s) for rate in rates], color=ORANGE, linewidth=1, label="USL, for the eye only")
    axes.set_ylabel("served a second")
    axes.legend(loc="upper left")


def _shade_overload(axes: Axes, levels: list[Json]) -> None:
    overloaded = [level["rate_per_s"] for level in levels if level["is_overloaded"]]
    if overloaded:
        axes.axvspan(min(overloaded), max(level["rate_per_s"] for level in levels), color=VERMILION, alpha=0.07, linewidth=0)
        axes.text(
            min(overloaded), 0.97, " overloaded: not fitted", transform=axes.get_xaxis_transform(), va="top", fontsize=7, color=VERMILION
        )


def _caption(summary: Json) -> str:
    parts = [summary["slo_text"], summary["target"], f"seed {summary['seed']}", f"{summary['requests']:,} requests", summary["rate_note"]]
    return textwrap.fill(clean_text(" · ".join(part for part in parts if part)), 125)
