"""From runs that another tool made to a fleet: imported, taken as levels, planned with; and what is then not known is told."""

from __future__ import annotations

import json
import random
from pathlib import Path

from tests.cli.command import SCENARIOS, Command


def vllm_results(file: Path, rate_per_s: float, ttft_s: float, n: int = 300) -> Path:
    """Results of vLLM's bench: exponential TTFT of that mean, 20 tokens at 20 ms."""
    draw, start, rows = random.Random(1), 1000.0, []
    for _ in range(n):
        start += draw.expovariate(rate_per_s)
        rows.append((start, draw.expovariate(1 / ttft_s)))
    file.write_text(
        json.dumps(
            {
                "date": "20260114-101500", "backend": "openai-chat", "model_id": "llama", "num_prompts": n, "request_rate": rate_per_s,
                "burstiness": 1.0, "max_concurrency": None, "duration": start - 1000, "completed": n, "request_throughput": rate_per_s,
                "input_lens": [100] * n, "output_lens": [20] * n, "ttfts": [ttft for _, ttft in rows], "itls": [[0.02] * 19] * n,
                "start_times": [start for start, _ in rows], "latencies": [ttft + 0.38 for _, ttft in rows], "queue_times": [0.0] * n,
                "errors": [""] * n,
            }
        )
    )  # fmt: skip
    return file


def test_imported_runs_become_a_capacity_and_that_a_fleet(command: Command, tmp_path: Path) -> None:
    runs = []
    for rate, ttft in ((2.0, 0.2), (4.0, 0.4), (8.0, 0.9)):
        run = tmp_path / f"run{rate:g}"
        file = vllm_results(tmp_path / f"{rate:g}.json", rate, ttft)
        assert command("import", "vllm-bench", file, "--out", run, "-q").code == 0
        runs += ["--from", str(run)]
    slo = ["--slo", "ttft=2s", "--slo", "tpot=50ms", "--slo", "target=95%"]
    study = tmp_path / "study"
    assert command("capacity", SCENARIOS / "t4-chat-capacity.toml", *slo, *runs, "--out", study, "-q").code == 0
    found = json.loads((study / "capacity.json").read_bytes())
    assert 4.0 < found["capacity_per_s"]["value"] < 8.5
    assert found["tokens_per_arrival"] == 120.0
    fleet = command("fleet", "--capacity", study, "--demand", SCENARIOS / "demand" / "support-desk.toml", "--json")
    assert fleet.code == 0
    plan = json.loads(fleet.out)
    assert plan["capacity"]["low_per_s"] == found["capacity_per_s"]["low"]
    assert len(plan["capacity"]["digests"]) == 4  # the study's own, and those of its runs
    assert "no scenario is known" in plan["why_not_played"]
    money = command("break-even", "--capacity", study, "--hosting", SCENARIOS / "hosting" / "t4-14b.toml")
    assert money.code == 2
    assert "does not say how many replicas served it" in " ".join(money.err.split())
