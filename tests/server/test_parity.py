"""One plan in process and over HTTP in real time: the same latencies, and the same tokens found in the cache.

The client is our own engine. What a busy machine adds is bounded loosely in the suite; the strict bound (3 % or 5 ms, whichever is more)
is checked on demand: `pytest --slow tests/server/test_parity.py` on an idle machine.
"""

from __future__ import annotations

import dataclasses
import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from tests.cli.command import CLUSTERS

SCENARIO = """
schema = "loadlab/scenario/1"
name = "parity"
timeout_s = "120s"
[load]
kind = "open_loop"
requests = {requests}
arrivals = {{ kind = "poisson", rate_per_s = {rate} }}
[classes.chat]
model = "{model}"
share = 2
prompt_tokens = {{ kind = "lognormal", median = 80, sigma = 0.7, min = 8, max = 1000 }}
output_tokens = {{ kind = "lognormal", median = 60, sigma = 0.6, min = 8, max = 200 }}
[classes.chat.sessions]
turns = {{ kind = "geometric", mean = 4, max = 8 }}
think_s = {{ kind = "lognormal", median_s = "{think_s}s", sigma = 0.6 }}
shared_prefix_tokens = 512
[classes.single]
model = "{model}"
share = 1
prompt_tokens = {{ kind = "lognormal", median = 200, sigma = 0.7, min = 8, max = 1000 }}
output_tokens = {{ kind = "lognormal", median = 60, sigma = 0.6, min = 8, max = 200 }}
"""
EIGHT = (CLUSTERS / "h100-70b-healthy.toml").read_text().replace("replicas = 4", "replicas = 8").replace("least-outstanding", "kv-aware")


@dataclasses.dataclass(frozen=True)
class Measured:
    """Latencies of OK rows in seconds, and tokens found in the cache."""

    quantiles_s: dict[tuple[str, float], float]
    ok: int
    cached_tokens: int


def loadlab(*arguments: str | Path) -> None:
    answer = subprocess.run([sys.executable, "-m", "loadlab.cli.app", *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert answer.returncode in (0, 98), answer.stderr  # 98: this machine was too busy for a measurement; judged here


@contextmanager
def served(cluster: Path, *options: str) -> Iterator[str]:
    """The address of `loadlab serve` as a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "loadlab.cli.app", "serve", str(cluster), "--port", str(port), "--quiet", *options]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            url, end_s = f"http://127.0.0.1:{port}", time.monotonic() + 20
            while not answers(url):
                assert time.monotonic() < end_s
                assert server.poll() is None
                time.sleep(0.05)
            yield url
        finally:
            server.terminate()
            assert server.wait(20) == 0


def answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=5) as health:
            return bool(health.status == 200)
    except URLError:
        return False


def measured(run: Path) -> Measured:
    rows: list[dict[str, Any]] = [json.loads(line) for line in (run / "requests.jsonl").read_text().splitlines()]
    ok = [row for row in rows if row["outcome"] == "ok"]
    several = [row for row in ok if row["output_tokens"] > 1]
    values = {
        "ttft": sorted(row["first_token_s"] - row["scheduled_s"] for row in ok),
        "tpot": sorted((row["last_token_s"] - row["first_token_s"]) / (row["output_tokens"] - 1) for row in several),
        "e2e": sorted(row["finished_s"] - row["scheduled_s"] for row in ok),
    }
    quantiles = {(name, p): found[math.ceil(p * len(found)) - 1] for name, found in values.items() for p in (0.5, 0.95)}
    return Measured(quantiles, len(ok), sum(row["cached_prompt_tokens"] or 0 for row in ok))


def both_ways(tmp_path: Path, cluster: Path, **scenario: object) -> tuple[Measured, Measured]:
    path = tmp_path / "parity.toml"
    path.write_text(SCENARIO.format(**scenario))
    loadlab("run", path, "--target", f"sim:{cluster}", "--out", tmp_path / "sim", "--no-report", "-q")
    with served(cluster) as url:
        loadlab("run", path, "--target", url, "--model", scenario["model"], "--out", tmp_path / "http", "--no-report", "-q", "--yes")  # type: ignore[arg-type]
    return measured(tmp_path / "sim"), measured(tmp_path / "http")


def check(simulated: Measured, real: Measured, share: float, least_s: float) -> None:
    assert real.ok == simulated.ok
    assert real.cached_tokens == simulated.cached_tokens
    for name, expected_s in simulated.quantiles_s.items():
        assert abs(real.quantiles_s[name] - expected_s) <= max(share * expected_s, least_s), (name, real, simulated)


def test_a_plan_goes_over_http_as_it_does_in_process(tmp_path: Path) -> None:
    simulated, real = both_ways(tmp_path, CLUSTERS / "t4-14b.toml", requests=12, rate=3, model="llm-14b", think_s=0.5)
    check(simulated, real, 0.1, 0.1)


@pytest.mark.slow
def test_parity_on_two_t4(tmp_path: Path) -> None:
    check(*both_ways(tmp_path, CLUSTERS / "t4-14b.toml", requests=90, rate=1.5, model="llm-14b", think_s=3), 0.03, 0.005)


@pytest.mark.slow
def test_parity_on_eight_replicas(tmp_path: Path) -> None:
    """Routed by cached prefix: by least outstanding, jitter of 2 ms alone moves TTFT p95 by 15 % in process too."""
    cluster = tmp_path / "eight.toml"
    cluster.write_text(EIGHT)
    check(*both_ways(tmp_path, cluster, requests=400, rate=12, model="chat-70b", think_s=2), 0.03, 0.005)
