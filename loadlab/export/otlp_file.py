"""`--to otlp`: a span a request, as OTLP/JSON lines, which an OpenTelemetry collector's `otlpjsonfile` receiver takes in.

Format: OTLP file exporter, one `TracesData` a line (https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/); names of generative
AI's semantic conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/), and `loadlab.*` for what they have no name for.
A span begins when the request was **due**: what the client waited counts, as everywhere here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import orjson

from loadlab.export.rows import Row, began_s, exported_chunks, facts_of
from loadlab.record.request import Outcome
from loadlab.record.run_dir import RunDir

Json = dict[str, Any]
_CLIENT, _ERROR, _OK = 3, 2, 1  # SPAN_KIND_CLIENT, STATUS_CODE_ERROR, STATUS_CODE_OK
_OPERATIONS = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings"}
_EVENTS = {"sent_s": "loadlab.sent", "first_token_s": "gen_ai.first_token", "last_token_s": "gen_ai.last_token"}
_NAMES: Mapping[str, str] = {
    "model": "gen_ai.request.model", "prompt_tokens": "gen_ai.usage.input_tokens", "output_tokens": "gen_ai.usage.output_tokens",
    "cached_prompt_tokens": "gen_ai.usage.cache_read.input_tokens", "http_status": "http.response.status_code",
    "cause": "error.type", "session": "gen_ai.conversation.id",
}  # fmt: skip
_OURS = ("seq", "worker", "class", "tier", "region", "mode", "turn", "image_tokens", "tokens_estimated", "outcome", "error", "replica",
         "preemptions", "ttft_s", "tpot_s", "e2e_s")  # fmt: skip


def write_otlp(run: RunDir, file: BinaryIO) -> int:
    """Writes a line for some hundreds of spans each; returns how many requests. What never became due, or has no end, has no span."""
    spans, began_ns = 0, int(began_s(run)) * 10**9
    resource = {
        "attributes": [_attribute("service.name", "loadlab"), *_attributes({f"loadlab.run.{k}": v for k, v in facts_of(run).items()})]
    }
    scope = {"name": "loadlab", "version": run.manifest.versions.get("loadlab", "")}
    for chunk in exported_chunks(run):
        found = [_span(row, run.manifest.plan_digest, began_ns) for row in chunk if None not in (row["scheduled_s"], row["finished_s"])]
        if found:
            line = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": found}]}]}
            file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        spans += len(found)
    return spans


def _span(row: Row, plan_digest: str, began_ns: int) -> Json:
    thread = ("session", row["session"]) if row["session"] is not None else ("request", row["seq"])  # turns of one session are one trace
    kind = _OPERATIONS.get(row["kind"] or "", row["kind"] or "request")
    is_ok = row["outcome"] == Outcome.OK
    return {
        "traceId": _id(plan_digest, *thread, size=16),
        "spanId": _id(plan_digest, "span", row["seq"], size=8),
        "name": f"{kind} {row['model']}" if row["model"] else kind,
        "kind": _CLIENT,
        "startTimeUnixNano": _ns(row["scheduled_s"], began_ns),
        "endTimeUnixNano": _ns(row["finished_s"], began_ns),
        "attributes": [_attribute("gen_ai.operation.name", kind), *_attributes(_named(row))],
        "events": [{"timeUnixNano": _ns(row[key], began_ns), "name": name} for key, name in _EVENTS.items() if row[key] is not None],
        "status": {"code": _OK} if is_ok else {"code": _ERROR, "message": row["error"] or row["cause"] or row["outcome"]},
    }


def _named(row: Row) -> Json:
    found = {name: row[key] for key, name in _NAMES.items()} | {f"loadlab.{key}": row[key] for key in _OURS}
    session = found["gen_ai.conversation.id"]
    return found | {"gen_ai.conversation.id": None if session is None else str(session)}  # a text by the conventions


def _id(*parts: object, size: int) -> str:
    """So many bytes in hex, never all zero in practice: the same run gives the same identities."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[: 2 * size]


def _ns(at_s: float, began_ns: int) -> str:
    """Nanoseconds since 1970; a text, as 64-bit integers are in OTLP/JSON."""
    return str(began_ns + round(at_s * 1e9))


def _attributes(values: Mapping[str, Any]) -> Iterator[Json]:
    return (_attribute(key, value) for key, value in values.items() if value is not None)


def _attribute(key: str, value: Any) -> Json:
    match value:
        case bool():
            return {"key": key, "value": {"boolValue": value}}
        case int():
            return {"key": key, "value": {"intValue": str(value)}}
        case float():
            return {"key": key, "value": {"doubleValue": value}}
        case _:
            return {"key": key, "value": {"stringValue": str(value)}}
