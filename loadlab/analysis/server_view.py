"""Numbers of the server over a run, from the rows of server.jsonl: simulated, or scraped from metrics pages.

A row is a replica or a GPU over one bin. Means are over time and over the replicas that have the column, as `observed` has them; a
maximum is of any replica. A scraped maximum is the highest of the pages: what rose and fell between two of them was not seen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from loadlab.analysis.intervals import Estimate, mean_estimate
from loadlab.analysis.table import FloatArray
from loadlab.slo import PREEMPTIONS, PREFIX_HITS, Metric

Rows = Sequence[Mapping[str, Any]]
_SHARES = frozenset({"kv_usage", "gpu_busy", "gpu_memory"})
NO_ROWS = "nothing is known of the server: give its metrics page, --metrics URL"


def server_value(metric: Metric, rows: Rows) -> Estimate:
    """The value of a `server.` metric; None with a note where the rows do not tell."""
    if metric.name == PREEMPTIONS:
        return _counted(rows, "preemptions")
    if metric.name == PREFIX_HITS:
        return prefix_hit_rate(rows)
    column = metric.name.removeprefix("server.")
    return highest(rows, column) if metric.statistic == "max" else time_mean(rows, column)


def time_mean(rows: Rows, column: str) -> Estimate:
    """The mean over time and replicas, with an interval that counts how long its swings last."""
    known = _known(rows, column)
    if not known:
        return _nothing(rows, column)
    starts = np.array([row["t_s"] for row, _ in known])
    widths = np.array([row["dt_s"] for row, _ in known])
    values = np.array([value for _, value in known])
    mean = float((widths * values).sum() / widths.sum())
    seen = mean_estimate(_over_replicas(starts, widths, values))
    if seen.low is None or seen.high is None or seen.value is None:
        return replace(seen, value=mean)
    most = 1.0 if column in _SHARES else math.inf
    return replace(seen, value=mean, low=max(0.0, mean - (seen.value - seen.low)), high=min(most, mean + (seen.high - seen.value)))


def _over_replicas(starts: FloatArray, widths: FloatArray, values: FloatArray) -> FloatArray:
    """One value for each bin of time, in order: the mean of the replicas whose row begins in it."""
    bins = np.floor(starts / np.median(widths) + 0.5).astype(np.int64)
    _, place = np.unique(bins, return_inverse=True)
    means: FloatArray = np.bincount(place, values) / np.bincount(place)
    return means


def highest(rows: Rows, column: str) -> Estimate:
    """The highest that any replica was seen at. It is what this run saw, and so its own low and high."""
    known = [max(value, row.get(f"{column}_max") or value) for row, value in _known(rows, column)]
    if not known:
        return _nothing(rows, column)
    note = (
        "highest of the pages scraped; peaks between them were not seen" if any("source" in row for row in rows) else "highest of any bin"
    )
    return Estimate(value=max(known), low=max(known), high=max(known), n=len(known), note=note)


def prefix_hit_rate(rows: Rows) -> Estimate:
    """Prompt tokens found in the cache / prompt tokens, as counted by the server."""
    known = [row for row in rows if row.get("cached_tokens") is not None]
    cached = sum(row["cached_tokens"] for row in known)
    total = cached + sum(row.get("prefill_tokens") or 0 for row in known)
    if total == 0:
        return _nothing(rows, "cached tokens")
    return Estimate(
        value=cached / total, low=cached / total, high=cached / total, n=len(known), note="counted by the server, not estimated"
    )


def _counted(rows: Rows, column: str) -> Estimate:
    known = [row[column] for row in rows if row.get(column) is not None]
    if not known:
        return _nothing(rows, column)
    return Estimate(value=int(sum(known)), low=int(sum(known)), high=int(sum(known)), n=len(known), note="counted by the server")


def _known(rows: Rows, column: str) -> list[tuple[Mapping[str, Any], float]]:
    if column == "gpu_memory":
        shares = ((row, row.get("gpu_memory_used_bytes"), row.get("gpu_memory_bytes")) for row in rows)
        return [(row, used / whole) for row, used, whole in shares if used is not None and whole]
    return [(row, row[column]) for row in rows if row.get(column) is not None]


def _nothing(rows: Rows, column: str) -> Estimate:
    return Estimate(value=None, n=0, note=f"no server row has {column.replace('_', ' ')}" if rows else NO_ROWS)
