"""HTTP/1.1 on one socket: requests parsed within limits, answered one at a time, in whole or as a stream.

No task and no queue a stream: whoever answers writes straight to the transport, which joins what one turn of the loop wrote.
httptools parses; what it does not bound (headers, body, time) is bounded here.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from enum import IntEnum
from functools import lru_cache
from http import HTTPStatus
from time import monotonic, time
from typing import Any, cast
from urllib.parse import unquote

import httptools
import orjson

from loadlab.server.limits import Limits

JSON, TEXT, EVENTS = b"application/json", b"text/plain; charset=utf-8", b"text/event-stream; charset=utf-8"
LINGER_S = 2.0  # how long a refused upload is read and thrown away, so that the refusal is not lost in a reset
_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_RESET = struct.pack("ii", 1, 0)  # close without lingering: the system sends RST, not FIN
_LAST_CHUNK = b"0\r\n\r\n"


@dataclass(slots=True)
class Request:
    """One request, whole."""

    method: str
    path: str
    query: str
    headers: dict[str, str]  # names in lower case; of a name that comes twice, the last
    body: bytes
    peer: str  # the client's address
    connection: Connection = field(repr=False)

    @property
    def is_json(self) -> bool:
        """Whether its headers say JSON, or say nothing."""
        kind = self.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        return kind in ("application/json", "") or kind.endswith("+json")


class _State(IntEnum):
    READING = 0  # a request, or the pause before it
    ANSWERING = 1  # further bytes wait
    CLOSING = 2  # whatever comes is thrown away


Answer = Callable[[Request], None]  # answers through `request.connection`, at once or later


class Connection(asyncio.Protocol):
    """A client. `respond`, or `stream_head` .. `end_stream`, answers the request that was handed to `answer`.

    `on_gone`, where the answering side sets it, is called once if the client leaves before its answer is complete.
    """

    __slots__ = (
        "_answer", "_body", "_body_bytes", "_deadline_s", "_has_headers", "_header_bytes", "_headers", "_http_version", "_is_head",
        "_is_kept", "_limits", "_others", "_parser", "_state", "_unparsed_bytes", "_unread_since_s", "_url", "_waiting", "_whole",
        "is_closed", "on_gone", "peer", "transport",
    )  # fmt: skip

    def __init__(self, answer: Answer, limits: Limits, others: set[Connection]) -> None:
        """`others`: every open connection of the server; this one joins and leaves by itself."""
        self._answer = answer
        self._limits = limits
        self._others = others
        self._parser = httptools.HttpRequestParser(self)
        self._state = _State.READING
        self._waiting: list[bytes] = []  # bytes that came while a request was being answered
        self._whole: deque[tuple[Request, str, bool]] = deque()  # requests that wait, with HTTP version and whether to keep the connection
        self._deadline_s: float | None = None
        self._unread_since_s: float | None = None
        self._is_kept = self._is_head = False
        self._http_version = "1.1"
        self.is_closed = False
        self.on_gone: Callable[[], None] | None = None
        self.peer = ""
        self.transport: asyncio.Transport
        self._begin_request()

    def _begin_request(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._header_bytes = self._body_bytes = self._unparsed_bytes = 0
        self._has_headers = False

    # The socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are none by their class, but in all they do
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else ""
        self._others.add(self)
        self._deadline_s = monotonic() + self._limits.idle_timeout_s
        if len(self._others) > self._limits.max_connections:
            self.refuse(503, "too many connections; the server takes no more than it can serve", "max_connections")

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio calls it so
        """The client left, or was cut off."""
        self.is_closed = True
        self._others.discard(self)
        self._waiting.clear()
        gone, self.on_gone = self.on_gone, None
        if gone is not None and self._state is _State.ANSWERING:
            gone()

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        self._unread_since_s = monotonic()

    def resume_writing(self) -> None:
        """It has caught up."""
        self._unread_since_s = None

    def data_received(self, data: bytes) -> None:
        """Bytes of a request, or of the next one while one is being answered."""
        if self._state is _State.CLOSING:
            return
        if self._state is _State.ANSWERING:
            self._waiting.append(data)
            self.transport.pause_reading()
            return
        if not self._header_bytes and not self._unparsed_bytes:
            self._deadline_s = monotonic() + self._limits.request_timeout_s
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            return  # answered as if nobody had asked to upgrade; then the connection is closed
        except httptools.HttpParserError:
            self._whole.clear()
            self.refuse(400, "is not a valid HTTP request", "http")
            return
        if self._state is _State.READING and not self._has_headers:
            self._unparsed_bytes += len(data)  # of a line without end the parser says nothing
            if self._unparsed_bytes > self._limits.max_header_bytes:
                self._count_header(self._unparsed_bytes)

    # The parser's calls, in order

    def on_url(self, url: bytes) -> None:
        """A part of the request target."""
        self._url += url
        self._count_header(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        self._count_header(len(name) + len(value) + 4)

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self._limits.max_header_bytes:
            self.refuse(431, f"headers of more than {self._limits.max_header_bytes} bytes are not read", "headers")

    def on_headers_complete(self) -> None:
        """All headers are there; the body may follow."""
        self._has_headers = True
        if self._state is not _State.READING:
            return
        length = self._headers.get("content-length", "0")
        if length.isdigit() and int(length) > self._limits.max_body_bytes:
            self._refuse_body()
        elif self._headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if self._state is _State.CLOSING:
            return
        self._body_bytes += len(data)
        if self._body_bytes > self._limits.max_body_bytes:
            self._refuse_body()
        else:
            self._body.append(data)

    def _refuse_body(self) -> None:
        self.refuse(413, f"a body of more than {self._limits.max_body_bytes} bytes is not read", "body")

    def on_message_complete(self) -> None:
        """The request is whole."""
        if self._state is _State.CLOSING:
            return
        method = self._parser.get_method().decode("latin-1")
        path, _, query = self._url.decode("latin-1").partition("?")
        request = Request(method, unquote(path), query, self._headers, b"".join(self._body), self.peer, self)
        is_kept = self._parser.should_keep_alive() and "upgrade" not in self._headers
        self._begin_request()
        self._whole.append((request, self._parser.get_http_version(), is_kept))
        if self._state is _State.READING:
            self._answer_next()

    def _answer_next(self) -> None:
        """Hands over the oldest request that is whole."""
        request, self._http_version, self._is_kept = self._whole.popleft()
        self._state = _State.ANSWERING
        self._deadline_s = None
        self._is_head = request.method == "HEAD"
        self._answer(request)

    # Answering

    def respond(self, status: int, body: bytes = b"", *, content_type: bytes = JSON, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """The whole answer."""
        if self.is_closed:
            return
        head = self._head(status, (*headers, (b"content-length", b"%d" % len(body))), content_type if body else b"")
        self.transport.write(head if self._is_head else head + body)
        self._complete()

    def refuse(self, status: int, problem: str, parameter: str) -> None:
        """An answer to what cannot be read any further: it is sent, then the connection is closed."""
        if self.is_closed or self._state is _State.CLOSING:
            return
        body = orjson.dumps({"error": {"message": problem, "type": _REASONS[status].decode(), "param": parameter, "code": status}})
        self._is_kept = False
        self.transport.write(self._head(status, ((b"content-length", b"%d" % len(body)),), JSON) + body)
        self._close()

    @property
    def can_stream(self) -> bool:
        """HTTP/1.0 knows no chunks."""
        return self._http_version == "1.1"

    def stream_head(self, headers: tuple[tuple[bytes, bytes], ...] = ()) -> bytes:
        """Status and headers of a stream of events: the first that goes to `transport.write`; then its chunks, `framed`."""
        return self._head(200, (*headers, (b"transfer-encoding", b"chunked")), EVENTS)

    def end_stream(self, chunks: bytes) -> None:
        """The stream is complete with these."""
        if not self.is_closed:
            self.transport.write(chunks + _LAST_CHUNK)
            self._complete()

    def cut(self) -> None:
        """Resets the connection in the middle of whatever it is doing."""
        if not self.is_closed:
            self.on_gone = None
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def _head(self, status: int, headers: tuple[tuple[bytes, bytes], ...], content_type: bytes) -> bytes:
        lines = [b"HTTP/1.1 %d %s\r\ndate: %s\r\nserver: loadlab\r\n" % (status, _REASONS.get(status, b""), _date(int(time())))]
        lines += [b"%s: %s\r\n" % header for header in headers]
        if content_type:
            lines.append(b"content-type: %s\r\n" % content_type)
        lines.append(b"\r\n" if self._is_kept else b"connection: close\r\n\r\n")
        return b"".join(lines)

    def _complete(self) -> None:
        self.on_gone = None
        if not self._is_kept:
            self._close()
            return
        self._state = _State.READING
        self._deadline_s = monotonic() + self._limits.idle_timeout_s
        if self._whole or self._waiting:
            asyncio.get_running_loop().call_soon(self._read_on)

    def _read_on(self) -> None:
        """What came meanwhile."""
        if self.is_closed or self._state is not _State.READING:
            return
        if self._whole:
            self._answer_next()
            return
        waiting, self._waiting = self._waiting, []
        self.transport.resume_reading()
        for data in waiting:
            self.data_received(data)

    def _close(self) -> None:
        """Closes once everything is sent; until then what comes is thrown away, so that no reset overtakes the answer."""
        self._state = _State.CLOSING
        self._deadline_s = monotonic() + LINGER_S
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    # Time

    def check(self, now_s: float, *, is_stopping: bool) -> None:
        """Cuts off a client that is too slow; while the server stops, one that asks nothing."""
        if self._unread_since_s is not None:
            waits_s = now_s - self._unread_since_s
            if waits_s > self._limits.unread_timeout_s or self.transport.get_write_buffer_size() > self._limits.max_unread_bytes:
                self.transport.abort()
                return
        is_idle = self._state is _State.READING and not self._header_bytes and not self._unparsed_bytes
        if is_idle and is_stopping:
            self.transport.close()
        elif self._deadline_s is not None and now_s > self._deadline_s:
            if self._state is _State.READING and not is_idle:
                self.refuse(408, f"the request was not complete after {self._limits.request_timeout_s:g} s", "http")
            else:
                self.transport.close()


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    """As RFC 9110 (5.6.7) writes it."""
    return formatdate(second, usegmt=True).encode()


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body (RFC 9112, 7.1)."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def json_bytes(value: Any) -> bytes:
    """JSON as the answers carry it."""
    return orjson.dumps(value)
