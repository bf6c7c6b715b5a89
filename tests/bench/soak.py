"""Does anything grow under a constant load? `python -m tests.bench.soak [MINUTES] [RATE]` loads the bundled server, and looks.

Memory and descriptors of server and load generator, their children among them, are read every ten seconds; lag is that of every request.
Printed for each fifth of the time after the first, and the growth from the second fifth to the last. The server fills its prefix cache
first, so that its memory grows until the simulated KV cache is full.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadlab.record.run_dir import RunDir
from loadlab.report.summary import load_table
from tests.cli.command import CLUSTERS
from tests.server.test_parity import served

EVERY_S = 10.0
PARTS = 5
SCENARIO = """
schema = "loadlab/scenario/1"
name = "soak"
load = {{ kind = "open_loop", duration_s = "{seconds:.0f}s", arrivals = {{ kind = "poisson", rate_per_s = {rate} }} }}
[classes.chat]
model = "llm-8b"
prompt_tokens = {{ kind = "lognormal", median = 200, sigma = 0.7, min = 8, max = 2000 }}
output_tokens = {{ kind = "lognormal", median = 30, sigma = 0.6, min = 4, max = 200 }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at a process and its children, `at_s` after the start."""

    at_s: float
    memory_mb: float
    descriptors: int


def family(pid: int) -> list[int]:
    """The process and everything below it, from /proc."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(descendant for child in children for descendant in family(int(child)))]


def look(pid: int, start_s: float) -> Sample | None:
    """None where it has ended meanwhile."""
    memory_kb = descriptors = 0
    try:
        for one in family(pid):
            status = Path(f"/proc/{one}/status").read_text()
            memory_kb += int(status.split("VmRSS:")[1].split()[0])
            descriptors += sum(1 for _ in Path(f"/proc/{one}/fd").iterdir())
    except (OSError, IndexError):
        return None
    return Sample(at_s=time.monotonic() - start_s, memory_mb=memory_kb / 1e3, descriptors=descriptors)


def soak(minutes: float, rate_per_s: float, folder: Path) -> int:
    """Runs it and prints the table. Returns the exit code of `loadlab run`."""
    scenario, out = folder / "soak.toml", folder / "run"
    scenario.write_text(SCENARIO.format(seconds=60 * minutes, rate=rate_per_s))
    with served(CLUSTERS / "h100-8b.toml") as url:
        (server,) = family(os.getpid())[1:]  # the one process that we have started so far
        command = [
            sys.executable,
            "-m",
            "loadlab.cli.app",
            "run",
            str(scenario),
            "--target",
            url,
            "--model",
            "llm-8b",
            "--yes",
            "--out",
            str(out),
            "-q",
        ]
        start_s = time.monotonic()
        client = subprocess.Popen([*command, "--no-report"])
        seen: dict[str, list[Sample]] = {"server": [], "client": []}
        while client.poll() is None:
            for name, pid in (("server", server), ("client", client.pid)):
                found = look(pid, start_s)
                seen[name] += [] if found is None else [found]
            time.sleep(EVERY_S)
    print(f"{minutes:g} min at {rate_per_s:g}/s, exit code {client.returncode}")
    for name, samples in seen.items():
        report(name, samples, 60 * minutes)
    report_lag(out)
    return client.returncode


def report(name: str, samples: list[Sample], seconds: float) -> None:
    """Medians of each part after the first."""
    parts = [[s for s in samples if part <= s.at_s * PARTS / seconds < part + 1] for part in range(1, PARTS)]
    memory = [float(np.median([s.memory_mb for s in part])) for part in parts if part]
    descriptors = [float(np.median([s.descriptors for s in part])) for part in parts if part]
    print(f"{name}: MB {', '.join(f'{value:.1f}' for value in memory)}; descriptors {', '.join(f'{value:g}' for value in descriptors)}")
    print(f"{name}: growth {memory[-1] - memory[0]:+.1f} MB, {descriptors[-1] - descriptors[0]:+g} descriptors, of {len(samples)} samples")


def report_lag(out: Path) -> None:
    """p50 and p99 of the dispatch lag in each part after the first."""
    table = load_table(RunDir.open(out))
    lag_ms = 1e3 * (table.sent_s - table.scheduled_s)
    span_s = float(table.scheduled_s.max())
    for part in range(1, PARTS):
        own = lag_ms[(table.scheduled_s >= part * span_s / PARTS) & (table.scheduled_s < (part + 1) * span_s / PARTS)]
        own = own[~np.isnan(own)]
        print(f"lag, part {part + 1} of {PARTS}: p50 {np.quantile(own, 0.5):.2f} ms, p99 {np.quantile(own, 0.99):.2f} ms, n {len(own):,}")
    print(f"{len(table):,} requests, {int(table.ok.sum()):,} OK")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        sys.exit(soak(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0, float(sys.argv[2]) if len(sys.argv) > 2 else 50.0, Path(name)))
