"""The child from start to end: takes its job, tries the target, waits for the word, sends, tells, ends."""

from __future__ import annotations

import ctypes
import gc
import logging
import math
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import orjson
from locust.runners import LocalRunner, WorkerRunner

from loadlab.engines.locust_child.clock import Clock
from loadlab.engines.locust_child.connection import Connector, tls_context
from loadlab.engines.locust_child.dispatcher import Dispatcher
from loadlab.engines.locust_child.local_rows import LocalRows
from loadlab.engines.locust_child.master import Master
from loadlab.engines.locust_child.orders import Orders, obey
from loadlab.engines.locust_child.outbox import Outbox, pipe
from loadlab.engines.locust_child.own_use import use, used
from loadlab.engines.locust_child.preflight import Refusal, try_target
from loadlab.engines.locust_child.requests import RequestMaker
from loadlab.engines.locust_child.under_locust import Stage
from loadlab.engines.locust_child.worker import MasterLink, TurnedAway
from loadlab.engines.messages import (
    BYE,
    DONE,
    GO,
    JOINED,
    LOST_AFTER_S,
    READY,
    REFUSED,
    START,
    STARTED,
    Job,
    Link,
    MasterJob,
)  # fmt: skip
from loadlab.scenario.plan import RequestPlan
from loadlab.scenario.plan_bytes import load_plan

HEAD_START_S = 0.5  # from the word to second 0: time for locust to start, and to make the first requests
_PR_SET_PDEATHSIG = 1
_RARELY = (100_000, 50, 100)  # allocations before a collection: nothing here makes cycles that matter


def main() -> None:
    """Runs one job from stdin. The process ends with it."""
    _die_with_parent()
    outbox = Outbox(pipe(_take_stdout()))
    table = orjson.loads(_read_line(sys.stdin.fileno()))
    if table.pop("role") == "lead":
        try:
            Master(MasterJob(**table), outbox).run()
        except OSError as error:  # zmq's own are of it
            outbox.tell(REFUSED, reason=f"the master cannot listen on {table['host']}:{table['port']}: {error.strerror}")
        return
    job, plan = _take_job(table, sys.stdin.fileno())
    _raise_limit()
    if job.link is None:
        _send_alone(job, plan, outbox)
    else:
        _send_as_worker(job, job.link, plan, outbox)


def _send_alone(job: Job, plan: RequestPlan, outbox: Outbox) -> None:
    """The parent commands."""
    maker, connector = _tools(job, plan)
    if not _is_ready(job, plan, maker, connector, outbox) or _read_line(sys.stdin.fileno()) != GO:
        return
    _calm_down()
    clock = Clock(time.monotonic() + HEAD_START_S)
    stage, orders = Stage(), Orders()
    dispatcher = orders.dispatcher = Dispatcher(job, plan, maker, connector, clock, outbox)
    outbox.tell(STARTED, wall_s=time.time() + HEAD_START_S, monotonic_s=clock.t0_monotonic_s)
    gevent.spawn(obey, orders.take)
    outbox.tell(DONE, **_replay(dispatcher, outbox, stage, stage.environment.create_local_runner()), connections=connector.opened)


def _send_as_worker(job: Job, link: Link, plan: RequestPlan, parent: Outbox) -> None:
    """The master commands. The parent, who may be on another machine than the master, is told how it goes, and may stop us."""
    stage, orders = Stage(), Orders()
    gevent.spawn(obey, orders.take)
    maker, connector = _tools(job, plan)  # takes long for a large plan or tokenizer: before anybody waits for our messages
    try:
        master = MasterLink(link, stage, orders, parent)
        job = master.join(plan.digest, job)
        rows = LocalRows(Path(link.folder), job, plan)
    except (TimeoutError, RuntimeError, gevent.Timeout, OSError) as error:
        parent.tell(REFUSED, reason=str(error), is_usage=isinstance(error, TurnedAway))
        return
    maker.job = job
    parent.tell(JOINED, worker=job.worker, workers=job.workers)
    outbox, clock = Outbox(master.send, rows.add), Clock(math.inf)
    dispatcher = Dispatcher(job, plan, maker, connector, clock, outbox, master.may_send)
    _calm_down()
    if not _is_ready(job, plan, maker, connector, outbox):
        parent.tell(REFUSED, reason="the target refused the first request; the master says why")
        master.said[BYE].wait(timeout=LOST_AFTER_S)
        return
    try:
        clock.t0_monotonic_s = master.said[START].get()["t0_s"]
    except RuntimeError as error:
        parent.tell(REFUSED, reason=str(error))
        return
    orders.dispatcher = dispatcher
    facts = _replay(dispatcher, outbox, stage, master.runner)
    stopped = master.cut_off or ("it was told to stop" if dispatcher.is_stopped else None)
    done = {**facts, "connections": connector.opened, "rows": outbox.told, "stopped": stopped, "copy_error": rows.error}
    outbox.tell(DONE, **done)
    parent.tell(DONE, **done)
    master.said[BYE].wait(timeout=2 * LOST_AFTER_S)


def _tools(job: Job, plan: RequestPlan) -> tuple[RequestMaker, Connector]:
    context = tls_context(insecure=job.insecure) if job.scheme == "https" else None
    return RequestMaker(job, plan), Connector(job.addresses, job.max_in_flight, job.host, context)


def _is_ready(job: Job, plan: RequestPlan, maker: RequestMaker, connector: Connector, outbox: Outbox) -> bool:
    """Tries the target and tells what came of it."""
    try:
        notes = try_target(job, plan, maker, connector) if job.preflight else []
    except Refusal as refusal:
        outbox.tell(REFUSED, reason=str(refusal))
        return False
    outbox.tell(READY, plan_digest=plan.digest, notes=notes, options=repr(maker.options))
    return True


def _replay(dispatcher: Dispatcher, outbox: Outbox, stage: Stage, runner: LocalRunner | WorkerRunner) -> dict[str, Any]:
    """From second 0 to the last row; what was used."""
    gevent.signal_handler(signal.SIGTERM, dispatcher.stop_now)
    telling = gevent.spawn(outbox.keep_telling, dispatcher.state)
    before = use()
    stage.run(dispatcher, runner)
    outbox.finish()
    telling.join()
    return {**used(before), "most_in_flight": dispatcher.most_in_flight}


def _die_with_parent() -> None:
    """The kernel kills us when the parent dies: a load without anyone to record it is an attack."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _raise_limit() -> None:
    """As many file descriptors as the system allows us: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _take_stdout() -> int:
    """The pipe to the parent as a descriptor of our own; whatever else prints goes to stderr."""
    pipe = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    return pipe


def _take_job(table: dict[str, Any], fd: int) -> tuple[Job, RequestPlan]:
    table["addresses"] = tuple((family, ip, port) for family, ip, port in table["addresses"])
    table["link"] = None if table["link"] is None else Link(**table["link"])
    job = Job(**table)
    data = bytearray()
    while len(data) < job.plan_bytes:
        part = os.read(fd, min(2**20, job.plan_bytes - len(data)))
        if not part:
            os._exit(1)
        data += part
    return job, load_plan(bytes(data))


def _read_line(fd: int) -> bytes:
    """A line from the parent, byte by byte, so that nothing behind it is taken; b"" at the end."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            return b""
        line += byte
    return bytes(line)


def _calm_down() -> None:
    """No pause of the collector in the middle of a run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_RARELY)
