"""Series drawn as SVG text, for embedding in a page. Equal series give equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from loadlab.analysis.table import FloatArray
from loadlab.report.figure_style import BLACK, BLUE, GREEN, ORANGE, PURPLE, RC, SKY, VERMILION, YELLOW, Drawing, as_svg
from loadlab.report.series import DistributionSeries, ShardSeries, TimelineSeries
from loadlab.units import format_duration

MAX_STRETCH = 2.0  # a limit farther out than this times the longest is named, not drawn: it would flatten the curve
_REPLICA_COLOURS = (BLUE, ORANGE, GREEN, PURPLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewPoint:
    """One experiment of a campaign's overview; None where nothing succeeded or nothing was planned."""

    label: str
    success: float | None
    low: float | None
    high: float | None
    oom: int
    ttft_p95_s: float | None
    e2e_p95_s: float | None


def draw_timeline(series: TimelineSeries, name: str) -> Drawing:
    """Stacked panels over one time axis: rates, requests in flight and queued, and what each replica did; OOM and preemption marked."""
    with mpl.rc_context(RC | {"svg.hashsalt": f"timeline {name}"}):
        draws = _panels(series)
        height = 0.6 + 1.35 * len(draws)
        figure = Figure(figsize=(8.4, height))
        panels = figure.subplots(len(draws), 1, sharex=True, squeeze=False)[:, 0]
        for draw, axes in zip(draws, panels, strict=True):
            for start_s, end_s in series.bursts_s:
                axes.axvspan(start_s, end_s, color=YELLOW, alpha=0.25, linewidth=0, zorder=0)
            draw(axes, series)
        panels[-1].set_xlabel("seconds since the start of the run")
        panels[-1].set_xlim(series.edges_s[0], series.edges_s[-1])
        figure.align_ylabels(list(panels))
        figure.subplots_adjust(left=0.1, right=0.79, top=1 - 0.12 / height, bottom=0.48 / height, hspace=0.16)
        return as_svg(figure, f"timeline of {name}")


def _panels(series: TimelineSeries) -> list[Callable[[Axes, TimelineSeries], None]]:
    """What there is to draw: replicas side by side where there are several, evictions where any cached block was evicted."""
    draws: list[Callable[[Axes, TimelineSeries], None]] = [_draw_rates, _draw_in_flight]
    if len(series.replicas) > 1:
        draws.append(_draw_requests)
    if series.replicas:
        draws += [_draw_kv, _draw_busy]
    if any(np.nansum(replica.evicted_per_s) > 0 for replica in series.replicas):
        draws.append(_draw_evictions)
    return draws


def draw_shards(series: ShardSeries, name: str) -> Drawing:
    """A row for each GPU over time, dark where it stood idle: the group of a slow GPU waits for it."""
    with mpl.rc_context(RC | {"svg.hashsalt": f"shards {name}", "axes.grid": False}):
        figure = Figure(figsize=(8.4, 0.9 + 0.17 * len(series.names)))
        axes = figure.subplots()
        extent = (float(series.edges_s[0]), float(series.edges_s[-1]), len(series.names) - 0.5, -0.5)
        image = axes.imshow(100 * series.busy, aspect="auto", interpolation="nearest", extent=extent, vmin=0, vmax=100, cmap="cividis")
        axes.set_yticks(range(len(series.names)), series.names, fontsize=7)
        axes.set_xlabel("seconds since the start of the run")
        figure.colorbar(image, ax=axes, label="GPU busy, %", pad=0.015)
        figure.subplots_adjust(left=0.13, right=1.0, top=0.97, bottom=0.45 / (0.9 + 0.17 * len(series.names)))
        return as_svg(figure, f"how busy each GPU of {name} was")


def _steps(axes: Axes, values: FloatArray, edges_s: FloatArray, colour: str, label: str, *, fill: bool = False) -> None:
    axes.stairs(values, edges_s, baseline=0 if fill else None, color=colour, label=label, fill=fill, alpha=0.35 if fill else 1.0)


