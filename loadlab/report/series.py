"""The data that figures draw, apart from drawing: steps over time, and the empirical distribution of a latency."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from loadlab.analysis.latency import order_statistic
from loadlab.analysis.table import FloatArray, IntArray, RequestTable
from loadlab.record.request import Outcome
from loadlab.report.text import PERCENTILES, clean_text

MAX_BINS = 200
MIN_RATE_BINS = 24
MIN_MEAN_COUNT = 5
MAX_POINTS = 160
MIN_SPREAD = 0.01  # of busy shares in a group, below which its GPUs look alike
BURST_SIGMAS = 5.0  # of Poisson arrivals: fewer than 1 calm bin in 10,000 is above it at MIN_MEAN_COUNT or more
MAX_REPLICAS = 4  # more lines than that in one panel cannot be told apart

Rows = list[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSeries:
    """One replica (or the highest and mean of many) over the bins of a timeline; NaN where nothing was recorded."""

    name: str
    kv_peak: FloatArray  # share of KV blocks, highest in the bin
    gpu_busy: FloatArray  # share of the bin
    requests: FloatArray  # running and waiting, time mean
    evicted_per_s: FloatArray  # cached KV blocks that made room


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineSeries:
    """A run over time, in equal bins: arrays of n values over n + 1 edges, seconds since t0.

    Rates have wider bins of their own, of MIN_MEAN_COUNT requests on average, else a slow run is all spikes.
    """

    edges_s: FloatArray
    rate_edges_s: FloatArray
    offered_per_s: FloatArray  # requests that became due
    ok_per_s: FloatArray  # requests that succeeded, by their end
    failed_per_s: FloatArray  # all others that ended: refused, timed out, out of memory ..
    in_flight: FloatArray  # sent and not ended, time mean
    waiting: FloatArray | None  # queued at the server, time mean, all replicas; None without a server timeline
    replicas: tuple[ReplicaSeries, ...]
    bursts_s: tuple[tuple[float, float], ...]  # spans with far more due than on average
    preempted_s: FloatArray  # middles of bins with a preemption
    oom_s: FloatArray  # middles of bins with an OOM


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSeries:
    """How busy each GPU was over time: float64[GPUs, bins], a row for each name ("pool/0 GPU 1"); NaN where nothing was recorded."""

    names: tuple[str, ...]
    edges_s: FloatArray
    busy: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionSeries:
    """Empirical distribution of n values: at most MAX_POINTS order statistics, the extremes among them, and the percentiles."""

    n: int
    values: FloatArray
    shares: FloatArray  # share of the n values that are <= values[i]
    percentiles: Mapping[str, float]


def distribution_series(values: FloatArray) -> DistributionSeries:
    """The distribution of values, thinned evenly in rank, and finely above the 95th percentile."""
    n = len(values)
    if n == 0:
        return DistributionSeries(n=0, values=np.empty(0), shares=np.empty(0), percentiles={})
    ranks = np.unique(
        np.concatenate([
            np.linspace(1, n, MAX_POINTS * 3 // 4).round(),
            np.linspace(math.ceil(0.95 * n), n, MAX_POINTS // 4).round(),
        ]).astype(np.int64)
    )  # fmt: skip
    found = {name: order_statistic(values, p) for name, p in PERCENTILES.items()}
    return DistributionSeries(
        n=n,
        values=np.sort(values)[ranks - 1],
        shares=ranks / n,
        percentiles={name: value for name, value in found.items() if value is not None},
    )


def timeline_series(table: RequestTable, timeline: Iterable[Mapping[str, Any]]) -> TimelineSeries:
    """The bins of a run from its rows and, where there is one, its server's timeline; at most MAX_BINS bins."""
    rows = list(timeline)
    edges_s = _edges(table, rows)
    rate_edges_s = _rate_edges(edges_s, len(table))
    width_s = rate_edges_s[1] - rate_edges_s[0]
    due = _counts(table.scheduled_s, rate_edges_s)
    ok = table.ok
    sent = ~np.isnan(table.sent_s) & ~np.isnan(table.finished_s) & ~table.has_outcome(Outcome.NOT_SENT)
    by_replica: dict[str, Rows] = {}
    for row in rows:
        by_replica.setdefault(str(row["replica"]), []).append(row)
    waiting = [_means(found, "waiting", edges_s) for found in by_replica.values()]
    return TimelineSeries(
        edges_s=edges_s,
        rate_edges_s=rate_edges_s,
        offered_per_s=due / width_s,
        ok_per_s=_counts(table.finished_s[ok], rate_edges_s) / width_s,
        failed_per_s=_counts(table.finished_s[~ok], rate_edges_s) / width_s,
        in_flight=mean_overlap(table.sent_s[sent], table.finished_s[sent], edges_s),
        waiting=np.nansum(waiting, axis=0) if waiting else None,
        replicas=_replica_series(by_replica, edges_s),
        bursts_s=_bursts(due, rate_edges_s),
        preempted_s=_moments(rows, "preemptions", edges_s),
        oom_s=_moments(rows, "ooms", edges_s),
    )


