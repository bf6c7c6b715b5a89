"""A real server on a real socket, in a thread of this process, so that ordinary blocking clients can be tried on it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import uvloop

from loadlab.server.gateway_spec import GatewaySpec
from loadlab.server.limits import Limits
from loadlab.server.run import Options, build
from loadlab.server.service import Service
from loadlab.server.serving import Server
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.spec import ClusterSpec, EngineLimits, PlainConstants, PoolSpec

T = TypeVar("T")
ADMIN_TOKEN = "let me"


def plain_cluster(
    *, replicas: int = 1, pool: dict[str, Any] | None = None, limits: dict[str, Any] | None = None, **hardware: Any
) -> ClusterSpec:
    """One pool "p" serving "m": a step takes 10 ms unless `hardware` says otherwise; windows of 4,096 tokens."""
    constants = PlainConstants(**({"step_s": 0.01, "kv_tokens": 65536, "context_tokens": 4096} | hardware))
    engine = EngineLimits(**({"max_running": 64, "max_batched_tokens": 4096} | (limits or {})))
    return ClusterSpec(
        name="plain", pools={"p": PoolSpec(serves=("m",), replicas=replicas, hardware=constants, engine=engine, **(pool or {}))}
    )


class Running:
    """A server that runs. Everything that touches it runs in its own loop: `call`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, server: Server, service: Service, port: int, said: list[str], stop: asyncio.Event
    ) -> None:
        self._loop = loop
        self._stop = stop
        self.server, self.service, self.port, self.said = server, service, port, said
        self.url = f"http://127.0.0.1:{port}"

    def call(self, function: Callable[[], T]) -> T:
        """What the function returns, called in the server's loop."""

        async def run() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def stop(self) -> None:
        """Lets it stop, as a signal does; the end of `running` waits for that."""
        with suppress(RuntimeError):  # it has stopped already, and its loop is closed
            self._loop.call_soon_threadsafe(self._stop.set)

    def connections(self) -> int:
        """Open ones."""
        return self.server.connections

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
        """Status and body."""
        return self._open(Request(self.url + path, method=method, headers=headers))

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Status and JSON; a body of bytes goes as it is."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, answer = self._open(Request(self.url + path, data=data, headers={"Content-Type": "application/json"} | headers))
        return status, json.loads(answer) if answer[:1] in (b"{", b"[") else answer

    def _open(self, request: Request) -> tuple[int, bytes]:
        try:
            with urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except HTTPError as error:
            with error:
                return error.code, error.read()

    @contextmanager
    def socket(self) -> Iterator[socket.socket]:
        """A bare connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as bare:
            yield bare


@contextmanager
def running(
    spec: ClusterSpec | None = None,
    *,
    speed: float = 1.0,
    limits: Limits | None = None,
    answer_tokens: float = 20,
    gateway: GatewaySpec | None = None,
    log: Path | None = None,
    log_text: bool = False,
) -> Iterator[Running]:
    """A server of a cluster, by default a plain one."""
    started: list[Running] = []
    options = Options(
        cluster_file=Path("plain.toml"),
        speed=speed,
        answer_tokens=answer_tokens,
        log=log,
        log_text=log_text,
        limits=limits or Limits(shutdown_timeout_s=2),
    )
    cluster = SimulatedCluster(spec or plain_cluster())
    ready, said = threading.Event(), list[str]()
    server, service = build(options, cluster, gateway or GatewaySpec(), ADMIN_TOKEN, said.append)

    async def serve() -> None:
        port = await server.start("127.0.0.1", 0)
        stop = asyncio.Event()
        started.append(Running(asyncio.get_running_loop(), server, service, port, said, stop))
        ready.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=lambda: uvloop.run(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield started[0]
    finally:
        started[0].stop()
        thread.join(10)
        assert not thread.is_alive()


def events_of(stream: bytes) -> list[Any]:
    """The JSON of each event of a stream, "[DONE]" as it is."""
    data = [event.removeprefix("data: ") for event in stream.decode().split("\n\n") if event]
    return [item if item == "[DONE]" else json.loads(item) for item in data]
