"""One request on one connection: send, read what comes, stamp every piece before anything looks at it, say how it ended."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass

import httptools

from loadlab.engines.locust_child.clock import Clock
from loadlab.engines.locust_child.connection import OUT_OF_SOCKETS, Connection, Connector
from loadlab.wire.answer import AnswerReader, Ending

MAX_HEAD_BYTES = 2**18  # of status line and headers together, interim answers included
GRACE_S = 1.0  # how long a connection may take to end its message after the answer is known complete
INTERIM = 200  # below it: 100 Continue, 103 Early Hints; the answer proper follows


class GivenUp(BaseException):
    """Thrown into the greenlet of a request whose time is up, or whose run was stopped."""

    def __init__(self, how: Ending) -> None:
        super().__init__(how.name)
        self.how = how


@dataclass(slots=True)
class Exchange:
    """One request under way. `last_s` is when the last piece of its answer came, None before its head was complete."""

    reader: AnswerReader
    clock: Clock
    sent_s: float | None = None  # when it began to be sent: a connection is opened, or the first byte written
    last_s: float | None = None
    ended_s: float | None = None  # when the answer was known, though its message had not ended
    error: str | None = None
    _is_reused: bool = False
    _received: int = 0

    def run(self, connector: Connector, request: bytes, on_complete: Callable[[], None]) -> tuple[Ending, float]:
        """Sends `request` and reads its answer. Returns how it ended and when; calls `on_complete` as soon as the answer is known.

        Raises GivenUp as it was thrown in. The connection goes back to the connector, or is closed.
        """
        self.sent_s = self.clock.now_s()
        try:
            connection = connector.take()
        except OSError as error:
            return self._not_connected(error), self.clock.now_s()
        self._is_reused = connection.uses > 0
        message = _Message(self)
        how = Ending.RESET
        try:
            how, at_s = self._talk(connection, request, message, on_complete)
        finally:
            message.let_go()
            if how is Ending.COMPLETE and message.is_reusable:
                connector.give_back(connection)
            else:
                connection.close()
        return how, at_s

    def _not_connected(self, error: OSError) -> Ending:
        self.error = error.strerror or str(error)
        if isinstance(error, ssl.SSLError):
            self.error = getattr(error, "verify_message", None) or error.reason or self.error
            return Ending.TLS
        return Ending.OUT_OF_SOCKETS if error.errno in OUT_OF_SOCKETS else Ending.REFUSED

    def _talk(self, connection: Connection, request: bytes, message: _Message, on_complete: Callable[[], None]) -> tuple[Ending, float]:
        try:
            connection.send(request)
        except OSError as error:  # the answer may lie there nevertheless: a refusal of a large body, say
            self.error = error.strerror
        while True:
            try:
                data = connection.receive()
            except OSError as error:
                self.error = error.strerror or str(error)
                return self._cut(Ending.RESET), self.clock.now_s()
            at_s = self.clock.now_s()
            if not data:
                return Ending.COMPLETE if message.ends_with_connection else self._cut(Ending.SHORT_BODY), at_s
            self._received += len(data)
            how = message.feed(data, at_s)
            if how is not None:
                return how, at_s
            if message.is_known and self.ended_s is None:
                self.ended_s = at_s
                on_complete()

    def _cut(self, how: Ending) -> Ending:
        """A connection that ended too early: before any byte of the answer, that has other names."""
        if self._received:
            return how
        return Ending.STALE_CONNECTION if self._is_reused else Ending.RESET

    @property
    def is_known(self) -> bool:
        """True once the answer is known, though its message has not ended."""
        return self.ended_s is not None


class _Message:
    """The parser's callbacks: interim answers are skipped, the head and every piece of the body go to the reader."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange, self._reader = exchange, exchange.reader
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self._head_bytes = 0
        self._has_head = self._has_length = self._is_complete = self._stays_open = False
        self._status = 0
        self.is_known = False

    def feed(self, data: bytes, at_s: float) -> Ending | None:
        """Takes what was received; how it ended, or None if more is to come."""
        self._at_s = at_s
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            if self.is_known:
                return Ending.COMPLETE
            self._exchange.error = f"{type(error).__name__}: {data[:200]!r}"
            return Ending.BAD_HTTP
        if self._is_complete:
            return Ending.COMPLETE
        if not self._has_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._exchange.error = f"more than {MAX_HEAD_BYTES:,} bytes of headers"
                return Ending.BAD_HTTP
        return None

    def let_go(self) -> None:
        """Breaks the cycle of parser and callbacks: else each answer would stay in memory until the collector comes."""
        del self._parser

    @property
    def is_reusable(self) -> bool:
        """True if the connection can carry another request."""
        return self._is_complete and self._stays_open

    @property
    def ends_with_connection(self) -> bool:
        """True if the body has no length of its own, so that the end of the connection is its end."""
        return self._has_head and not self._has_length

    def on_message_begin(self) -> None:
        """Something begins: after the end of the answer that is nothing we asked for."""
        if self._is_complete:
            self._stays_open = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        key = name.decode("latin-1").lower()
        self._has_length |= key in ("content-length", "transfer-encoding")
        self._headers.append((key, value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """The head is there."""
        if self._is_complete:
            return
        self._status = self._parser.get_status_code()
        if self._status < INTERIM:
            self._headers.clear()
            self._has_length = False
            return
        self._has_head = True
        self._exchange.last_s = self._at_s
        self._reader.head(self._status, self._headers, self._at_s)

    def on_body(self, body: bytes) -> None:
        """A piece of the body, its transfer coding taken off."""
        if self._is_complete:
            return
        self._exchange.last_s = self._at_s
        if self._reader.feed(body, self._at_s):
            self.is_known = True

    def on_message_complete(self) -> None:
        """The message ended; an interim one is followed by another."""
        if self._status >= INTERIM and not self._is_complete:
            self._is_complete, self._stays_open = True, bool(self._parser.should_keep_alive())
