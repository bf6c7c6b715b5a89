"""The HTTP engine against the null server's own stamps, a bare asyncio client beside it in the same run. Prints figures, no verdicts."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from loadlab.engines.endpoint import Endpoint
from loadlab.engines.locust import LocustEngine
from loadlab.record.request import Outcome, RequestRecord
from loadlab.record.run_dir import RunDir
from loadlab.scenario.build import build_plan
from tests.engines.null_target import NullTarget, equal_requests, null_target, percentile
from tests.record.examples import manifest

BARE = Path(__file__).with_name("bare_client.py")
STUDY_REQUESTS, TOKENS = 7310, 32
TTFT_S, GAP_S = 0.05, 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """One run of ours: its rows, and what its process and ours used."""

    rows: list[RequestRecord]
    child_cpu_s: float
    peak_mb: float
    wall_s: float
    waited_s: float
    true_ttft_s: dict[int, float]  # by seq: from the last byte of the request to the first token, as the server stamps them

    @property
    def lags_ms(self) -> list[float]:
        return [1e3 * (row.sent_s - row.scheduled_s) for row in self.rows if row.sent_s is not None and row.scheduled_s is not None]

    @property
    def ttft_errors_ms(self) -> list[float]:
        """TTFT as we count it, from the due time, less the server's own."""
        return [
            1e3 * (row.first_token_s - row.scheduled_s - self.true_ttft_s[row.seq])
            for row in self.rows
            if row.first_token_s is not None and row.scheduled_s is not None
        ]

    @property
    def rate_error(self) -> float:
        sent = sorted(row.sent_s for row in self.rows if row.sent_s is not None)
        due = sorted(row.scheduled_s for row in self.rows if row.scheduled_s is not None)
        return (due[-1] - due[0]) / (sent[-1] - sent[0]) - 1


