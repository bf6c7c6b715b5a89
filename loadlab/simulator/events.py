"""What the simulator tells whoever drives it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum

from loadlab.simulator.sequence import Sequence


class EventKind(IntEnum):
    """What happened to a request."""

    STARTED = 1  # its first token came
    ENDED = 2  # it is over; `sequence.cause` says how


Event = tuple[EventKind, int, Sequence]  # what happened, when in picoseconds, to whom: the sequence carries the details
Emit = Callable[[Sequence], None]
STARTED, ENDED = EventKind  # looking a member up in its enum costs as much as a call


class Outbox:
    """Where engines put their news: a list for the client, or hooks, one for each kind, where something may follow at once.

    An engine in its loop appends to `events` itself where `is_plain`, that is without hooks.
    """

    __slots__ = ("ended", "events", "is_plain", "started")

    def __init__(self, hooks: tuple[Emit, Emit] | None = None) -> None:
        self.events: list[Event] = []
        self.is_plain = hooks is None
        self.started, self.ended = hooks or (self.note_started, self.note_ended)

    def note_started(self, sequence: Sequence) -> None:
        """A sequence has its first token, for the client to know."""
        assert sequence.first_token_ps is not None
        self.events.append((STARTED, sequence.first_token_ps, sequence))

    def note_ended(self, sequence: Sequence) -> None:
        """A sequence is over, for the client to know."""
        assert sequence.ended_ps is not None
        self.events.append((ENDED, sequence.ended_ps, sequence))
