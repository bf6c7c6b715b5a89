"""A fit drawn beside its trace: rate over time, bursts at each width of window, lengths."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from loadlab.analysis.table import FloatArray, IntArray
from loadlab.analysis.trace_fit import TraceFit
from loadlab.report.figure_style import BLUE, ORANGE, RC
from loadlab.report.figures_trace import length_axis
from loadlab.scenario.build import build_plan
from loadlab.scenario.plan import RequestPlan

COLUMNS = 200


def save_fit(fit: TraceFit, title: str, file: Path) -> None:
    """Writes the figure; its ending says the format, png or svg. What is generated is drawn for seed 1."""
    plan = build_plan(fit.scenario, 1)
    with mpl.rc_context(RC | {"svg.hashsalt": f"fit {title}"}):
        figure = Figure(figsize=(9, 7.4))
        grid = figure.add_gridspec(3, 6, height_ratios=(1, 1, 1))
        _rate(figure.add_subplot(grid[0, :]), fit, plan)
        for k, burst in enumerate(fit.bursts):
            _counts(figure.add_subplot(grid[1, 2 * k : 2 * k + 2]), fit, plan.arrival_s, burst.window_s)
        _lengths(figure.add_subplot(grid[2, :3]), "prompt", fit.trace.prompt_tokens, plan.prompt_tokens)
        _lengths(figure.add_subplot(grid[2, 3:]), "answer", fit.trace.output_tokens, plan.output_tokens)
        told = "a good fit" if fit.is_good else "NOT a good fit"
        figure.suptitle(f"{title}: {fit.chosen.name}; {told}", x=0.02, ha="left", fontsize=11)
        figure.subplots_adjust(left=0.08, right=0.98, top=0.92, bottom=0.07, hspace=0.55, wspace=1.0)
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def _rate(axes: Axes, fit: TraceFit, plan: RequestPlan) -> None:
    width_s = max(1.0, float(np.ceil(fit.span_s / COLUMNS)))
    edges = np.append(np.arange(0, fit.span_s - width_s / 2, width_s), fit.span_s)
    for times, colour, label in ((fit.trace.arrival_s, BLUE, "trace"), (plan.arrival_s, ORANGE, "generated, seed 1")):
        rates = np.histogram(times, edges)[0] / np.diff(edges)
        axes.stairs(rates, edges, color=colour, label=label, fill=label == "trace", alpha=0.5 if label == "trace" else 1)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, fit.span_s)
    axes.set_xlabel("seconds since the start")
    axes.set_ylabel("requests a second")
    axes.set_title(f"rate, {width_s:g} s a column", fontsize=8, loc="left")
    axes.legend(fontsize=7, loc="upper right")


def _counts(axes: Axes, fit: TraceFit, generated_s: FloatArray, window_s: int) -> None:
    """Share of windows with more than so many requests."""
    from scipy.stats import poisson

    n = int(fit.span_s // window_s)
    for times, colour, style in ((fit.trace.arrival_s, BLUE, "-"), (generated_s, ORANGE, "--")):
        counts = np.sort(np.bincount((times // window_s).astype(np.int64), minlength=n)[:n])
        axes.step(counts, 1 - np.arange(1, n + 1) / n, where="post", color=colour, linestyle=style)
        at = np.arange(0, int(counts[-1]) + 2)
    axes.step(at, poisson.sf(at, fit.rows / fit.span_s * window_s), where="post", color="#888888", linestyle=":")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.3g}"))
    axes.set_ylim(max(1e-3, 0.5 / n), 1)
    axes.set_xlabel(f"requests in {window_s} s")
    axes.set_title("share of windows above; dotted: Poisson", fontsize=7, loc="left")


def _lengths(axes: Axes, name: str, trace: IntArray, generated: IntArray) -> None:
    for tokens, colour, style, label in ((trace, BLUE, "-", "trace"), (generated, ORANGE, "--", "generated, seed 1")):
        ordered = np.sort(tokens)
        shares = 100 * np.arange(1, len(ordered) + 1) / len(ordered)
        axes.step(ordered, shares, where="post", color=colour, linestyle=style, label=label)
    length_axis(axes)
    axes.set_xlabel(f"{name} tokens")
    axes.legend(fontsize=7, loc="upper left")
