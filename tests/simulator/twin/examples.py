"""The smallest cases in which the fast cluster and its twin were found to differ, one or two for each corner."""

from __future__ import annotations

from typing import Any

from loadlab.catalog.specs import Quantisation
from loadlab.simulator.faults import DeadReplica, Drain, Misconfigured
from loadlab.simulator.sharding import shard
from loadlab.simulator.spec import Autoscale, ClusterSpec, EngineLimits, Pipeline, PlainConstants, PoolSpec, Router, ShardedModel, Tiers
from tests.simulator.twin.compare import Arrivals
from tests.simulator.twin.request import TwinRequest
from tests.simulator.twin.workloads import Case

MS = 10**9  # picoseconds
START_OF_TWO = ((2, 6), (1001, 2))


def small_pool(*, blocks: int = 20, running: int = 8, budget: int = 64, **more: Any) -> PoolSpec:
    """Steps of a millisecond, blocks of four tokens."""
    engine = EngineLimits(block_size_tokens=4, max_running=running, max_batched_tokens=budget, restart_s=0.002)
    pool: dict[str, Any] = {"serves": ("m",), "hardware": PlainConstants(step_s=0.001, kv_tokens=4 * blocks), "engine": engine}
    return PoolSpec(**(pool | more))


def ask(seq: int, prompt: int = 1, output: int = 1, **more: Any) -> TwinRequest:
    """A request for the model "m"."""
    return TwinRequest(seq=seq, model="m", prompt_tokens=prompt, output_tokens=output, **more)


def case(pool: PoolSpec, arrivals: Arrivals, **more: Any) -> Case:
    """One pool."""
    return Case(spec=ClusterSpec(name="example", pools={"p": pool}, **more), seed=1, arrivals=arrivals)


def _misconfigured_too_small() -> Case:
    hardware = ShardedModel(model="qwen2.5-7b-instruct", quantisation=Quantisation.INT4, gpu="T4")
    part = shard(hardware)

    def utilization(blocks: float) -> float:
        kv_bytes = blocks * 16 * part.kv_bytes_per_token
        return (part.weights_bytes + hardware.overhead_bytes + kv_bytes) / part.gpu.memory_bytes

    engine = EngineLimits(max_running=8, max_batched_tokens=64, gpu_memory_utilization=utilization(10.5))
    pool = PoolSpec(serves=("m",), hardware=hardware, engine=engine)
    return case(pool, [(0, ask(0, 100))], faults=(Misconfigured(pool="p", gpu_memory_utilization=utilization(5.5)),))


def _cascade(*arrivals: tuple[int, TwinRequest]) -> Case:
    """Tiers small and large; request 1 escalates when a step of request 0, in the large tier, ends."""
    pools = {name: small_pool(tier=name) for name in ("small", "large")}
    spec = ClusterSpec(name="example", pools=pools, tiers=Tiers(shares={"small": 0.001, "large": 0.999}, cascade=True))
    return Case(spec=spec, seed=1, arrivals=list(arrivals))


EXAMPLES: dict[str, list[Case]] = {
    "answers in a small cache": [
        case(  # 10 computes blocks that 0 shares as its answer; preempted, it looks for all of its prompt again
            small_pool(blocks=20, budget=8),
            [
                (0, ask(0, 6, 8, prefix=((2, 6),), answer=(1000, 8))),
                (MS + MS // 2, ask(1, 39, 11)),
                (4 * MS + 1, ask(10, 22, 8, prefix=((2, 6), (1000, 8), (2010, 8)))),
            ],
        ),
    ],
    "no output among others": [
        case(  # 0 and 1 end at the same boundary, in order of admission: what 0 leaves is older
            small_pool(blocks=15),
            [
                (0, ask(0, 24, 1)),
                (0, ask(1, 14, 0, prefix=((2, 6), (4, 8)))),
                (10 * MS, ask(2, 24, 2)),
                (20 * MS, ask(3, 19, 1, prefix=((2, 6), (4, 8), (8, 5)))),
            ],
        ),
    ],
    "round-robin with gaps": [
        case(  # 0, 1, then 1 again while 0 drains: the next one is 0
            small_pool(replicas=2, router=Router.ROUND_ROBIN),
            [(0, ask(0)), (0, ask(1)), (2 * MS, ask(2)), (20 * MS, ask(3))],
            faults=(Drain(pool="p", replica=0, at_s=0.0005, for_s=0.01),),
        ),
    ],
    "cascade": [
        _cascade((0, ask(0, 1, 1, tier="large")), (0, ask(1))),  # the large tier is idle from that moment on
        _cascade((0, ask(0, 1, 9, tier="large")), (0, ask(1))),  # its first decode begins then
        _cascade((0, ask(0, 1, 9, tier="large")), (3 * MS, ask(1))),  # it is in the middle of its answer
    ],
    "ties": [
        case(  # deadline before limit on waiting
            small_pool(running=1, max_queue_wait_s=0.0005), [(0, ask(0, 1, 5)), (2 * MS, ask(1, deadline_ps=2 * MS + MS // 2))]
        ),
        case(  # given up before it comes out of post-processing
            small_pool(), [(0, ask(0, deadline_ps=2 * MS + 1))], pipeline=Pipeline(post_process_s=0.001)
        ),
    ],
    "misconfigured to another size": [_misconfigured_too_small()],
    "autoscaling while starting": [
        case(  # one serves and one starts: too many for the load, but only one of them serves
            small_pool(replicas=2, autoscale=Autoscale(min_replicas=1, target_outstanding=0.7, interval_s=0.0005, startup_s=0.01)),
            [(0, ask(0, 1, 1)), (MS // 2, ask(1, 1, 1)), (4 * MS, ask(2, 1, 1))],
        ),
    ],
    "draining of an autoscaled pool": [
        case(  # a fault drains it, and is over: it was never off
            small_pool(autoscale=Autoscale(min_replicas=1, target_outstanding=1)),
            [(0, ask(0)), (MS, ask(1)), (20 * MS, ask(2))],
            faults=(Drain(pool="p", at_s=at_s, for_s=0.01),),
        )
        for at_s in (0.0, 0.0005)
    ],
    "death of a replica that is off": [
        case(  # it is started while its fault lasts: it is not there before the fault is over
            small_pool(
                replicas=2, running=1, autoscale=Autoscale(min_replicas=1, target_outstanding=0.7, interval_s=0.001, startup_s=0.001)
            ),
            [(0, ask(0, 1, 30)), (2 * MS, ask(1)), (5 * MS, ask(2)), (20 * MS, ask(3))],
            faults=(DeadReplica(pool="p", replica=1, at_s=0.0005, for_s=0.01),),
        ),
    ],
    "faults on an idle cluster": [
        case(small_pool(), [(10 * MS, ask(0))], faults=(DeadReplica(pool="p", at_s=0.007, for_s=0.001),)),
        case(small_pool(), [(10 * MS, ask(0))], faults=(DeadReplica(pool="p", at_s=0.007, for_s=0.01),)),
    ],
}
