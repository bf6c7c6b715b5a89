"""The pictures of docs/statistics.md, from runs of the simulator: `python -m tests.bench.statistics_pictures` writes docs/pictures/."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from loadlab.analysis.intervals import autocorrelation_time, interval_ranks, quantile_estimate
from loadlab.analysis.latency import order_statistic
from loadlab.analysis.table import FloatArray
from loadlab.report.figure_style import BLUE, GREEN, ORANGE, RC, VERMILION, as_svg, as_svg_file
from tests.bench.statistics import simulate, ttft

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
RUNS = 60
LONG_RUN, WARM_UP = 400_000, 20_000
LENGTHS = (250, 500, 1_000, 2_000, 4_000, 10_000)


def long_p99(load: float) -> float:
    """p99 TTFT of a very long run: as near to the truth as one comes."""
    return order_statistic(ttft(simulate(load, LONG_RUN, 7))[WARM_UP:], 0.99) or 0.0


def draw_clumps() -> Figure:
    """The beginnings of two runs of 10,000 requests in due order, those above p90 marked; tau is that of the whole run's interval."""
    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    for axes, load in zip(figure.subplots(2, 1, sharex=True), (0.5, 0.9), strict=True):
        run = ttft(simulate(load, LENGTHS[-1], 3))
        values, tau = run[:2_000], autocorrelation_time(run, 0.99)
        q90 = order_statistic(values, 0.9) or 0.0
        slow = values > q90
        axes.plot(np.flatnonzero(~slow), values[~slow], ".", color=BLUE, markersize=2, rasterized=True)
        axes.plot(np.flatnonzero(slow), values[slow], ".", color=VERMILION, markersize=3, label="slower than p90", rasterized=True)
        worth = f"of 10,000 requests; 2,000 say as much as {2_000 / tau:,.0f}"
        axes.set_title(f"{100 * load:.0f} % load: tau of p99 = {tau:.0f}, {worth}", loc="left", fontsize=9)
        axes.set_ylabel("TTFT, s")
        axes.set_ylim(bottom=0)
    axes.set_xlabel("request, in the order in which they were due")
    axes.legend(loc="upper left")
    return figure


def draw_coverage(load: float = 0.8, n: int = 2_000) -> Figure:
    """Forty runs: their intervals on p99 as independent requests would have them, and as n / tau has them, beside the truth."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    true = long_p99(load)
    runs = [ttft(simulate(load, n, 1_000 + i)) for i in range(40)]
    for axes, name, counts_tau in zip(
        figure.subplots(1, 2, sharey=True, sharex=True), ("as if independent", "n / tau"), (False, True), strict=True
    ):
        missed = 0
        for i, values in enumerate(runs):
            found = quantile_estimate(values, 0.99)
            low, high = (found.low, found.high) if counts_tau else naive(values)
            misses = (low is not None and low > true) or (high is not None and high < true)
            missed += misses
            end = 2.6 * true if high is None else high
            axes.plot([low or 0.0, end], [i, i], color=VERMILION if misses else BLUE, linewidth=1.4)
            if high is None:
                axes.plot(end, i, ">", color=BLUE, markersize=3)
        axes.axvline(true, color=GREEN, linestyle="--", linewidth=1.2)
        axes.set_title(f"{name}: {missed} of {len(runs)} miss", loc="left", fontsize=9)
        axes.set_xlabel("p99 TTFT, s (dashed: true)")
        axes.set_xlim(0, 2.7 * true)
    figure.axes[0].set_ylabel(f"run of {n:,} requests at {100 * load:.0f} % load")
    return figure


def naive(values: FloatArray) -> tuple[float, float]:
    """The textbook interval: tau = 1."""
    low, high = interval_ranks(len(values), 0.99)
    ordered = np.sort(values)
    assert low is not None
    assert high is not None
    return float(ordered[low - 1]), float(ordered[high - 1])


def draw_short_runs(load: float = 0.9) -> Figure:
    """What runs of several lengths read for p99, as a share of the truth: the middle, and 80 % of the runs."""
    figure = Figure(figsize=(7.2, 3.0), layout="constrained")
    axes = figure.subplots()
    true = long_p99(load)
    runs = [ttft(simulate(load, LENGTHS[-1], 1_000 + i)) for i in range(RUNS)]
    read = np.array([[(order_statistic(values[:n], 0.99) or 0.0) / true for n in LENGTHS] for values in runs])
    low, middle, high = np.quantile(read, [0.1, 0.5, 0.9], axis=0)
    axes.fill_between(LENGTHS, low, high, color=ORANGE, alpha=0.3, label="80 % of the runs")
    axes.plot(LENGTHS, middle, "o-", color=BLUE, markersize=4, label="the middle run")
    axes.axhline(1.0, color=GREEN, linestyle="--", linewidth=1.2, label="true")
    axes.set_xscale("log")
    axes.set_xticks(LENGTHS, [f"{n:,}" for n in LENGTHS])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"requests in the run, at {100 * load:.0f} % load")
    axes.set_ylabel("p99 TTFT read / true")
    axes.legend(loc="upper left")
    return figure


def main() -> None:
    """Draws every picture."""
    FOLDER.mkdir(exist_ok=True)
    with mpl.rc_context(RC | {"svg.hashsalt": "loadlab", "savefig.dpi": 150}):
        for name, draw, said in (
            ("clumps", draw_clumps, "TTFT of two runs in due order: at 90 % load slow requests come in clumps"),
            ("coverage", draw_coverage, "Intervals on p99 of forty runs, as if independent and by n / tau, beside the true value"),
            ("short-runs", draw_short_runs, "p99 that short runs read near saturation, as a share of the true one"),
        ):
            (FOLDER / f"{name}.svg").write_bytes(as_svg_file(as_svg(draw(), said)))


if __name__ == "__main__":
    main()
