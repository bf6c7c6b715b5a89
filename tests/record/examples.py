"""A small run that a reader can check in the head, for the tests of record, analysis and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loadlab.record.manifest import HostFacts, Manifest, Status
from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.record.run_dir import RunDir

HOST = HostFacts(t0="2026-01-14T10:15:00Z", argv=("loadlab", "run", "a b.toml"), hostname="box", platform="Linux", git_commit=None)
POOL = {"pool": "llm", "model": "14B", "gpu": "T4", "gpus": 2, "label": "datasheet, not calibrated", "step_time_band": 0.2}


def manifest(planned: int = 5, **changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "status": Status.RUNNING,
        "name": "small",
        "scenario": {"name": "small", "timeout_s": 60},
        "scenario_digest": None,
        "plan_digest": "sha256:00",
        "planned": planned,
        "seed": 1,
        "target": "sim:small.toml",
        "engine": "simulation",
        "conditions": [POOL],
        "versions": {"loadlab": "0.0.0", "python": "3.11.0"},
        "host": HOST,
    }
    return Manifest(**values | changes)


def ok(seq: int, *, due_s: float | None = None, ttft_s: float = 0.5, tokens: int = 11, tpot_s: float = 0.1) -> RequestRecord:
    """Due at `seq` seconds, answered: its end to end is ttft + 10 x tpot = 1.5 s."""
    due_s = float(seq) if due_s is None else due_s
    end_s = due_s + ttft_s + (tokens - 1) * tpot_s
    return RequestRecord(
        seq=seq, scheduled_s=due_s, sent_s=due_s, first_token_s=due_s + ttft_s, last_token_s=end_s, finished_s=end_s,
        prompt_tokens=100, output_tokens=tokens, outcome=Outcome.OK,
    )  # fmt: skip


def failed(seq: int, cause: Cause, outcome: Outcome, after_s: float = 2.0) -> RequestRecord:
    return RequestRecord(seq=seq, scheduled_s=float(seq), sent_s=float(seq), finished_s=seq + after_s, outcome=outcome, cause=cause)


def timeline_row(t_s: float, **changes: Any) -> dict[str, Any]:
    row = {
        "t_s": t_s, "dt_s": 1.0, "replica": "llm/0", "running": 2.0, "waiting": 1.0, "kv_usage": 0.25, "kv_usage_max": 0.5,
        "gpu_busy": 0.5, "prefill_tokens": 75.0, "decode_tokens": 10.0, "preemptions": 0, "ooms": 0, "cached_tokens": 25,
    }  # fmt: skip
    return row | changes


def five_requests() -> list[RequestRecord]:
    """Three OK with TTFT 0.5, 0.6 and 0.7 s, one rejected, one timed out."""
    return [
        ok(0),
        failed(1, Cause.QUEUE_FULL, Outcome.REJECTED, after_s=0.0),
        ok(2, ttft_s=0.6),
        failed(3, Cause.DEADLINE, Outcome.TIMEOUT),
        ok(4, ttft_s=0.7),
    ]


def small_run(path: Path, **changes: Any) -> RunDir:
    """A finished run of `five_requests`, with a timeline of six seconds."""
    run = RunDir.create(path, manifest(**changes))
    run.append(five_requests())
    run.append_timeline(timeline_row(float(t), preemptions=int(t == 3)) for t in range(6))
    run.finalise(5)
    return run
