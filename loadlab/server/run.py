"""`loadlab serve` without its command line: from a cluster file to a running server, until a signal."""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import os
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from loadlab.errors import InputError
from loadlab.record.manifest import load_host_facts
from loadlab.server.admin import PATH as ADMIN_PATH
from loadlab.server.admin import Admin
from loadlab.server.answer_law import AnswerLaw
from loadlab.server.app import App
from loadlab.server.connection import Connection
from loadlab.server.gateway import Gateway
from loadlab.server.gateway_spec import GatewaySpec, load_gateway
from loadlab.server.lake import Lake, manifest_of
from loadlab.server.limits import Limits
from loadlab.server.metrics import Metrics
from loadlab.server.realtime import RealTime, check_speed
from loadlab.server.service import Service
from loadlab.server.serving import Server
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster
from loadlab.units import PS_PER_S, format_duration

Say = Callable[[str], None]
ADMIN_TOKEN = "LOADLAB_ADMIN_TOKEN"  # noqa: S105  the name of a variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says. Raises ValueError whose first word is the option at fault."""

    cluster_file: Path
    host: str = "127.0.0.1"
    port: int = 8000
    speed: float = 1.0
    seed: int = 1
    answer_tokens: float = 200.0
    gateway_file: Path | None = None
    log: Path | None = None
    log_text: bool = False
    has_admin: bool = False
    allows_remote: bool = False
    argv: tuple[str, ...] = ()
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
        if self.log_text and self.log is None:
            raise ValueError("log_text needs --log DIR")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(options: Options, say: Say, warn: Say) -> None:
    """Serves until SIGINT or SIGTERM. Raises InputError on a bad file, or an address that cannot be listened on."""
    import uvloop

    cluster = SimulatedCluster(load_cluster(options.cluster_file), str(options.cluster_file), options.seed)
    spec = GatewaySpec() if options.gateway_file is None else load_gateway(options.gateway_file)
    uvloop.run(_serve(options, cluster, spec, say, warn))


async def _serve(options: Options, cluster: SimulatedCluster, spec: GatewaySpec, say: Say, warn: Say) -> None:
    token = os.environ.get(ADMIN_TOKEN) or secrets.token_urlsafe(24) if options.has_admin else None
    server, service = build(options, cluster, spec, token, warn)
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for sort in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sort, stop.set)
    try:
        port = await server.start(options.host, options.port)
    except OSError as error:
        raise InputError(f"= {options.port} on {options.host} cannot be listened on: {error.strerror or error}", key="--port") from None
    _greet(options, service, port, token, say, warn)
    await stop.wait()
    say(f"stopping: {len(service.exchanges)} requests under way may finish; Ctrl-C again cuts them off")
    for sort in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sort, server.hurry)
    cut = await server.stop()
    if cut:
        warn(f"{cut} requests were cut off")
    late = service.real_time.lateness
    middle, high = (format_duration(late.quantile_s(share)) for share in (0.5, 0.99))
    say(f"served {service.done:,} requests, {late.histogram.count:,} tokens, written p50 {middle}, p99 {high} after they came")
    if options.log is not None:
        say(f"log: {options.log}; `loadlab report {options.log}` shows it")


def build(options: Options, cluster: SimulatedCluster, spec: GatewaySpec, token: str | None, warn: Say) -> tuple[Server, Service]:
    """A server that does not listen yet. Raises InputError where a key or the log's directory is not as it must be."""
    real_time = RealTime(cluster, speed=options.speed)
    service = Service(real_time, options.limits, AnswerLaw(median_tokens=options.answer_tokens), options.seed)
    gateway = Gateway(spec, lambda: real_time.now_ps / PS_PER_S)
    connections: set[Connection] = set()
    metrics = Metrics(service, lambda: len(connections))
    lake = None
    if options.log is not None:
        host = load_host_facts(datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), options.argv)
        manifest = manifest_of(cluster, options.cluster_file, options.seed, options.speed, host)
        lake = Lake(options.log, manifest, service, spec.lake, keeps_text=options.log_text)
    app = App(service, gateway, metrics, lake=lake, admin=None if token is None else Admin(service, token))
    return Server(service, app, connections, lake, warn), service


def _greet(options: Options, service: Service, port: int, token: str | None, say: Say, warn: Say) -> None:
    """Where it listens, and what a person should know of that."""
    if not is_loopback(options.host):
        warn(f"listening on {options.host}: everybody who reaches this machine can use the server")
    host = f"[{options.host}]" if ":" in options.host else options.host
    models, name = ", ".join(service.models), service.real_time.cluster.spec.name
    say(f"serving {models} ({name}, speed {options.speed:g}) on http://{host}:{port}/v1; Ctrl-C stops")
    if token is not None and not os.environ.get(ADMIN_TOKEN):
        say(f"admin: http://{host}:{port}{ADMIN_PATH} from this machine, Authorization: Bearer {token}")