def _draw_rates(axes: Axes, series: TimelineSeries) -> None:
    _steps(axes, series.offered_per_s, series.rate_edges_s, SKY, "offered (due)", fill=True)
    _steps(axes, series.ok_per_s, series.rate_edges_s, GREEN, "ended OK")
    if series.failed_per_s.any():
        _steps(axes, series.failed_per_s, series.rate_edges_s, VERMILION, "ended not OK")
    _finish(axes, "requests\na second")


def _draw_in_flight(axes: Axes, series: TimelineSeries) -> None:
    _steps(axes, series.in_flight, series.edges_s, BLUE, "in flight")
    if series.waiting is not None:
        _steps(axes, series.waiting, series.edges_s, ORANGE, "of them queued\nat the server")
    _finish(axes, "requests")


def _draw_requests(axes: Axes, series: TimelineSeries) -> None:
    _draw_replicas(axes, series, [replica.requests for replica in series.replicas])
    _finish(axes, "running +\nqueued")


def _draw_kv(axes: Axes, series: TimelineSeries) -> None:
    _draw_shares(axes, series, [replica.kv_peak for replica in series.replicas], "KV cache\nin use, %")
    _mark_events(axes, series)


def _draw_busy(axes: Axes, series: TimelineSeries) -> None:
    _draw_shares(axes, series, [replica.gpu_busy for replica in series.replicas], "GPU\nbusy, %")


def _draw_evictions(axes: Axes, series: TimelineSeries) -> None:
    _draw_replicas(axes, series, [replica.evicted_per_s for replica in series.replicas])
    _finish(axes, "KV blocks\nevicted/s")


def _draw_replicas(axes: Axes, series: TimelineSeries, lines: Sequence[FloatArray]) -> None:
    named = [(replica.name, values) for replica, values in zip(series.replicas, lines, strict=True) if not np.isnan(values).all()]
    for (name, values), colour in zip(named, _REPLICA_COLOURS, strict=False):
        _steps(axes, values, series.edges_s, colour, name)


def _draw_shares(axes: Axes, series: TimelineSeries, lines: Sequence[FloatArray], label: str) -> None:
    _draw_replicas(axes, series, [100 * values for values in lines])
    highest = max((float(np.nanmax(values, initial=0.0)) for values in lines), default=0.0)
    _finish(axes, label, top=max(105.0, 105 * highest))


def _mark_events(axes: Axes, series: TimelineSeries) -> None:
    height = axes.get_ylim()[1]
    if len(series.preempted_s):
        axes.plot(series.preempted_s, np.full(len(series.preempted_s), 0.97 * height), "|", color=BLACK, markersize=6, label="preemption")
    if len(series.oom_s):
        axes.plot(series.oom_s, np.full(len(series.oom_s), 0.85 * height), "X", color=VERMILION, markersize=7, label="OOM")
    _legend(axes)


def _finish(axes: Axes, label: str, top: float | None = None) -> None:
    axes.set_ylabel(label)
    axes.set_ylim(0, top or 1.08 * axes.dataLim.ymax or 1)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10]))
    _legend(axes)


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.005, 1.05), borderaxespad=0, handlelength=1.2)


def draw_distributions(series: Mapping[str, DistributionSeries], name: str, limits_s: Mapping[str, float] | None = None) -> Drawing:
    """Side by side, each latency's share of OK requests that took at most so long (empirical distribution), percentiles marked.

    `limits_s`: of an SLO, by the names of `series`; drawn as dashed lines where they fall into the picture or stretch it little.
    """
    with mpl.rc_context(RC | {"svg.hashsalt": f"distribution {name}"}):
        figure = Figure(figsize=(8.4, 2.7))
        for axes, (label, one) in zip(figure.subplots(1, len(series), sharey=True), series.items(), strict=True):
            _draw_distribution(axes, label, one, (limits_s or {}).get(label))
        figure.axes[0].set_ylabel("OK requests, %")
        figure.subplots_adjust(left=0.075, right=0.985, top=0.9, bottom=0.2, wspace=0.08)
        return as_svg(figure, f"latency distributions of {name}")