def ours(target: NullTarget, folder: Path, rate_per_s: float, requests: int, tokens: int = TOKENS, *, is_truth_wanted: bool = True) -> Ours:
    scenario = equal_requests(rate_per_s, requests, tokens)
    plan = build_plan(scenario, 1)
    endpoint = Endpoint(scheme="http", host="127.0.0.1", port=target.port, preflight=False, max_in_flight=8000)
    with RunDir.create(folder, manifest(planned=len(plan))) as run:
        LocustEngine(endpoint, scenario.classes, "bench").replay(plan, run, lambda *_: None)
        run.finalise(len(plan))
        rows = list(run.rows())
        facts = run.manifest.client or {}
    truth = {int(t.seq): t.first_s - t.received_s for t in target.truth()} if is_truth_wanted else {}
    return Ours(
        rows=rows,
        child_cpu_s=facts["cpu_total_s"],
        peak_mb=facts["peak_rss_bytes"] / 1e6,
        wall_s=facts["wall_s"],
        waited_s=facts["run_queue_wait_s"],
        true_ttft_s=truth,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    lags_ms: list[float]
    ttft_errors_ms: list[float]
    cpu_s: float


def bare(target: NullTarget, rate_per_s: float, requests: int, tokens: int = TOKENS) -> Bare:
    command = [sys.executable, str(BARE), str(target.port), str(rate_per_s), str(requests), str(tokens)]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    truth = {int(t.seq): t.first_s - t.received_s for t in target.truth()}
    return Bare(
        lags_ms=[1e3 * (sent - due) for _, due, sent, _ in said["rows"]],
        ttft_errors_ms=[1e3 * (first - due - truth[seq]) for seq, due, _, first in said["rows"]],
        cpu_s=said["cpu_s"],
    )


def quantiles(values: list[float]) -> str:
    return f"p50 {percentile(values, 0.5):7.3f}  p99 {percentile(values, 0.99):7.3f}"


@pytest.mark.parametrize("rate_per_s", [50, 200])
def test_send_lag_rate_and_ttft_error(tmp_path: Path, rate_per_s: int) -> None:
    with null_target(ttft_s=TTFT_S, gap_s=GAP_S) as target:
        runs = [ours(target, tmp_path / str(i), rate_per_s, 6 * rate_per_s) for i in range(3)]
        yard = [bare(target, rate_per_s, 6 * rate_per_s) for _ in range(3)]
    for i, run in enumerate(runs):
        assert all(row.outcome is Outcome.OK for row in run.rows)
        print(f"\n{rate_per_s}/s, run {i}: lag ms {quantiles(run.lags_ms)}; TTFT error ms {quantiles(run.ttft_errors_ms)}; "
              f"rate error {100 * run.rate_error:+.3f} %; without a core {100 * run.waited_s / run.wall_s:.0f} %")  # fmt: skip
    for i, run_ in enumerate(yard):
        print(f"{rate_per_s}/s, bare {i}: lag ms {quantiles(run_.lags_ms)}; TTFT error ms {quantiles(run_.ttft_errors_ms)}")


def test_cpu_and_memory_of_the_study(tmp_path: Path) -> None:
    """7,310 streams of 32 tokens at 150/s; CPU of the whole process of the load generator, imports included."""
    with null_target(ttft_s=TTFT_S, gap_s=GAP_S) as target:
        run = ours(target, tmp_path / "run", 150, STUDY_REQUESTS)
        yard = bare(target, 150, STUDY_REQUESTS)
    assert sum(row.outcome is Outcome.OK for row in run.rows) == STUDY_REQUESTS
    ratio = run.child_cpu_s / yard.cpu_s
    print(f"\n{STUDY_REQUESTS:,} x {TOKENS}: {run.child_cpu_s:.2f} CPU s, bare {yard.cpu_s:.2f} CPU s, ratio {ratio:.2f}; "
          f"{run.peak_mb:.0f} MB; lag ms {quantiles(run.lags_ms)}")  # fmt: skip


@pytest.mark.parametrize("tokens_per_s", [10_000, 15_000, 20_000])
def test_streamed_tokens_a_second(tmp_path: Path, tokens_per_s: int) -> None:
    """Streams of 128 tokens, 10 ms apart."""
    rate_per_s = tokens_per_s / 128
    with null_target(ttft_s=TTFT_S, gap_s=GAP_S) as target:
        run = ours(target, tmp_path / "run", rate_per_s, round(6 * rate_per_s), tokens=128)
    tokens = sum(row.output_tokens or 0 for row in run.rows)
    span_s = max(row.last_token_s or 0 for row in run.rows) - min(row.first_token_s or 1e9 for row in run.rows)
    print(f"\n{tokens_per_s:,} tokens/s asked, {tokens / span_s:,.0f} over all: lag ms {quantiles(run.lags_ms)}; "
          f"{run.child_cpu_s / run.wall_s:.2f} of a core, without one {100 * run.waited_s / run.wall_s:.0f} %")  # fmt: skip


def test_a_stall_shows_in_the_tail_as_long_as_it_was(tmp_path: Path) -> None:
    """40/s for 20 s, service 360 ms, nothing begins for 2 s: the ideal open loop reads p95 1,351 ms and p99 2,150 ms."""
    with null_target(ttft_s=0.36, stall_at_s=9.0, stall_s=2.0) as target:
        run = ours(target, tmp_path / "run", 40, 800, tokens=1)
    e2e_ms = [1e3 * (row.finished_s - row.scheduled_s) for row in run.rows if row.finished_s is not None and row.scheduled_s is not None]
    arrivals_s = np.arange(800) / 40
    ideal_ms = 1e3 * (np.where((arrivals_s >= 9) & (arrivals_s < 11), 11.0 - arrivals_s, 0.0) + 0.36)
    for p in (0.5, 0.95, 0.99):
        print(f"\np{100 * p:.0f}: {percentile(e2e_ms, p):,.0f} ms, ideal {percentile(ideal_ms.tolist(), p):,.0f} ms", end="")