def shard_series(table: RequestTable, timeline: Iterable[Mapping[str, Any]]) -> ShardSeries | None:
    """Every GPU of every replica, where those of a group differ; None where they are all as busy as their group."""
    rows = [row for row in timeline if row.get("shard_busy")]
    if all(max(row["shard_busy"]) - min(row["shard_busy"]) < MIN_SPREAD for row in rows):
        return None
    edges_s = _edges(table, rows)
    names, lines = [], []
    for replica in dict.fromkeys(str(row["replica"]) for row in rows):
        own = [row for row in rows if row["replica"] == replica]
        for gpu in range(len(own[0]["shard_busy"])):
            names.append(f"{clean_text(replica)} GPU {gpu}")
            lines.append(_means([{**row, "busy": row["shard_busy"][gpu]} for row in own], "busy", edges_s))
    return ShardSeries(names=tuple(names), edges_s=edges_s, busy=np.array(lines))


def _edges(table: RequestTable, rows: Rows) -> FloatArray:
    """Edges of bins that cover every row; a multiple of the server's bins, so that none of those is split unevenly."""
    times = np.concatenate([table.scheduled_s, table.finished_s])
    times = times[~np.isnan(times)]
    starts = [0.0, *(float(row["t_s"]) for row in rows[:1]), float(times.min(initial=0.0))]
    ends = [1e-3, *(float(row["t_s"] + row["dt_s"]) for row in rows), float(times.max(initial=0.0))]
    start, duration_s = min(starts), max(ends) - min(starts)
    unit_s = max((float(row["dt_s"]) for row in rows), default=duration_s / MAX_BINS)
    width_s = unit_s * math.ceil(duration_s / (MAX_BINS * unit_s) - 1e-9)
    bins = max(1, math.ceil(duration_s / width_s - 1e-9))
    return np.asarray(start + width_s * np.arange(bins + 1), dtype=np.float64)


