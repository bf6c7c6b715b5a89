"""Small but nasty clusters: few blocks, tight budgets, steps that end when somebody arrives, and faults in the middle of it all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from loadlab.catalog.specs import Quantisation
from loadlab.simulator.faults import DeadReplica, Drain, Fault, LostNode, LostRegion, Misconfigured, SlowGpu, SlowLink
from loadlab.simulator.sharding import shard
from loadlab.simulator.spec import (
    Allocation,
    Autoscale,
    Batching,
    ClusterSpec,
    EngineLimits,
    Hardware,
    Pipeline,
    PlainConstants,
    PoolSpec,
    Region,
    Router,
    ShardedModel,
    Speculation,
    Tiers,
)

Pick = Callable[[Sequence[Any]], Any]

# What a case may have, each by the toss of a coin ...
_ENGINES = ("prefixes", "sessions", "deadlines", "limits", "routers", "noise", "faults", "allocation", "static", "sharded", "misconfigured")
_ORCHESTRATION = ("pipeline", "tiers", "regions", "prefill pool", "autoscale")
FEATURES = frozenset((*_ENGINES, *_ORCHESTRATION))
# ... and corners of them that can be left out while the fast cluster and its twin are at odds there.
CORNERS = frozenset(
    (
        "answers in a small cache",  # sessions while blocks are short: equal blocks are computed twice, evicted, shared again
        "no output among others",  # a prompt without an answer ends where others end: who leaves what to the cache, who escalates first
        "round-robin with gaps",  # replicas drop out of the rotation and come back
        "cascade",  # an answer escalates at the moment at which other replicas' steps end
        "ties",  # deadline, limit on waiting and end of post-processing at one time
        "misconfigured to another size",  # a replica that holds less, or more, than its pool says
        "autoscaling while starting",  # the pool is judged while a replica starts
        "draining of an autoscaled pool",
        "death of a replica that is off",
        "faults on an idle cluster",  # something is wrong before anybody is there
    )
)
TIERS = ("small", "large")
REGIONS = ("eu", "us")


def build_spec(pick: Pick, active: set[str]) -> ClusterSpec:
    """A cluster with the `active` features."""
    pools: dict[str, PoolSpec] = {}
    for tier in TIERS if "tiers" in active else (None,):
        for region in REGIONS if "regions" in active else (None,):
            name = "-".join(part for part in ("p", tier, region) if part)
            if "prefill pool" in active and pick((True, True, False)):
                behind = f"{name}-prompts"
                pools[behind] = _pool(pick, active, serves=(), tier=tier, region=region)
                pools[name] = _pool(pick, active, tier=tier, region=region, prefill_pool=behind, transfer_link=pick(("pcie3", "nvlink4")))
            else:
                pools[name] = _pool(pick, active, tier=tier, region=region)
    return ClusterSpec(
        name="nasty",
        pools=pools,
        tiers=_tiers(pick, active) if "tiers" in active else None,
        regions=_regions(pick) if "regions" in active else {},
        pipeline=_pipeline(pick, active) if "pipeline" in active else None,
        faults=_faults(pick, active, pools),
    )


# Pools


def _pool(pick: Pick, active: set[str], **more: Any) -> PoolSpec:
    replicas = pick((1, 1, 2, 3, 4)) if active & {"routers", "faults", "autoscale"} else pick((1, 1, 2))
    block_size = 16 if "sharded" in active else 4
    engine = _engine(pick, active, block_size)
    hardware: Hardware
    if "sharded" in active:
        hardware, utilization = _sharded(pick, block_size)
        engine["gpu_memory_utilization"] = utilization
    else:
        has_room = "sessions" in active and "answers in a small cache" not in active
        hardware = _constants(pick, block_size * (400 if has_room else pick((10, 12, 12, 15, 15, 20, 30, 60))))
    pool: dict[str, Any] = {
        "serves": ("m",),
        "replicas": replicas,
        "hardware": hardware,
        "engine": EngineLimits(**engine),
        "router": _router(pick, active),
    }
    if "limits" in active:
        pool["queue_limit"] = pick((None, 0, 1, 2, 5))
        pool["max_queue_wait_s"] = pick((None, 0.0005 if "ties" in active else 0.00051, 0.003, 0.0101))
        pool["min_free_kv_share"] = pick((0.0, 0.2137, 0.6137))
    if "autoscale" in active:
        pool["autoscale"] = Autoscale(
            min_replicas=pick(range(1, replicas + 1)),
            target_outstanding=pick((0.7, 1.3, 2.3)),
            interval_s=pick((0.0005, 0.003, 0.02)) if "autoscaling while starting" in active else 0.02,
            startup_s=pick((0.0015, 0.01)),
        )
    return PoolSpec(**(pool | more))


def _router(pick: Pick, active: set[str]) -> Router:
    routers = list(Router) if "routers" in active else [Router.LEAST_OUTSTANDING, Router.ROUND_ROBIN]
    if active & {"limits", "faults", "autoscale"} and "round-robin with gaps" not in active:
        routers.remove(Router.ROUND_ROBIN)
    return Router(pick(routers))


def _engine(pick: Pick, active: set[str], block_size: int) -> dict[str, Any]:
    allocation = pick((Allocation.UNBOUNDED, Allocation.CONTIGUOUS)) if active & {"allocation", "static"} else Allocation.PAGED
    tokens = block_size // 4
    max_running, max_batched_tokens = pick((1, 2, 4, 8, 8)), tokens * pick((8, 9, 16, 20, 64))
    if pick((False, False, False, True)):
        max_running, max_batched_tokens = pick((max_running, None)), None
    return {
        "batching": Batching.STATIC if "static" in active else Batching.CONTINUOUS,
        "max_running": max_running,
        "max_batched_tokens": max_batched_tokens,
        "max_context_tokens": tokens * pick((20, 40)) if allocation is Allocation.CONTIGUOUS else None,
        "block_size_tokens": block_size,
        "prefix_caching": allocation is Allocation.PAGED and pick((True, True, True, False)),
        "allocation": allocation,
        "restart_s": pick((0.002, 0.0051)),
        "step_noise_cv": pick((0.1, 0.5)) if "noise" in active else 0.0,
    }


def _constants(pick: Pick, kv_tokens: int) -> PlainConstants:
    """Steps of exactly a millisecond, or irregular ones."""
    if pick((True, False)):
        return PlainConstants(step_s=0.001, kv_tokens=kv_tokens)
    return PlainConstants(
        step_s=pick((0.001, 0.00073)),
        per_decode_s=pick((0.0, 0.0001, 0.0000313)),
        per_prefill_token_s=pick((0.0, 0.0001, 0.0000127)),
        per_kv_token_s=pick((0.0, 0.00001, 0.00000317)),
        kv_tokens=kv_tokens,
    )


def _sharded(pick: Pick, block_size: int) -> tuple[ShardedModel, float]:
    """A real model with a handful of KV blocks, or with nearly all memory given to them and little left for activations."""
    tensor_parallel = pick((1, 2))
    hardware = ShardedModel(
        model=pick(("qwen2.5-7b-instruct", "qwen2.5-vl-7b-instruct")),
        quantisation=Quantisation.INT4,
        gpu="T4",
        tensor_parallel=tensor_parallel,
        link="pcie3" if tensor_parallel > 1 else None,
        gpus_per_node=pick((2, 3)),
        overhead_bytes=0.62 * 2**30,
        speculation=pick((None, None, Speculation(draft_tokens=3, acceptance_share=0.7))),
    )
    part = shard(hardware)
    if pick((True, True, False)):
        blocks = pick((10, 12, 20, 40)) + 0.5
        fixed = part.weights_bytes + hardware.overhead_bytes
        return hardware, (fixed + blocks * block_size * part.kv_bytes_per_token) / part.gpu.memory_bytes
    return hardware, pick((1.0, 0.9998))


# What stands before them


def _tiers(pick: Pick, active: set[str]) -> Tiers:
    share = pick((0.3, 0.5, 0.9))
    return Tiers(
        shares={"small": share, "large": 1 - share},
        by_class=pick(({}, {"vip": "large"})),
        cascade="cascade" in active and pick((False, True)),
    )


def _regions(pick: Pick) -> dict[str, Region]:
    near, far = pick((0.0, 0.0005)), pick((0.001, 0.00413))
    return {
        "eu": Region(round_trip_s={"eu": near, "us": far}),
        "us": Region(round_trip_s={"eu": far, "us": near}),
        "asia": Region(round_trip_s={"eu": far, "us": pick((far, 0.002))}),
    }


def _pipeline(pick: Pick, active: set[str]) -> Pipeline:
    return Pipeline(
        threads=pick((1, 2, 8)),
        authenticate_s=pick((0.0, 0.0005)),
        tokenise_s=pick((0.0, 0.0005)),
        tokenise_per_token_s=pick((0.0, 0.0001)),
        filter_s=pick((0.0, 0.0005)),
        select_s=pick((0.0, 0.00025)),
        post_process_s=pick((0.0, 0.0005 if "ties" in active else 0.00051, 0.00123)),
        log_s=pick((0.0, 0.001)),
        refused_classes=pick(((), ("bad",))),
    )


# Faults


def _faults(pick: Pick, active: set[str], pools: dict[str, PoolSpec]) -> tuple[Fault, ...]:
    faults: list[Fault] = []
    if "faults" in active:
        faults += [_fault(pick, active, pools) for _ in range(pick((1, 2, 3)))]
    if "misconfigured" in active and "sharded" in active:
        name = pick(tuple(pools))
        utilization = pools[name].engine.gpu_memory_utilization
        if utilization > 0.9 or "misconfigured to another size" in active:
            other = min(1.0, utilization + pick((-0.0002, 0.0003)))  # some three blocks less, or five more
            faults.append(Misconfigured(pool=name, replica=pick(range(pools[name].replicas)), gpu_memory_utilization=other))
    return tuple(faults)


def _fault(pick: Pick, active: set[str], pools: dict[str, PoolSpec]) -> Fault:
    name = pick(tuple(pools))
    replica = pick(range(pools[name].replicas))
    at_s, for_s = pick((0.0, 0.001, 0.0035, 0.007, 0.0123)), pick((0.001, 0.0035, 0.02))
    kinds = ["dead", "slow gpu"]
    if pools[name].gpus_per_replica > 1:
        kinds.append("slow link")
    if "autoscale" not in active or "draining of an autoscaled pool" in active:
        kinds.append("drain")
    if "autoscale" not in active or "death of a replica that is off" in active:
        kinds.append("lost node")
    elif pools[name].autoscale is not None:
        replica = 0
    if "regions" in active and "lost node" in kinds:
        kinds.append("lost region")
    match pick(kinds):
        case "dead":
            return DeadReplica(pool=name, replica=replica, at_s=at_s, for_s=for_s)
        case "slow gpu":
            return SlowGpu(
                pool=name, replica=replica, gpu=pick(range(pools[name].gpus_per_replica)), speed=pick((0.5, 0.7)), at_s=at_s, for_s=for_s
            )
        case "slow link":
            return SlowLink(pool=name, replica=replica, speed=pick((0.5, 0.7)), at_s=at_s, for_s=for_s)
        case "drain":
            return Drain(pool=name, replica=replica, at_s=at_s, for_s=for_s)
        case "lost node":
            return LostNode(pool=name, node=pick((0, 1)), at_s=at_s, for_s=for_s)
        case _:
            return LostRegion(region=pick(REGIONS), at_s=at_s, for_s=for_s)
