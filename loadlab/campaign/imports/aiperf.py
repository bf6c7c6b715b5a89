"""`aiperf profile`: `profile_export.jsonl`, a line per request with metadata (epoch ns), metrics {value, unit} and an error.

Read from the AIPerf guide "Working with Profile Export Files" and its record models (2025, 2026). `profile_export_aiperf.json` and `.csv`
hold aggregates only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadlab.campaign.imports.foreign import ForeignRun, Loop, failed, json_lines, number_at, numbered, text_of, whole, with_gaps
from loadlab.errors import InputError
from loadlab.record.request import Outcome, RequestRecord

_SCALE = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}
_LOOP = "the file does not say whether arrivals followed a clock (--request-rate) or answers (--concurrency)"


def read_aiperf(path: Path) -> list[ForeignRun]:
    """The run of a file, its warm-up left out. Raises InputError if it is none, is damaged, or holds only aggregates."""
    if path.suffix in (".json", ".csv"):
        raise InputError("holds aggregates only; the requests are in profile_export.jsonl beside it", source=str(path))
    records, left_out = [], 0
    for number, row in json_lines(path):
        metadata, metrics = row.get("metadata"), row.get("metrics")
        if not isinstance(metadata, dict) or "request_start_ns" not in metadata:
            raise InputError(f"line {number}: is no record of aiperf (no metadata.request_start_ns)", source=str(path))
        if metadata.get("benchmark_phase", "profiling") != "profiling":
            left_out += 1
            continue
        records.append(_record(number, metadata, metrics if isinstance(metrics, dict) else {}, row.get("error"), path))
    if not records:
        raise InputError("holds no request of the profiling phase", source=str(path))
    ordered, began = numbered(records)
    notes = [_LOOP] + ([f"{left_out:,} requests of the warm-up are left out"] if left_out else [])
    return [ForeignRun(name="aiperf", records=ordered, loop=Loop.UNKNOWN, began_s=began, facts={}, notes=tuple(notes))]


def _record(line: int, metadata: Mapping[str, Any], metrics: Mapping[str, Any], error: Any, path: Path) -> RequestRecord:
    where = f"line {line}: metadata"
    start = number_at(metadata, "request_start_ns", where, path)
    end = number_at(metadata, "request_end_ns", where, path)
    credit = number_at(metadata, "credit_issued_ns", where, path)
    ttft, mean_gap = _seconds(metrics, "time_to_first_token", line, path), _seconds(metrics, "inter_token_latency", line, path)
    tokens = _value(metrics, "output_sequence_length", line, path) or _value(metrics, "output_token_count", line, path)
    if start is None:
        raise InputError("is null", source=str(path), key=f"{where}.request_start_ns")
    sent = start / 1e9
    first = None if ttft is None else sent + ttft
    last = first + mean_gap * (tokens - 1) if first is not None and mean_gap is not None and tokens is not None and tokens > 1 else first
    record = RequestRecord(
        seq=0,
        traffic_class=None,
        session=None,
        turn=whole(number_at(metadata, "turn_index", where, path)),
        scheduled_s=sent if credit is None else min(sent, credit / 1e9),
        sent_s=sent,
        first_token_s=first,
        last_token_s=last,
        finished_s=None if end is None else end / 1e9,
        prompt_tokens=whole(_value(metrics, "input_sequence_length", line, path) or _value(metrics, "error_isl", line, path)),
        output_tokens=whole(tokens),
        outcome=Outcome.OK,
    )
    if error is None and not metadata.get("was_cancelled"):
        return with_gaps(record, _gaps(metrics))
    words = " ".join(filter(None, (text_of(error.get(key)) for key in ("type", "message")))) if isinstance(error, dict) else text_of(error)
    code = error.get("code") if isinstance(error, dict) else None
    return failed(record, code if isinstance(code, int) and 100 <= code < 600 and code != 499 else None, words or "cancelled")


def _gaps(metrics: Mapping[str, Any]) -> list[float]:
    """Gaps between chunks, seconds."""
    entry = metrics.get("inter_chunk_latency")
    if not isinstance(entry, dict) or not isinstance(entry.get("value"), list):
        return []
    scale = _SCALE.get(str(entry.get("unit")), 1e-3)
    return [scale * gap for gap in entry["value"] if type(gap) in (int, float)]


def _seconds(metrics: Mapping[str, Any], name: str, line: int, path: Path) -> float | None:
    value = _value(metrics, name, line, path)
    if value is None:
        return None
    unit = str(metrics[name].get("unit"))
    if unit not in _SCALE:
        raise InputError(f"= {unit!r} must be one of {', '.join(_SCALE)}", source=str(path), key=f"line {line}: metrics.{name}.unit")
    return value * _SCALE[unit]


def _value(metrics: Mapping[str, Any], name: str, line: int, path: Path) -> float | None:
    entry = metrics.get(name)
    return number_at(entry, "value", f"line {line}: metrics.{name}", path) if isinstance(entry, dict) else None
