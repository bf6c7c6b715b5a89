"""What an exporter beside a replica would see of it: its load, its memory, each GPU of its group."""

from __future__ import annotations

from dataclasses import dataclass

from loadlab.catalog.specs import find, gpus
from loadlab.simulator.fault_effects import FaultEffects
from loadlab.simulator.replica import Replica
from loadlab.simulator.spec import PlainConstants, PoolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaGauges:
    """One replica at a moment. Memory is of each GPU of the group; None where the replica is told in plain constants."""

    name: str
    pool: str
    model: str  # the first that its pool serves; "" behind another pool
    gpu: str | None
    is_up: bool
    running: int
    waiting: int
    kv_usage: float  # share of KV memory in use
    kv_tokens: int  # held by sequences
    kv_capacity_tokens: int | None
    block_size_tokens: int
    preemptions: int
    ooms: int
    busy_s: float  # in which any work ran, since the start
    gpu_speeds: tuple[float, ...]  # by GPU of the group: below 1 under a fault
    memory_bytes: float | None
    memory_used_bytes: float | None


def read_gauges(replica: Replica, pool: str, spec: PoolSpec, effects: FaultEffects, at_ps: int) -> ReplicaGauges:
    """The gauges of one replica. A paged pool of KV is memory in use whether blocks are or not, as an exporter sees it."""
    capacity, batcher, hardware = replica.capacity, replica.batcher, spec.hardware
    memory = used = gpu = None
    if not isinstance(hardware, PlainConstants):
        gpu = hardware.gpu
        memory = find(gpus(), gpu, what="gpu").memory_bytes
        unreserved = batcher.kv_tokens * capacity.kv_bytes_per_token if capacity.num_blocks is None else 0.0
        used = memory - capacity.memory_left_bytes + unreserved if replica.service.is_up else 0.0
    return ReplicaGauges(
        name=replica.name,
        pool=pool,
        model=spec.serves[0] if spec.serves else "",
        gpu=gpu,
        is_up=replica.service.is_up,
        running=len(batcher.running),
        waiting=batcher.num_waiting,
        kv_usage=replica.kv_usage,
        kv_tokens=batcher.kv_tokens,
        kv_capacity_tokens=None if capacity.num_blocks is None else capacity.num_blocks * capacity.block_size_tokens,
        block_size_tokens=capacity.block_size_tokens,
        preemptions=replica.preemptions,
        ooms=replica.ooms,
        busy_s=replica.busy_s(at_ps),
        gpu_speeds=effects.gpu_speeds(replica, spec.gpus_per_replica),
        memory_bytes=memory,
        memory_used_bytes=used,
    )
