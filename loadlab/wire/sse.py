"""Server-sent events: bytes to events, as the HTML standard reads them (section 9.2, "Server-sent events").

Lines end with LF, CR LF or CR; a blank line ends an event; a line that begins with a colon is a comment; several `data` lines are
joined by LF. However the bytes are cut, the events are the same: what is not yet an event is kept as bytes, so a character that lies
across a border is whole again before anybody decodes it.
"""

from __future__ import annotations

MAX_EVENT_BYTES = 2**20  # of an event, and so of any line
BOM = b"\xef\xbb\xbf"
DATA = b"data: "

Event = tuple[bytes, bytes]  # (name, data); the name is empty where the stream gives none


class EventReader:
    """Turns pieces of a stream into events. Holds one unfinished event, of at most MAX_EVENT_BYTES; `is_too_long` after a longer one."""

    __slots__ = ("_at_start", "_rest", "_skips_lf", "is_too_long")

    def __init__(self) -> None:
        self.is_too_long = False
        self._rest = b""
        self._at_start = True
        self._skips_lf = False  # the last piece ended with CR; if LF comes next, that line has ended already

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes, up to one that is too long."""
        if self.is_too_long:
            return []
        if self._skips_lf or b"\r" in data:
            data = self._with_lf_only(data)
        if self._rest:
            data = self._rest + data
        blocks = data.split(b"\n\n")
        self._rest = blocks.pop()
        events: list[Event] = []
        for block in blocks:
            if len(block) > MAX_EVENT_BYTES:
                return self._give_up(events)
            if block[:6] == DATA and b"\n" not in block:  # nearly all of them
                events.append((b"", block[6:]))
            else:
                self._read(block, events)
            self._at_start = False
        if len(self._rest) > MAX_EVENT_BYTES + 1:  # the line's end may have come, the blank line not yet
            return self._give_up(events)
        return events

    def end(self) -> list[Event]:
        """The event that the stream's end leaves without its blank line: the standard drops it, some servers mean it."""
        events: list[Event] = []
        self._read(self._rest, events)
        self._rest = b""
        return events

    def _give_up(self, events: list[Event]) -> list[Event]:
        self.is_too_long = True
        self._rest = b""
        return events

    def _with_lf_only(self, data: bytes) -> bytes:
        if self._skips_lf and data[:1] == b"\n":
            data = data[1:]
        elif not data:
            return data
        self._skips_lf = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read(self, block: bytes, events: list[Event]) -> None:
        """Appends the event of some lines, if they make one."""
        if self._at_start:
            block = block.removeprefix(BOM)
        name, lines = b"", []
        for line in block.split(b"\n"):
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                lines.append(value)
            elif field == b"event":
                name = value
        if lines:
            events.append((name, b"\n".join(lines)))
