"""Replays a plan over HTTP: starts the load generator in processes of its own, records what it tells, and stops it.

Nothing here imports locust or gevent. The parent is the only writer of the run directory: what the child told before it was killed,
or before we were, is in the file.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from loadlab.engines.base import Progress, RecordSink, RunStoppedError
from loadlab.engines.child_process import Child
from loadlab.engines.crew import Crew
from loadlab.engines.endpoint import Address, Endpoint, TargetUnreachableError, resolve
from loadlab.engines.following import LOOK_EVERY_S, Following
from loadlab.engines.live import Watch
from loadlab.engines.messages import AWAY, JOINED, LOST, READY, REFUSED, Job, MasterJob
from loadlab.engines.signals import stop_signals
from loadlab.engines.spread import LOOPBACK
from loadlab.errors import ExitCode
from loadlab.scenario.model import TrafficClass
from loadlab.scenario.plan import RequestPlan
from loadlab.scenario.plan_bytes import dump_plan
from loadlab.schema import as_table

Say = Callable[[str], None]
READY_WITHIN_S = 180.0  # imports, the plan and a preflight of a cold model for each model


class LocustEngine:
    """A LoadEngine over one HTTP endpoint. `watch` sees the run as it stands, four times a second."""

    def __init__(
        self,
        endpoint: Endpoint,
        classes: Mapping[str, TrafficClass],
        run_id: str,
        watch: Watch | None = None,
        ceiling: Mapping[str, Any] | None = None,
        *,
        folder: Path | None = None,
        say: Say | None = None,
    ) -> None:
        """`classes` say how they ask. `ceiling`: what this machine can do at most, to be kept beside the run.

        `folder`: where workers on this machine keep their own rows; None: nowhere that outlives the run. `say` gets lines for people.
        """
        self._endpoint, self._classes, self._run_id, self._watch, self._ceiling = endpoint, classes, run_id, watch, ceiling
        self._folder, self._say = folder, say

    def replay(self, plan: RequestPlan, sink: RecordSink, progress: Progress) -> None:
        """See LoadEngine. Raises TargetUnreachableError before the first request, RunStoppedError if the run ended early.

        The first SIGINT or SIGTERM stops sending and waits for what is in flight, the second gives that up: then KeyboardInterrupt.
        """
        addresses = resolve(self._endpoint)
        columns = dump_plan(plan)
        job = self.job(plan, addresses, len(columns))
        if self._endpoint.spread.is_alone:
            with stop_signals() as asked, Child() as child:
                child.hand_over(job, columns)
                notes = _await_ready(child, plan, self._endpoint, asked)
                self._follow(Following(plan, self._endpoint, sink, child, asked), progress, notes, None)
            return
        with stop_signals() as asked, Crew(self._endpoint.spread, job, columns, self._master_job(plan, job), self._folder) as crew:
            self._say_where(crew)
            notes = _await_ready(crew, plan, self._endpoint, asked, None if self._endpoint.spread.bind_host is None else self._say)
            self._follow(Following(plan, self._endpoint, sink, crew, asked), progress, notes, crew)

    def _follow(self, following: Following, progress: Progress, notes: tuple[str, ...], crew: Crew | None) -> None:
        workers = range(self._endpoint.spread.workers)
        try:
            following.follow(progress, self._watch)
        finally:
            if crew is not None:
                crew.close()
            folders = {} if crew is None else {k: folder for k in workers if (folder := crew.folder_of(k)) is not None}
            following.account(folders)
            following.note_client(self._run_id, self._ceiling, notes, {} if crew is None else crew.rogues)
        following.raise_end()

    def _say_where(self, crew: Crew) -> None:
        spread = self._endpoint.spread
        if self._say is None:
            return
        if spread.bind_host is not None:
            self._say(f"master: waits for {spread.workers} workers on {spread.bind_host}:{crew.port}")
        if crew.web_port is not None:
            self._say(f"locust's page: http://{LOOPBACK}:{crew.web_port}")

    def _master_job(self, plan: RequestPlan, job: Job) -> MasterJob:
        spread = self._endpoint.spread
        return MasterJob(
            host=spread.bind_host or LOOPBACK,
            port=spread.port,
            token=spread.token or secrets.token_hex(32),
            workers=spread.workers,
            run_id=self._run_id,
            version=version("loadlab"),
            plan_digest=plan.digest,
            job_digest=job.digest,
            web_port=spread.web_port,
        )

    def job(self, plan: RequestPlan, addresses: tuple[Address, ...], plan_bytes: int) -> Job:
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


def _await_ready(
    generator: Child | Crew, plan: RequestPlan, endpoint: Endpoint, asked: list[int], say: Say | None = None
) -> tuple[str, ...]:
    """Until every worker has the plan and found the target; what they noted. Raises what keeps the run from beginning."""
    workers, ready, options = endpoint.spread.workers, dict[int, tuple[str, ...]](), set[str]()
    began_s = time.monotonic()
    deadline_s = began_s + READY_WITHIN_S + (0.0 if endpoint.spread.bind_host is None else endpoint.spread.join_within_s)
    while time.monotonic() < deadline_s:
        if asked:
            raise KeyboardInterrupt
        for message in generator.messages(LOOK_EVERY_S):
            match message["kind"]:
                case str(kind) if kind == REFUSED:
                    raise TargetUnreachableError(f"{endpoint.url}: {message['reason'].rstrip('.')}. Nothing was sent but that")
                case str(kind) if kind == READY:
                    assert message["plan_digest"] == plan.digest, "the plan changed on its way to the load generator"
                    ready[message.get("worker", 0)] = tuple(message["notes"])
                    options.add(message["options"])
                case str(kind) if kind == AWAY and not message["is_late"]:
                    raise RunStoppedError(f"worker {message['name']} was turned away: {message['reason']}", ExitCode.INCOMPLETE)
                case str(kind) if kind == LOST:
                    raise RunStoppedError(f"a worker was lost before the run began: {message['reason']}", ExitCode.INCOMPLETE)
                case str(kind) if kind == JOINED and say is not None:
                    say(f"{message['worker'] + 1} of {workers} workers joined: {message['name']} on {message['host']}")
        if len(ready) == workers:
            if len(options) > 1:
                raise RunStoppedError(
                    "the target refused a field to some workers and not to others: is it one server?", ExitCode.INCOMPLETE
                )
            return tuple(dict.fromkeys(note for k in sorted(ready) for note in ready[k]))
        if generator.has_ended:
            raise RunStoppedError(f"the load generator ended before it began: {generator.last_words()}", ExitCode.INCOMPLETE)
    missing = "" if endpoint.spread.is_alone else f": {len(ready)} of {workers} workers were"
    raise RunStoppedError(f"the load generator was not ready within {deadline_s - began_s:.0f} s{missing}", ExitCode.INCOMPLETE)
