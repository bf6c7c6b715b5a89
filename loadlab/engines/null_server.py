"""A server without a model, for measuring the client: it answers by the clock and stamps its own truth.

Its own process, on loopback. A request waits `ttft_s`, then gets its tokens `gap_s` apart, as many as its `max_tokens` asks for. What
arrives within the stall begins at its end, as in a server whose scheduler hangs; what runs already goes on. Each answer leaves a
line of truth: the request's id, when it was read whole, when the first and the last token were handed to the socket, and how many there
were. Stamps are CLOCK_MONOTONIC, which client and server on one machine share. `GET /truth` returns the lines and forgets them.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import re
import signal
import sys
import time
from dataclasses import dataclass
from typing import Any

import httptools
import orjson
import uvloop

MAX_BODY_BYTES = 64 * 2**20
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens":\s*(\d+)')
_STREAM = re.compile(rb'"stream":\s*true')
_JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How the server answers: seconds to the first token and between tokens; `stall_at_s` after the first request, a stall."""

    ttft_s: float = 0.0
    gap_s: float = 0.0
    stall_at_s: float = 0.0
    stall_s: float = 0.0


@dataclass(slots=True)
class _State:
    """What all connections share."""

    pace: Pace
    first_s: float | None = None
    truth: list[tuple[str, float, float, float, int]] | None = None
    received: int = 0

    def begin_s(self, at_s: float) -> float:
        """When a request that arrived at `at_s` begins to be served."""
        if self.first_s is None:
            self.first_s = at_s
        start_s = self.first_s + self.pace.stall_at_s
        end_s = start_s + self.pace.stall_s
        return end_s if start_s <= at_s < end_s else at_s


def _chunk(text: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(text), text)


def _event(choice: str, usage: str = "") -> bytes:
    return f'data: {{"id":"null","object":"chat.completion.chunk","created":1,"model":"null","choices":[{choice}]{usage}}}\n\n'.encode()


_TOKEN = _chunk(_event('{"index":0,"delta":{"content":"null"},"finish_reason":null}'))
_FIRST = _chunk(_event('{"index":0,"delta":{"role":"assistant","content":"null"},"finish_reason":null}'))


def _last(tokens: int) -> bytes:
    usage = f',"usage":{{"prompt_tokens":1,"completion_tokens":{tokens},"total_tokens":{tokens + 1}}}'
    stop = _event('{"index":0,"delta":{},"finish_reason":"length"}')
    return _chunk(stop) + _chunk(_event("", usage)) + _chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _whole(tokens: int) -> bytes:
    body = orjson.dumps(
        {
            "id": "null",
            "object": "chat.completion",
            "created": 1,
            "model": "null",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "null" * tokens}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1},
        }
    )
    return _JSON_HEAD % len(body) + body


class _Connection(asyncio.Protocol):
    """One client connection: one request at a time, kept alive."""

    def __init__(self, state: _State, loop: asyncio.AbstractEventLoop) -> None:
        self._state, self._loop = state, loop
        self._parser = httptools.HttpRequestParser(self)
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._clear()

    def _clear(self) -> None:
        self._url, self._id, self._body = b"", "", bytearray()

    def data_received(self, data: bytes) -> None:
        self._at_s = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-request-id":
            self._id = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > MAX_BODY_BYTES:
            self._transport.close()

    def on_message_complete(self) -> None:
        body, url = bytes(self._body), self._url
        request_id = self._id
        self._clear()
        if self._parser.get_method() == b"GET":
            self._answer_get(url)
            return
        found = _TOKENS.search(body)
        tokens = int(found[1]) if found else 1
        self._state.received += 1
        _Answer(self, request_id, self._at_s, tokens, streams=_STREAM.search(body) is not None).start()

    def _answer_get(self, url: bytes) -> None:
        state = self._state
        if url == b"/truth":
            rows, state.truth = state.truth or [], []
            body = orjson.dumps({"received": state.received, "answers": rows})
        else:
            body = b'{"object":"list","data":[{"id":"null","object":"model"}]}'
        self._transport.write(_JSON_HEAD % len(body) + body)


class _Answer:
    """One answer under way: a timer for each token, due by the clock, so that a late one does not delay the next."""

    def __init__(self, connection: _Connection, request_id: str, at_s: float, tokens: int, *, streams: bool) -> None:
        self._connection, self._id, self._at_s, self._tokens, self._streams = connection, request_id, at_s, tokens, streams
        self._sent, self._first_s = 0, 0.0

    def start(self) -> None:
        pace, state, loop = self._connection._state.pace, self._connection._state, self._connection._loop
        self._due_s = state.begin_s(self._at_s) + pace.ttft_s + (0.0 if self._streams else pace.gap_s * (self._tokens - 1))
        self._offset_s = loop.time() - time.monotonic()
        self._next(time.monotonic())

    def _next(self, now_s: float) -> None:
        if self._due_s <= now_s:
            self._go()
        else:
            self._connection._timer = self._connection._loop.call_at(self._due_s + self._offset_s, self._go)

    def _go(self) -> None:
        connection = self._connection
        now_s = time.monotonic()
        if not self._streams:
            self._first_s = now_s
            connection._transport.write(_whole(self._tokens))
            self._close(now_s)
            return
        gap_s = connection._state.pace.gap_s
        due = self._tokens - self._sent if gap_s == 0 else min(self._tokens - self._sent, int((now_s - self._due_s) / gap_s) + 1)
        parts = [_TOKEN] * due
        if self._sent == 0:
            self._first_s = now_s
            parts[:1] = [_STREAM_HEAD, _FIRST]
        self._sent += due
        self._due_s += due * gap_s
        if self._sent == self._tokens:
            parts.append(_last(self._tokens))
        connection._transport.write(b"".join(parts))
        if self._sent == self._tokens:
            self._close(now_s)
        else:
            self._next(now_s)

    def _close(self, now_s: float) -> None:
        self._connection._timer = None
        state = self._connection._state
        if state.truth is None:
            state.truth = []
        state.truth.append((self._id, self._at_s, self._first_s, now_s, self._tokens))


async def _serve(pace: Pace, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    state = _State(pace=pace)
    server = await loop.create_server(lambda: _Connection(state, loop), host, port, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    server.close()


def main() -> None:
    """Serves until SIGTERM, or until whoever started it is gone; prints the port as its first line."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM) if sys.platform == "linux" else None
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    for name in ("ttft-s", "gap-s", "stall-at-s", "stall-s"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    asked = parser.parse_args()
    if os.getppid() == 1:
        return
    pace = Pace(ttft_s=asked.ttft_s, gap_s=asked.gap_s, stall_at_s=asked.stall_at_s, stall_s=asked.stall_s)
    uvloop.run(_serve(pace, asked.host, asked.port))


if __name__ == "__main__":
    main()
