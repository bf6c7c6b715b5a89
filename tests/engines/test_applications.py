"""Applications on the simulated cluster: who waits for whom in time, what a prefix cache sees, and the laws of a closed loop."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from loadlab.engines.simulation import SimulationEngine
from loadlab.record.request import RequestRecord
from loadlab.scenario import arrivals, delays, lengths
from loadlab.scenario.applications import Agent
from loadlab.scenario.load import ClosedLoop, Load, OpenLoop
from loadlab.scenario.model import TrafficClass
from loadlab.scenario.plan import RequestPlan
from loadlab.scenario.sessions import Sessions
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.spec import ClusterSpec, EngineLimits, PlainConstants, PoolSpec
from tests.engines.test_simulation import Rows
from tests.scenario.test_applications import CHAT, SHAPES, plan

MODELS = ("small", "router", "embedder", "other", "third", "judge", "large")
BLOCK = 16


def replay(one: RequestPlan) -> list[RequestRecord]:
    """Every model on one replica whose cache never fills; a step takes 20 ms."""
    hardware = PlainConstants(step_s=0.02, kv_tokens=10_000_000)
    engine = EngineLimits(block_size_tokens=BLOCK, max_running=256, max_batched_tokens=2048)
    spec = ClusterSpec(name="test", pools={"p": PoolSpec(serves=MODELS, hardware=hardware, engine=engine)})
    rows = Rows()
    SimulationEngine(SimulatedCluster(spec)).replay(one, rows, lambda *_: None)
    return rows.by_seq()


@pytest.mark.parametrize("name", SHAPES)
def test_nobody_starts_before_the_answers_it_waits_for_and_all_after_the_stated_delay(name: str) -> None:
    one = plan(a=SHAPES[name])
    rows = replay(one)
    assert [row.outcome for row in rows] == ["ok"] * len(one)
    for row in rows:
        if one.after_seq[row.seq] >= 0:
            last, count = int(one.after_seq[row.seq]), int(one.after_count[row.seq])
            ends = [rows[seq].finished_s or np.inf for seq in range(last - count + 1, last + 1)]
            assert row.scheduled_s == pytest.approx(max(ends) + one.delay_after_s[row.seq], abs=1e-9)
        assert row.stages_s == one.stages_s[row.seq]
    assert {row.traffic_class for row in rows} == {one.traffic_class.at(i) for i in range(len(one))}


def whole_blocks(tokens: int) -> int:
    return tokens // BLOCK * BLOCK


@pytest.mark.parametrize("prefix", [0, 64, 100])
def test_a_sessions_prefix_hits_equal_a_closed_count(prefix: int) -> None:
    """Turn j finds every whole block of what turn j - 1 left: its prompt and all but the last token of its answer. A first turn finds
    the whole blocks of the shared prefix, once somebody has computed it."""
    talk = replace(
        CHAT,
        prompt_tokens=lengths.Uniform(min=20, max=90),
        sessions=Sessions(turns=lengths.Constant(value=4), think_s=delays.Constant(value_s=1), shared_prefix_tokens=prefix),
    )
    one = plan(OpenLoop(arrivals=arrivals.Constant(rate_per_s=0.01), requests=80), a=talk)
    for row in replay(one):
        if row.turn:
            before = one.request(int(one.after_seq[row.seq]))
            expected = whole_blocks(before.prompt_tokens + before.output_tokens - 1)
        else:
            expected = 0 if row.seq == 0 else whole_blocks(prefix)
        assert row.cached_prompt_tokens == expected


def test_an_agents_prefix_hits_equal_a_closed_count() -> None:
    agent = Agent(
        tool_calls=lengths.Constant(value=3),
        call_tokens=lengths.Constant(value=40),
        result_tokens=lengths.Uniform(min=100, max=400),
        system_tokens=500,
        tool_schema_tokens=300,
    )
    one = plan(OpenLoop(arrivals=arrivals.Constant(rate_per_s=0.01), requests=40), a=replace(CHAT, agent=agent))
    for row in replay(one):
        if row.turn:
            before = one.request(int(one.after_seq[row.seq]))
            assert row.cached_prompt_tokens == whole_blocks(before.prompt_tokens + before.output_tokens - 1)
        else:
            assert row.cached_prompt_tokens == (0 if row.seq == 0 else whole_blocks(800))


def test_retrieved_prompts_share_their_instructions_and_the_chunks_that_follow_them_in_equal_order() -> None:
    """One at a time and an endless cache: the hit is the longest beginning that any earlier prompt had, in whole blocks."""
    one = plan(OpenLoop(arrivals=arrivals.Constant(rate_per_s=0.01), requests=150), a=SHAPES["rag"])
    seen: set[tuple[Any, ...]] = set()
    hits = 0
    for row in replay(one):
        pieces = one.request(row.seq).segments
        shared = max((k for k in range(len(pieces) + 1) if pieces[:k] in seen), default=0)
        assert row.cached_prompt_tokens == whole_blocks(sum(piece.tokens for piece in pieces[:shared]))
        hits += shared > 1
        seen |= {pieces[:k] for k in range(1, len(pieces) + 1)}
    assert hits > 20  # popular chunks do come first again


@pytest.mark.parametrize("users", [1, 8, 40])
@pytest.mark.parametrize("think_s", [0.0, 5.0])
def test_closed_loops_keep_their_limit_and_littles_law(users: int, think_s: float) -> None:
    """N = X (R + Z) over the time in which all lanes are busy; never more than N in flight; think times as planned."""
    load: Load = ClosedLoop(users=users, requests=users * 60, think_s=delays.Exponential(mean_s=think_s) if think_s else delays.NO_DELAY)
    one = plan(load, a=CHAT)
    rows = replay(one)
    starts, ends = (np.array([getattr(row, name) for row in rows]) for name in ("scheduled_s", "finished_s"))
    moments = np.concatenate((starts, ends))
    steps = np.concatenate((np.ones(len(starts)), -np.ones(len(ends))))
    in_flight = np.cumsum(steps[np.lexsort((steps, moments))])
    assert in_flight.max() <= users
    lanes = defaultdict(list)
    for row in rows:
        lanes[int(one.chain[row.seq])].append(row.seq)
    for seqs in lanes.values():
        for before, after in pairwise(seqs):
            assert starts[after] == pytest.approx(ends[before] + one.delay_after_s[after], abs=1e-9)
    last = min(ends[seqs[-1]] for seqs in lanes.values())
    busy = np.sum(np.clip(np.minimum(ends, last) - np.minimum(starts, last), 0, None))
    thinking = np.sum(np.clip(np.minimum(starts, last) - np.minimum(starts - one.delay_after_s, last), 0, None))
    assert (busy + thinking) / last == pytest.approx(users, rel=1e-6)


def test_a_class_is_told_apart_by_its_steps(tmp_path: object) -> None:
    rows = replay(
        plan(a=SHAPES["everything"], b=TrafficClass(model="small", prompt_tokens=CHAT.prompt_tokens, output_tokens=CHAT.output_tokens))
    )
    sizes = {label: sum(row.traffic_class == label for row in rows) for label in ("a", "a/route", "a/expert", "b")}
    assert sizes == {"a": 50, "a/route": 50, "a/expert": 10, "b": 50}
