"""What the parent and the load generator say to each other: JSON lines over the child's stdin and stdout, and the plan's columns.

Parent to child: one line of job, the plan's bytes, then the words GO, DRAIN and NOW, a line each. The end of stdin means that the parent
is gone. The API key travels here and nowhere else: not in the command line, not in the environment, not in a file.
Child to parent: a line per message, told apart by "kind".

With several workers one more child, the master, has the same words, and passes on what workers say with their `worker`. Between master
and workers go the same messages and those of the second list, as JSON in locust's custom messages; neither key nor plan is in any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import orjson

from loadlab.schema import read_table
from loadlab.wire.openai import RequestTable
from loadlab.wire.template import HttpTemplate

GO, DRAIN, NOW = b"go\n", b"drain\n", b"now\n"
CLOSE = b"close\n"  # to a master: everything is recorded, let the workers go

READY = "ready"  # plan taken over, preflight passed: plan_digest, notes (for people)
REFUSED = "refused"  # the preflight request says that a run makes no sense: reason
STARTED = "started"  # second 0: wall_s (seconds since the epoch), monotonic_s (CLOCK_MONOTONIC, which both processes share)
NEWS = "news"  # rows (see ROW), sent, in_flight, at_s
DONE = "done"  # everything has ended: see ClientFacts; rows: how many were told

LISTENING = "listening"  # master: port, web_port
JOINED = "joined"  # master: a worker was given its number: worker, name, host, pid. A worker to its own parent: worker, workers
AWAY = "away"  # one was turned away: name, reason, is_late
WAITING = "waiting"  # a worker to its own parent: no master answers yet: reason
LOST = "lost"  # nothing was heard of a worker for LOST_AFTER_S: reason, is_dead (its process is known to have ended)
ROGUES = "rogues"  # master, at its end: refused (connections without the token), malformed (messages that were none)

HELLO, ASSIGN, PING, PONG, START, WORD, BYE = "hello", "assign", "ping", "pong", "start", "word", "bye"
PROTOCOL = 1  # of these messages
LOST_AFTER_S = 4.0  # of silence, on either side; news come five times a second, pings once
LOST_BEFORE_S = 20.0  # the same before the run begins, when a worker may be busy with a large plan
CUT_OFF = "nothing was heard of the master"

ROW = (
    "seq", "scheduled_s", "sent_s", "first_token_s", "last_token_s", "finished_s", "prompt_tokens", "cached_prompt_tokens",
    "output_tokens", "tokens_estimated", "outcome", "cause", "http_status", "error", "itl_p50_s", "itl_p95_s", "itl_p99_s", "itl_max_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the child needs beside the plan. `worker` of `workers` takes the chains that are `worker` modulo `workers`."""

    scheme: str
    host: str  # of the certificate
    authority: str  # of the Host header
    base_path: str
    addresses: tuple[tuple[int, str, int], ...]
    models: Mapping[str, str]  # the scenario's model -> the one to ask for
    classes: Mapping[str, Mapping[str, Any]]  # by traffic class: see `read_class_table`
    tokenizer: str | None  # folder of a tokenizer; None: four characters a token
    api_key: str | None = field(repr=False)
    insecure: bool
    max_in_flight: int
    timeout_s: float
    idle_s: float
    preflight: bool
    run_id: str  # first part of every X-Request-ID
    plan_bytes: int
    worker: int = 0
    workers: int = 1
    link: Link | None = None  # None: the parent alone commands

    @property
    def digest(self) -> str:
        """sha256 over whatever shapes the requests beside the plan: target, models, limits. Equal for all workers of a run."""
        own = ("addresses", "api_key", "tokenizer", "run_id", "plan_bytes", "worker", "workers", "link")
        shared = {key: value for key, value in asdict(self).items() if key not in own} | {"counts": self.tokenizer is not None}
        return f"sha256:{hashlib.sha256(orjson.dumps(shared, option=orjson.OPT_SORT_KEYS)).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where a worker's master is, and as whom it comes."""

    host: str
    port: int
    token: str = field(repr=False)
    name: str
    folder: str  # where it keeps its rows
    version: str
    join_within_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterJob:
    """What a master needs: where to listen, how many to wait for, and what each of them must have."""

    host: str
    port: int  # 0: any
    token: str = field(repr=False)
    workers: int
    run_id: str
    version: str
    plan_digest: str
    job_digest: str
    web_port: int | None


def share_of(total: int, worker: int, workers: int) -> int:
    """One worker's part of a limit that holds for all of them together; at least 1."""
    return max(1, total // workers + (worker < total % workers))


Asking: TypeAlias = RequestTable | HttpTemplate


def read_class_table(table: Mapping[str, Any]) -> Asking:
    """How a class asks, from {"http": ..} or {"request": ..}; {} is the usual way."""
    if "http" in table:
        return read_table(HttpTemplate, table["http"], "job")
    return read_table(RequestTable, table.get("request", {}), "job")
