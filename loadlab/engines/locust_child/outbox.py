"""What the load generator tells: rows and news, collected for a fifth of a second and handed over without blocking anyone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import orjson
from gevent.event import Event
from gevent.lock import RLock
from gevent.os import make_nonblocking, nb_write

from loadlab.engines.messages import NEWS

EVERY_S = 0.2
Send = Callable[[bytes], None]  # takes a line, its newline included


class Outbox:
    """Lines to whoever listens, in order. One greenlet sends at a time."""

    def __init__(self, send: Send, keep: Callable[[tuple[Any, ...]], None] | None = None) -> None:
        """`keep` gets each row at once, before anybody is told."""
        self._send, self._keep = send, keep
        self._rows: list[tuple[Any, ...]] = []
        self._is_finished = Event()
        self.told = 0  # rows

    def add(self, row: tuple[Any, ...]) -> None:
        """A row, as columns of `messages.ROW`; it leaves with the next news."""
        if self._keep is not None:
            self._keep(row)
        self._rows.append(row)

    def tell(self, kind: str, **facts: Any) -> None:
        """Sends one message now."""
        self._send(orjson.dumps({"kind": kind, **facts}, option=orjson.OPT_APPEND_NEWLINE))

    def send_news(self, state: Callable[[], dict[str, Any]]) -> None:
        """Sends the rows collected so far, and how the run stands."""
        rows, self._rows = self._rows, []
        self.told += len(rows)
        self.tell(NEWS, rows=rows, **state())

    def keep_telling(self, state: Callable[[], dict[str, Any]]) -> None:
        """Sends news until `finish`: the body of a greenlet. Never killed: a line that is half written would spoil the next."""
        while not self._is_finished.wait(EVERY_S):
            self.send_news(state)
        self.send_news(state)

    def finish(self) -> None:
        """Asks for the last news."""
        self._is_finished.set()


def pipe(fd: int) -> Send:
    """Writes lines to a pipe to the parent, whole, one after the other. Ends the process if nobody is there to read it."""
    make_nonblocking(fd)
    turn = RLock()

    def send(data: bytes) -> None:
        line = memoryview(data)
        with turn:
            try:
                while line:
                    line = line[nb_write(fd, line) :]
            except OSError:  # the parent is gone: there is nobody to load a server for
                os._exit(1)

    return send
