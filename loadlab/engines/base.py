"""What every engine promises: replay a plan against a target, leave one row per planned request, judge nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from loadlab.errors import ExitCode, LoadlabError
from loadlab.record.client import ClientFacts
from loadlab.record.request import RequestRecord
from loadlab.record.rows import Row
from loadlab.scenario.plan import RequestPlan

Progress = Callable[[int, int], None]  # (rows so far, rows planned)


class RunStoppedError(LoadlabError):
    """The run ended before its plan did. `is_lost`: a load generator died, so that what has no row may have been sent."""

    def __init__(self, reason: str, exit_code: ExitCode, *, is_lost: bool = False) -> None:
        super().__init__(reason)
        self.exit_code, self.is_lost = exit_code, is_lost


class RecordSink(Protocol):
    """Where rows go; `record.run_dir.RunDir` is one."""

    def append(self, records: Iterable[RequestRecord]) -> None:
        """Takes rows in any order of seq, each once."""

    def append_rows(self, rows: Iterable[Row]) -> None:
        """The same, each as `RequestRecord.as_row` tells it: making the record itself costs more than simulating its request."""

    def append_timeline(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Takes the target's state over time, a row per replica and bin."""

    def flush(self) -> None:
        """Hands what it took to the operating system, so that a kill does not lose it."""

    def note_client(self, facts: ClientFacts, wall_s: float | None) -> None:
        """Takes what a load generator knows of itself, and the wall time of its second 0, seconds since 1970."""


class LoadEngine(Protocol):
    """Replays plans against one target."""

    def replay(self, plan: RequestPlan, sink: RecordSink, progress: Progress) -> None:
        """Every planned request reaches the sink as one row. On KeyboardInterrupt what ended so far has reached it."""
