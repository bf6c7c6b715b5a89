"""How fast the simulator runs here, beside a fixed pure-Python loop timed in the same run, since machines differ.

`make bench` prints it; there are no verdicts.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.drives import REQUESTS

ROOT = Path(__file__).parents[2]
RUNS = 5
NOMINAL_S = 0.30  # what the yardstick takes on the machine for which the figures were asked


def yardstick_s() -> float:
    """CPU-seconds of ten million additions: what this Python does on this machine now."""
    start = time.process_time()
    total = 0
    for i in range(10_000_000):
        total += i
    return time.process_time() - start


def measure(what: str, folder: Path, runs: int = RUNS) -> tuple[list[float], float, list[float]]:
    """CPU-seconds of each run, the largest peak of memory in MB, and the yardstick around and between the runs."""
    taken, peaks, yards = [], [], [yardstick_s()]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}  # its threads would spin beside the clock
    for i in range(runs):
        (folder / str(i)).mkdir()
        command = [sys.executable, "-m", "tests.bench.drives", what, str(folder / str(i))]
        done = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
        cpu_s, peak_mb = map(float, done.stdout.split())
        taken.append(cpu_s)
        peaks.append(peak_mb)
        yards.append(yardstick_s())
    return taken, max(peaks), yards


def report(name: str, wanted: str, taken: list[float], yards: list[float], requests: int | None = None) -> None:
    """Prints the median of the runs, what it would be at the nominal yardstick, and what was wanted."""
    cpu_s, yard_s = statistics.median(taken), statistics.median(yards)
    told = [
        f"{requests / s:,.0f} requests per CPU-second" if requests else f"{s:.2f} CPU-seconds" for s in (cpu_s, cpu_s * NOMINAL_S / yard_s)
    ]
    print(f"\n{name}: {told[0]}; wanted: {wanted}")
    print(f"  median of {len(taken)}, from {min(taken):.2f} to {max(taken):.2f} s; yardstick {yard_s:.3f} s, {cpu_s / yard_s:.2f} of it")
    print(f"  at a yardstick of {NOMINAL_S} s: {told[1]}")


def test_one_replica_through_the_public_door(tmp_path: Path) -> None:
    taken, _, yards = measure("one", tmp_path)
    report("one replica, 100,000 requests at 12/s, with ITL quantiles", "100,000, floor 80,000", taken, yards, REQUESTS)


def test_eight_replicas_with_kv_aware_routing(tmp_path: Path) -> None:
    taken, _, yards = measure("eight", tmp_path)
    report("eight replicas, KV-aware, half of the prompt shared, 100,000 at 96/s", "45,000", taken, yards, REQUESTS)


def test_a_million_requests_in_little_memory(tmp_path: Path) -> None:
    taken, peak_mb, yards = measure("million", tmp_path, runs=1)
    report("one million planned requests, rows streamed to disk, summary made", "under 300 MB", taken, yards, 1_000_000)
    print(f"  peak memory: {peak_mb:.0f} MB")


def test_the_t4_campaign(tmp_path: Path) -> None:
    taken, _, yards = measure("t4", tmp_path)
    report("T4 campaign, 19 experiments, --no-report, beyond imports", "under 1.5 CPU-seconds", taken, yards)
