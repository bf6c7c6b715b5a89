"""What a load generator knows of itself: how much of this machine a run used, and why it ended early."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFacts:
    """Of the process that sent the requests, from second 0 to its last answer. None where it was killed before it could say."""

    max_in_flight: int  # requests due above it were not sent
    most_in_flight: int | None
    connections: int | None  # opened, preflight included
    cpu_s: float | None
    cpu_total_s: float | None  # its start and the preflight too
    wall_s: float | None
    run_queue_wait_s: float | None  # it could have run, and had no core; None where the system does not count it
    peak_rss_bytes: int | None
    stopped_because: str | None  # why the run ended before its plan did
    notes: tuple[str, ...] = ()  # what the preflight found, for people
    ceiling: Mapping[str, Any] | None = None  # what `loadlab doctor` last measured here; None: never
    run_id: str | None = None  # first part of every X-Request-ID
    workers: tuple[Mapping[str, Any], ...] = ()  # of several: what each used, its clock, and why it was lost; () for one process
