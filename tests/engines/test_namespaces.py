"""Hosts with addresses of their own: network namespaces on a bridge, a clock of its own, a cable pulled, packets delayed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.engines.null_target import NullTarget
from tests.engines.spread_runs import Machines, account, merge
from tests.engines.test_processes import wait_until

HUB, HOSTS = "10.77.0.1", ("lla", "llb")
PORT = 5590
CLOCK_AHEAD_S = 5000


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def on(host: str, *, own_clock: bool = False) -> tuple[str, ...]:
    """What runs a command on a host; with a monotonic clock that is far ahead."""
    clock = ("unshare", "-T", "--monotonic", str(CLOCK_AHEAD_S), "--fork", "--kill-child") if own_clock else ()
    return ("ip", "netns", "exec", host, *clock)


@pytest.fixture
def hosts() -> Iterator[NullTarget]:
    """A bridge on this machine with two hosts behind it; the target listens on the bridge's address."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    try:
        ip("link", "add", "llbr", "type", "bridge")
    except subprocess.CalledProcessError:
        pytest.skip("this machine does not permit network namespaces")
    try:
        ip("addr", "add", f"{HUB}/24", "dev", "llbr")
        ip("link", "set", "llbr", "up")
        for k, host in enumerate(HOSTS):
            ip("netns", "add", host)
            ip("link", "add", f"v{host}", "type", "veth", "peer", "name", "eth0", "netns", host)
            ip("link", "set", f"v{host}", "master", "llbr", "up")
            ip("-n", host, "addr", "add", f"10.77.0.{k + 2}/24", "dev", "eth0")
            ip("-n", host, "link", "set", "eth0", "up")
            ip("-n", host, "link", "set", "lo", "up")
        command = [sys.executable, "-m", "loadlab.engines.null_server", "--host", HUB, "--ttft-s", "0.05", "--gap-s", "0.002"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        yield NullTarget(port=int(server.stdout.readline()), host=HUB)
        server.terminate()
        server.wait(10)
        server.stdout.close()
    finally:
        for host in HOSTS:
            subprocess.run(["ip", "link", "del", f"v{host}"], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", host], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", "llbr"], check=False, capture_output=True)


@pytest.mark.slow
def test_two_hosts_with_clocks_of_their_own_send_at_the_same_times(tmp_path: Path, hosts: NullTarget) -> None:
    machines = Machines(tmp_path, hosts.url, PORT, host=HUB, requests=200)
    master = machines.master(2)
    workers = [machines.worker(host, prefix=on(host, own_clock=k == 1)) for k, host in enumerate(HOSTS)]
    out, err = master.communicate(timeout=100)
    said = [worker.communicate(timeout=60)[1] for worker in workers]
    truth = {int(one.seq): one.received_s for one in hosts.truth() if one.seq != "preflight"}
    assert master.returncode == 0, err
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert sorted(truth) == list(range(200))
    manifest = json.loads((machines.out / "manifest.json").read_text())
    clocks = [worker["clock"] for worker in manifest["client"]["workers"]]
    apart = next(clock for clock in clocks if not clock["is_shared"])
    assert abs(apart["offset_s"] - CLOCK_AHEAD_S) <= apart["bound_s"] + 1e-4, "what we set it to, within the bound that it printed"
    assert apart["bound_s"] < 0.02
    rows = [json.loads(line) for line in (machines.out / "requests.jsonl").read_bytes().splitlines()]
    t0_s = np.median([truth[row["seq"]] - row["scheduled_s"] for row in rows])
    for worker in (0, 1):
        late_s = [truth[row["seq"]] - row["scheduled_s"] - t0_s for row in rows if row["worker"] == worker]
        assert abs(np.median(late_s)) < 0.01 + apart["bound_s"], "both by the server's one clock"
    assert "another clock than the master" in out + err


@pytest.mark.slow
def test_a_worker_that_is_cut_off_stops_and_is_accounted_for(tmp_path: Path, hosts: NullTarget) -> None:
    machines = Machines(tmp_path, hosts.url, PORT, host=HUB, requests=800)
    master = machines.master(2)
    workers = [machines.worker(host, prefix=on(host)) for host in HOSTS]
    rows = machines.out / "requests.jsonl"
    wait_until(lambda: rows.exists() and rows.read_bytes().count(b"\n") > 40)
    ip("link", "set", f"v{HOSTS[1]}", "down")
    cut_s = time.monotonic()
    _, err = master.communicate(timeout=100)
    took_s = time.monotonic() - cut_s
    workers[0].communicate(timeout=60)
    cut_err = workers[1].communicate(timeout=60)[1]
    found = account(machines.out, hosts)
    assert master.returncode == 97, err
    assert "nothing was heard of it for 4." in err
    assert took_s < 7
    found.check(800)
    assert workers[1].returncode == 97
    assert "nothing was heard of the master for 4 s" in cut_err
    merged = merge(machines.out, tmp_path / HOSTS[1])
    assert merged.returncode == 0, merged.stderr


@pytest.mark.slow
def test_delayed_packets_widen_the_bound_and_spoil_nothing(tmp_path: Path, hosts: NullTarget) -> None:
    """A relay holds messages back 40 ms one way and 10 ms the other: the offset may be wrong by half the trip, and says so."""
    with relay(HUB, PORT + 1, PORT, 0.040, 0.010):
        machines = Machines(tmp_path, hosts.url, PORT, host=HUB, requests=120)
        master = machines.master(1)
        machines.port = PORT + 1
        worker = machines.worker(HOSTS[0], prefix=on(HOSTS[0], own_clock=True))
        _, err = master.communicate(timeout=100)
        worker.communicate(timeout=60)
    assert master.returncode == 0, err
    account(machines.out, hosts).check(120)
    clock = json.loads((machines.out / "manifest.json").read_text())["client"]["workers"][0]["clock"]
    assert clock["bound_s"] >= 0.025
    assert 0.010 < abs(clock["offset_s"] - CLOCK_AHEAD_S) <= clock["bound_s"] + 1e-4


class relay:  # noqa: N801  used as a function
    """Forwards a TCP port on an address to another, each way later."""

    def __init__(self, host: str, port: int, to: int, there_s: float, back_s: float) -> None:
        self._place, self._to, self._delays = (host, port), (host, to), (there_s, back_s)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: list[asyncio.StreamWriter] = []

    def __enter__(self) -> None:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, *self._place), self._loop).result(5)

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self) -> None:
        """Every socket, so that none is left for a later test to find."""
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)  # readers see the end

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
        except OSError:
            writer.close()
            return
        self._writers.append(far_writer)
        await asyncio.gather(self._pump(reader, far_writer, self._delays[0]), self._pump(far_reader, writer, self._delays[1]))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
        while data := await reader.read(2**16):
            self._loop.call_later(delay_s, writer.write, data)
        self._loop.call_later(delay_s, writer.close)
