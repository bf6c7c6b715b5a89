"""Replays a plan over HTTP: starts the load generator in a process of its own, records what it tells, and stops it.

Nothing here imports locust or gevent. The parent is the only writer of the run directory: what the child told before it was killed,
or before we were, is in the file.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from loadlab.engines.abort import AbortWatch
from loadlab.engines.base import Progress, RecordSink
from loadlab.engines.child_process import Child
from loadlab.engines.endpoint import Address, Endpoint, TargetUnreachableError, resolve
from loadlab.engines.lengths import LengthCheck
from loadlab.engines.live import LiveView, LiveWindow
from loadlab.engines.messages import DONE, DRAIN, GO, NEWS, NOW, READY, REFUSED, ROW, STARTED, Job
from loadlab.engines.scraper import Scraper
from loadlab.errors import ExitCode, LoadlabError
from loadlab.record.client import ClientFacts
from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.scenario.model import TrafficClass
from loadlab.scenario.plan import NOTHING, RequestPlan
from loadlab.scenario.plan_bytes import dump_plan
from loadlab.schema import as_table

Watch = Callable[[LiveView], None]
LOOK_EVERY_S = 0.25
READY_WITHIN_S = 180.0  # imports, the plan and a preflight of a cold model for each model
STOP_WITHIN_S = 5.0  # after NOW
UNREACHABLE_AFTER = 100  # refused in a row, with nothing else in between ..
UNREACHABLE_FOR_S = 10.0  # .. over so long: nobody listens any more
_GONE = frozenset({Cause.REFUSED, Cause.DNS})


class RunStoppedError(LoadlabError):
    """The run ended before its plan did. `is_lost`: the load generator died, so that what has no row may have been sent."""

    def __init__(self, reason: str, exit_code: ExitCode, *, is_lost: bool = False) -> None:
        super().__init__(reason)
        self.exit_code, self.is_lost = exit_code, is_lost


class LocustEngine:
    """A LoadEngine over one HTTP endpoint. `watch` sees the run as it stands, four times a second."""

    def __init__(
        self,
        endpoint: Endpoint,
        classes: Mapping[str, TrafficClass],
        run_id: str,
        watch: Watch | None = None,
        ceiling: Mapping[str, Any] | None = None,
    ) -> None:
        """`classes` say how they ask. `ceiling`: what this machine can do at most, to be kept beside the run."""
        self._endpoint, self._classes, self._run_id, self._watch, self._ceiling = endpoint, classes, run_id, watch, ceiling

    def replay(self, plan: RequestPlan, sink: RecordSink, progress: Progress) -> None:
        """See LoadEngine. Raises TargetUnreachableError before the first request, RunStoppedError if the run ended early.

        The first SIGINT or SIGTERM stops sending and waits for what is in flight, the second gives that up: then KeyboardInterrupt.
        """
        addresses = resolve(self._endpoint)
        with _signals() as asked, Child() as child:
            columns = dump_plan(plan)
            child.hand_over(self._job(plan, addresses, len(columns)), columns)
            notes = _await_ready(child, plan, self._endpoint, asked)
            run = _Run(plan, self._endpoint, sink, child, asked, notes)
            run.follow(progress, self._watch, self._ceiling)

    def _job(self, plan: RequestPlan, addresses: tuple[Address, ...], plan_bytes: int) -> Job:
        endpoint = self._endpoint
        return Job(
            scheme=endpoint.scheme,
            host=endpoint.host,
            authority=endpoint.authority,
            base_path=endpoint.base_path,
            addresses=addresses,
            models={name: endpoint.served_model(name) for name in plan.model.names},
            classes={name: _class_table(self._classes.get(name)) for name in plan.traffic_class.names},
            tokenizer=None if endpoint.tokenizer is None else str(endpoint.tokenizer),
            api_key=None if endpoint.api_key is None else endpoint.api_key.reveal(),
            insecure=endpoint.insecure,
            max_in_flight=endpoint.max_in_flight,
            timeout_s=endpoint.timeout_s,
            idle_s=endpoint.idle_s,
            preflight=endpoint.preflight,
            run_id=self._run_id,
            plan_bytes=plan_bytes,
        )


def _class_table(traffic_class: TrafficClass | None) -> dict[str, Any]:
    """How a class asks, as plain tables: {"request": ..}, {"http": ..}, or {} for the usual way.

    A step, such as chat/route, is no class (None): it asks in the usual way, whatever its class does.
    """
    if traffic_class is None:
        return {}
    return {key: as_table(value) for key in ("request", "http") if (value := getattr(traffic_class, key)) is not None}


def _await_ready(child: Child, plan: RequestPlan, endpoint: Endpoint, asked: list[int]) -> tuple[str, ...]:
    deadline_s = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline_s:
        if asked:
            raise KeyboardInterrupt
        for message in child.messages(LOOK_EVERY_S):
            if message["kind"] == REFUSED:
                raise TargetUnreachableError(f"{endpoint.url}: {message['reason'].rstrip('.')}. Nothing was sent but that")
            if message["kind"] == READY:
                assert message["plan_digest"] == plan.digest, "the plan changed on its way to the load generator"
                return tuple(message["notes"])
        if child.has_ended:
            raise RunStoppedError(f"the load generator ended before it began: {child.last_words()}", ExitCode.INCOMPLETE)
    raise RunStoppedError(f"the load generator was not ready within {READY_WITHIN_S:.0f} s", ExitCode.INCOMPLETE)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The SIGINTs and SIGTERMs that have come, instead of exceptions; nothing outside the main thread, which cannot have any."""
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Run:
    """One replay under way, as the parent sees it."""

    def __init__(
        self, plan: RequestPlan, endpoint: Endpoint, sink: RecordSink, child: Child, asked: list[int], notes: tuple[str, ...]
    ) -> None:
        self._plan, self._endpoint, self._sink, self._child, self._asked, self._notes = plan, endpoint, sink, child, asked, notes
        self._records = _Records(plan, endpoint)
        self._scraper = Scraper(endpoint.metrics)
        self._window = LiveWindow(plan)
        self._lengths = LengthCheck(plan)
        self._rules = [AbortWatch(rule) for rule in endpoint.abort_on]
        self._refused_since_s: float | None = None
        self._refused = 0
        self._wall_s: float | None = None
        self._zero_s = math.inf  # CLOCK_MONOTONIC at second 0
        self._done: dict[str, Any] | None = None
        self._told = 0  # signals passed on
        self._stop: RunStoppedError | None = None
        self._stop_by_s = math.inf

    def follow(self, progress: Progress, watch: Watch | None, ceiling: Mapping[str, Any] | None) -> None:
        """Records until the child has said that it is done, or has died. Raises what the run's end means."""
        self._scraper.begin()
        self._child.say(GO)
        try:
            while self._done is None:
                for message in self._child.messages(LOOK_EVERY_S):
                    self._take(message)
                self._scraper.hand_over(self._sink, self._zero_s)
                self._sink.flush()
                progress(self._window.ended, len(self._plan))
                if watch is not None:
                    watch(self._window.view(is_stopping=bool(self._asked) or self._stop is not None))
                self._pass_on()
                if self._done is None and self._child.has_ended:
                    self._lose()
                    break
                if time.monotonic() > self._stop_by_s:  # it was told to give up and does not even do that
                    self._lose()
                    break
        finally:
            self._scraper.end(self._sink, self._zero_s)
            self._sink.note_client(self._facts(ceiling), self._wall_s)
        if self._asked:
            raise KeyboardInterrupt
        if self._stop is not None:
            raise self._stop

    def _take(self, message: dict[str, Any]) -> None:
        match message["kind"]:
            case str(kind) if kind == NEWS:
                records = [self._records.build(row) for row in message["rows"]]
                self._sink.append(records)
                self._window.add(records, message)
                for record in records:
                    self._lengths.add(record)
                self._judge(records, message["at_s"])
            case str(kind) if kind == STARTED:
                self._wall_s, self._zero_s = message["wall_s"], message["monotonic_s"]
            case str(kind) if kind == DONE:
                self._done = message

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
        self._stop = why
        self._child.say(DRAIN)

    def _pass_on(self) -> None:
        """Tells the child of signals: the first drains, the second stops."""
        if len(self._asked) == self._told:
            return
        self._told = len(self._asked)
        if self._told == 1 and self._stop is None:
            self._child.say(DRAIN)
        else:
            self._child.say(NOW)
            self._stop_by_s = time.monotonic() + STOP_WITHIN_S

    def _lose(self) -> None:
        """The child is gone without its last word: what is not due even now was certainly not sent, the rest is unknown.

        Its last news is older than its end: what came due in between may have been sent.
        """
        self._sink.append(self._records.without_row(time.monotonic() - self._zero_s))
        self._stop = RunStoppedError(f"the load generator died: {self._child.last_words()}", ExitCode.INCOMPLETE, is_lost=True)

    def _facts(self, ceiling: Mapping[str, Any] | None) -> ClientFacts:
        done = self._done or {}
        reason = None if self._stop is None else str(self._stop)
        if reason is None and self._asked:
            reason = "interrupted"
        return ClientFacts(
            max_in_flight=self._endpoint.max_in_flight,
            most_in_flight=done.get("most_in_flight"),
            connections=done.get("connections"),
            cpu_s=done.get("cpu_s"),
            cpu_total_s=done.get("cpu_total_s"),
            wall_s=done.get("wall_s"),
            run_queue_wait_s=done.get("run_queue_wait_s"),
            peak_rss_bytes=done.get("peak_rss_bytes"),
            stopped_because=reason,
            notes=(*self._notes, *self._lengths.notes()),
            ceiling=ceiling,
        )


