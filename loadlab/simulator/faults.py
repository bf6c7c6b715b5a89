"""Faults as data: what goes wrong, where, when, and for how long. The rules stand in docs/simulator-model.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from loadlab.schema import NonNegative, Positive, PositiveShare


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowGpu:
    """GPU `gpu` of one replica's group runs at `speed` of its own; the group waits for it."""

    kind: ClassVar[str] = "slow_gpu"
    pool: str
    replica: Annotated[int, NonNegative] = 0
    gpu: Annotated[int, NonNegative] = 0
    speed: Annotated[float, PositiveShare]
    at_s: Annotated[float, NonNegative]
    for_s: Annotated[float, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowLink:
    """The links of one replica's group run at `speed` of their own."""

    kind: ClassVar[str] = "slow_link"
    pool: str
    replica: Annotated[int, NonNegative] = 0
    speed: Annotated[float, PositiveShare]
    at_s: Annotated[float, NonNegative]
    for_s: Annotated[float, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadReplica:
    """One replica's process is gone; it is back, empty, when the fault ends."""

    kind: ClassVar[str] = "dead_replica"
    pool: str
    replica: Annotated[int, NonNegative] = 0
    at_s: Annotated[float, NonNegative]
    for_s: Annotated[float, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class LostNode:
    """Every replica with a GPU on node `node` of a pool is dead."""

    kind: ClassVar[str] = "lost_node"
    pool: str
    node: Annotated[int, NonNegative]
    at_s: Annotated[float, NonNegative]
    for_s: Annotated[float, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class LostRegion:
    """Every replica of every pool in a region is dead."""

    kind: ClassVar[str] = "lost_region"
    region: str
    at_s: Annotated[float, NonNegative]
    for_s: Annotated[float, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """One replica gets nothing new; what it has goes on."""

    kind: ClassVar[str] = "drain"
    pool: str
    replica: Annotated[int, NonNegative] = 0
    at_s: Annotated[float, NonNegative]
    for_s: Annotated[float, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misconfigured:
    """One replica was started with another `gpu_memory_utilization`, for the whole run."""

    kind: ClassVar[str] = "misconfigured"
    pool: str
    replica: Annotated[int, NonNegative] = 0
    gpu_memory_utilization: Annotated[float, PositiveShare]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfMemory:
    """One replica runs out of memory, for whatever reason: its requests fail, and it is back after the engine's `restart_s`."""

    kind: ClassVar[str] = "out_of_memory"
    pool: str
    replica: Annotated[int, NonNegative] = 0
    at_s: Annotated[float, NonNegative]


Fault = SlowGpu | SlowLink | DeadReplica | LostNode | LostRegion | Drain | Misconfigured | OutOfMemory


def check_faults(faults: Iterable[Fault], sizes: Mapping[str, tuple[int, int]], regions: tuple[str, ...]) -> None:
    """Raises ValueError unless every fault names a pool, replica, GPU, links and region that exist.

    `sizes`: (replicas, GPUs of each) by pool.
    """
    for i, fault in enumerate(faults):
        if isinstance(fault, LostRegion):
            if fault.region not in regions:
                raise ValueError(f"faults[{i}].region = {fault.region!r} is not one of [regions] ({', '.join(regions) or 'none'})")
            continue
        if fault.pool not in sizes:
            raise ValueError(f"faults[{i}].pool = {fault.pool!r} is not one of [pools] ({', '.join(sizes)})")
        replicas, gpus = sizes[fault.pool]
        if not isinstance(fault, LostNode) and fault.replica >= replicas:
            raise ValueError(f"faults[{i}].replica = {fault.replica} must be below {replicas}, the replicas of {fault.pool}")
        if isinstance(fault, SlowGpu) and fault.gpu >= gpus:
            raise ValueError(f"faults[{i}].gpu = {fault.gpu} must be below {gpus}, the GPUs of a replica of {fault.pool}")
        if isinstance(fault, SlowLink) and gpus == 1:
            raise ValueError(
                f"faults[{i}].kind = 'slow_link' needs links to slow down: a replica of {fault.pool} is one GPU, or plain constants; "
                "use slow_gpu, or a sharded pool of more than one GPU"
            )
