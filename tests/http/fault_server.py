"""An endpoint that fails on command, on raw sockets: the model that a request asks for (or the last part of its path) names the fault.

Every request that arrives whole is logged, so that a client's ledger can be held against the server's own count. Plain blocking threads:
what is sent, and when, stands in the fault's own lines (`faults.py`).
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

HOST = "127.0.0.1"
MAX_HEAD_BYTES = 2**20
PATIENCE_S = 30.0  # the longest that any fault holds a connection


@dataclass(slots=True, kw_only=True)
class Received:
    """One request as the server saw it. Times are of time.monotonic; a fault that sends tokens stamps them."""

    fault: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    nth: int  # on its connection, from 0
    arrived_s: float
    token_s: list[float] = field(default_factory=list)  # when each piece with text was handed to the socket
    ended_s: float | None = None  # when the server was done with it

    @property
    def asks_for_stream(self) -> bool:
        return bool(self.json.get("stream"))

    @property
    def json(self) -> dict[str, Any]:
        try:
            found = json.loads(self.body)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


class Peer:
    """The server's end of one connection, as a fault uses it."""

    def __init__(self, sock: socket.socket, server: FaultServer) -> None:
        self._sock, self._server = sock, server
        self.is_open = True

    def send(self, data: bytes) -> None:
        """All of it. Raises OSError if the client has gone."""
        self._sock.sendall(data)

    def token(self, request: Received, data: bytes) -> None:
        """A piece with text, stamped."""
        request.token_s.append(time.monotonic())
        self._sock.sendall(data)

    def close(self) -> None:
        """An orderly end: FIN."""
        self.is_open = False
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()

    def reset(self) -> None:
        """A rude one: RST."""
        self.is_open = False
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def wait_until_client_leaves(self) -> None:
        """Says nothing more, until the client closes or the server stops."""
        deadline_s = time.monotonic() + PATIENCE_S
        self._sock.settimeout(0.2)
        while self._server.is_running and time.monotonic() < deadline_s:
            with contextlib.suppress(TimeoutError):
                if not self._sock.recv(4096):
                    return

    def pause(self, seconds: float) -> bool:
        """Waits; False if the server stops meanwhile."""
        return not self._server.stopping.wait(seconds)


Fault = Callable[[Peer, Received], None]


class FaultServer:
    """Listens on a loopback port from `__enter__` to `__exit__`. `faults` maps names to what is done; others are answered with 404."""

    def __init__(self, faults: dict[str, Fault]) -> None:
        self._faults = faults
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._connections: list[socket.socket] = []
        self.stopping = threading.Event()
        self.received: list[Received] = []
        self.accepted = 0

    def __enter__(self) -> FaultServer:
        self._listener = socket.create_server((HOST, 0), backlog=1024)
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for sock in connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=5)

    @property
    def is_running(self) -> bool:
        return not self.stopping.is_set()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def counts(self) -> Counter[str]:
        """How many requests arrived, by fault."""
        with self._lock:
            return Counter(request.fault for request in self.received)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while self.is_running:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.append(sock)
                number = self.accepted
                self.accepted += 1
            self._start(self._serve, sock, number)

    def _serve(self, sock: socket.socket, number: int) -> None:
        peer, rest, nth = Peer(sock, self), b"", 0
        with contextlib.suppress(OSError):
            while peer.is_open and self.is_running:
                request, rest = read_request(sock, rest, number, nth)
                if request is None:
                    break
                with self._lock:
                    self.received.append(request)
                try:
                    self._faults.get(request.fault, not_found)(peer, request)
                finally:
                    request.ended_s = time.monotonic()
                nth += 1
        with contextlib.suppress(OSError):
            sock.close()
        with self._lock:
            self._connections.remove(sock)


def not_found(peer: Peer, request: Received) -> None:
    """A name that is no fault of this server."""
    body = json.dumps({"error": {"message": f"no fault named {request.fault}", "code": 404}}).encode()
    peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def read_request(sock: socket.socket, rest: bytes, connection: int, nth: int) -> tuple[Received | None, bytes]:
    """The next request on a connection and what followed it; None once the client has closed."""
    data = rest
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more or len(data) > MAX_HEAD_BYTES:
            return None, b""
        data += more
    arrived_s = time.monotonic()
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = int(headers.get("content-length", 0))
    while len(body) < length:
        more = sock.recv(65536)
        if not more:
            return None, b""
        body += more
    request = Received(
        fault="", method=method, path=path, headers=headers, body=body[:length], connection=connection, nth=nth, arrived_s=arrived_s
    )
    request.fault = str(request.json.get("model") or path.partition("?")[0].rpartition("/")[2])
    return request, body[length:]


def closed_port() -> int:
    """A loopback port on which nobody listens."""
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
