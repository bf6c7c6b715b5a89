"""Walks the plan by the clock: every request leaves when it is due, in a greenlet of its own; nobody waits for an answer."""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import gevent
import numpy as np
from gevent.event import Event

from loadlab.engines.locust_child.clock import Alarm, Clock, breathe
from loadlab.engines.locust_child.connection import Connector
from loadlab.engines.locust_child.exchange import GRACE_S, Exchange, GivenUp
from loadlab.engines.locust_child.outbox import Outbox
from loadlab.engines.locust_child.requests import ReadyRequest, RequestMaker
from loadlab.engines.messages import Job
from loadlab.record.request import Outcome
from loadlab.scenario.plan import Followers, RequestPlan
from loadlab.wire.answer import Answer, Ending

AHEAD = 256  # requests that are made before they are due
AHEAD_BYTES = 2**23
SLACK_S = 0.003  # none is made when the next is due so soon


class Dispatcher:
    """The plan under way, from the first due time to the last end. Used once."""

    def __init__(
        self,
        job: Job,
        plan: RequestPlan,
        maker: RequestMaker,
        connector: Connector,
        clock: Clock,
        outbox: Outbox,
        may_send: Callable[[], bool] = lambda: True,
    ) -> None:
        """`may_send` is asked before each request; False drains. A process that was paused finds out before it sends what is overdue."""
        self._may_send = may_send
        self._job, self._plan, self._maker, self._connector, self._clock, self._outbox = job, plan, maker, connector, clock, outbox
        self._alarm = Alarm(clock)
        seqs = plan.shard(job.worker, job.workers)
        self._arrivals = deque(seqs[~np.isnan(plan.arrival_s[seqs])].tolist())
        self._followers = Followers(plan, seqs)
        self._due: list[tuple[float, int]] = []  # (due_s, seq) of followers
        self._ready: dict[int, ReadyRequest] = {}
        self._ready_bytes = 0
        self._made = 0  # how many of the next arrivals are ready
        self._answers: dict[int, str] = {}
        self._awaited = frozenset(np.intersect1d(plan.output_content, plan.segment_content).tolist())
        self._flights: dict[int, tuple[Exchange, gevent.Greenlet[..., Any]]] = {}
        self.is_stopped = False
        self._landed = Event()
        self._worst_lag_s = 0.0
        self.sent = 0
        self.in_flight = 0
        self.most_in_flight = 0

    def run(self) -> None:
        """Sends everything that comes due, and returns when everything sent has ended. `drain` and `stop_now` shorten it."""
        watch = gevent.spawn(self._watch_for_stalls)
        while not self.is_stopped:
            due_s, seq = self._next()
            if seq is None:
                if self.in_flight == 0:
                    break
                self._alarm.wait_until(None)
            elif due_s > self._clock.now_s():
                self._make_ahead(due_s)
                self._alarm.wait_until(due_s)
            elif not self._may_send():
                self.is_stopped = True
            else:
                self._launch(seq, due_s)
        while self._flights:
            self._landed.clear()
            self._landed.wait()
        watch.kill()

    def drain(self) -> None:
        """Sends nothing more; what is in flight goes on to its end."""
        self.is_stopped = True
        self._alarm.pull()

    def stop_now(self) -> None:
        """Gives up what is in flight, too."""
        self.drain()
        breathe()  # whoever was launched just now has to begin first: a greenlet that is killed before leaves no row
        for _, greenlet in list(self._flights.values()):
            greenlet.kill(GivenUp(Ending.STOPPED), block=False)

    def state(self) -> dict[str, Any]:
        """How the run stands, for the news; the lag is the worst since this was last asked."""
        lag_s, self._worst_lag_s = self._worst_lag_s, 0.0
        used = {"cpu_s": time.process_time(), "lag_s": lag_s}
        return {"sent": self.sent, "in_flight": self.in_flight, "at_s": self._clock.now_s(), **used}

    def _next(self) -> tuple[float, int | None]:
        arrival_s = float(self._plan.arrival_s[self._arrivals[0]]) if self._arrivals else np.inf
        if self._due and self._due[0][0] < arrival_s:
            return self._due[0]
        return (arrival_s, self._arrivals[0]) if self._arrivals else (np.inf, None)

    def _make_ahead(self, due_s: float) -> None:
        """Makes the next arrivals while there is time. The very next one is made in any case."""
        while self._made < min(AHEAD, len(self._arrivals)) and self._ready_bytes <= AHEAD_BYTES:
            if self._clock.now_s() > due_s - SLACK_S and self._made:
                return
            self._prepare(self._arrivals[self._made])
            self._made += 1
            breathe()

    def _prepare(self, seq: int) -> ReadyRequest:
        request = self._ready.get(seq)
        if request is None:
            request = self._ready[seq] = self._maker.make(seq, self._answers)
            self._ready_bytes += len(request.data)
        return request

    def _launch(self, seq: int, due_s: float) -> None:
        if self._due and self._due[0][1] == seq:
            heapq.heappop(self._due)
        else:
            self._arrivals.popleft()
            self._made = max(self._made - 1, 0)
        request = self._prepare(seq)
        del self._ready[seq]
        self._ready_bytes -= len(request.data)
        exchange = Exchange(request.reader, self._clock)
        if self.in_flight >= self._job.max_in_flight:
            now_s = self._clock.now_s()
            self._land(seq, due_s, exchange, request.reader.end(Ending.IN_FLIGHT_LIMIT, now_s), None)
            return
        self.sent += 1
        self.in_flight += 1
        self._worst_lag_s = max(self._worst_lag_s, self._clock.now_s() - due_s)
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._flights[seq] = (exchange, gevent.spawn(self._fly, seq, due_s, exchange, request))

    def _fly(self, seq: int, due_s: float, exchange: Exchange, request: ReadyRequest) -> None:
        timeout_s = float(self._plan.timeout_s[seq])
        deadline_s = due_s + (self._job.timeout_s if np.isnan(timeout_s) else timeout_s)
        timer = gevent.Timeout.start_new(max(deadline_s - self._clock.now_s(), 0.0), GivenUp(Ending.DEADLINE))

        def complete() -> None:
            """The answer is there, the end of its message is not: that has a moment more."""
            nonlocal timer
            timer.close()
            timer = gevent.Timeout.start_new(GRACE_S, GivenUp(Ending.COMPLETE))
            self._finish(seq, due_s, exchange, Ending.COMPLETE, exchange.ended_s or self._clock.now_s())

        try:
            how, ended_s = exchange.run(self._connector, request.data, complete)
        except GivenUp as given_up:
            how, ended_s = given_up.how, self._clock.now_s()
        finally:
            timer.close()
        if not exchange.is_known:
            self._finish(seq, due_s, exchange, how, ended_s)
        del self._flights[seq]
        self._landed.set()

    def _finish(self, seq: int, due_s: float, exchange: Exchange, how: Ending, ended_s: float) -> None:
        self.in_flight -= 1
        self._land(seq, due_s, exchange, exchange.reader.end(how, ended_s, exchange.error), ended_s)

    def _land(self, seq: int, due_s: float, exchange: Exchange, answer: Answer, ended_s: float | None) -> None:
        """The row, and what follows."""
        self._outbox.add(_row(seq, due_s, exchange.sent_s, ended_s, answer, self._job.api_key))
        content = int(self._plan.output_content[seq])
        if content in self._awaited and answer.text:
            self._answers[content] = answer.text
        after_s = self._clock.now_s() if ended_s is None else ended_s
        for follower in self._followers.after(seq):
            heapq.heappush(self._due, (after_s + float(self._plan.delay_after_s[follower]), follower))
        self._alarm.pull()

    def _watch_for_stalls(self) -> None:
        """Gives up answers that began and then said nothing for `idle_s`."""
        while True:
            gevent.sleep(min(0.25, self._job.idle_s / 20))
            now_s = self._clock.now_s()
            for exchange, greenlet in list(self._flights.values()):
                if exchange.last_s is not None and not exchange.is_known and now_s - exchange.last_s > self._job.idle_s:
                    greenlet.kill(GivenUp(Ending.STALL), block=False)


def _row(seq: int, due_s: float, sent_s: float | None, ended_s: float | None, answer: Answer, key: str | None) -> tuple[Any, ...]:
    """Columns of `messages.ROW`. Servers like to quote the key that they refuse: it is taken out of their words."""
    error = answer.error if answer.error is None or key is None else answer.error.replace(key, "[API key]")
    sent_s = None if answer.outcome is Outcome.NOT_SENT else sent_s  # no sockets: it was tried, and nothing left
    return (
        seq, due_s, sent_s, answer.first_token_s, answer.last_token_s, ended_s, answer.prompt_tokens, answer.cached_prompt_tokens,
        answer.output_tokens, answer.tokens_estimated, answer.outcome, answer.cause, answer.http_status, error,
        answer.itl_p50_s, answer.itl_p95_s, answer.itl_p99_s, answer.itl_max_s,
    )  # fmt: skip
