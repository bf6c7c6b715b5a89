"""`--to guidellm`: a report as guidellm 0.8 writes it (`benchmarks.json`, version 2), for what reads those.

guidellm counts latencies from when a request was **sent**; the aggregates of this file do as well, and so they differ from ours where the
client held requests back (its requests keep both times: `targeted_start` and `request_start`). guidellm's inter-token latency is our TPOT.
Rates and concurrency are means over the run. What a run does not know (words, bytes, iterations) is empty, or has a count of 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import orjson

from loadlab.analysis.latency import duration_s
from loadlab.analysis.table import BoolArray, FloatArray, RequestTable
from loadlab.export.rows import Row, began_s, exported_chunks
from loadlab.record.request import Outcome
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import load_table

Json = dict[str, Any]
_INCOMPLETE = (Outcome.NOT_SENT, Outcome.UNKNOWN)  # what neither succeeded nor failed at the target
_KINDS = ("successful", "incomplete", "errored")
_PERCENTILES = {"p001": 0.001, "p01": 0.01, "p05": 0.05, "p10": 0.10, "p25": 0.25, "p50": 0.50, "p75": 0.75, "p90": 0.90, "p95": 0.95,
                "p99": 0.99, "p999": 0.999}  # fmt: skip
_UNKNOWN = (
    "request_streaming_iterations_count", "time_to_last_round_trip_ms", "avg_round_trip_time_ms", "output_tokens_per_iteration",
    "iter_tokens_per_iteration",
)  # fmt: skip
_RATES = ("requests_per_second", "request_concurrency", "prompt_tokens_per_second", "output_tokens_per_second", "tokens_per_second")
_MODALITIES = {"text": ("tokens", "words", "characters"), "image": ("tokens", "images", "pixels", "bytes"),
               "video": ("tokens", "frames", "seconds", "bytes"), "audio": ("tokens", "samples", "seconds", "bytes"),
               "tool_call": ("tokens", "mixed_tokens", "count")}  # fmt: skip


def write_guidellm(run: RunDir, file: BinaryIO) -> int:
    """Writes the report, its requests one after another; returns how many."""
    table, began = load_table(run), began_s(run)
    file.write(orjson.dumps(_head(run, table, began))[: -len(b"}]}")])
    file.write(b',"requests":{')
    for kind in _KINDS:
        file.write(b'%s"%s":[' % (b"," if kind != _KINDS[0] else b"", kind.encode()))
        separator = b""
        for row in _rows_of(kind, run):
            file.write(separator + orjson.dumps(_request(row, kind, began)))
            separator = b","
        file.write(b"]")
    file.write(b"}}]}\n")
    return len(table)


def _rows_of(kind: str, run: RunDir) -> Iterator[Row]:
    for chunk in exported_chunks(run):
        yield from (row for row in chunk if _kind_of(row["outcome"]) == kind)


def _kind_of(outcome: str) -> str:
    return "successful" if outcome == Outcome.OK else "incomplete" if outcome in _INCOMPLETE else "errored"


def _head(run: RunDir, table: RequestTable, began: float) -> Json:
    """Everything but the requests, which belong at the end of the one benchmark."""
    manifest = run.manifest
    labels = {"exported_by": f"loadlab {manifest.versions.get('loadlab', '')}", "name": manifest.name, "plan": manifest.plan_digest}
    over_s = duration_s(table) or 0.0
    rate = len(table) / over_s if over_s else 1.0
    mean_prompt = int(np.nanmean(table.prompt_tokens)) if np.isfinite(table.prompt_tokens).any() else 1
    spec = {
        "backend": {"kind": "openai_http", "target": manifest.target},
        "profile": {"kind": "constant", "rate": [rate]},  # on average; the requests say when each was due
        "data": [{"kind": "synthetic_text", "prompt_tokens": max(1, mean_prompt)}],
    }
    return {
        "metadata": {"version": 2, "guidellm_version": "0.8.1", "python_version": "", "platform": manifest.host.platform},
        "config": {"metadata": {"labels": labels}, "spec": spec, "benchmarks": [{}]},
        "benchmarks": [_benchmark(run, table, began)],
    }


def _benchmark(run: RunDir, table: RequestTable, began: float) -> Json:
    counts = _counts(table)
    sent = table.sent_s - table.scheduled_s
    starts, ends = began + _known(table.scheduled_s), began + _known(table.finished_s)
    first, last = (float(starts.min()) if len(starts) else began), (float(ends.max()) if len(ends) else began)
    times = {"start_time": first, "request_start_time": first, "measure_start_time": first,
             "measure_end_time": last, "request_end_time": last, "end_time": last}  # fmt: skip
    delays = {"request_targeted_start_delay_avg": _mean(sent), "request_time_avg": _mean(table.finished_s - table.sent_s)}
    unknown = ("queued_time_avg", "resolve_start_delay_avg", "resolve_targeted_start_delay_avg", "request_start_delay_avg",
               "resolve_end_delay_avg", "resolve_time_avg", "finalized_delay_avg", "processed_delay_avg")  # fmt: skip
    is_closed = run.manifest.scenario.get("load", {}).get("kind") == "closed_loop"
    strategy = {"type_": "throughput"} if is_closed else {"type_": "trace", "schedule_turn": "timestamp"}
    config = {
        "run_id": run.manifest.plan_digest, "run_index": 0, "strategy": strategy, "constraints": {}, "profile": {}, "requests": {},
        "backend": {"target": run.manifest.target}, "environment": {"loadlab": run.manifest.versions.get("loadlab", "")},
    }  # fmt: skip
    return {
        "type_": "generative_benchmark",
        "config": config,
        "scheduler_state": {"start_time": first, "end_time": last, "created_requests": len(table), "processed_requests": len(table),
                            "successful_requests": counts["successful"], "errored_requests": counts["errored"],
                            "cancelled_requests": counts["incomplete"]},
        "scheduler_metrics": {**times, **delays, **dict.fromkeys(unknown, 0.0), "requests_made": counts},
        "metrics": _metrics(table, counts),
    }  # fmt: skip


def _counts(table: RequestTable) -> dict[str, int]:
    found = {kind: int(np.count_nonzero(which)) for kind, which in _statuses(table).items()}
    return found | {"total": sum(found.values())}


def _statuses(table: RequestTable) -> dict[str, BoolArray]:
    incomplete = table.has_outcome(Outcome.NOT_SENT) | table.has_outcome(Outcome.UNKNOWN)
    return {"successful": table.ok, "incomplete": incomplete, "errored": ~table.ok & ~incomplete}


def _metrics(table: RequestTable, counts: dict[str, int]) -> Json:
    gaps = np.where(table.output_tokens >= 2, table.output_tokens - 1, np.nan)
    latency = table.finished_s - table.sent_s
    first_ms = 1e3 * (table.first_token_s - table.sent_s)
    known = {
        "request_latency": latency,
        "prompt_token_count": table.prompt_tokens,
        "output_token_count": table.output_tokens,
        "total_token_count": table.prompt_tokens + table.output_tokens,
        "time_to_first_token_ms": first_ms,
        "time_to_first_output_token_ms": first_ms,
        "time_per_output_token_ms": 1e3 * latency / np.where(table.output_tokens > 0, table.output_tokens, np.nan),
        "inter_token_latency_ms": 1e3 * (table.last_token_s - table.first_token_s) / gaps,
    }
    nothing = np.full(len(table), np.nan)
    rates = _rates(table, duration_s(table))
    return {
        "request_totals": counts,
        **{name: _by_status(values, table) for name, values in known.items()},
        **{name: _by_status(nothing, table) for name in _UNKNOWN},
        **{name: _constant_by_status(values, table) for name, values in rates.items()},
        **{name: dict.fromkeys(keys) for name, keys in _MODALITIES.items()},
    }


def _rates(table: RequestTable, over_s: float | None) -> dict[str, FloatArray]:
    """What each request adds to a mean over the run: 1 / duration to requests a second, its latency / duration to those in flight."""
    if not over_s:
        return {name: np.zeros(len(table)) for name in _RATES}
    prompt, output, spent = (np.nan_to_num(x) for x in (table.prompt_tokens, table.output_tokens, table.finished_s - table.sent_s))
    shares = (np.ones(len(table)), spent, prompt, output, prompt + output)
    return {name: share / over_s for name, share in zip(_RATES, shares, strict=True)}


def _by_status(values: FloatArray, table: RequestTable) -> Json:
    return {kind: _distribution(values[which]) for kind, which in _statuses(table).items()} | {"total": _distribution(values)}


def _constant_by_status(values: FloatArray, table: RequestTable) -> Json:
    """A mean over the whole run, as if it had been so all along."""
    sums = {kind: float(values[which].sum()) for kind, which in _statuses(table).items()} | {"total": float(values.sum())}
    return {kind: _distribution(np.array([total])) for kind, total in sums.items()}


def _distribution(values: FloatArray) -> Json:
    """guidellm's summary of values; of none, zeros and a count of 0, as there."""
    known = np.sort(_known(values))
    if not len(known):
        names = ("mean", "median", "mode", "variance", "std_dev", "min", "max", "total_sum")
        return dict.fromkeys(names, 0.0) | {"count": 0, "percentiles": dict.fromkeys(_PERCENTILES, 0.0)}
    distinct, times = np.unique(known, return_counts=True)
    quantiles = np.quantile(known, list(_PERCENTILES.values()), method="inverted_cdf")
    return {
        "mean": float(known.mean()), "median": float(np.median(known)), "mode": float(distinct[times.argmax()]),
        "variance": float(known.var()), "std_dev": float(known.std()), "min": float(known[0]), "max": float(known[-1]),
        "count": len(known), "total_sum": float(known.sum()), "percentiles": dict(zip(_PERCENTILES, map(float, quantiles), strict=True)),
    }  # fmt: skip


