"""What the parent says while the process lives, and what a master says: stop sending, or stop now."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from gevent.os import make_nonblocking, nb_read

from loadlab.engines.locust_child.dispatcher import Dispatcher
from loadlab.engines.messages import CLOSE, DRAIN, GO, NOW


class Orders:
    """Words for a dispatcher that may not be there yet: before it begins, any of them ends the process."""

    def __init__(self) -> None:
        self.dispatcher: Dispatcher | None = None

    def take(self, word: bytes) -> None:
        """Does what DRAIN or NOW says; leaves other words alone."""
        if word not in (DRAIN, NOW):
            return
        if self.dispatcher is None:
            os._exit(0)
        if word == NOW:
            self.dispatcher.stop_now()
        else:
            self.dispatcher.drain()


def obey(take: Callable[[bytes], None]) -> None:
    """Takes the parent's words, the body of a greenlet; their end means that it is gone."""
    fd = sys.stdin.fileno()
    make_nonblocking(fd)
    while words := nb_read(fd, 64):
        for word in (GO, DRAIN, NOW, CLOSE):
            if word in words:
                take(word)
    os._exit(1)