def _rate_edges(edges_s: FloatArray, requests: int) -> FloatArray:
    """Every k-th edge, and one beyond the last where k does not divide the bins."""
    bins = len(edges_s) - 1
    wanted = min(bins, max(MIN_RATE_BINS, requests // MIN_MEAN_COUNT))
    every = math.ceil(bins / wanted)
    return np.asarray(edges_s[0] + (edges_s[1] - edges_s[0]) * every * np.arange(math.ceil(bins / every) + 1), dtype=np.float64)


def _counts(times_s: FloatArray, edges_s: FloatArray) -> FloatArray:
    known = times_s[~np.isnan(times_s)]
    return np.histogram(known, bins=edges_s)[0].astype(np.float64)


def burst_count(mean: float) -> float:
    """The fewest requests due in a bin of `mean` on average that make it a burst."""
    return mean + max(mean, BURST_SIGMAS * math.sqrt(mean))


def _bursts(due: FloatArray, edges_s: FloatArray) -> tuple[tuple[float, float], ...]:
    """Spans of bins with at least twice the mean number due, and more than chance makes of Poisson arrivals (`burst_count`)."""
    sending = due[: np.flatnonzero(due)[-1] + 1] if due.any() else due
    mean = float(sending.mean()) if len(sending) else 0.0
    is_burst = np.concatenate([[False], due >= burst_count(mean), [False]]) if mean else np.zeros(1, dtype=bool)
    changes = np.flatnonzero(np.diff(is_burst.astype(np.int8)))
    return tuple((float(edges_s[start]), float(edges_s[stop])) for start, stop in changes.reshape(-1, 2))


def mean_overlap(starts_s: FloatArray, ends_s: FloatArray, edges_s: FloatArray) -> FloatArray:
    """Mean number of intervals open in each bin, exact: differences of the integral of the number open."""
    return np.diff(_integral_since(starts_s, edges_s) - _integral_since(ends_s, edges_s)) / np.diff(edges_s)


def _integral_since(moments_s: FloatArray, edges_s: FloatArray) -> FloatArray:
    """Sum over the moments of max(0, edge - moment), at each edge."""
    ordered = np.sort(moments_s)
    passed = np.searchsorted(ordered, edges_s)
    summed = np.concatenate([[0.0], np.cumsum(ordered)])
    integral: FloatArray = passed * edges_s - summed[passed]
    return integral


def _bin_of(rows: Rows, edges_s: FloatArray) -> IntArray:
    middles = np.array([row["t_s"] + row["dt_s"] / 2 for row in rows], dtype=np.float64)
    return np.clip(np.searchsorted(edges_s, middles, side="right") - 1, 0, len(edges_s) - 2)


def _means(rows: Rows, key: str, edges_s: FloatArray) -> FloatArray:
    """Time-weighted mean of a column of one replica in each bin; NaN where it was not recorded."""
    known = [row for row in rows if row.get(key) is not None]
    weighted, width = np.zeros(len(edges_s) - 1), np.zeros(len(edges_s) - 1)
    if known:
        bins = _bin_of(known, edges_s)
        widths = np.array([row["dt_s"] for row in known], dtype=np.float64)
        np.add.at(weighted, bins, widths * np.array([row[key] for row in known], dtype=np.float64))
        np.add.at(width, bins, widths)
    return np.divide(weighted, width, out=np.full_like(width, np.nan), where=width > 0)


def _peaks(rows: Rows, key: str, edges_s: FloatArray) -> FloatArray:
    known = [row for row in rows if row.get(key) is not None]
    peaks = np.full(len(edges_s) - 1, np.nan)
    if known:
        np.fmax.at(peaks, _bin_of(known, edges_s), np.array([row[key] for row in known], dtype=np.float64))
    return peaks


def _kv_peaks(rows: Rows, edges_s: FloatArray) -> FloatArray:
    """Highest KV use in each bin; a bin's peak is never below its mean, whatever the server says."""
    return np.fmax(_peaks(rows, "kv_usage_max", edges_s), _peaks(rows, "kv_usage", edges_s))


def _replica_series(by_replica: Mapping[str, Rows], edges_s: FloatArray) -> tuple[ReplicaSeries, ...]:
    each = tuple(_one_replica(name, found, edges_s) for name, found in sorted(by_replica.items()))
    engines = tuple(one for one in each if not (np.isnan(one.kv_peak).all() and np.isnan(one.requests).all()))
    gpus = tuple(
        one for one in each if not any(one is other for other in engines) and not np.isnan(one.gpu_busy).all()
    )  # on a metrics page they stand apart
    return (*_few(engines, "replicas"), *_few(gpus, "GPUs"))


def _few(each: tuple[ReplicaSeries, ...], noun: str) -> tuple[ReplicaSeries, ...]:
    """Each, or where they are too many to tell apart the highest and the lowest."""
    if len(each) <= MAX_REPLICAS:
        return each
    return _extreme(f"highest of {len(each)} {noun}", each, np.fmax), _extreme(f"lowest of {len(each)} {noun}", each, np.fmin)


def _one_replica(name: str, rows: Rows, edges_s: FloatArray) -> ReplicaSeries:
    rates: Rows = [{**row, "evicted_per_s": row["evicted_blocks"] / row["dt_s"]} for row in rows if row.get("evicted_blocks") is not None]
    return ReplicaSeries(
        name=name,
        kv_peak=_kv_peaks(rows, edges_s),
        gpu_busy=_means(rows, "gpu_busy", edges_s),
        requests=_means(rows, "running", edges_s) + _means(rows, "waiting", edges_s),
        evicted_per_s=_means(rates, "evicted_per_s", edges_s),
    )


def _extreme(name: str, each: Sequence[ReplicaSeries], of: np.ufunc) -> ReplicaSeries:
    """The highest, or the lowest, of many replicas in each bin."""
    columns = (field.name for field in fields(ReplicaSeries) if field.name != "name")
    return ReplicaSeries(name=name, **{column: of.reduce([getattr(one, column) for one in each]) for column in columns})


def _moments(rows: Rows, key: str, edges_s: FloatArray) -> FloatArray:
    """Middles of our bins in which any replica counted something."""
    known = [row for row in rows if row.get(key)]
    middles: FloatArray = (edges_s[:-1] + edges_s[1:]) / 2
    return middles[np.unique(_bin_of(known, edges_s))] if known else np.empty(0)
