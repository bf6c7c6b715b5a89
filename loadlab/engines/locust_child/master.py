"""The master: gives each worker its share, starts them at one instant, passes on what they tell, and notices who falls silent."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from typing import Any

import gevent
import orjson
from locust.env import Environment
from locust.runners import STATE_RUNNING

from loadlab.engines.locust_child.clock_offset import ClockOffset
from loadlab.engines.locust_child.locked_rpc import guard, lock
from loadlab.engines.locust_child.orders import obey
from loadlab.engines.locust_child.outbox import Outbox
from loadlab.engines.locust_child.web_page import WebPage
from loadlab.engines.locust_child.worker import CHANNEL, WATCH_EVERY_S, clock_id
from loadlab.engines.messages import (
    ASSIGN,
    AWAY,
    BYE,
    CLOSE,
    DONE,
    DRAIN,
    GO,
    HELLO,
    JOINED,
    LISTENING,
    LOST,
    LOST_AFTER_S,
    LOST_BEFORE_S,
    NEWS,
    NOW,
    PING,
    PONG,
    PROTOCOL,
    READY,
    REFUSED,
    ROGUES,
    START,
    STARTED,
    WORD,
    MasterJob,
)

HEAD_START_S = 1.0  # from the word to second 0, beside four round trips
TRIPS, MEASURE_WITHIN_S = 20, 2.0
PING_BEFORE_S, PING_DURING_S = 0.05, 1.0
_PASSED_ON = frozenset({READY, REFUSED, NEWS, DONE})


@dataclass(slots=True)
class _Member:
    """One worker that was given a number."""

    worker: int
    clock: ClockOffset
    heard_s: float = field(default_factory=time.monotonic)
    is_lost: bool = False
    is_done: bool = False


class Master:
    """One run's master, from `listen` to the end of the process."""

    def __init__(self, job: MasterJob, outbox: Outbox) -> None:
        self._job, self._outbox = job, outbox
        self._tally = lock(job.token)
        logging.getLogger("locust").setLevel(logging.CRITICAL)
        self._members: dict[str, _Member] = {}
        self._has_begun = False
        environment = Environment()
        self._runner = environment.create_master_runner(job.host, job.port)
        self._runner.register_message(CHANNEL, self._hear)
        guard(self._runner, self._tally)
        self._page = None if job.web_port is None else WebPage(environment, job.web_port)
        outbox.tell(LISTENING, port=self._runner.server.port, web_port=job.web_port)

    def run(self) -> None:
        """Until the parent says CLOSE, or is gone."""
        gevent.spawn(self._ping)
        gevent.spawn(self._watch)
        obey(self._take)

    def _take(self, word: bytes) -> None:
        match word:
            case bytes() if word == GO:
                self._start()
            case bytes() if word in (DRAIN, NOW):
                for node in self._members:
                    self._tell(node, WORD, word=word.decode())
            case bytes() if word == CLOSE:
                self._close()

    def _close(self) -> None:
        """Lets the workers go, says what was not heard, ends."""
        for node in self._members:
            self._tell(node, BYE)
        gevent.sleep(0.1)
        self._outbox.tell(ROGUES, refused=self._tally.refused, malformed=self._tally.malformed)
        os._exit(0)

    def _start(self) -> None:
        self._has_begun = True
        self._measure_clocks()
        slowest_s = max((member.clock.best_trip_s or 0.0) for member in self._members.values())
        t0_s, wall_s = time.monotonic() + HEAD_START_S + 4 * slowest_s, time.time() + HEAD_START_S + 4 * slowest_s
        for node, member in self._members.items():
            self._tell(node, START, t0_s=t0_s + member.clock.offset_s)
        self._runner.update_state(STATE_RUNNING)
        clocks = {member.worker: member.clock.facts() for member in self._members.values()}
        self._outbox.tell(STARTED, wall_s=wall_s, monotonic_s=t0_s, clocks=[clocks[k] for k in sorted(clocks)])

    def _measure_clocks(self) -> None:
        """Round trips in a row, so that the shortest of twenty is known of each."""
        deadline_s = time.monotonic() + MEASURE_WITHIN_S
        while any(member.clock.trips < TRIPS for member in self._members.values()) and time.monotonic() < deadline_s:
            for node in self._members:
                self._tell(node, PING, at_s=time.monotonic())
            gevent.sleep(0.02)

    def _hear(self, msg: Any, **_: Any) -> None:
        """A message of somebody who has the token. What is none of ours is counted."""
        try:
            said = orjson.loads(msg.data["line"])
            kind = said.pop("kind")
            if kind == HELLO:
                self._welcome(msg.node_id, said)
                return
            member = self._members[msg.node_id]
            member.heard_s = time.monotonic()
            if kind == PONG:
                member.clock.add(said["pinged_s"], said["at_s"], member.heard_s)
            elif kind in _PASSED_ON:
                member.is_done |= kind == DONE
                if kind == NEWS and self._page is not None:
                    self._page.add(member.worker, said["rows"])
                facts = {"clock": member.clock.facts()} if kind == DONE else {}
                self._outbox.tell(kind, **said | facts | {"worker": member.worker})
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            self._tally.malformed += 1

    def _welcome(self, node: str, said: dict[str, Any]) -> None:
        """Gives a worker its number, or says why it gets none."""
        name = f"{said['name']} ({said['host']})"
        why = self._objection(said)
        if why is not None:
            self._tell(node, AWAY, reason=why)
            self._outbox.tell(AWAY, name=name, reason=why, is_late=self._has_begun or len(self._members) >= self._job.workers)
            return
        worker = len(self._members)
        self._members[node] = _Member(worker, ClockOffset(is_shared=said["clock"] == clock_id()))
        self._tell(node, ASSIGN, worker=worker, workers=self._job.workers, run_id=self._job.run_id)
        self._outbox.tell(JOINED, worker=worker, name=said["name"], host=said["host"], pid=said["pid"])

    def _objection(self, said: dict[str, Any]) -> str | None:
        job = self._job
        if (said["version"], said["protocol"]) != (job.version, PROTOCOL):
            return f"it is of loadlab {said['version']}, the master of {job.version}: install the same on every machine"
        if said["plan_digest"] != job.plan_digest:
            return (
                f"its plan is {said['plan_digest'][:19]}, the master's {job.plan_digest[:19]}: another scenario, seed, window or trace file"
            )
        if said["job_digest"] != job.job_digest:
            return "its target or flags are not the master's: --target, --model, --max-in-flight, timeouts, --tokenizer, --insecure"
        if self._has_begun or len(self._members) >= job.workers:
            return f"it joined late: the run has its {job.workers} workers"
        return None

    def _tell(self, node: str, kind: str, **facts: Any) -> None:
        try:
            self._runner.send_message(CHANNEL, {"line": orjson.dumps({"kind": kind, **facts})}, client_id=node)
        except Exception:  # a peer that went away is found by its silence
            logging.exception("message to a worker")

    def _ping(self) -> None:
        """Round trips, which measure clocks and tell the workers that we live."""
        while True:
            for node in list(self._members):
                self._tell(node, PING, at_s=time.monotonic())
            gevent.sleep(PING_DURING_S if self._has_begun else PING_BEFORE_S)

    def _watch(self) -> None:
        while True:
            gevent.sleep(WATCH_EVERY_S)
            for member in self._members.values():
                silent_s = time.monotonic() - member.heard_s
                if silent_s > (LOST_AFTER_S if self._has_begun else LOST_BEFORE_S) and not member.is_lost and not member.is_done:
                    member.is_lost = True
                    self._outbox.tell(LOST, worker=member.worker, reason=f"nothing was heard of it for {silent_s:.1f} s", is_dead=False)
