"""The body of an answer as it comes in: a stream of events, one document, or an error. Each holds a bounded amount, whatever is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import orjson

from loadlab.wire.outcomes import MAX_ERROR_BYTES, ServerError, load_json, malformed
from loadlab.wire.sse import MAX_EVENT_BYTES, Event, EventReader
from loadlab.wire.tally import Tally

MAX_STREAM_BYTES = 2**28  # of one stream: a million tokens of 250 bytes an event
MAX_DOCUMENT_BYTES = 2**26  # of one answer in one piece, such as the embeddings of a batch
DONE = b"[DONE]"
EVENT_STREAM = "text/event-stream"

Headers = list[tuple[str, str]]


class Body(Protocol):
    """What the reader of an answer needs of its body."""

    tally: Tally
    problem: str | None  # what was wrong with it, in words: it cannot be read

    def feed(self, data: bytes, at_s: float) -> bool:
        """Takes a piece; True once nothing more is needed."""

    def end(self) -> None:
        """The body has ended, in order or not."""

    @property
    def is_complete(self) -> bool:
        """True if all of the answer is there."""


class Stream:
    """A streamed OpenAI answer. Complete at [DONE], or with a finish reason: some servers never send the former."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.problem: str | None = None
        self.is_done = False
        self._events = EventReader()
        self._bytes = 0
        self._last_s = 0.0

    def feed(self, data: bytes, at_s: float) -> bool:
        """See Body."""
        self._bytes += len(data)
        self._last_s = at_s
        for event in self._events.feed(data):
            self._take(event, at_s)
        if self._events.is_too_long:
            self._fail(f"an event of more than {MAX_EVENT_BYTES:,} bytes")
        elif self._bytes > MAX_STREAM_BYTES:
            self._fail(f"a stream of more than {MAX_STREAM_BYTES:,} bytes")
        return self.is_done or self.problem is not None

    def end(self) -> None:
        """See Body. An event without its blank line counts if it can be read; if not, it was cut, which is no fault of its text."""
        for _, data in self._events.end():
            if data == DONE or _is_json(data):
                self._take((b"", data), self._last_s)

    @property
    def is_complete(self) -> bool:
        """See Body."""
        return self.tally.finish_reason is not None or (self.is_done and self.tally.has_choice)

    def _take(self, event: Event, at_s: float) -> None:
        name, data = event
        if self.is_done or self.problem is not None:
            return
        if data == DONE:
            self.is_done = True
            return
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            chunk = self._second_look(data)
        try:
            self.tally.add(chunk, at_s)
        except (AttributeError, KeyError, TypeError):
            self._fail(f"an event that is not OpenAI's: {malformed(data)}")
        if name == b"error" and self.tally.error is None:
            self.tally.error = ServerError(message=data.decode("utf-8", "replace"))

    def _second_look(self, data: bytes) -> Any:
        """An event that says nothing for one of nothing but space, as some gateways send to keep a connection alive."""
        try:
            return load_json(data) if data.strip() else {}
        except ValueError:
            self._fail(f"an event that is not JSON: {malformed(data)}")
            return {}

    def _fail(self, problem: str) -> None:
        if self.problem is None:
            self.problem = problem


class Document:
    """An answer in one piece: kept whole, read at its end. `read` fills the tally, and says what is wrong with the answer or None."""

    def __init__(self, read: Callable[[bytes, Tally], str | None]) -> None:
        self.tally = Tally()
        self.problem: str | None = None
        self.is_complete = False
        self.bytes = 0
        self._pieces: list[bytes] = []
        self._read = read

    def feed(self, data: bytes, at_s: float) -> bool:  # noqa: ARG002 - see Body
        """See Body."""
        self.bytes += len(data)
        if self.bytes > MAX_DOCUMENT_BYTES:
            self._pieces.clear()
            self.problem = f"an answer of more than {MAX_DOCUMENT_BYTES:,} bytes"
            return True
        self._pieces.append(data)
        return False

    def end(self) -> None:
        """See Body."""
        if self.problem is None:
            self.problem = self._read(b"".join(self._pieces), self.tally)
            self.is_complete = self.problem is None
        self._pieces.clear()


class ErrorBody:
    """The body of a refusal or failure: its beginning."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.problem: str | None = None
        self.is_complete = False
        self.text = b""

    def feed(self, data: bytes, at_s: float) -> bool:  # noqa: ARG002 - see Body
        """See Body. What follows the beginning is not kept, and the answer is not known complete before its end."""
        if len(self.text) < MAX_ERROR_BYTES:
            self.text += data[: MAX_ERROR_BYTES - len(self.text)]
        return False

    def end(self) -> None:
        """See Body."""


def read_openai(body: bytes, tally: Tally) -> str | None:
    """Adds an answer in one piece to a tally; what is wrong with it, in words, or None."""
    try:
        value = load_json(body)
    except ValueError:
        return f"an answer that is not JSON: {malformed(body)}"
    try:
        tally.add(value, 0.0)
        is_embedding = isinstance(value.get("data"), list) and len(value["data"]) > 0
    except (AttributeError, KeyError, TypeError):
        return f"an answer that is not OpenAI's: {malformed(body)}"
    if tally.error is None and not tally.has_choice and not is_embedding:
        return f"an answer without choices or data: {malformed(body)}"
    return None


def _is_json(data: bytes) -> bool:
    try:
        load_json(data)
    except ValueError:
        return False
    return True
