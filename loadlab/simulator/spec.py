"""What a cluster is made of, as read from a cluster file: pools of equal replicas behind one orchestrator."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar

from loadlab.catalog.specs import Quantisation
from loadlab.schema import NonNegative, Positive, PositiveShare


class Allocation(StrEnum):
    """How a replica gives KV memory to sequences."""

    PAGED = "paged"  # fixed pool of blocks, reserved at start: running out means preemption
    UNBOUNDED = "unbounded"  # no budget: KV grows as tokens come, running out means out-of-memory


class Router(StrEnum):
    """Which replica of a pool gets a request. Ties go to the lowest number."""

    ROUND_ROBIN = "round-robin"
    LEAST_OUTSTANDING = "least-outstanding"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedModel:
    """A catalogue model on catalogue GPUs, split by tensor parallelism; step times come from the roofline formulas."""

    kind: ClassVar[str] = "sharded"
    model: str
    quantisation: Quantisation
    gpu: str
    tensor_parallel: Annotated[int, Positive] = 1
    link: str | None = None
    host_s: Annotated[float, NonNegative] = 0.001  # scheduler and sampler, per step; 1 ms when nothing is known
    overhead_bytes: Annotated[float, NonNegative] = 1.1 * 2**30  # context, graphs, buffers: mean of nine real vLLM allocations

    def __post_init__(self) -> None:
        if self.tensor_parallel > 1 and self.link is None:
            raise ValueError(f"link is missing: tensor_parallel = {self.tensor_parallel} needs one (pcie3, pcie4, nvlink4)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainConstants:
    """A replica told in plain constants: a step takes base + per-token terms. For closed forms, and engines measured from outside."""

    kind: ClassVar[str] = "constants"
    step_s: Annotated[float, Positive]
    per_decode_s: Annotated[float, NonNegative] = 0.0
    per_prefill_token_s: Annotated[float, NonNegative] = 0.0
    per_kv_token_s: Annotated[float, NonNegative] = 0.0
    kv_tokens: Annotated[int, Positive]
    context_tokens: Annotated[int, Positive] = 2**20


Hardware = ShardedModel | PlainConstants


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLimits:
    """Knobs of the serving engine, in vLLM's meaning. None ("none" in a file): no limit."""

    max_running: Annotated[int, Positive] | None = 256  # sequences in a batch
    max_batched_tokens: Annotated[int, Positive] | None = 2048  # a step's budget, decode and prefill together
    max_context_tokens: Annotated[int, Positive] | None = None  # prompt and answer; None: the model's own
    block_size_tokens: Annotated[int, Positive] = 16
    gpu_memory_utilization: Annotated[float, PositiveShare] = 0.9
    prefix_caching: bool = True
    allocation: Allocation = Allocation.PAGED
    restart_s: Annotated[float, Positive] = 60.0  # from out-of-memory until it serves again

    def __post_init__(self) -> None:
        if self.max_batched_tokens is not None and (self.max_running is None or self.max_running > self.max_batched_tokens):
            raise ValueError(
                f"max_batched_tokens = {self.max_batched_tokens} must be >= max_running ({self.max_running or 'no limit'}): "
                "every running sequence decodes one token a step"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """Equal replicas that serve the same model names."""

    serves: tuple[str, ...]
    replicas: Annotated[int, Positive] = 1
    hardware: Hardware
    engine: EngineLimits = field(default_factory=EngineLimits)
    router: Router = Router.LEAST_OUTSTANDING
    queue_limit: Annotated[int, NonNegative] | None = None  # requests waiting at a replica; one more is refused (503)
    max_queue_wait_s: Annotated[float, Positive] | None = None  # waiting longer than this is refused (503)

    def __post_init__(self) -> None:
        if not self.serves:
            raise ValueError("serves = [] must name at least one model")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """A whole simulated backend."""

    name: str
    description: str = ""
    pools: dict[str, PoolSpec]

    def __post_init__(self) -> None:
        if not self.pools:
            raise ValueError("pools is empty: a cluster needs at least one [pools.NAME]")
        seen: dict[str, str] = {}
        for name, pool in self.pools.items():
            for model in pool.serves:
                if model in seen:
                    raise ValueError(f"pools.{name}.serves = {model!r} is served by pools.{seen[model]} already")
                seen[model] = name
