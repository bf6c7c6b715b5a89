"""Kills one process of a run with two workers at a random moment, seed by seed, and asks whether every request is accounted for.

`python -m tests.bench.worker_kills [FIRST] [SEEDS]`: a line per seed, and a total. Each takes some ten seconds.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.engines.null_target import null_target
from tests.engines.spread_runs import SpreadRun, account, merge
from tests.engines.test_processes import is_gone, wait_until

REQUESTS, RATE = 160, 40


def drill(seed: int, folder: Path) -> str:
    """One kill; what became of it. Raises AssertionError where a request is not accounted for."""
    chance = random.Random(seed)
    victim = chance.choice(["master", "worker 0", "worker 1", "recorder"])
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        run = SpreadRun(folder, target.url, 2, requests=REQUESTS, rate=RATE)
        run.wait_for_rows(1)
        time.sleep(chance.uniform(0, 0.9 * REQUESTS / RATE))
        children = run.children()
        if len(children) < 3:
            run.end()
            return f"seed {seed}: over before the kill"
        pid = {"master": children[0], "worker 0": children[1], "worker 1": children[2], "recorder": run.process.pid}[victim]
        os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        code, _, _ = run.end()
        took_s = time.monotonic() - killed_s
        wait_until(lambda: all(map(is_gone, children)))
        if victim == "recorder":
            assert merge(run.out).returncode == 0
        found = account(run.out, target)
    found.check(REQUESTS)
    lost = len(found.answered) - found.count("ok")
    assert victim == "recorder" or (code == 97 and found.status == "incomplete"), (code, found.status)
    assert took_s < 5, took_s
    counts = ", ".join(f"{found.count(outcome)} {outcome}" for outcome in ("ok", "unknown", "not_sent"))
    return f"seed {seed}: {victim} killed, exit {code} after {took_s:.2f} s; {counts}; {lost} answered and not known"


def main() -> None:
    first, seeds = (int(word) for word in (sys.argv[1:] + ["0", "50"][len(sys.argv) - 1 :])[:2])
    failed = 0
    for seed in range(first, first + seeds):
        with tempfile.TemporaryDirectory() as folder:
            try:
                print(drill(seed, Path(folder) / "run"), flush=True)
            except AssertionError as error:
                failed += 1
                print(f"seed {seed}: NOT ACCOUNTED FOR: {error!r}", flush=True)
    print(f"{failed} of {seeds} kills left a request unaccounted for")


if __name__ == "__main__":
    main()
