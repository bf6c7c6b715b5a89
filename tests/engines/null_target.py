"""The null server as a target of tests: its own process, its port, and its own account of what it did."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadlab.scenario.build import build_plan
from loadlab.scenario.model import Scenario
from loadlab.scenario.plan import RequestPlan
from loadlab.schema import read_table


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

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def truth(self) -> list[Truth]:
        """Every answer since it was last asked."""
        with urllib.request.urlopen(f"{self.url}/truth") as answer:
            rows = json.loads(answer.read())["answers"]
        return [Truth(request_id=i, received_s=r, first_s=f, last_s=last, tokens=n) for i, r, f, last, n in rows]


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


def open_loop(rate_per_s: float, requests: int, tokens: int = 4, kind: str = "constant", **changes: Any) -> RequestPlan:
    """A plan of equal chat requests at a rate."""
    table = {
        "name": "t",
        "load": {"kind": "open_loop", "requests": requests, "arrivals": {"kind": kind, "rate_per_s": rate_per_s}},
        "classes": {
            "chat": {
                "model": "m",
                "prompt_tokens": {"kind": "constant", "value": 20},
                "output_tokens": {"kind": "constant", "value": tokens},
            }
        },
    }
    return build_plan(read_table(Scenario, table | changes, "test"), 1)


def percentile(values: list[float], p: float) -> float:
    """The order statistic ceil(p n)."""
    return float(np.percentile(values, 100 * p, method="inverted_cdf"))
