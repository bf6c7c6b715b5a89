"""Laws that hold for every workload, and those that hold only on average, with the example that breaks the single case."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.record.request import Outcome
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.faults import DeadReplica, SlowGpu
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import Allocation, Router
from tests.simulator.build import drive, make_cluster, request, seconds

WAKE_S = 1e-12

lengths = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 40)), min_size=1, max_size=12)
arrivals = st.lists(st.tuples(st.floats(0, 30), st.integers(1, 60), st.integers(0, 40)), min_size=1, max_size=15)


def requests_of(workload: list[tuple[float, int, int]]) -> list[tuple[float, Sequence]]:
    return [(at_s, request(i, prompt, output)) for i, (at_s, prompt, output) in enumerate(workload)]


def ends_s(done: list[Sequence]) -> list[float]:
    return [(s.ended_ps or 0) / 1e12 for s in done]


@settings(deadline=None)
@given(lengths, st.floats(1.01, 8))
def test_a_faster_gpu_never_finishes_a_request_later_in_one_batch(workload: list[tuple[int, int]], speed: float) -> None:
    together = [(0.0, prompt, output) for prompt, output in workload]
    limits = {"max_running": 64, "max_batched_tokens": 10_000}
    slow = {"step_s": 1.0, "per_decode_s": 0.1, "per_kv_token_s": 0.01, "per_prefill_token_s": 0.05}
    fast = {key: value / speed for key, value in slow.items()}
    results = [drive(make_cluster(kv_tokens=10_000, limits=limits, **constants), requests_of(together)) for constants in (slow, fast)]
    for before, after in zip(*map(ends_s, results), strict=True):
        assert after <= before + WAKE_S


@settings(deadline=None)
@given(arrivals)
def test_a_sufficient_pool_never_preempts(workload: list[tuple[float, int, int]]) -> None:
    blocks = sum(-(-(prompt + output) // 4) for _, prompt, output in workload)
    done = drive(make_cluster(kv_tokens=4 * blocks), requests_of(workload))
    assert all(sequence.preemptions == 0 for sequence in done)


@settings(deadline=None)
@given(arrivals)
def test_doubling_every_time_doubles_every_latency(workload: list[tuple[float, int, int]]) -> None:
    workload = [(round(at_s, 3), prompt, output) for at_s, prompt, output in workload]
    constants = {"step_s": 0.5, "per_decode_s": 0.125, "per_kv_token_s": 0.0625, "per_prefill_token_s": 0.25}
    once = drive(make_cluster(**constants), requests_of(workload))
    doubled = {key: 2 * value for key, value in constants.items()}
    twice = drive(make_cluster(**doubled), requests_of([(2 * at_s, prompt, output) for at_s, prompt, output in workload]))
    wakes_ps = 2 * len(workload)  # an idle engine wakes one picosecond late, at either speed
    for a, b in zip(once, twice, strict=True):
        latency, double = (a.ended_ps or 0) - a.arrival_ps, (b.ended_ps or 0) - b.arrival_ps
        assert abs(double - 2 * latency) <= wakes_ps


@settings(deadline=None, max_examples=40)
@given(arrivals)
def test_with_a_fixed_assignment_a_slow_shard_changes_only_its_own_group(workload: list[tuple[float, int, int]]) -> None:
    def run(*faults: SlowGpu) -> list[Sequence]:
        return drive(make_cluster(replicas=2, pool={"router": Router.ROUND_ROBIN}, faults=faults), requests_of(workload))

    healthy, ill = run(), run(SlowGpu(pool="p", replica=1, speed=0.5, at_s=2.0, for_s=1000.0))
    for before, after in zip(healthy, ill, strict=True):
        assert before.replica == after.replica
        if before.replica == 0:
            assert (before.first_token_ps, before.ended_ps) == (after.first_token_ps, after.ended_ps)


def test_a_request_alone_in_the_slow_group_takes_twice_as_long() -> None:
    """Not a law for a group that is short of blocks: a slower step may spare a preemption, and some request ends sooner."""
    fault = SlowGpu(pool="p", replica=1, speed=0.5, at_s=2.0, for_s=1000.0)
    cluster = make_cluster(replicas=2, pool={"router": Router.ROUND_ROBIN}, faults=(fault,))
    first, second = drive(cluster, [(5.0, request(0, 4, 10)), (5.0, request(1, 4, 10))])
    assert (first.replica, second.replica) == (0, 1)
    assert (seconds(first.ended_ps), seconds(second.ended_ps)) == (15.0, 25.0)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 20))
def test_prefix_reuse_never_raises_ttft_at_an_idle_replica(shared: int, own: int, output: int) -> None:
    def ttft_ps(caching: bool) -> int:
        cluster = make_cluster(per_prefill_token_s=0.1, limits={"prefix_caching": caching})
        turns = [request(i, shared + own, output, prefix=((7, shared),)) for i in range(2)]
        second = drive(cluster, [(0.0, turns[0]), (1000.0, turns[1])])[1]
        assert second.first_token_ps is not None
        return second.first_token_ps - second.arrival_ps

    assert ttft_ps(True) <= ttft_ps(False)


failures = st.sampled_from(["nothing", "a death", "out of memory", "deadlines", "a tight pool"])


@settings(deadline=None)
@given(arrivals, failures)
def test_whatever_fails_requests_blocks_and_tokens_are_conserved(workload: list[tuple[float, int, int]], failure: str) -> None:
    cluster = failing_cluster(failure)
    deadline_s = 9.0 if failure == "deadlines" else None
    sequences = [
        (at_s, request(i, prompt, output, **({"deadline_s": at_s + deadline_s} if deadline_s else {})))
        for i, (at_s, prompt, output) in enumerate(workload)
    ]
    done = drive(cluster, sequences)
    assert [sequence.seq for sequence in done] == list(range(len(workload)))
    for sequence in done:
        assert sequence.generated == sum(last - first + 1 for _, first, last in sequence.pieces)
        if sequence.outcome is Outcome.OK:
            assert sequence.generated == sequence.output_tokens
        else:
            assert sequence.generated <= sequence.output_tokens
    for replica in cluster.replicas:
        batcher = replica.batcher
        assert (batcher.num_waiting, len(batcher.running), batcher.decoding.size, batcher.decoding.kv_tokens) == (0, 0, 0, 0)
        assert batcher.pool.used == 0
        assert batcher.pool.free + batcher.pool.cached == batcher.pool.num_blocks


def failing_cluster(failure: str) -> SimulatedCluster:
    match failure:
        case "a death":
            return make_cluster(replicas=2, faults=(DeadReplica(pool="p", replica=0, at_s=3.3, for_s=8.0),))
        case "out of memory":
            return make_cluster(kv_tokens=90, limits={"allocation": Allocation.UNBOUNDED, "prefix_caching": False, "restart_s": 5.0})
        case "a tight pool":
            return make_cluster(kv_tokens=104)
        case _:
            return make_cluster()


def overload(seed: int, *, blocks: int, step_s: float) -> tuple[float, float]:
    """Preemptions, and mean latency in seconds, of 25 random requests on one replica whose prefill costs time."""
    rng = random.Random(seed)
    workload = [(rng.uniform(0, 20), rng.randint(1, 30), rng.randint(1, 40)) for _ in range(25)]
    cluster = make_cluster(kv_tokens=4 * blocks, step_s=step_s, per_prefill_token_s=0.3 * step_s)
    done = drive(cluster, requests_of(workload))
    return sum(s.preemptions for s in done), float(np.mean([(s.ended_ps or 0) - s.arrival_ps for s in done])) / 1e12


def test_on_average_preemptions_fall_with_blocks_and_latency_with_speed() -> None:
    tight, roomy, faster = (
        np.mean([overload(seed, blocks=blocks, step_s=step_s) for seed in range(200)], axis=0)
        for blocks, step_s in ((24, 1.0), (40, 1.0), (24, 0.5))
    )
    assert roomy[0] < tight[0]
    assert roomy[1] < tight[1]
    assert faster[1] < tight[1]


def test_a_single_workload_may_suffer_from_one_more_block() -> None:
    """So the law is about means. The block admits somebody earlier, who then outgrows the pool together with the others and is
    computed anew: here 28 preemptions instead of 23, and a mean latency 7 % higher."""
    (few, sooner), (many, later) = (overload(8, blocks=blocks, step_s=1.0) for blocks in (24, 25))
    assert (few, many) == (23, 28)
    assert later == pytest.approx(1.0740 * sooner, rel=1e-3)


@pytest.mark.parametrize("router", list(Router))
def test_every_router_serves_everyone(router: Router) -> None:
    cluster = make_cluster(replicas=3, pool={"router": router})
    done = drive(cluster, [(0.3 * i, request(i, 10, 5, prefix=((i % 2, 8),))) for i in range(40)])
    assert {sequence.outcome for sequence in done} == {Outcome.OK}
    assert {sequence.replica for sequence in done} <= {0, 1, 2}
    assert len({sequence.replica for sequence in done}) > 1
