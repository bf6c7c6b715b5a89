"""`guidellm benchmark --output-path benchmarks.json`: a report with one entry per benchmark, each with its requests.

Read from guidellm's schemas (0.2 to 0.6): `benchmarks[].requests.{successful, errored, incomplete}`, times in seconds since 1970. Newer
files keep stamps in `info.timings` (`targeted_start`, `request_start`, `first_token_iteration`, ..); older ones in `start_time`,
`first_token_time`, .. A strategy by rate (constant, poisson, asynchronous) is open loop, and its requests were due at `targeted_start`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadlab.campaign.imports.foreign import ForeignRun, Loop, failed, load_json, number_at, numbered, text_of, whole
from loadlab.errors import InputError
from loadlab.record.request import Cause, Outcome, RequestRecord

_OPEN = frozenset({"constant", "poisson", "async", "asynchronous", "replay", "trace"})
_CLOSED = frozenset({"synchronous", "concurrent", "throughput"})
_TIMES: Mapping[str, tuple[str, ...]] = {  # newest name first
    "start": ("request_start", "request_start_time", "start_time", "resolve_start"),
    "first": ("first_token_iteration", "first_iteration", "first_token_time"),
    "last": ("last_token_iteration", "last_iteration", "last_token_time"),
    "end": ("request_end", "request_end_time", "end_time", "resolve_end"),
    "due": ("targeted_start", "targeted_start_time"),
}
_KINDS = ("successful", "errored", "incomplete")


def read_guidellm(path: Path) -> list[ForeignRun]:
    """The benchmarks of a report. Raises InputError if it is none, is damaged, or was written without its requests."""
    if path.suffix != ".json":
        raise InputError(
            "must be the JSON report of guidellm; its CSV, YAML and HTML hold aggregates, or the same in another dress", source=str(path)
        )
    table = load_json(path)
    benchmarks = table.get("benchmarks") if isinstance(table, dict) else None
    if not isinstance(benchmarks, list) or not benchmarks:
        raise InputError("is not a report of guidellm (no benchmarks)", source=str(path))
    return [_benchmark(entry, f"benchmarks[{i}]", path) for i, entry in enumerate(benchmarks)]


def _benchmark(entry: Any, where: str, path: Path) -> ForeignRun:
    requests = entry.get("requests") if isinstance(entry, dict) else None
    if not isinstance(requests, dict) or not any(requests.get(kind) for kind in _KINDS):
        raise InputError("holds no requests: run guidellm again without excluding them from its output", source=str(path), key=where)
    strategy = _strategy(entry)
    kind = str(strategy.get("type_", strategy.get("kind", "unknown")))
    loop = Loop.OPEN if kind in _OPEN else Loop.CLOSED if kind in _CLOSED else Loop.UNKNOWN
    records, left_out = [], 0
    for outcome in _KINDS:
        for i, request in enumerate(requests.get(outcome) or ()):
            record = _record(request, outcome, f"{where}.requests.{outcome}[{i}]", path, loop)
            left_out += record is None
            records += [] if record is None else [record]
    ordered, began = numbered(records)
    notes = [f"{left_out:,} requests that were never sent are left out"] if left_out else []
    facts = {"strategy": kind} | {key: value for key, value in strategy.items() if isinstance(value, str | int | float)}
    return ForeignRun(name=f"guidellm-{kind}", records=ordered, loop=loop, began_s=began, facts=facts, notes=tuple(notes))


def _strategy(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Where it stands has moved: benchmark.config.strategy, benchmark.scheduler.strategy, benchmark.args.strategy."""
    for key in ("config", "scheduler", "args", "benchmark"):
        holder = entry.get(key)
        if isinstance(holder, dict) and isinstance(holder.get("strategy"), dict):
            found: Mapping[str, Any] = holder["strategy"]
            return found
    return {}


def _record(request: Any, outcome: str, where: str, path: Path, loop: Loop) -> RequestRecord | None:
    if not isinstance(request, dict):
        raise InputError("must be an object", source=str(path), key=where)
    stamps = _stamps(request)
    times = {name: next((t for key in keys if (t := number_at(stamps, key, where, path))), None) for name, keys in _TIMES.items()}
    if times["start"] is None:
        if outcome == "successful":
            raise InputError("has no time of its start", source=str(path), key=where)
        return None
    due = times["due"] if loop is Loop.OPEN and times["due"] is not None else times["start"]
    words = text_of(request.get("error")) or text_of(_info(request).get("error"))
    record = RequestRecord(
        seq=0,
        traffic_class=None,
        scheduled_s=min(due, times["start"]),
        sent_s=times["start"],
        first_token_s=times["first"],
        last_token_s=times["last"],
        finished_s=times["end"],
        prompt_tokens=whole(number_at(request, "prompt_tokens", where, path)),
        output_tokens=whole(number_at(request, "output_tokens", where, path)),
        outcome=Outcome.OK,
    )
    if outcome == "successful":
        return record
    if outcome == "incomplete":  # the benchmark's own end cancelled it
        return failed(record, None, words or "stream cut off by the end of the benchmark") if words else _cut(record)
    return failed(record, None, words)


def _cut(record: RequestRecord) -> RequestRecord:
    from dataclasses import replace

    return replace(record, outcome=Outcome.TRUNCATED, cause=Cause.CUT_SHORT, error="the benchmark ended before the answer did")


def _info(request: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("info", "scheduler_info"):
        if isinstance(request.get(key), dict):
            found: Mapping[str, Any] = request[key]
            return found
    return {}


def _stamps(request: Mapping[str, Any]) -> dict[str, Any]:
    """Every time of a request, wherever its version keeps it."""
    info = _info(request)
    timings = info.get("timings") or info.get("request_timings") or {}
    return {**request, **{k: v for k, v in info.items() if not isinstance(v, dict)}, **(timings if isinstance(timings, dict) else {})}
