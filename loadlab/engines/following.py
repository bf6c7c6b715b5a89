"""One replay under way, as the parent sees it: what is told becomes rows, what stops it is passed on, who is lost is accounted for."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from loadlab.engines.abort import AbortWatch
from loadlab.engines.base import Progress, RecordSink, RunStoppedError
from loadlab.engines.client_facts import facts_of
from loadlab.engines.endpoint import Endpoint
from loadlab.engines.lengths import LengthCheck
from loadlab.engines.live import LiveWindow, Watch
from loadlab.engines.messages import AWAY, DONE, DRAIN, GO, LOST, NEWS, NOW, STARTED
from loadlab.engines.records import ForgedRowError, Records
from loadlab.engines.scraper import Scraper
from loadlab.errors import ExitCode, InputError
from loadlab.record.request import Cause, RequestRecord
from loadlab.record.shares import rows_of_share
from loadlab.scenario.plan import RequestPlan

LOOK_EVERY_S = 0.25
STOP_WITHIN_S = 5.0  # after NOW
UNREACHABLE_AFTER = 100  # refused in a row, with nothing else in between ..
UNREACHABLE_FOR_S = 10.0  # .. over so long: nobody listens any more
_GONE = frozenset({Cause.REFUSED, Cause.DNS})


class Generator(Protocol):
    """What sends: `Child` alone, or a `Crew`."""

    def say(self, word: bytes) -> None:
        """One of the words of `messages`."""

    def messages(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """What was said within `timeout_s`."""

    @property
    def has_ended(self) -> bool:
        """True once nothing will ever be said again."""

    def last_words(self) -> str:
        """How it ended."""


class Following:
    """From the word to go to the last row. Used once."""

    def __init__(self, plan: RequestPlan, endpoint: Endpoint, sink: RecordSink, generator: Generator, asked: list[int]) -> None:
        """`asked`: signals that have come, which others add to."""
        self._plan, self._endpoint, self._sink, self._generator, self._asked = plan, endpoint, sink, generator, asked
        self._workers = endpoint.spread.workers
        self._records = Records(plan, {name: endpoint.served_model(name) for name in plan.model.names}, self._workers)
        self._scraper = Scraper(endpoint.metrics)
        self._window = LiveWindow(plan)
        self._lengths = LengthCheck(plan)
        self._rules = [AbortWatch(rule) for rule in endpoint.abort_on]
        self._refused_since_s: float | None = None
        self._refused = 0
        self._wall_s: float | None = None
        self._zero_s = math.inf  # CLOCK_MONOTONIC at second 0
        self._rows = [0] * self._workers  # told by each
        self._done: dict[int, dict[str, Any]] = {}
        self._lost: dict[int, str] = {}
        self._dead_at_s: dict[int, float] = {}  # of processes that are known to have ended
        self._clocks: list[Mapping[str, Any]] = []
        self._notes: list[str] = []
        self._forged = 0
        self._told = 0  # signals passed on
        self._stop: RunStoppedError | None = None
        self._stop_by_s = math.inf

    def follow(self, progress: Progress, watch: Watch | None) -> None:
        """Records until every worker has said that it is done, or is lost. Raises what the sink raises where rows cannot be written."""
        self._scraper.begin()
        try:
            self._generator.say(GO)
            self._until_the_end(progress, watch)
        finally:
            self._scraper.end(self._sink, self._zero_s)

    def _until_the_end(self, progress: Progress, watch: Watch | None) -> None:
        while len(self._done.keys() | self._lost.keys()) < self._workers:
            for message in self._generator.messages(LOOK_EVERY_S):
                self._take(message)
            self._scraper.hand_over(self._sink, self._zero_s)
            self._sink.flush()
            progress(self._window.ended, len(self._plan))
            if watch is not None:
                watch(self._window.view(is_stopping=bool(self._asked) or self._stop is not None))
            self._pass_on()
            if self._generator.has_ended:
                self._lose_everyone(f"the load generator died: {self._generator.last_words()}", time.monotonic())
            elif time.monotonic() > self._stop_by_s:  # told to give up, and does not even do that
                self._lose_everyone("the load generator did not stop when it was told to", None)

    def account(self, folders: Mapping[int, Path]) -> None:
        """Gives every planned request of a worker that was lost, or ended early, its row. `folders`: copies of rows on this machine."""
        for worker in range(self._workers):
            rescued = self._rescue(worker, folders)
            if worker in self._lost:
                missing = self._records.untold(worker)
                dead_at_s = self._dead_at_s.get(worker)
                self._sink.append(self._records.without_row(worker, None if dead_at_s is None else dead_at_s - self._zero_s))
                if self._workers > 1:
                    kept = f"; its own file had {rescued:,} more of its rows" if rescued else ""
                    why = self._lost[worker].splitlines()[0]
                    self._notes.append(f"worker {worker} was lost: {why}{kept}; {missing:,} of its requests have no answer")
                continue
            if self._lost:  # it was stopped for the sake of another
                self._sink.append(self._records.without_row(worker, -math.inf))
            if rescued:
                self._notes.append(f"{rescued:,} rows of worker {worker} came from its own file, not over the wire")

    def raise_end(self) -> None:
        """Raises what the run's end means, if it is no good one."""
        if self._asked:
            raise KeyboardInterrupt
        if self._stop is not None:
            raise self._stop

    def note_client(self, run_id: str, ceiling: Mapping[str, Any] | None, preflight: tuple[str, ...], rogues: Mapping[str, int]) -> None:
        """Hands what the load generator says of itself to the sink."""
        reason = None if self._stop is None else str(self._stop)
        if reason is None and self._asked:
            reason = "interrupted"
        if self._forged:
            self._notes.append(f"{self._forged:,} rows were dropped: their worker cannot have had them")
        notes = (*preflight, *self._notes, *self._lengths.notes())
        facts = facts_of(self._endpoint, run_id, self._done, self._lost, self._clocks, rogues, reason=reason, notes=notes, ceiling=ceiling)
        self._sink.note_client(facts, self._wall_s)

    def _take(self, message: dict[str, Any]) -> None:
        worker = message.get("worker", 0)
        match message["kind"]:
            case str(kind) if kind == NEWS:
                self._take_news(worker, message)
            case str(kind) if kind == STARTED:
                self._wall_s, self._zero_s = message["wall_s"], message["monotonic_s"]
                self._clocks = message.get("clocks", [])
            case str(kind) if kind == DONE:
                self._take_done(worker, message)
            case str(kind) if kind == LOST and worker is not None:
                self._lose(worker, message["reason"], time.monotonic() if message["is_dead"] else None)
            case str(kind) if kind == AWAY:
                self._notes.append(f"a worker was turned away: {message['name']}: {message['reason']}")

    def _take_news(self, worker: int, message: dict[str, Any]) -> None:
        records = []
        for row in message["rows"]:
            try:
                records.append(self._records.build(row, worker))
            except ForgedRowError:
                self._forged += 1
        self._rows[worker] += len(message["rows"])
        self._sink.append(records)
        self._window.add(records, message)
        for record in records:
            self._lengths.add(record)
        self._judge(records, message["at_s"])

    def _take_done(self, worker: int, message: dict[str, Any]) -> None:
        self._done[worker] = message
        if message.get("copy_error"):
            self._notes.append(f"worker {worker} could not keep its own copy of its rows: {message['copy_error']}")
        is_ours = bool(self._asked) or self._stop is not None
        if message.get("stopped") and not is_ours:
            self._end_early(RunStoppedError(f"worker {worker} stopped early: {message['stopped']}", ExitCode.INCOMPLETE))
        if message.get("rows", self._rows[worker]) != self._rows[worker]:
            self._lose(worker, f"{message['rows'] - self._rows[worker]:,} of its rows did not arrive", None)

    def _judge(self, records: list[RequestRecord], now_s: float) -> None:
        """Whether the run is to stop by itself."""
        for record in records:
            for rule in self._rules:
                rule.add(record.finished_s or now_s, record.outcome)
            if record.cause in _GONE:
                self._refused += 1
                self._refused_since_s = now_s if self._refused_since_s is None else self._refused_since_s
            else:
                self._refused, self._refused_since_s = 0, None
        if self._stop is not None:
            return
        broken = next((said for rule in self._rules if (said := rule.broken_by(now_s)) is not None), None)
        if broken is not None:
            self._end_early(RunStoppedError(f"stopped by --abort-on {broken}", ExitCode.INCOMPLETE))
        elif self._refused >= UNREACHABLE_AFTER and now_s - (self._refused_since_s or now_s) >= UNREACHABLE_FOR_S:
            said = f"{self._endpoint.url}: nobody listens any more: the last {self._refused:,} connections were refused"
            self._end_early(RunStoppedError(said, ExitCode.UNREACHABLE))

    def _end_early(self, why: RunStoppedError) -> None:
        if self._stop is None:
            self._stop = why
            self._generator.say(DRAIN)

    def _pass_on(self) -> None:
        """Tells the load generator of signals: the first drains, the second stops."""
        if len(self._asked) == self._told:
            return
        self._told = len(self._asked)
        if self._told == 1 and self._stop is None:
            self._generator.say(DRAIN)
        else:
            self._generator.say(NOW)
            self._stop_by_s = time.monotonic() + STOP_WITHIN_S

    def _lose(self, worker: int, reason: str, dead_at_s: float | None) -> None:
        """A worker is gone without its last word: the load is not the plan's any more, so that the others stop, too.

        What comes due after its process ended was certainly not sent. Its last news are older than that: what came due in between may
        have been.
        """
        if worker in self._done and dead_at_s is not None:
            return  # it had said all it had to say
        if dead_at_s is not None:
            self._dead_at_s.setdefault(worker, dead_at_s)
        if worker in self._lost:
            return
        self._lost[worker] = reason
        said = reason if self._workers == 1 else f"worker {worker} of {self._workers} was lost: {reason}"
        self._stop_by_loss(RunStoppedError(said, ExitCode.INCOMPLETE, is_lost=True))

    def _stop_by_loss(self, why: RunStoppedError) -> None:
        is_first = self._stop is None
        if is_first or not (self._stop is not None and self._stop.is_lost):
            self._stop = why
        if is_first:
            self._generator.say(DRAIN)

    def _lose_everyone(self, reason: str, dead_at_s: float | None) -> None:
        for worker in range(self._workers):
            if worker not in self._done:
                self._lose(worker, reason, dead_at_s if self._endpoint.spread.bind_host is None else None)

    def _rescue(self, worker: int, folders: Mapping[int, Path]) -> int:
        """Rows that only the worker's own file has; how many."""
        folder = folders.get(worker)
        if folder is None:
            return 0
        rescued = []
        try:
            for record in rows_of_share(folder):
                if self._records.may_tell(record.seq, worker):
                    self._records.take(record)
                    rescued.append(record)
        except InputError as error:
            self._notes.append(f"the own file of worker {worker} is damaged: {error}")
        self._sink.append(rescued)
        return len(rescued)
