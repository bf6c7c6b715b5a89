"""`over_time` of summary.json: how a load that changes was borne, window by window; and the same for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from loadlab.analysis.latency import order_statistic, per_row_s
from loadlab.analysis.table import FloatArray, RequestTable
from loadlab.record.request import Outcome
from loadlab.report.columns import Column
from loadlab.report.series import mean_overlap
from loadlab.report.text import three_digits

Json = dict[str, Any]
MAX_WINDOWS = 12
MANY = 20  # values, from which their 95th percentile is not simply the largest
STATIONARY = frozenset({"constant", "poisson", "gamma", "weibull", "lognormal", "mmpp", "cluster"})
_WIDTHS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 240, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400)
_LATENCIES = (("ttft_s", "TTFT", "p50"), ("ttft_s", "TTFT", "p95"), ("e2e_s", "e2e", "p95"))


def is_steady(scenario: Mapping[str, Any]) -> bool:
    """True if nothing in the load itself changes with time; a load that nobody described is taken for steady."""
    load = scenario.get("load", {})
    if load.get("kind", "closed_loop") == "closed_loop":
        return True
    sources = [load, *(table for table in scenario.get("classes", {}).values() if table.get("arrivals"))]
    return all((source.get("arrivals") or {}).get("kind") in STATIONARY for source in sources)


def over_time_block(table: RequestTable, scenario: Mapping[str, Any]) -> Json:
    """Equal windows of due time, at most MAX_WINDOWS, of a round number of seconds; the last one holds what came after, too."""
    due = table.scheduled_s
    last_s = float(np.nanmax(due)) if np.isfinite(due).any() else 0.0
    width_s = float(next((width for width in _WIDTHS_S if last_s <= MAX_WINDOWS * width), 86400 * math.ceil(last_s / 86400 / MAX_WINDOWS)))
    windows = max(1, math.ceil(last_s / width_s))
    edges_s: FloatArray = width_s * np.arange(windows + 1, dtype=np.float64)
    of_row = np.where(np.isnan(due), -1, np.clip(np.nan_to_num(due) // width_s, 0, windows - 1)).astype(np.int64)
    sent = ~np.isnan(table.sent_s) & ~np.isnan(table.finished_s) & ~table.has_outcome(Outcome.NOT_SENT)
    in_flight = mean_overlap(table.sent_s[sent], table.finished_s[sent], edges_s)
    latencies = {"ttft_s": per_row_s("ttft", table), "e2e_s": per_row_s("e2e", table)}
    return {
        "is_steady": is_steady(scenario),
        "width_s": width_s,
        "windows": [
            {
                "start_s": float(edges_s[i]),
                "due": int(np.count_nonzero(of_row == i)),
                "ok": int(np.count_nonzero(table.ok & (of_row == i))),
                "in_flight": float(f"{in_flight[i]:.6g}"),
                **{key: _percentiles(values[of_row == i]) for key, values in latencies.items()},
            }
            for i in range(windows)
        ],
    }


def _percentiles(values: FloatArray) -> Json:
    known = values[~np.isnan(values)]
    return {"n": len(known), "p50": order_statistic(known, 0.5), "p95": order_statistic(known, 0.95)}


def is_worth_a_table(summary: Mapping[str, Any]) -> bool:
    """A load that changes by design, or a backlog that grew: there the figures of the whole run hide what happened."""
    found = summary.get("over_time")
    return found is not None and len(found["windows"]) > 1 and not (found["is_steady"] and not _overloaded(summary))


def _overloaded(summary: Mapping[str, Any]) -> bool:
    return bool(summary["steadiness"]["overload"]["is_overloaded"])


def over_time_columns(summary: Mapping[str, Any]) -> Iterator[Column]:
    """A line a window: when it began, what became due, how much of that succeeded and how fast, and how much was in flight."""
    found = summary["over_time"]
    windows = found["windows"]
    yield Column(head="from", cells=[_clock(window["start_s"], found["width_s"]) for window in windows])
    yield Column(head="due\n/s", cells=[three_digits(window["due"] / found["width_s"]) for window in windows])
    yield Column(head="due\nn", cells=[f"{window['due']:,}" for window in windows])
    yield Column(head="OK\n%", cells=[_share(window) for window in windows])
    yield Column(head="in flight\nmean", cells=[three_digits(window["in_flight"]) for window in windows])
    for key, words, name in _LATENCIES:
        yield Column(head=f"{words}\n{name}\ns", cells=[_latency(window[key], name) for window in windows])


def over_time_note(summary: Mapping[str, Any]) -> str:
    """What the table is, in a sentence."""
    marked = any(0 < window[key]["n"] < MANY for window in summary["over_time"]["windows"] for key, _, name in _LATENCIES if name == "p95")
    return "By the window in which they became due; latencies of the OK ones." + (
        f" *: of fewer than {MANY}, the largest." if marked else ""
    )


def _clock(start_s: float, width_s: float) -> str:
    """When a window began, in the unit that its width is whole in."""
    scale, unit = next((scale, unit) for scale, unit in ((3600, "h"), (60, "min"), (1, "s")) if width_s % scale == 0)
    return f"{start_s / scale:g} {unit}"


def _share(window: Mapping[str, Any]) -> str:
    if not window["due"]:
        return "-"
    percent = 100 * window["ok"] / window["due"]
    return f"{math.floor(percent)}{'!' if percent < 95 else ''}"


def _latency(percentiles: Mapping[str, Any], name: str) -> str:
    mark = "*" if name == "p95" and 0 < percentiles["n"] < MANY else ""
    return "-" if percentiles[name] is None else f"{three_digits(percentiles[name])}{mark}"
