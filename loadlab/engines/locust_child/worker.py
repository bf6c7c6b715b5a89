"""A worker: joins a master, is given its share, sends when the master's clock says so, and keeps its own copy of the rows."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import orjson
from gevent.event import AsyncResult
from locust.exception import RPCError

from loadlab.engines.locust_child.locked_rpc import Tally, lock
from loadlab.engines.locust_child.orders import Orders
from loadlab.engines.locust_child.outbox import Outbox
from loadlab.engines.locust_child.under_locust import Stage
from loadlab.engines.messages import (
    ASSIGN,
    AWAY,
    BYE,
    CUT_OFF,
    DRAIN,
    HELLO,
    LOST_AFTER_S,
    LOST_BEFORE_S,
    PING,
    PONG,
    PROTOCOL,
    START,
    WAITING,
    WORD,
    Job,
    Link,
    share_of,
)

CHANNEL = "loadlab"  # the type of all our messages among locust's
WATCH_EVERY_S = 0.25


class TurnedAway(RuntimeError):  # noqa: N818  what a master said
    """Why the master has no use for this worker."""


class MasterLink:
    """The worker's end of the wire to its master. `tell` hands over lines; what the master says arrives in `said`."""

    def __init__(self, link: Link, stage: Stage, orders: Orders, pipe: Outbox) -> None:
        """Waits for the master, `join_within_s` at most. Raises TimeoutError in words for people."""
        self._link, self._orders, self._pipe = link, orders, pipe
        self.said: defaultdict[str, AsyncResult[dict[str, Any]]] = defaultdict(AsyncResult)
        self.cut_off: str | None = None
        self._heard_s: float | None = None
        tally = lock(link.token)
        logging.getLogger("locust").setLevel(logging.CRITICAL)
        with gevent.Timeout(link.join_within_s, TimeoutError(_no_answer(link, None))):
            impatience = gevent.spawn_later(3.0, self._say_waiting, tally)
            self.runner = stage.environment.create_worker_runner(link.host, link.port)
            impatience.kill()
        self.runner.register_message(CHANNEL, self._hear)

    def join(self, plan_digest: str, job: Job) -> Job:
        """Introduces itself, and returns the job with what the master assigns: share and run. Raises TimeoutError, or TurnedAway."""
        place = {"host": socket.gethostname(), "pid": os.getpid(), "clock": clock_id()}
        who = {"name": self._link.name, "version": self._link.version, "protocol": PROTOCOL}
        self.tell(HELLO, plan_digest=plan_digest, job_digest=job.digest, **who, **place)
        assigned: dict[str, Any] = self.said[ASSIGN].get(timeout=self._link.join_within_s)
        gevent.spawn(self._watch)
        worker, workers = assigned["worker"], assigned["workers"]
        in_flight = share_of(job.max_in_flight, worker, workers)
        return replace(job, worker=worker, workers=workers, run_id=assigned["run_id"], max_in_flight=in_flight)

    def tell(self, kind: str, **facts: Any) -> None:
        """One message to the master."""
        self.send(orjson.dumps({"kind": kind, **facts}))

    def send(self, line: bytes) -> None:
        """The same for a line. What cannot be sent is in the worker's own file."""
        try:
            self.runner.send_message(CHANNEL, {"line": line})
        except RPCError:
            self._lose_master()

    def _hear(self, msg: Any, **_: Any) -> None:
        self._heard_s = time.monotonic()
        said = orjson.loads(msg.data["line"])
        match said["kind"]:
            case str(kind) if kind == PING:
                self.tell(PONG, pinged_s=said["at_s"], at_s=self._heard_s)
            case str(kind) if kind == WORD:
                self._orders.take(said["word"].encode())
            case str(kind) if kind == AWAY:
                self.said[ASSIGN].set_exception(TurnedAway(said["reason"]))
            case str(kind) if kind in (ASSIGN, START, BYE):
                self.said[kind].set(said)

    def may_send(self) -> bool:
        """False once the master, hearing nothing, has given us up; or we it."""
        return self._heard_s is not None and time.monotonic() - self._heard_s <= LOST_AFTER_S

    def _watch(self) -> None:
        """Stops sending when the master is silent: a load that nobody records has no use."""
        while True:
            gevent.sleep(WATCH_EVERY_S)
            limit_s = LOST_BEFORE_S if self._orders.dispatcher is None else LOST_AFTER_S
            if self._heard_s is not None and time.monotonic() - self._heard_s > limit_s:
                self._lose_master()

    def _lose_master(self) -> None:
        if self.cut_off is None:
            self.cut_off = f"{CUT_OFF} for {LOST_AFTER_S if self._orders.dispatcher else LOST_BEFORE_S:.0f} s"
            self.said[BYE].set({})
            if self._orders.dispatcher is None:
                self.said[START].set_exception(RuntimeError(self.cut_off))
                self.said[ASSIGN].set_exception(RuntimeError(self.cut_off))
            else:
                self._orders.take(DRAIN)

    def _say_waiting(self, tally: Tally) -> None:
        self._pipe.tell(WAITING, reason=_no_answer(self._link, tally))


def _no_answer(link: Link, tally: Tally | None) -> str:
    token = "; somebody there broke off: another token?" if tally is not None and tally.refused else ""
    return f"no master answers at {link.host}:{link.port}{token}"


def clock_id() -> str:
    """Processes with the same one share CLOCK_MONOTONIC: the boot of their kernel, and their time namespace."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/time').readlink()}"
    except OSError:
        return f"{socket.gethostname()} {os.getpid()}"
