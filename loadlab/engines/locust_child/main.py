"""The child from start to end: takes its job, tries the target, waits for the word, sends, tells, ends."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import gevent
import orjson
from gevent.event import AsyncResult
from gevent.os import make_nonblocking, nb_read
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser

from loadlab.engines.locust_child.clock import Clock
from loadlab.engines.locust_child.connection import Connector, tls_context
from loadlab.engines.locust_child.dispatcher import Dispatcher
from loadlab.engines.locust_child.outbox import Outbox
from loadlab.engines.locust_child.preflight import Refusal, try_target
from loadlab.engines.locust_child.requests import RequestMaker
from loadlab.engines.messages import DONE, DRAIN, GO, NOW, READY, REFUSED, STARTED, Job
from loadlab.scenario.plan_bytes import load_plan

HEAD_START_S = 0.5  # from the word to second 0: time for locust to start, and to make the first requests
_PR_SET_PDEATHSIG = 1
_RARELY = (100_000, 50, 100)  # allocations before a collection: nothing here makes cycles that matter


def main() -> None:
    """Runs one job from stdin. The process ends with it."""
    _die_with_parent()
    outbox = Outbox(_take_stdout())
    job, plan_bytes = _take_job(sys.stdin.fileno())
    _raise_limit()
    plan = load_plan(plan_bytes)
    maker = RequestMaker(job, plan)
    context = tls_context(insecure=job.insecure) if job.scheme == "https" else None
    connector = Connector(job.addresses, job.max_in_flight, job.host, context)
    try:
        notes = try_target(job, plan, maker, connector) if job.preflight else []
    except Refusal as refusal:
        outbox.tell(REFUSED, reason=str(refusal))
        return
    outbox.tell(READY, plan_digest=plan.digest, notes=notes)
    if _read_line(sys.stdin.fileno()) != GO:
        return
    _calm_down()
    clock = Clock(time.monotonic() + HEAD_START_S)
    dispatcher = Dispatcher(job, plan, maker, connector, clock, outbox)
    outbox.tell(STARTED, wall_s=time.time() + HEAD_START_S, monotonic_s=clock.t0_monotonic_s)
    gevent.spawn(_obey, dispatcher)
    gevent.signal_handler(signal.SIGTERM, dispatcher.stop_now)
    telling = gevent.spawn(outbox.keep_telling, dispatcher.state)
    before = _use()
    _run_under_locust(dispatcher)
    outbox.finish()
    telling.join()
    outbox.tell(DONE, **_used(before), most_in_flight=dispatcher.most_in_flight, connections=connector.opened)


def _run_under_locust(dispatcher: Dispatcher) -> None:
    """One user, whose one task is the dispatcher; locust's own pacing and statistics stay unused. Raises what the task raised."""
    ended: AsyncResult[None] = AsyncResult()

    class PlanUser(User):
        @task
        def replay(self) -> None:
            try:
                dispatcher.run()
                ended.set()
            except BaseException as error:  # locust would log it and begin again
                ended.set_exception(error)
            raise StopUser

    environment = Environment(user_classes=[PlanUser])
    runner = environment.create_local_runner()
    runner.start(1, spawn_rate=1)
    try:
        ended.get()
    finally:
        runner.quit()


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


def _take_job(fd: int) -> tuple[Job, bytes]:
    table = orjson.loads(_read_line(fd))
    table["addresses"] = tuple((family, ip, port) for family, ip, port in table["addresses"])
    job = Job(**table)
    data = bytearray()
    while len(data) < job.plan_bytes:
        part = os.read(fd, min(2**20, job.plan_bytes - len(data)))
        if not part:
            os._exit(1)
        data += part
    return job, bytes(data)


def _read_line(fd: int) -> bytes:
    """A line from the parent, byte by byte, so that nothing behind it is taken; b"" at the end."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(fd, 1)
        if not byte:
            return b""
        line += byte
    return bytes(line)


def _obey(dispatcher: Dispatcher) -> None:
    """Does what the parent says; the end of its words means that it is gone."""
    fd = sys.stdin.fileno()
    make_nonblocking(fd)
    while True:
        word = nb_read(fd, 64)
        if not word:
            os._exit(1)
        if NOW in word:
            dispatcher.stop_now()
        elif DRAIN in word:
            dispatcher.drain()


def _calm_down() -> None:
    """No pause of the collector in the middle of a run."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_RARELY)


def _use() -> dict[str, float]:
    return {"cpu_s": time.process_time(), "wall_s": time.monotonic(), "run_queue_wait_s": _run_queue_wait_s() or 0.0}


def _used(before: dict[str, float]) -> dict[str, Any]:
    spent = {key: value - before[key] for key, value in _use().items()}
    if _run_queue_wait_s() is None:
        spent.pop("run_queue_wait_s")
    return {**spent, "cpu_total_s": time.process_time(), "peak_rss_bytes": _peak_rss_bytes()}


def _run_queue_wait_s() -> float | None:
    """Seconds in which this process could have run and had no core: the second figure of schedstat; None where there is none."""
    try:
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return None


def _peak_rss_bytes() -> int | None:
    """Highest resident memory of this process; getrusage would count that of whoever started it."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:")), None)
