"""A dispatcher as locust's one user: the runner shows it as running, and can ask it to stop; its pacing and statistics stay unused."""

from __future__ import annotations

import gevent
from gevent.event import AsyncResult
from locust import User, task
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import LocalRunner, WorkerRunner

from loadlab.engines.locust_child.dispatcher import Dispatcher


class Stage:
    """Locust's environment with a user whose only task is to be there while the dispatcher runs, in a greenlet of its own.

    So whatever locust does to its users (a second one, a stop from its page) the plan is replayed once; a stop drains it.
    """

    def __init__(self) -> None:
        ended: AsyncResult[None] = AsyncResult()

        class PlanUser(User):
            @task
            def replay(self) -> None:
                ended.wait()
                raise StopUser

        self._ended = ended
        self.environment = Environment(user_classes=[PlanUser])

    def run(self, dispatcher: Dispatcher, runner: LocalRunner | WorkerRunner) -> None:
        """Replays, and returns when everything has ended. Raises what the dispatcher raised."""
        self.environment.events.test_stopping.add_listener(lambda **_: dispatcher.drain())  # type: ignore[no-untyped-call]
        if isinstance(runner, WorkerRunner):
            runner.start_worker({"PlanUser": 1})
        else:
            runner.start(1, spawn_rate=1)
        try:
            gevent.spawn(dispatcher.run).get()
        finally:
            self._ended.set()
