"""Strangers at the socket: malformed, huge, slow and truncated requests get a 4xx or are cut off, and the server lives on."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import pytest

from loadlab.server.limits import Limits
from tests.server.running import Running, running

CHAT = b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":3,"ignore_eos":true}'
STREAM = CHAT[:-1] + b',"stream":true}'


@pytest.fixture(scope="module")
def strict() -> Iterator[Running]:
    """A server that bears little."""
    limits = Limits(
        max_connections=8,
        max_header_bytes=2000,
        max_body_bytes=5000,
        request_timeout_s=0.3,
        idle_timeout_s=0.6,
        unread_timeout_s=0.5,
        max_unread_bytes=200_000,
        shutdown_timeout_s=2,
    )
    with running(speed=50, limits=limits) as server:
        yield server
        assert server.get("/health")[0] == 200


def post(body: bytes, *headers: bytes, path: bytes = b"/v1/chat/completions", version: bytes = b"1.1") -> bytes:
    lines = [
        b"POST %s HTTP/%s" % (path, version),
        b"host: x",
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def read_all(bare: socket.socket) -> bytes:
    """Until the server closes."""
    data = b""
    while True:
        try:
            piece = bare.recv(65536)
        except ConnectionResetError:
            return data + b"(reset)"
        if not piece:
            return data
        data += piece


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40), 400),  # a TLS greeting
        (b"GET / HTTP/1.1\r\nhost x\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 500 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 3000, 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n", 404),  # as if it had not asked
        (b"POST / HTTP/1.1\r\ncontent-length: 5001\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1771\r\n" + b"z" * 6001 + b"\r\n", 413),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n1\r\nz\r\n0\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nnot hex\r\n", 400),
    ],
)
def test_what_cannot_be_read_is_refused_and_the_connection_closed(strict: Running, sent: bytes, expected: int) -> None:
    with strict.socket() as bare:
        bare.sendall(sent)
        answer = read_all(bare)
    assert status(answer) == expected, answer
    assert b"connection: close" in answer


@pytest.mark.parametrize("sent", [b"", b"GET /hea", post(CHAT)[:-10], b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab"])
def test_slow_requests_are_told_so_or_cut_off(strict: Running, sent: bytes) -> None:
    with strict.socket() as bare:
        bare.sendall(sent)
        begin_s = time.monotonic()
        answer = read_all(bare)
        assert time.monotonic() - begin_s < 5
    assert status(answer) == (408 if sent else 0)


def test_a_client_that_leaves_in_mid_request_leaves_nothing(strict: Running) -> None:
    for part in (b"", b"GET", post(CHAT)[:60], post(CHAT)[:-1]):
        with strict.socket() as bare:
            bare.sendall(part)
    wait_until(lambda: strict.call(lambda: strict.connections()) == 0)


def test_a_client_that_leaves_in_mid_stream_frees_its_place(strict: Running) -> None:
    with strict.socket() as bare:
        bare.sendall(post(STREAM.replace(b'"max_tokens":3', b'"max_tokens":4000')))
        assert b"200 OK" in bare.recv(65536)
        assert strict.call(lambda: strict.service.real_time.under_way) == 1
    wait_until(lambda: strict.call(lambda: strict.service.real_time.under_way) == 0)


def test_a_client_that_does_not_read_is_cut_off(strict: Running) -> None:
    with strict.socket() as bare:
        bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        choices = STREAM.replace(b'"max_tokens":3', b'"max_tokens":4000,"n":16')
        bare.sendall(post(choices))
        wait_until(lambda: strict.call(lambda: strict.connections()) == 0, limit_s=20)
        assert strict.call(lambda: strict.service.real_time.under_way) == 0


def test_one_connection_too_many_is_refused(strict: Running) -> None:
    wait_until(lambda: strict.call(lambda: strict.connections()) == 0)
    opened = [socket.create_connection(("127.0.0.1", strict.port)) for _ in range(8)]
    try:
        wait_until(lambda: strict.call(lambda: strict.connections()) == 8)
        with strict.socket() as ninth:
            answer = read_all(ninth)
        assert status(answer) == 503
        assert b"too many connections" in answer
    finally:
        for bare in opened:
            bare.close()


def test_a_kept_connection_serves_many_requests_also_sent_at_once(fast: Running) -> None:
    """Pipelined, some of them streamed: answered one after the other, in order."""
    with fast.socket() as bare:
        bare.sendall(post(STREAM) + b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n" + post(CHAT, b"connection: close"))
        answer = read_all(bare)
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    stream, version, chat = answer.split(b"HTTP/1.1 200 OK")[1:]
    assert b"[DONE]" in stream
    assert b'"version":"loadlab' in version
    assert b'"chat.completion"' in chat


def test_a_body_may_come_in_pieces_in_chunks_and_after_a_hundred_continue(fast: Running) -> None:
    with fast.socket() as bare:
        for byte in post(CHAT, b"connection: close"):
            bare.sendall(bytes([byte]))
        assert status(read_all(bare)) == 200
    with fast.socket() as bare:
        head = post(b"", b"transfer-encoding: chunked", b"connection: close").replace(b"content-length: 0\r\n", b"")
        bare.sendall(head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (CHAT[:20], CHAT[20:])) + b"0\r\n\r\n")
        assert status(read_all(bare)) == 200
    with fast.socket() as bare:
        head = post(b"", b"expect: 100-continue", b"connection: close")
        bare.sendall(head.replace(b"content-length: 0", b"content-length: %d" % len(CHAT)))
        assert bare.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        bare.sendall(CHAT)
        assert status(read_all(bare)) == 200


def test_http_1_0_gets_whole_answers_only(fast: Running) -> None:
    with fast.socket() as bare:
        bare.sendall(post(CHAT, version=b"1.0"))
        assert status(read_all(bare)) == 200
    with fast.socket() as bare:
        bare.sendall(post(STREAM, version=b"1.0"))
        answer = read_all(bare)
        assert (status(answer), b"needs HTTP/1.1" in answer) == (400, True)


def test_stopping_finishes_streams_and_takes_nothing_new() -> None:
    with running(speed=20, limits=Limits(shutdown_timeout_s=10)) as server, server.socket() as bare, server.socket() as idle:
        bare.sendall(post(STREAM.replace(b'"max_tokens":3', b'"max_tokens":1000')))
        data = bare.recv(65536)
        server.stop()
        wait_until(lambda: idle.recv(1) == b"")
        data += read_all(bare)
        body = data.partition(b"\r\n\r\n")[2]
    assert b"[DONE]" in body
    assert sum(len(said) for said in re.findall(rb'"content":"([^"]*)"', body)) == 4 * 1000


def test_stopping_does_not_wait_for_ever() -> None:
    with running(limits=Limits(shutdown_timeout_s=0.2)) as server, server.socket() as bare:
        bare.sendall(post(STREAM.replace(b'"max_tokens":3', b'"max_tokens":4000')))
        bare.recv(65536)
        begin_s = time.monotonic()
        server.stop()
        read_all(bare)
        assert time.monotonic() - begin_s < 3


def wait_until(holds: object, limit_s: float = 5.0) -> None:
    end_s = time.monotonic() + limit_s
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < end_s, "it never came true"
        time.sleep(0.01)
