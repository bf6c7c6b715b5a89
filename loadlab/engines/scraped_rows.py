"""Two pages of one server, a second apart, as rows of `server.jsonl`: gauges between them, counts from one to the other. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from loadlab.wire.metrics_page import Reading, Tally

_MEANS = ("running", "waiting", "kv_usage", "gpu_busy", "gpu_memory_used_bytes", "gpu_memory_bytes", "gpu_power_w")
_COUNTS = ("preemptions", "prefill_tokens", "cached_tokens", "decode_tokens", "finished")
_NEVER_FALL = ("preemptions", "cached_tokens", "decode_tokens", "finished")  # prompts are differences of two counters, read apart
_DIGITS = 6


def rows_between(
    before: Mapping[str, Reading], after: Mapping[str, Reading], source: str, start_s: float, end_s: float
) -> Iterator[dict[str, Any]]:
    """A row for each replica and GPU of the later page, over [start_s, end_s).

    A gauge is the mean of both pages, its maximum the larger. What the earlier page did not have yet counts from zero: servers show
    a label when it is first used. A count that went down means a new process: it counts from zero too, and the row says `restarted`.
    """
    for place, now in after.items():
        was = before.get(place, Reading(server=now.server))
        row: dict[str, Any] = {
            "t_s": round(start_s, _DIGITS),
            "dt_s": round(end_s - start_s, _DIGITS),
            "replica": _name(source, place),
            "source": source,
            "server": now.server,
        }
        row |= _gauges(was, now)
        is_new = any(now.counters.get(name, 0.0) < was.counters.get(name, 0.0) for name in _NEVER_FALL)
        if is_new:
            row["restarted"] = True
            was = Reading(server=now.server)
        row |= {name: _whole(max(0.0, now.counters[name] - was.counters.get(name, 0.0))) for name in _COUNTS if name in now.counters}
        row |= {name: found for name in now.tallies if (found := _histogram(was.tallies.get(name, Tally()), now.tallies[name])) is not None}
        yield row


def failed_row(source: str, why: str, start_s: float, end_s: float) -> dict[str, Any]:
    """The row of a page that did not come: `failed` says why."""
    return {"t_s": round(start_s, _DIGITS), "dt_s": round(end_s - start_s, _DIGITS), "replica": source, "source": source, "failed": why}


def _name(source: str, place: str) -> str:
    if not place:
        return source
    return f"{source} {place}" if place.startswith("GPU") else f"{source}/{place}"


def _gauges(was: Reading, now: Reading) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in _MEANS:
        if name in now.gauges:
            row[name] = round((was.gauges.get(name, now.gauges[name]) + now.gauges[name]) / 2, _DIGITS)
    if "kv_usage" in now.gauges:
        row["kv_usage_max"] = round(max(was.gauges.get("kv_usage", 0.0), now.gauges["kv_usage"]), _DIGITS)
    for name in ("running", "waiting"):
        if name in now.gauges:
            row[f"{name}_max"] = _whole(max(was.gauges.get(name, 0.0), now.gauges[name]))
    if now.gauges.get("speed", 1.0) != 1.0:
        row["speed"] = now.gauges["speed"]
    return row


def _histogram(was: Tally, now: Tally) -> dict[str, Any] | None:
    """What was observed between two pages: {count, sum_s, buckets: [[above, at most, count], ..]}; None if nothing was."""
    count = now.count - was.count
    if count <= 0:
        return None
    buckets, low, passed = [], 0.0, 0.0
    for high in sorted(now.cumulative):
        total = now.cumulative[high] - was.cumulative.get(high, 0.0)
        if total > passed:
            buckets.append([low, None if high == float("inf") else high, _whole(total - passed)])
        low, passed = high, max(passed, total)
    return {"count": _whole(count), "sum_s": round(now.total_s - was.total_s, _DIGITS), "buckets": buckets}


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else round(value, _DIGITS)
