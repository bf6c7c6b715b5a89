"""A comparison drawn: the change of each metric with its bounds and pairs, and the shift of each decile. Equal comparisons, equal bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from loadlab.analysis.compare import Comparison, Difference, Finding, Shift
from loadlab.analysis.readings import DECILES, is_relative
from loadlab.report.figure_style import BLACK, BLUE, GREEN, ORANGE, RC, VERMILION, as_svg

_COLOURS = {Finding.WORSE: VERMILION, Finding.BETTER: GREEN, Finding.NOTHING: BLACK, Finding.UNKNOWN: "#777777"}
_SHIFTS = (("ttft", "TTFT", ORANGE), ("tpot", "TPOT", BLUE), ("e2e", "end to end", GREEN))
_WIDEST = math.log(1000)  # beyond it a bound is drawn to the edge


def draw_comparison(comparison: Comparison, name: str) -> tuple[str, bytes]:
    """The figure as SVG text for a page, and as PNG. Left: changes of seconds and rates; right: the shift function."""
    shown = [d for d in comparison.differences if is_relative(d.metric) and d.effect is not None]
    with mpl.rc_context(RC | {"svg.hashsalt": f"comparison {name}"}):
        figure = Figure(figsize=(8.4, max(2.6, 1.1 + 0.19 * len(shown))))
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (3, 2)})
        _draw_changes(left, shown)
        _draw_shifts(right, comparison.shifts)
        height = figure.get_figheight()
        figure.subplots_adjust(left=0.11, right=0.985, top=1 - 0.35 / height, bottom=0.5 / height, wspace=0.2)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=150, metadata={"Software": None})
        return as_svg(figure, f"change of each metric, candidate against base, of {name}"), png.getvalue()


def _percent(x: float) -> float:
    return 100 * math.expm1(max(-_WIDEST, min(x, _WIDEST)))


def _draw_changes(axes: Axes, shown: Sequence[Difference]) -> None:
    axes.set_title("change, % of the base: mean, bounds, each pair", fontsize=9, loc="left")
    axes.axvline(0, color="#999999", linewidth=1)
    for row, d in enumerate(shown):
        assert d.effect is not None
        colour = _COLOURS[d.finding]
        if len(d.differences) > 1:
            axes.plot([_percent(x) for x in d.differences], [row] * len(d.differences), "|", color=colour, alpha=0.45, markersize=6)
        if d.low is not None and d.high is not None:
            axes.plot([_percent(d.low), _percent(d.high)], [row, row], color=colour, linewidth=2)
        axes.plot([_percent(d.effect)], [row], "o", color=colour, markersize=4.5)
    axes.set_yticks(range(len(shown)), [str(d.metric) for d in shown], fontsize=8)
    axes.set_ylim(max(len(shown), 1) - 0.4, -0.6)
    axes.set_xlabel("%   left: better, right: worse" if shown and all(d.metric.unit.value == "s" for d in shown) else "%")
    _fit(axes, shown)
    axes.tick_params(left=False)


def _fit(axes: Axes, shown: Sequence[Difference]) -> None:
    """Wide enough for every effect and most bounds: one that is almost open runs out of the picture."""
    effects = [abs(_percent(d.effect)) for d in shown if d.effect is not None]
    ends = [abs(_percent(x)) for d in shown for x in (d.low, d.high) if x is not None]
    reach = max([1.0, *(1.15 * x for x in effects), 1.15 * float(np.quantile(ends, 0.9)) if ends else 0.0])
    axes.set_xlim(-reach, reach)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, symmetric=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}" if x else "0"))


def _draw_shifts(axes: Axes, shifts: Sequence[Shift]) -> None:
    axes.set_title("shift of each decile, %", fontsize=9, loc="left")
    axes.axhline(0, color="#999999", linewidth=1)
    by_name = {shift.latency: shift for shift in shifts}
    for name, words, colour in _SHIFTS:
        shift = by_name.get(name)
        if shift is None:
            continue
        axes.plot([100 * p for p in DECILES], [_percent(x) for x in shift.effects], "o-", color=colour, markersize=3, label=words)
        known = [
            (100 * p, low, high)
            for p, low, high in zip(DECILES, shift.lows, shift.highs, strict=True)
            if low is not None and high is not None
        ]
        if known:
            at, lows, highs = zip(*known, strict=True)
            axes.fill_between(at, [_percent(x) for x in lows], [_percent(x) for x in highs], color=colour, alpha=0.15, linewidth=0)
    axes.set_xticks([10, 30, 50, 70, 90])
    axes.set_xlabel("percentile: where in the distribution")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, min_n_ticks=3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}" if x else "0"))
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="best", handlelength=1.2)
    else:
        axes.text(0.5, 0.5, "not known of a saved baseline", transform=axes.transAxes, ha="center", color="#555555")
