"""`loadlab serve` without its command line: from a cluster file to a running server, until a signal."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loadlab.errors import InputError
from loadlab.server.answer_law import AnswerLaw
from loadlab.server.app import App
from loadlab.server.limits import Limits
from loadlab.server.realtime import RealTime, check_speed
from loadlab.server.service import Service
from loadlab.server.serving import Server
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says. Raises ValueError whose first word is the option at fault."""

    cluster_file: Path
    host: str = "127.0.0.1"
    port: int = 8000
    speed: float = 1.0
    seed: int = 1
    answer_tokens: float = 200.0
    allows_remote: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        try:
            check_speed(self.speed)
        except ValueError as error:
            raise ValueError(f"speed = {error}") from None
        if not 1 <= self.answer_tokens <= 1e6:
            raise ValueError(f"answer_tokens = {self.answer_tokens:g} must be from 1 to 1,000,000")
        if not self.allows_remote and not is_loopback(self.host):
            raise ValueError(f"host = {self.host!r} can be reached from other machines; say --allow-remote if that is meant")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(options: Options, say: Say, warn: Say) -> None:
    """Serves until SIGINT or SIGTERM. Raises InputError on a bad cluster file, or an address that cannot be listened on."""
    import uvloop

    cluster = SimulatedCluster(load_cluster(options.cluster_file), str(options.cluster_file), options.seed)
    uvloop.run(_serve(options, cluster, say, warn))


async def _serve(options: Options, cluster: SimulatedCluster, say: Say, warn: Say) -> None:
    real_time = RealTime(cluster, speed=options.speed)
    service = Service(real_time, options.limits, AnswerLaw(median_tokens=options.answer_tokens), options.seed)
    server = Server(service, App(service), warn)
    stop = asyncio.Event()
    for sort in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sort, stop.set)
    try:
        port = await server.start(options.host, options.port)
    except OSError as error:
        raise InputError(f"= {options.port} on {options.host} cannot be listened on: {error.strerror or error}", key="--port") from None
    if not is_loopback(options.host):
        warn(f"listening on {options.host}: everybody who reaches this machine can use the server")
    models = ", ".join(service.models)
    say(f"serving {models} ({cluster.spec.name}, speed {options.speed:g}) on http://{options.host}:{port}/v1; Ctrl-C stops")
    await stop.wait()
    say(f"stopping: {len(service.exchanges)} requests under way may finish; Ctrl-C again cuts them off")
    for sort in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sort, real_time.stop)
    cut = await server.stop()
    if cut:
        warn(f"{cut} requests were cut off")
