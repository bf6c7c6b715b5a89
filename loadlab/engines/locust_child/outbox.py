"""What the child tells its parent: rows and news, collected for a fifth of a second and written without blocking anyone."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import orjson
from gevent.event import Event
from gevent.os import make_nonblocking, nb_write

from loadlab.engines.messages import NEWS

EVERY_S = 0.2


class Outbox:
    """Lines to the parent, in order, on a pipe of our own. One greenlet writes at a time."""

    def __init__(self, fd: int) -> None:
        make_nonblocking(fd)
        self._fd = fd
        self._rows: list[tuple[Any, ...]] = []
        self._is_finished = Event()

    def add(self, row: tuple[Any, ...]) -> None:
        """A row, as columns of `messages.ROW`; it leaves with the next news."""
        self._rows.append(row)

    def tell(self, kind: str, **facts: Any) -> None:
        """Writes one message now. Ends the process if nobody is there to read it."""
        line = memoryview(orjson.dumps({"kind": kind, **facts}, option=orjson.OPT_APPEND_NEWLINE))
        try:
            while line:
                line = line[nb_write(self._fd, line) :]
        except OSError:  # the parent is gone: there is nobody to load a server for
            os._exit(1)

    def send_news(self, state: Callable[[], dict[str, Any]]) -> None:
        """Writes the rows collected so far, and how the run stands."""
        rows, self._rows = self._rows, []
        self.tell(NEWS, rows=rows, **state())

    def keep_telling(self, state: Callable[[], dict[str, Any]]) -> None:
        """Sends news until `finish`: the body of a greenlet. Never killed: a line that is half written would spoil the next."""
        while not self._is_finished.wait(EVERY_S):
            self.send_news(state)
        self.send_news(state)

    def finish(self) -> None:
        """Asks for the last news."""
        self._is_finished.set()
