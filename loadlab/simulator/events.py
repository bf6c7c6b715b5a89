"""What the simulator tells whoever drives it."""

from __future__ import annotations

from enum import IntEnum

from loadlab.simulator.sequence import Sequence


class EventKind(IntEnum):
    """What happened to a request."""

    STARTED = 1  # its first token came
    ENDED = 2  # it is over; `sequence.cause` says how


Event = tuple[EventKind, int, Sequence]  # what happened, when in picoseconds, to whom: the sequence carries the details