def _draw_distribution(axes: Axes, label: str, one: DistributionSeries, limit_s: float | None) -> None:
    axes.set_title(f"{label} (n = {one.n:,})", fontsize=9, loc="left")
    axes.set_ylim(0, 103)
    if one.n == 0:
        axes.text(0.5, 0.5, "no OK request has it", transform=axes.transAxes, ha="center", color="#555555")
        axes.set_xticks([])
        return
    axes.step(one.values, 100 * one.shares, where="post", color=BLUE)
    for (name, value), colour in zip(one.percentiles.items(), (GREEN, ORANGE, VERMILION), strict=True):
        share = 100 * float(name.removeprefix("p")) / 100
        axes.plot([value], [share], "o", color=colour, markersize=5, label=f"{name} {format_duration(value)}")
    longest = max(float(one.values[-1]), 1e-6)
    if limit_s is not None:
        is_far = limit_s > MAX_STRETCH * longest
        said = f"SLO {format_duration(limit_s)}" + (", beyond" if is_far else "")
        axes.axvline(limit_s, color=BLACK, linestyle=(0, (4, 3)), linewidth=1.1, label=said)
        longest = longest if is_far else max(longest, limit_s)
    is_empty_left = one.percentiles["p50"] > 0.5 * longest
    axes.legend(loc="upper left" if is_empty_left else "lower right", handletextpad=0.1, frameon=True, edgecolor="white", framealpha=0.85)
    axes.set_xlim(0, 1.04 * longest)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, min_n_ticks=2))
    scale, unit = (1e3, "ms") if one.values[-1] < 1 else (1.0, "s")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{scale * x:g}"))
    axes.set_xlabel(unit, labelpad=1)


def draw_overview(points: Sequence[OverviewPoint], name: str) -> Drawing:
    """One line per experiment: success with its interval and OOMs on the left, p95 of TTFT and end to end on the right."""
    with mpl.rc_context(RC | {"svg.hashsalt": f"overview {name}"}):
        figure = Figure(figsize=(8.4, 1.0 + 0.25 * max(len(points), 2)))
        left, right = figure.subplots(1, 2, sharey=True)
        rows = np.arange(len(points), dtype=np.float64)
        left.set_yticks(rows, [point.label for point in points])
        left.set_ylim(max(len(points), 1) - 0.4, -0.6)
        _draw_success(left, points)
        _draw_p95(right, points)
        figure.subplots_adjust(
            left=0.21, right=0.985, top=1 - 0.35 / figure.get_figheight(), bottom=0.45 / figure.get_figheight(), wspace=0.06
        )
        return as_svg(figure, f"success and p95 latency by experiment of {name}")


def _draw_success(axes: Axes, points: Sequence[OverviewPoint]) -> None:
    axes.set_title("success, % of planned, with 95 % interval", fontsize=9, loc="left")
    for row, point in enumerate(points):
        if point.success is None:
            continue
        if point.low is not None and point.high is not None:
            axes.plot([100 * point.low, 100 * point.high], [row, row], color=BLUE, linewidth=2)
        axes.plot([100 * point.success], [row], "o", color=BLUE, markersize=5)
        if point.oom:
            axes.text(1.5, row, f"{point.oom:,} OOM", color=VERMILION, weight="bold", va="center", fontsize=8)
    axes.set_xlim(0, 102)


def _draw_p95(axes: Axes, points: Sequence[OverviewPoint]) -> None:
    axes.set_title("p95 of OK requests", fontsize=9, loc="left")
    for label, colour, marker, attribute in (("TTFT", ORANGE, "s", "ttft_p95_s"), ("end to end", GREEN, "D", "e2e_p95_s")):
        found = [(value, row) for row, point in enumerate(points) if (value := getattr(point, attribute)) is not None and value > 0]
        if found:
            axes.plot([value for value, _ in found], [row for _, row in found], marker, color=colour, markersize=5, label=label)
    if axes.get_lines():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g} s" if x >= 1 else f"{1e3 * x:g} ms"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, handletextpad=0.1, borderaxespad=0.1, columnspacing=0.8)
    axes.tick_params(left=False)
