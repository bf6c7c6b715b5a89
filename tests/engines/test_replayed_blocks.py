"""A replayed trace is hit in the simulated cluster's prefix cache as often as its block ids say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadlab.analysis.trace_fit import plan_hit_ratio
from loadlab.engines.simulation import SimulationEngine
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import Replay, Rescale
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.scenario.traces import TraceColumns, load_trace
from loadlab.schema import read_table
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.spec import ClusterSpec
from tests.engines.test_simulation import Rows

SLICE = Path(__file__).parents[3] / "shared" / "data" / "traces" / "mooncake" / "conversation_trace.jsonl"
FAST = {"kind": "constants", "step_s": 0.001, "per_decode_s": 0.00001, "per_prefill_token_s": 0.0000005}


def cached_share(trace: TraceColumns, share: float, kv_tokens: int) -> tuple[float, float]:
    """Of prompt tokens: read from the cache of one fast replica, and what a cache without limit would hold of the same plan."""
    load = Replay(rate_factor=share, rescale=Rescale.THIN)
    plan = build_plan(Scenario(name="replay", load=load, classes={"all": TrafficClass(model="m")}), 1, trace)
    pool = {"serves": ["m"], "hardware": FAST | {"kv_tokens": kv_tokens}, "engine": {"max_running": 256, "max_batched_tokens": 8192}}
    cluster = SimulatedCluster(read_table(ClusterSpec, {"name": "fast", "pools": {"p": pool}}, "test"))
    rows = Rows()
    SimulationEngine(cluster, itl=False).replay(plan, rows, lambda *_: None)
    cached = sum(record.cached_prompt_tokens or 0 for record in rows.records)
    return cached / int(plan.prompt_tokens.sum()), plan_hit_ratio(plan)


def test_the_slice_of_mooncake_is_hit_as_its_ids_say_and_less_by_a_small_cache() -> None:
    if not SLICE.exists():
        pytest.skip(f"the trace slices are not here: {SLICE}")
    trace = load_trace(SLICE)
    hit, wanted = cached_share(trace, 0.3, 200_000_000)
    assert wanted > 0.1
    assert hit == pytest.approx(wanted, abs=0.02)
    assert cached_share(trace, 0.3, 300_000)[0] < hit / 2


def test_blocks_of_a_trace_of_ours_are_hit_in_the_cache(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    rows = [
        f"{i * 2},{16 * 12 - 3},5,16,{' '.join(map(str, [*range(k := int(rng.integers(3, 9))), *range(100 * i + 100, 100 * i + 112 - k)]))}"
        for i in range(60)
    ]
    path = tmp_path / "trace.csv"
    path.write_text("arrival_s,prompt_tokens,output_tokens,block_tokens,blocks\n" + "\n".join(rows) + "\n")
    hit, wanted = cached_share(load_trace(path), 1.0, 1_000_000)
    assert wanted > 0.3
    assert hit == pytest.approx(wanted, abs=0.01)
