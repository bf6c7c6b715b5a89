"""The figure of a calibration: each latency against the rate, as measured, and as simulated before and after. Equal input, equal bytes."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from loadlab.report.calibration import LATENCIES
from loadlab.report.figure_style import BLUE, ORANGE, RC, as_svg
from loadlab.report.text import clean_text
from loadlab.units import format_duration

Json = Mapping[str, Any]


def draw_calibration(summary: Json) -> str:
    """A panel for each latency: its mean and p90 over the rate."""
    figures = summary["figures"]
    latencies = [latency for latency in LATENCIES if any(f["latency"] == latency for f in figures)]
    with mpl.rc_context(RC | {"svg.hashsalt": f"calibration {summary['cluster']}"}):
        figure = Figure(figsize=(3.6 * max(1, len(latencies)) + 0.6, 4.0))
        panels = figure.subplots(1, len(latencies), squeeze=False)[0]
        for axes, latency in zip(panels, latencies, strict=True):
            _draw(axes, [f for f in figures if f["latency"] == latency], LATENCIES[latency])
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="upper center", ncols=min(6, 2 * len(latencies)), columnspacing=1.2)
        figure.text(0.02, 0.015, textwrap.fill(clean_text(summary["sentence"]), 60 * len(latencies)), fontsize=7.5, color="#555555")
        figure.subplots_adjust(left=0.09, right=0.985, top=0.93 - 0.06 * -(-3 // len(latencies)), bottom=0.2, wspace=0.28)
        return as_svg(figure, f"measured and simulated latencies against the rate: {summary['sentence']}")


def _draw(axes: Axes, figures: Sequence[Json], title: str) -> None:
    for what, marker, fill in (("mean", "o", True), ("p90", "s", False)):
        rows = sorted((f for f in figures if f["what"] == what), key=lambda f: f["rate_per_s"])
        rates = [f["rate_per_s"] for f in rows]
        errors = [[f["measured"] - _end(f, "low") for f in rows], [_end(f, "high") - f["measured"] for f in rows]]
        axes.errorbar(
            rates, [f["measured"] for f in rows], yerr=errors, fmt=marker, color=BLUE, markerfacecolor=BLUE if fill else "white",
            markersize=5, capsize=2, linewidth=1, label=f"measured {what}, 90 %",
        )  # fmt: skip
        line = "-" if fill else "--"
        axes.plot(rates, [f["after"] for f in rows], line, color=BLUE, label=f"calibrated {what}", marker="" if len(rows) > 1 else "x")
        axes.plot(rates, [f["before"] for f in rows], line, color=ORANGE, label=f"before {what}", marker="" if len(rows) > 1 else "x")
    axes.set_title(title)
    axes.set_xlabel("offered, requests a second")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: format_duration(y) if y > 0 else "0"))


def _end(figure: Json, end: str) -> float:
    value = figure[end]
    return float(figure["measured"] if value is None else value)