class _Records:
    """Rows of the child beside what the plan knows of them."""

    def __init__(self, plan: RequestPlan, endpoint: Endpoint) -> None:
        self._plan = plan
        self._models = {name: endpoint.served_model(name) for name in plan.model.names}
        self._told = np.zeros(len(plan), dtype=np.bool_)

    def build(self, row: list[Any]) -> RequestRecord:
        """The record of one row of `messages.ROW`."""
        said = dict(zip(ROW, row, strict=True))
        seq = said["seq"]
        self._told[seq] = True
        said["outcome"] = Outcome(said["outcome"])
        said["cause"] = None if said["cause"] is None else Cause(said["cause"])
        if said["prompt_tokens"] is None:
            said["prompt_tokens"] = int(self._plan.prompt_tokens[seq])
        return RequestRecord(**self._planned(seq), **said)

    def without_row(self, now_s: float) -> list[RequestRecord]:
        """Records of requests of which nothing was told by `now_s`: due later, or after one of those, they were not sent."""
        plan = self._plan
        unsent = ~self._told & (plan.arrival_s > now_s)
        for seq in np.flatnonzero(plan.after_seq != NOTHING).tolist():
            last = int(plan.after_seq[seq])
            unsent[seq] = unsent[last - int(plan.after_count[seq]) + 1 : last + 1].any()
        missing = np.flatnonzero(~self._told).tolist()
        ends = {True: (Outcome.NOT_SENT, Cause.STOPPED), False: (Outcome.UNKNOWN, Cause.LOST)}
        return [RequestRecord(seq=i, outcome=ends[bool(unsent[i])][0], cause=ends[bool(unsent[i])][1], **self._planned(i)) for i in missing]

    def _planned(self, seq: int) -> dict[str, Any]:
        plan = self._plan
        session, turn, model = int(plan.session[seq]), int(plan.turn[seq]), plan.model.at(seq)
        return {
            "worker": 0,
            "traffic_class": plan.traffic_class.at(seq),
            "kind": plan.kind.at(seq),
            "model": None if model is None else self._models[model],
            "tier": plan.tier.at(seq),
            "region": plan.region.at(seq),
            "mode": plan.mode.at(seq),
            "session": None if session == NOTHING else session,
            "turn": None if turn == NOTHING else turn,
            "stages_s": float(plan.stages_s[seq]),
        }
