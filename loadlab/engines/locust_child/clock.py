"""The run's clock, and an alarm that rings when a request is due."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time
from typing import Any

from gevent import get_hub, sleep
from gevent.event import Event

_READ = 1
_TIMER_ABSOLUTE = 1  # TFD_TIMER_ABSTIME
_NONBLOCKING = os.O_NONBLOCK | os.O_CLOEXEC
_TIMERSPEC = struct.Struct("@qqqq")  # interval s, ns; first expiry s, ns
SOON_S = 1e-9


class Clock:
    """Seconds since t0, on CLOCK_MONOTONIC."""

    def __init__(self, t0_monotonic_s: float) -> None:
        self.t0_monotonic_s = t0_monotonic_s

    def now_s(self) -> float:
        """Seconds since t0; negative before it."""
        return time.monotonic() - self.t0_monotonic_s


class Alarm:
    """Wakes one waiting greenlet at a time of the clock, or earlier when somebody pulls it.

    gevent's own timers ring up to a millisecond late (epoll counts milliseconds); the kernel's timerfd rings within some 0.1 ms,
    without spinning. Elsewhere than on Linux gevent's timers must do.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = Event()
        self._timer = _TimerFd(self._rung) if sys.platform == "linux" else None

    def pull(self) -> None:
        """Wakes the waiting greenlet now."""
        self._rung.set()

    def wait_until(self, due_s: float | None) -> None:
        """Returns when the clock shows `due_s` (None: never), or when pulled; a pull that came before counts."""
        if due_s is None:
            self._rung.wait()
        elif self._timer is not None:
            self._timer.arm(max(due_s + self._clock.t0_monotonic_s, SOON_S))
            self._rung.wait()
        else:
            self._rung.wait(max(due_s - self._clock.now_s(), 0.0))
        self._rung.clear()


class _TimerFd:
    """A Linux timerfd that sets an event."""

    def __init__(self, rung: Event) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, _NONBLOCKING)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._rung = rung
        self._watcher: Any = get_hub().loop.io(self._fd, _READ)
        self._watcher.start(self._ring)

    def arm(self, at_monotonic_s: float) -> None:
        """Rings at `at_monotonic_s`; at once if that is over. Forgets what it was armed for before."""
        seconds = int(at_monotonic_s)
        spec = _TIMERSPEC.pack(0, 0, seconds, max(int((at_monotonic_s - seconds) * 1e9), 1))
        if self._libc.timerfd_settime(self._fd, _TIMER_ABSOLUTE, spec, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # armed anew meanwhile
            return
        self._rung.set()


def breathe() -> None:
    """Lets everyone else run once."""
    sleep(0)
