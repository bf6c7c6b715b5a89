"""A client of a hundred lines on one blocking socket: enough to show that AnswerReader needs nothing of the engine."""

from __future__ import annotations

import socket
import time

import httptools

from loadlab.wire.answer import Answer, AnswerReader, Ending
from loadlab.wire.requests import WireRequest
from tests.http.fault_server import HOST

MAX_HEAD_BYTES = 2**18


class Client:
    """One kept-alive connection at a time. `idle_s` limits the silence in mid-answer, `deadline_s` the whole."""

    def __init__(self, port: int, *, idle_s: float = 5.0, deadline_s: float = 10.0) -> None:
        self._port, self._idle_s, self._deadline_s = port, idle_s, deadline_s
        self._sock: socket.socket | None = None

    def ask(self, wire: WireRequest, reader: AnswerReader | None = None) -> Answer:
        """Sends one request and reads its answer."""
        reader = AnswerReader() if reader is None else reader
        is_reused = self._sock is not None
        try:
            sock = self._sock or socket.create_connection((HOST, self._port), timeout=5)
        except ConnectionRefusedError as error:
            return reader.end(Ending.REFUSED, time.monotonic(), error.strerror)
        self._sock = None
        message = _Message(reader)
        try:
            how = self._talk(sock, wire, message, is_reused)
        finally:
            if message.is_whole and message.keeps_alive:
                self._sock = sock
            else:
                sock.close()
        return reader.end(how, time.monotonic())

    def _talk(self, sock: socket.socket, wire: WireRequest, message: _Message, is_reused: bool) -> Ending:
        before_first_byte = Ending.STALE_CONNECTION if is_reused else Ending.RESET
        deadline_s = time.monotonic() + self._deadline_s
        try:
            sock.sendall(as_bytes(wire))
            while True:
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    return Ending.DEADLINE
                sock.settimeout(min(left_s, self._idle_s) if message.has_head else left_s)
                data = sock.recv(65536)
                if not data:
                    return Ending.SHORT_BODY if message.bytes else before_first_byte
                if (how := message.feed(data, time.monotonic())) is not None:
                    return how
        except TimeoutError:
            return Ending.DEADLINE if time.monotonic() >= deadline_s else Ending.STALL
        except OSError:
            return Ending.RESET if message.bytes else before_first_byte

    def close(self) -> None:
        """Gives the connection back."""
        if self._sock is not None:
            self._sock.close()


class _Message:
    def __init__(self, reader: AnswerReader) -> None:
        self._reader = reader
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[str, str]] = []
        self.has_head = self.is_whole = self.keeps_alive = self._is_known = self._is_interim = False
        self.bytes = 0

    def feed(self, data: bytes, at_s: float) -> Ending | None:
        self._at_s = at_s
        self.bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            return Ending.BAD_HTTP
        if not self.has_head and self.bytes > MAX_HEAD_BYTES:
            return Ending.BAD_HTTP
        return Ending.COMPLETE if self.is_whole or self._is_known else None

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        self._is_interim = status < 200
        if not self._is_interim:
            self.has_head = True
            self._reader.head(status, self._headers, self._at_s)
        self._headers = []

    def on_body(self, body: bytes) -> None:
        self._is_known = self._reader.feed(body, self._at_s) or self._is_known

    def on_message_complete(self) -> None:
        self.is_whole = not self._is_interim
        self.keeps_alive = bool(self._parser.should_keep_alive())  # told here only: afterwards the parser is at the next message


def as_bytes(wire: WireRequest) -> bytes:
    """The HTTP message of a request."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in wire.headers)
    head = f"{wire.method} {wire.path} HTTP/1.1\r\nHost: {HOST}\r\n{headers}Content-Length: {len(wire.body)}\r\n\r\n"
    return head.encode("latin-1") + wire.body