def _request(row: Row, kind: str, began: float) -> Json:
    def at(name: str) -> float | None:
        return None if row[name] is None else began + row[name]

    timings = {
        "targeted_start": at("scheduled_s"), "scheduled_at": at("scheduled_s"), "resolve_start": at("sent_s"),
        "request_start": at("sent_s"),
        "first_request_iteration": at("first_token_s"), "first_token_iteration": at("first_token_s"),
        "last_token_iteration": at("last_token_s"), "last_request_iteration": at("last_token_s"), "request_end": at("finished_s"),
        "resolve_end": at("finished_s"), "token_iterations": row["output_tokens"] or 0,
    }  # fmt: skip
    status = {"successful": "completed", "errored": "errored", "incomplete": "cancelled"}[kind]
    info = {"request_id": str(row["seq"]), "status": status, "turn_index": row["turn"] or 0, "timings": timings,
            "conversation_id": None if row["session"] is None else str(row["session"]),
            "error": None if kind == "successful" else row["error"] or row["cause"] or row["outcome"]}  # fmt: skip
    return {
        "type_": "generative_request_stats",
        "request_id": str(row["seq"]),
        "info": info,
        "input_metrics": {
            "text_tokens": row["prompt_tokens"], "cached_tokens": row["cached_prompt_tokens"], "image_tokens": row["image_tokens"]
        },
        "output_metrics": {"text_tokens": row["output_tokens"]},
        "prompt_tokens": row["prompt_tokens"],
        "output_tokens": row["output_tokens"],
    }  # fmt: skip


def _known(values: FloatArray) -> FloatArray:
    return values[np.isfinite(values)]


def _mean(values: FloatArray) -> float:
    known = _known(values)
    return float(known.mean()) if len(known) else 0.0
