"""What the parent and the load generator say to each other: JSON lines over the child's stdin and stdout, and the plan's columns.

Parent to child: one line of job, the plan's bytes, then the words GO, DRAIN and NOW, a line each. The end of stdin means that the parent
is gone. The API key travels here and nowhere else: not in the command line, not in the environment, not in a file.
Child to parent: a line per message, told apart by "kind".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from loadlab.schema import read_table
from loadlab.wire.openai import RequestTable
from loadlab.wire.template import HttpTemplate

GO, DRAIN, NOW = b"go\n", b"drain\n", b"now\n"

READY = "ready"  # plan taken over, preflight passed: plan_digest, notes (for people)
REFUSED = "refused"  # the preflight request says that a run makes no sense: reason
STARTED = "started"  # second 0: wall_s (seconds since the epoch), monotonic_s (CLOCK_MONOTONIC, which both processes share)
NEWS = "news"  # rows (see ROW), sent, in_flight, at_s
DONE = "done"  # everything has ended: see ClientFacts

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


Asking: TypeAlias = RequestTable | HttpTemplate


def read_class_table(table: Mapping[str, Any]) -> Asking:
    """How a class asks, from {"http": ..} or {"request": ..}; {} is the usual way."""
    if "http" in table:
        return read_table(HttpTemplate, table["http"], "job")
    return read_table(RequestTable, table.get("request", {}), "job")
