"""What it takes to read and summarise a run of a million rows: `python -m tests.bench.million_rows [ROWS]`, under a CPU-minute.

The rows are made up, so that every table of the summary has something in it: three classes on two models and two tiers, five turns,
failures, latencies that hang together like those of a queue. A process of its own reads and summarises them: CPU-seconds of both, its
peak of memory, and a yardstick before and after, since machines differ.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from scipy.signal import lfilter

from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.record.run_dir import REQUESTS_FILE, RunDir
from loadlab.report.summary import dump_summary, load_table, summarise_run
from tests.bench.test_simulator_speed import ROOT, yardstick_s
from tests.record.examples import manifest

ROWS = 1_000_000
RATE_PER_S = 12.0
CLASSES = (("chat", "small", "fast"), ("agent", "small", "fast"), ("expert", "large", "deep"))
SCENARIO: dict[str, Any] = {
    "load": {"kind": "open_loop", "arrivals": {"kind": "poisson"}},
    "slo": {"ttft": "2s", "tpot": "60ms", "target": "99%"},
    "thresholds": ["ttft.p95 < 800ms", "tpot.p99{class=chat} < 60ms", "success_rate >= 99%"],
}


def records(n: int, seed: int = 1) -> Iterator[RequestRecord]:
    """n rows at 12/s: lognormal TTFT whose logarithm is AR(1), 0.97; one in 200 times out."""
    rng = np.random.default_rng(seed)
    due_s = np.cumsum(rng.exponential(1 / RATE_PER_S, n))
    ttft_s = 0.2 * np.exp(0.12 * lfilter([1.0], [1.0, -0.97], rng.normal(size=n)))
    tokens = np.maximum(2, rng.lognormal(5.1, 0.6, n).astype(int))
    step_s = rng.gamma(20, 0.001, n)
    kinds, fails = rng.integers(0, len(CLASSES), n), rng.random(n) < 0.005
    columns = (column.tolist() for column in (due_s, ttft_s, tokens, step_s, kinds, fails))
    for i, (due, ttft, count, step, kind, is_bad) in enumerate(zip(*columns, strict=True)):
        traffic_class, model, tier = CLASSES[kind]
        first, end = due + ttft, due + ttft + step * (count - 1)
        asked: dict[str, Any] = {
            "seq": i, "worker": 0, "traffic_class": traffic_class, "kind": "chat", "model": model, "tier": tier, "turn": i % 5,
            "scheduled_s": due, "sent_s": due, "prompt_tokens": 668,
        }  # fmt: skip
        if is_bad:
            yield RequestRecord(**asked, finished_s=due + 30.0, outcome=Outcome.TIMEOUT, cause=Cause.DEADLINE)
            continue
        yield RequestRecord(
            **asked, first_token_s=first, last_token_s=end, finished_s=end, image_tokens=0, cached_prompt_tokens=0,
            output_tokens=count, outcome=Outcome.OK, replica=f"{model}/0", preemptions=0,
            itl_p50_s=0.8 * step, itl_p95_s=2 * step, itl_p99_s=3 * step, itl_max_s=5 * step,
        )  # fmt: skip


def make(path: Path, rows: int) -> None:
    """The run directory."""
    with RunDir.create(path, manifest(planned=rows, name="million", scenario=SCENARIO)) as run:
        made = records(rows)
        while batch := list(islice(made, 10_000)):
            run.append(batch)
        run.finalise(planned=rows)


def measure(path: Path) -> None:
    """Prints what reading and summarising took in this process, beside what its imports took."""
    before_s = time.process_time()
    run = RunDir.open(path)
    table = load_table(run)
    loaded_s = time.process_time()
    summary = dump_summary(summarise_run(run, table))
    summarised_s = time.process_time()
    size_mb, peak_mb = (path / REQUESTS_FILE).stat().st_size / 1e6, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(table):,} rows, {size_mb:.0f} MB; summary of {len(summary):,} bytes")
    parts = f"load {loaded_s - before_s:.2f} + summarise {summarised_s - loaded_s:.2f}"
    print(f"{parts} = {summarised_s - before_s:.2f} CPU-seconds; wanted: under 10")
    print(f"peak memory {peak_mb:.0f} MB; wanted: under 1,500; imports {before_s:.2f} CPU-seconds beside it")


def main(rows: int = ROWS) -> None:
    """Makes the run in a folder that is removed, and measures it between two yardsticks."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / "run", rows)
        print(f"yardstick {yardstick_s():.3f} s")
        subprocess.run([sys.executable, "-m", "tests.bench.million_rows", str(Path(folder) / "run")], cwd=ROOT, check=True)
        print(f"yardstick {yardstick_s():.3f} s")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [path] if not path.isdigit():
            measure(Path(path))
        case rows:
            main(*map(int, rows))
