"""How many streamed tokens a second one worker and two send with lag p99 below 10 ms, the null server beside them on the same cores.

`python -m tests.bench.workers_ceiling [FIRST_RATE [LAST_RATE]]`: a line per probe, one and two workers in turn at each rate, so that a
drift of the machine falls on both; with whose CPU it cost: workers, master, the recording parent, the server.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadlab.engines.endpoint import Endpoint
from loadlab.engines.locust import LocustEngine
from loadlab.engines.spread import Spread
from loadlab.record.run_dir import RunDir
from loadlab.scenario.build import build_plan
from tests.engines.null_target import NullTarget, equal_requests, null_target, percentile
from tests.record.examples import manifest

TOKENS, GAP_S, SECONDS = 64, 0.01, 4.0
STEP = 1.1  # each rung above the one before
LIMIT_MS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One run: lag p99, streamed tokens/s, and CPU seconds by role while it lasted."""

    lag_p99_ms: float
    tokens_per_s: float
    tokens: int
    cpu_s: dict[str, float]

    def __str__(self) -> str:
        costs = ", ".join(f"{role} {1e6 * cpu_s / self.tokens:.0f}" for role, cpu_s in self.cpu_s.items())
        return f"{self.tokens_per_s:,.0f} tokens/s, lag p99 {self.lag_p99_ms:.2f} ms; CPU ms per 1,000 tokens: {costs}"


def server_pid() -> int:
    """The null server: a child of ours."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return next(int(pid) for pid in children if b"null_server" in Path(f"/proc/{pid}/cmdline").read_bytes())


def cpu_of(pid: int) -> float:
    """CPU seconds of a living process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def ended_children_s() -> float:
    """CPU seconds of children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def probe(target: NullTarget, rate_per_s: float, workers: int, folder: Path) -> Probe:
    """One run of SECONDS. Workers' CPU is from second 0 to their last row; others' includes the start, the master's its imports."""
    scenario = equal_requests(rate_per_s, int(rate_per_s * SECONDS), TOKENS)
    plan = build_plan(scenario, 1)
    endpoint = Endpoint(
        scheme="http", host="127.0.0.1", port=target.port, preflight=False, max_in_flight=8000, spread=Spread(workers=workers)
    )
    server = server_pid()
    before = time.process_time(), cpu_of(server), ended_children_s()
    with RunDir.create(folder, manifest(planned=len(plan))) as run:
        LocustEngine(endpoint, scenario.classes, "bench").replay(plan, run, lambda *_: None)
        parent_s, server_s, children_s = time.process_time() - before[0], cpu_of(server) - before[1], ended_children_s() - before[2]
        run.finalise(len(plan))
        rows, facts = list(run.rows()), run.manifest.client or {}
    lags_ms = [1e3 * (row.sent_s - row.scheduled_s) for row in rows if row.sent_s is not None and row.scheduled_s is not None]
    ends_s = np.array([row.last_token_s for row in rows if row.last_token_s is not None])
    begun_s = min(row.first_token_s for row in rows if row.first_token_s is not None)
    tokens = sum(row.output_tokens or 0 for row in rows)
    others_s = children_s - facts["cpu_total_s"]
    return Probe(
        lag_p99_ms=percentile(lags_ms, 0.99),
        tokens_per_s=tokens / float(ends_s.max() - begun_s),
        tokens=tokens,
        cpu_s={"workers": facts["cpu_s"], "master": others_s if workers > 1 else 0.0, "parent": parent_s, "server": server_s},
    )


def main(first_per_s: float, last_per_s: float) -> None:
    best = {1: 0.0, 2: 0.0}
    over = set[int]()
    with null_target(ttft_s=0.05, gap_s=GAP_S) as target, tempfile.TemporaryDirectory() as folder:
        rate = first_per_s
        while len(over) < len(best) and rate <= last_per_s:
            for workers in (1, 2):
                if workers in over:
                    continue
                found = probe(target, rate, workers, Path(folder) / f"{rate:.0f}-{workers}")
                target.truth()
                print(f"{workers} workers, {rate:.0f} streams/s: {found}", flush=True)
                if found.lag_p99_ms < LIMIT_MS:
                    best[workers] = max(best[workers], found.tokens_per_s)
                else:
                    over.add(workers)
            rate *= STEP
    times = f"{best[2] / best[1]:.2f} times" if best[1] else "no comparison: one worker was over the limit at the first rate"
    print(f"below {LIMIT_MS:.0f} ms: one {best[1]:,.0f}, two {best[2]:,.0f} tokens/s: {times}")


if __name__ == "__main__":
    given = [float(word) for word in sys.argv[1:3]]
    main(*given, *(100.0, 10_000.0)[len(given) :])
