"""The simulated cluster in real time: one place advances it to the wall clock, tells each client its tokens, and knows how late it is.

It wakes when the next token is due, not at fixed intervals, and tells everything that is due in one pass. At `speed` s a simulated
second lasts 1/s on the wall.
"""

from __future__ import annotations

import asyncio
import math
from time import monotonic
from typing import Protocol

from loadlab.record.request import Cause
from loadlab.server.lateness import Lateness
from loadlab.simulator.cluster import EventKind, SimulatedCluster
from loadlab.simulator.faults import Fault
from loadlab.simulator.live_tokens import LiveTokens
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence, State
from loadlab.units import PS_PER_S

EARLY_S = 0.0005  # a timer of the loop counts milliseconds: what is due within half of one is due
LONGEST_SLEEP_S = 3600.0
CLOCK_EVERY = 32  # streams written between two looks at the clock


class Client(Protocol):
    """Whoever asked for a sequence."""

    def on_tokens(self, sequence: Sequence, times_ps: list[int]) -> None:
        """More tokens came, at these times (shared: not to be changed). The last may come with the end known (`sequence.ended_ps`)."""

    def on_end(self, sequence: Sequence) -> None:
        """It is over, all its tokens told; `sequence.cause` says how."""


class RealTime:
    """Drives a fresh cluster. `start` sets simulated second 0 to now; everything runs in the event loop that called it."""

    def __init__(self, cluster: SimulatedCluster, *, speed: float = 1.0) -> None:
        """`speed` > 0: simulated seconds in one of the wall."""
        self.cluster = cluster
        self.speed = speed
        self.lateness = Lateness()
        self.tokens = 0  # told so far
        self._live = LiveTokens(cluster)
        self._clients: dict[Sequence, Client] = {}
        self._now_ps = 0
        self._ps_per_wall_s = speed * PS_PER_S
        self._start_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._due_ps = NEVER_PS
        self._is_looking = False
        self._told: dict[int, int] = {}  # tokens told since the last look at the clock, by when they came
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Simulated time begins."""
        self._loop = asyncio.get_running_loop()
        self._start_s = monotonic()
        self._plan_next()

    def stop(self) -> None:
        """Simulated time stands still."""
        if self._timer is not None:
            self._timer.cancel()

    @property
    def now_ps(self) -> int:
        """Simulated time; never before what was told already."""
        return max(self._now_ps, int((monotonic() - self._start_s) * self._ps_per_wall_s))

    @property
    def looked_ps(self) -> int:
        """Up to when everything has been told, or is being told."""
        return self._now_ps

    @property
    def under_way(self) -> int:
        """Sequences that are not over."""
        return len(self._clients)

    def refresh(self) -> None:
        """Lets everything up to now happen: for whoever looks at the cluster."""
        self._look(self.now_ps)
        self._plan_next()

    def submit(self, sequence: Sequence, client: Client) -> bool:
        """A sequence arrives now. False if it was refused at once: then `sequence.cause` says why, and `client` hears nothing."""
        self._look(self.now_ps)
        is_taken = self.cluster.submit(sequence, self._now_ps)
        if is_taken:
            self._clients[sequence] = client
        self._plan_next()
        return is_taken

    def give_up(self, sequence: Sequence) -> None:
        """Its client has left: it is over, and `client` hears so. Nothing if it is over already."""
        if self._is_looking:  # somebody is being told something: not in the middle of it
            self._loop.call_soon(self.give_up, sequence)
            return
        self._look(self.now_ps)
        if sequence.state is not State.ENDED:
            self.cluster.give_up(sequence, Cause.CLIENT_LEFT, self._now_ps)
            self._look(self._now_ps)
        self._plan_next()

    def inject(self, fault: Fault) -> None:
        """A fault to come; what of it lies in the past happens now."""
        self._look(self.now_ps)
        self.cluster.inject(fault, self._now_ps)
        self._look(self._now_ps)
        self._plan_next()

    # Waking up

    def _plan_next(self) -> None:
        """Sleeps until the next token or event is due."""
        due_ps = self._live.next_ps()
        if due_ps == self._due_ps and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due_ps = due_ps
        if due_ps < NEVER_PS:
            self._sleep()

    def _sleep(self) -> None:
        wait_s = self._due_ps / self._ps_per_wall_s - (monotonic() - self._start_s)
        self._timer = self._loop.call_later(min(max(0.0, wait_s), LONGEST_SLEEP_S), self._wake)

    def _wake(self) -> None:
        self._timer = None
        early_s = self._due_ps / self._ps_per_wall_s - (monotonic() - self._start_s)
        if early_s > EARLY_S:  # the loop's idea of now was stale when the timer was set
            self._sleep()
            return
        self._look(max(self._due_ps, self.now_ps))
        self._plan_next()

    # Telling

    def _look(self, at_ps: int) -> None:
        """Advances the cluster and tells every client what came."""
        self._now_ps, self._is_looking = at_ps, True
        tokens, events = self._live.advance_to(at_ps)
        if tokens:
            clients, told = self._clients, self._told
            for i, (sequence, times) in enumerate(tokens, 1):
                clients[sequence].on_tokens(sequence, times)
                told[times[0]] = told.get(times[0], 0) + len(times)
                if i % CLOCK_EVERY == 0:
                    self._note_lateness()
            self._note_lateness()
        for kind, _, sequence in events:
            if kind is EventKind.ENDED:
                self._clients.pop(sequence).on_end(sequence)
        self._is_looking = False

    def _note_lateness(self) -> None:
        """The bytes of what was told are with the system, or wait for a client that does not read: so late were they."""
        now_ps = (monotonic() - self._start_s) * self._ps_per_wall_s
        for came_ps, count in self._told.items():
            self.lateness.add((now_ps - came_ps) / self._ps_per_wall_s, count)
            self.tokens += count
        self._told.clear()


def check_speed(speed: float) -> float:
    """The speed itself. Raises ValueError unless it is finite and > 0."""
    if not (math.isfinite(speed) and speed > 0):
        raise ValueError(f"{speed} must be a number > 0, such as 1 or 20")
    return speed
