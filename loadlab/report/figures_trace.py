"""A trace drawn as a figure: its rate over time, how counts spread at three widths of window, and its lengths."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from loadlab.analysis.trace_profile import LengthProfile, TraceProfile
from loadlab.report.figure_style import BLUE, GREEN, ORANGE, RC
from loadlab.report.trace import rates_over_time
from loadlab.units import format_duration

_WIDTH_COLOURS = (BLUE, ORANGE, GREEN)


def save_trace(profile: TraceProfile, title: str, file: Path) -> None:
    """Writes the figure; its ending says the format, png or svg."""
    with mpl.rc_context(RC | {"svg.hashsalt": f"trace {title}"}):
        figure = Figure(figsize=(9, 6.2))
        grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.1))
        draw_rate(figure.add_subplot(grid[0, :]), profile)
        draw_counts(figure.add_subplot(grid[1, 0]), profile)
        draw_lengths(figure.add_subplot(grid[1, 1]), profile)
        told = f"{title}: {profile.rows:,} rows of {profile.format.value} in {format_duration(profile.span_s)}"
        figure.suptitle(told, x=0.02, ha="left", fontsize=11)
        figure.subplots_adjust(left=0.08, right=0.98, top=0.9, bottom=0.09, hspace=0.5, wspace=0.22)
        figure.savefig(file, dpi=150, metadata={"Date": None} if file.suffix == ".svg" else None)


def draw_rate(axes: Axes, profile: TraceProfile) -> None:
    """Rate over time."""
    if not profile.span_s:
        axes.set_title("no times, or all at once", fontsize=8, loc="left")
        return
    rates, width_s = rates_over_time(profile, 300)
    edges = np.minimum(np.arange(len(rates) + 1) * width_s, max(profile.span_s, width_s))
    axes.stairs(rates, edges, color=BLUE, fill=True, alpha=0.35)
    axes.stairs(rates, edges, color=BLUE)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0, float(edges[-1]))
    axes.set_xlabel("seconds since the first row")
    axes.set_ylabel("rows a second")
    axes.set_title(f"rate, {width_s:g} s a column; mean {profile.rate_per_s:.3g}/s", fontsize=8, loc="left")


def draw_counts(axes: Axes, profile: TraceProfile) -> None:
    """Share of windows with more than so many times the mean count, beside what Poisson arrivals would give."""
    from scipy.stats import poisson

    for colour, burst in zip(_WIDTH_COLOURS, profile.bursts, strict=False):
        n = len(profile.second_counts) // burst.window_s
        counts = np.sort(np.add.reduceat(profile.second_counts[: n * burst.window_s], np.arange(0, n * burst.window_s, burst.window_s)))
        mean = counts.mean()
        label = f"{burst.window_s} s: dispersion {burst.dispersion:.3g}"
        axes.step(counts / mean, 1 - np.arange(1, n + 1) / n, where="post", color=colour, label=label)
        at = np.arange(0, int(counts[-1]) + 2)
        axes.step(at / mean, poisson.sf(at, mean), where="post", color=colour, linestyle=":", linewidth=1)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{share:.3g}"))
    axes.set_ylim(1e-3, 1)
    axes.set_xlim(left=0)
    axes.set_xlabel("count in a window / mean count")
    axes.set_ylabel("share of windows above")
    axes.set_title("bursts; dotted: Poisson arrivals", fontsize=8, loc="left")
    if profile.bursts:
        axes.legend(fontsize=7)


def draw_lengths(axes: Axes, profile: TraceProfile) -> None:
    """Share of rows up to a length."""
    for name, lengths, colour in (("prompt", profile.prompt, BLUE), ("answer", profile.output, ORANGE)):
        tokens, shares = _curve(lengths)
        axes.step(tokens, shares, where="post", color=colour, label=f"{name}: mean {lengths.mean:,.0f}, max {lengths.maximum:,}")
    length_axis(axes)
    axes.set_title("lengths; a jump at the end is a cap", fontsize=8, loc="left")
    axes.legend(fontsize=7, loc="center left")


def length_axis(axes: Axes) -> None:
    """Tokens on a log axis against shares in per cent."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda tokens, _: f"{tokens / 1000:g}k" if tokens >= 1000 else f"{tokens:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 100)
    axes.set_xlabel("tokens")
    axes.set_ylabel("% of rows up to")


def _curve(lengths: LengthProfile) -> tuple[np.ndarray, np.ndarray]:
    tokens = np.flatnonzero(lengths.counts)
    return np.maximum(tokens, 1), 100 * np.cumsum(lengths.counts[tokens]) / max(1, lengths.counts.sum())
