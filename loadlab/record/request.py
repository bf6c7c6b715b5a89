"""What became of one request: the row that simulator, HTTP engine and importers all write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from operator import attrgetter
from typing import Any


class Outcome(StrEnum):
    """How one planned request ended. Every planned request has exactly one; only OK counts as success."""

    OK = "ok"
    REJECTED = "rejected"
    OOM = "oom"
    TIMEOUT = "timeout"
    HTTP_ERROR = "http_error"
    CONNECTION_ERROR = "connection_error"
    TRUNCATED = "truncated"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"


class Cause(StrEnum):
    """Which kind of not-OK: `OUTCOME_OF` puts each under exactly one outcome, in the simulator and over HTTP alike."""

    CONTEXT_LENGTH = "context_length"  # prompt and answer exceed the model's window
    QUEUE_FULL = "queue_full"  # 503, or the orchestrator's limit on waiting requests
    QUEUE_TIMEOUT = "queue_timeout"  # waited longer at the server than the orchestrator allows
    RATE_LIMITED = "rate_limited"  # 429
    FILTERED = "filtered"  # a safety filter said no
    KV_EXHAUSTED = "kv_exhausted"  # the orchestrator keeps some KV free, and no replica has it
    NO_REPLICA = "no_replica"  # every replica of the pool is down
    KV_TOO_SMALL = "kv_too_small"  # the sequence would not fit an empty replica
    OOM_REPORTED = "oom_reported"  # the server said that it ran out of memory
    DEADLINE = "deadline"  # the client's total time was up
    STALL = "stall"  # no byte for too long in mid-stream
    SERVER_ERROR = "server_error"  # 5xx without a better name
    CLIENT_ERROR = "client_error"  # 4xx without a better name
    ENGINE_DIED = "engine_died"  # the server's engine died; by what is not known
    REDIRECTED = "redirected"  # a 3xx, never followed
    PROTOCOL = "protocol"  # malformed JSON, SSE or HTTP
    REFUSED = "refused"  # no one listens
    RESET = "reset"  # connection lost before the first byte of the answer
    STALE_CONNECTION = "stale_connection"  # the server closed an idle kept-alive connection
    DNS = "dns"
    TLS = "tls"
    RESET_MID_STREAM = "reset_mid_stream"  # tokens had arrived and are kept
    CUT_SHORT = "cut_short"  # the stream ended without a finish reason
    IN_FLIGHT_LIMIT = "in_flight_limit"  # due while --max-in-flight was reached
    STOPPED = "stopped"  # the run ended before it was due
    OUT_OF_SOCKETS = "out_of_sockets"  # file descriptors or ports exhausted on our side
    LOST = "lost"  # the worker that had it is gone
    GIVEN_UP = "given_up"  # in flight when the run was stopped at once: what the server made of it is not known
    CLIENT_LEFT = "client_left"  # seen by a server: the client closed its connection before the answer was complete


OUTCOME_OF: Mapping[Cause, Outcome] = {
    Cause.CONTEXT_LENGTH: Outcome.REJECTED,
    Cause.QUEUE_FULL: Outcome.REJECTED,
    Cause.QUEUE_TIMEOUT: Outcome.REJECTED,
    Cause.RATE_LIMITED: Outcome.REJECTED,
    Cause.FILTERED: Outcome.REJECTED,
    Cause.KV_EXHAUSTED: Outcome.REJECTED,
    Cause.NO_REPLICA: Outcome.REJECTED,
    Cause.KV_TOO_SMALL: Outcome.REJECTED,
    Cause.OOM_REPORTED: Outcome.OOM,
    Cause.DEADLINE: Outcome.TIMEOUT,
    Cause.STALL: Outcome.TIMEOUT,
    Cause.SERVER_ERROR: Outcome.HTTP_ERROR,
    Cause.CLIENT_ERROR: Outcome.HTTP_ERROR,
    Cause.ENGINE_DIED: Outcome.HTTP_ERROR,
    Cause.REDIRECTED: Outcome.HTTP_ERROR,
    Cause.PROTOCOL: Outcome.HTTP_ERROR,
    Cause.REFUSED: Outcome.CONNECTION_ERROR,
    Cause.RESET: Outcome.CONNECTION_ERROR,
    Cause.STALE_CONNECTION: Outcome.CONNECTION_ERROR,
    Cause.DNS: Outcome.CONNECTION_ERROR,
    Cause.TLS: Outcome.CONNECTION_ERROR,
    Cause.RESET_MID_STREAM: Outcome.TRUNCATED,
    Cause.CUT_SHORT: Outcome.TRUNCATED,
    Cause.IN_FLIGHT_LIMIT: Outcome.NOT_SENT,
    Cause.STOPPED: Outcome.NOT_SENT,
    Cause.OUT_OF_SOCKETS: Outcome.NOT_SENT,
    Cause.LOST: Outcome.UNKNOWN,
    Cause.GIVEN_UP: Outcome.UNKNOWN,
    Cause.CLIENT_LEFT: Outcome.TIMEOUT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One planned request and what became of it. None where a thing did not happen or is not known.

    All `_s` are seconds since the run's t0 on one monotonic (or virtual) clock. Latencies are derived, never stored:
    TTFT = first_token_s - scheduled_s; end to end = finished_s - scheduled_s; TPOT = (last - first token) / (tokens - 1).
    """

    seq: int  # position in the plan
    worker: int | None = None  # which load generator sent it
    traffic_class: str | None = None  # "class" in the row
    kind: str | None = None  # chat, completion, embedding, http
    model: str | None = None
    tier: str | None = None
    region: str | None = None
    mode: str | None = None  # fast or deliberative
    session: int | None = None
    turn: int | None = None
    stages_s: float | None = None  # that the application spent before the prompt, by plan: retrieval, a tool; it ends at scheduled_s
    scheduled_s: float | None = None  # None: its predecessor never ended, so it never became due
    sent_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    finished_s: float | None = None  # answer complete, refused, or given up
    prompt_tokens: int | None = None  # text tokens asked for, shared prefixes included
    image_tokens: int | None = None
    cached_prompt_tokens: int | None = None  # of the prompt, read from the KV cache
    output_tokens: int | None = None  # received, also when the request then failed
    tokens_estimated: bool = False  # the server did not say; counted from the text that came
    outcome: Outcome
    cause: Cause | None = None
    http_status: int | None = None
    error: str | None = None  # the server's words, capped and stripped of control characters
    replica: str | None = None
    preemptions: int | None = None
    itl_p50_s: float | None = None  # quantiles of this request's own inter-token (over HTTP: inter-chunk) gaps
    itl_p95_s: float | None = None
    itl_p99_s: float | None = None
    itl_max_s: float | None = None

    def as_row(self) -> dict[str, Any]:
        """The JSON object of this record: every column, in this order; `traffic_class` is called "class"."""
        return dict(zip(_NAMES, _values_of(self), strict=True))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> RequestRecord:
        """The record of a JSON object. Columns that a later minor version added are ignored.

        Raises KeyError without seq or outcome, ValueError on an unknown outcome or cause.
        """
        values = {name: row[column] for column, name in COLUMNS.items() if column in row}
        values["outcome"] = Outcome(row["outcome"])
        values["cause"] = None if row.get("cause") is None else Cause(row["cause"])
        return cls(**values)


COLUMNS: Mapping[str, str] = {("class" if f.name == "traffic_class" else f.name): f.name for f in fields(RequestRecord)}
_NAMES = tuple(COLUMNS)
_values_of = attrgetter(*COLUMNS.values())
