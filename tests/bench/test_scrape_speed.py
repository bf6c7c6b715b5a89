"""What looking at metrics pages costs: CPU of the threads that look, dispatch lag with and without. Prints figures, no verdicts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from loadlab.engines.endpoint import Endpoint
from loadlab.engines.locust import LocustEngine
from loadlab.engines.page_fetch import PageAddress, parse_page_url
from loadlab.engines.scraper import Scraper
from loadlab.record.run_dir import RunDir
from loadlab.scenario.build import build_plan
from tests.engines.null_target import NullTarget, equal_requests, null_target, percentile
from tests.record.examples import manifest

PAGE_SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
page = sys.stdin.buffer.read()
class Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", str(len(page))); self.end_headers(); self.wfile.write(page)
    def log_message(self, *_): ...
server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
print(server.server_port, flush=True)
server.serve_forever()
"""
LOOKS_S, RATE_PER_S, RUN_S, PAIRS = 20.0, 200, 8, 5


def page() -> str:
    """As long as vLLM's: 54 kB, one line in eight with a name that is read."""
    head = 'vllm:num_requests_running{engine="0"} 3\nvllm:kv_cache_usage_perc{engine="0"} 0.4\nvllm:request_success_total{engine="0"} 9\n'
    bounds = [0.001 * 2**k for k in range(22)]
    tallies = "".join(
        f'vllm:{name}_bucket{{engine="0",le="{le}"}} {i}\n'
        for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds", "request_time_per_output_token_seconds")
        for i, le in enumerate(bounds)
    )
    other = "".join(f'vllm:another_family_seconds_bucket{{engine="0",le="{i}"}} 1.0\n' for i in range(760))
    return head + tallies + other


@contextmanager
def pages(count: int) -> Iterator[tuple[PageAddress, ...]]:
    servers = []
    for _ in range(count):
        server: Any = subprocess.Popen([sys.executable, "-c", PAGE_SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        server.stdin.write(page().encode())
        server.stdin.close()
        servers.append(server)
    try:
        yield tuple(parse_page_url(f"http://127.0.0.1:{int(server.stdout.readline())}") for server in servers)
    finally:
        for server in servers:
            server.terminate()
            server.wait()
            server.stdout.close()


class _Sink:
    def __init__(self) -> None:
        self.rows = 0

    def append_timeline(self, rows: Any) -> None:
        self.rows += len(rows)


def test_cpu_of_looking_once_a_second() -> None:
    for count in (1, 4):
        with pages(count) as found:
            scraper, sink = Scraper(found), _Sink()
            scraper.begin()
            began_s, began_cpu_s = time.monotonic(), time.process_time()
            while time.monotonic() - began_s < LOOKS_S:
                time.sleep(1.0)
                scraper.hand_over(sink, began_s)  # type: ignore[arg-type]
            used = (time.process_time() - began_cpu_s) / (time.monotonic() - began_s)
            scraper.end(sink, began_s)  # type: ignore[arg-type]
        print(f"\n{count} pages of {len(page()) / 1e3:.0f} kB a second: {100 * used:.2f} % of a core, {sink.rows} rows")


def _lags_ms(target: NullTarget, folder: Path, metrics: tuple[PageAddress, ...]) -> list[float]:
    scenario = equal_requests(RATE_PER_S, RATE_PER_S * RUN_S, 32)
    plan = build_plan(scenario, 1)
    endpoint = Endpoint(scheme="http", host="127.0.0.1", port=target.port, preflight=False, metrics=metrics)
    with RunDir.create(folder, manifest(planned=len(plan))) as run:
        LocustEngine(endpoint, scenario.classes, "bench").replay(plan, run, lambda *_: None)
        run.finalise(len(plan))
        return [1e3 * (row.sent_s - row.scheduled_s) for row in run.rows() if row.sent_s is not None and row.scheduled_s is not None]


def test_lag_with_and_without(tmp_path: Path) -> None:
    """Interleaved pairs: 200/s for 8 s, one page."""
    with null_target(ttft_s=0.05, gap_s=0.01) as target, pages(1) as found:
        p99 = {which: [] for which in ("without", "with")}
        for k in range(PAIRS):
            for which in ("without", "with") if k % 2 == 0 else ("with", "without"):
                lags = _lags_ms(target, tmp_path / f"{k}{which}", found if which == "with" else ())
                p99[which].append(percentile(lags, 0.99))
    for which, values in p99.items():
        print(f"\nlag p99 ms {which}: median {np.median(values):.2f}, of {', '.join(f'{value:.2f}' for value in values)}")
