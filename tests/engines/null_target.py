"""The null server as a target of tests: its own process, its port, and its own account of what it did."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadlab.engines.endpoint import Endpoint
from loadlab.engines.locust import LocustEngine
from loadlab.record.request import RequestRecord
from loadlab.record.run_dir import RunDir
from loadlab.scenario.build import build_plan
from loadlab.scenario.model import Scenario
from loadlab.schema import read_table
from tests.record.examples import manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One answer as the server saw it: CLOCK_MONOTONIC seconds."""

    request_id: str
    received_s: float
    first_s: float
    last_s: float
    tokens: int

    @property
    def seq(self) -> str:
        """The last part of the id: the request's seq, or "preflight"."""
        return self.request_id.rpartition("-")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class NullTarget:
    """A running null server."""

    port: int
    host: str = "127.0.0.1"

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def truth(self) -> list[Truth]:
        """Every answer since it was last asked."""
        return [Truth(request_id=i, received_s=r, first_s=f, last_s=last, tokens=n) for i, r, f, last, n in self._ask()["answers"]]

    def received(self) -> int:
        """Requests that arrived, answered or not; forgets the answers, as `truth` does."""
        return int(self._ask()["received"])

    def _ask(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/truth") as answer:
            said: dict[str, Any] = json.loads(answer.read())
        return said


@contextmanager
def null_target(**pace: float) -> Iterator[NullTarget]:
    """A null server of this pace (see `null_server.Pace`), gone at the end."""
    flags = [text for name, value in pace.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    server = subprocess.Popen([sys.executable, "-m", "loadlab.engines.null_server", *flags], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield NullTarget(port=int(server.stdout.readline()))
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


def equal_requests(rate_per_s: float, requests: int, tokens: int = 4, **changes: Any) -> Scenario:
    """Equal chat requests at a constant rate."""
    return read_table(
        Scenario, TABLE | {"load": open_loop(rate_per_s, requests), "classes": {"chat": chat_class(tokens)}} | changes, "test"
    )


TABLE = {"name": "t", "timeout_s": 30}


def open_loop(rate_per_s: float, requests: int) -> dict[str, Any]:
    """The `load` of a scenario."""
    return {"kind": "open_loop", "requests": requests, "arrivals": {"kind": "constant", "rate_per_s": rate_per_s}}


def chat_class(tokens: int = 4, **changes: Any) -> dict[str, Any]:
    """A traffic class: prompts of 20 tokens, answers of `tokens`."""
    lengths = {"prompt_tokens": {"kind": "constant", "value": 20}, "output_tokens": {"kind": "constant", "value": tokens}}
    return {"model": "m"} | lengths | changes


def replay(scenario: Scenario, port: int, folder: Path, **changes: Any) -> list[RequestRecord]:
    """The rows of a scenario on a loopback port, by seq; `changes` to the endpoint."""
    plan = build_plan(scenario, 1)
    endpoint = Endpoint(**{"scheme": "http", "host": "127.0.0.1", "port": port} | changes)
    with RunDir.create(folder, manifest(planned=len(plan))) as run:
        LocustEngine(endpoint, scenario.classes, "test").replay(plan, run, lambda *_: None)
        run.finalise(len(plan))
        return list(run.rows())


def percentile(values: list[float], p: float) -> float:
    """The order statistic ceil(p n)."""
    return float(np.percentile(values, 100 * p, method="inverted_cdf"))
