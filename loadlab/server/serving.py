"""A server from its first connection to its last: listens, looks after its clients, and stops without breaking a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from loadlab.server.app import App
from loadlab.server.connection import Connection
from loadlab.server.lake import Lake
from loadlab.server.lateness import WORTH_SAYING_S
from loadlab.server.service import Service
from loadlab.units import format_duration

CHECK_EVERY_S = 1.0
LOOK_BACK_CHECKS = 10  # lateness is judged over so many seconds
BACKLOG = 2048

Say = Callable[[str], None]


class Server:
    """One listening socket and the service behind it, in the running event loop."""

    def __init__(self, service: Service, app: App, connections: set[Connection], lake: Lake | None, say: Say) -> None:
        """`connections` is filled with those that are open; `say` shows a person a line."""
        self._service = service
        self._app = app
        self._connections = connections
        self._lake = lake
        self._say = say
        self._listening: asyncio.Server | None = None
        self._is_stopping = self._is_hurried = False

    @property
    def connections(self) -> int:
        """Open ones."""
        return len(self._connections)

    async def start(self, host: str, port: int) -> int:
        """Listens; simulated time begins. Returns the port (of `port` 0, the one that was free). Raises OSError."""
        loop = asyncio.get_running_loop()
        limits = self._service.limits
        self._listening = await loop.create_server(
            lambda: Connection(self._app.answer, limits, self._connections), host, port, backlog=BACKLOG
        )
        self._service.real_time.start()
        self._keeper = loop.create_task(self._look_after())
        port_found: int = self._listening.sockets[0].getsockname()[1]
        return port_found

    def hurry(self) -> None:
        """Stopping waits for nobody any longer."""
        self._is_hurried = True

    async def stop(self) -> int:
        """Takes nothing new, lets requests under way finish within the limit, closes. Returns how many were cut off."""
        limits = self._service.limits
        assert self._listening is not None
        self._is_stopping = True
        self._listening.close()
        self._service.close()
        end_s = monotonic() + limits.shutdown_timeout_s
        while self._service.exchanges and monotonic() < end_s and not self._is_hurried:
            self._check_all()
            await asyncio.sleep(0.02)
        cut = len(self._service.exchanges)
        for connection in list(self._connections):
            connection.transport.close() if not cut else connection.transport.abort()
        self._keeper.cancel()
        await asyncio.sleep(0)
        self._service.real_time.stop()
        if self._lake is not None:
            self._lake.close()
        return cut

    async def _look_after(self) -> None:
        lateness, checks = self._service.real_time.lateness, 0
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            self._check_all()
            self.flush_log()
            checks += 1
            if checks % LOOK_BACK_CHECKS == 0:
                late_s = lateness.close_window()
                if late_s is not None and late_s > WORTH_SAYING_S:
                    self._say(
                        f"late: tokens of the last {LOOK_BACK_CHECKS * CHECK_EVERY_S:g} s were written p99 {format_duration(late_s)} after "
                        f"they came (more than {format_duration(WORTH_SAYING_S)}); use fewer streams or a lower --speed"
                    )

    def flush_log(self) -> None:
        """What was logged so far is in its files."""
        if self._lake is not None:
            self._lake.flush()

    def _check_all(self) -> None:
        now_s = monotonic()
        for connection in list(self._connections):
            connection.check(now_s, is_stopping=self._is_stopping)
