"""What a cluster is made of, as read from a cluster file: pools of equal replicas behind one orchestrator.

The rules that these keys set stand in docs/simulator-model.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, ClassVar

from loadlab.catalog.specs import KvFormat, Quantisation
from loadlab.schema import NonNegative, Positive, PositiveShare, Share
from loadlab.simulator.calibrated import Calibration, Tuning
from loadlab.simulator.faults import Fault, check_faults

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Allocation(StrEnum):
    """How a replica gives KV memory to sequences."""

    PAGED = "paged"  # fixed pool of blocks, taken as tokens come: running out means preemption
    CONTIGUOUS = "contiguous"  # the whole context window reserved at admission: running out means waiting
    UNBOUNDED = "unbounded"  # no budget: running out means out-of-memory


class Batching(StrEnum):
    """Who may join a batch, and when."""

    CONTINUOUS = "continuous"  # at every step boundary
    STATIC = "static"  # only into an empty replica; places are kept until the last one ends


class Router(StrEnum):
    """Which replica of a pool gets a request. Ties go to the lowest number."""

    ROUND_ROBIN = "round-robin"
    RANDOM = "random"
    LEAST_OUTSTANDING = "least-outstanding"
    POWER_OF_TWO = "power-of-two"
    KV_AWARE = "kv-aware"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """Speculative decoding: `draft_tokens` guessed a step, each accepted with probability `acceptance_share`."""

    draft_tokens: Annotated[int, Positive]
    acceptance_share: Annotated[float, Share]
    draft_share: Annotated[float, NonNegative] = 0.1  # time of the draft model, as a share of the step

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens a sequence gains in a step: (1 - a^(k+1)) / (1 - a) (Leviathan et al. 2023, eq. 1)."""
        a, k = self.acceptance_share, self.draft_tokens
        return float(k + 1) if a == 1 else (1 - a ** (k + 1)) / (1 - a)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardedModel:
    """A catalogue model on catalogue GPUs, split over a group of them; step times come from the roofline formulas.

    A replica has tensor * data * pipeline parallel GPUs. Data-parallel ranks each have all attention weights and KV of their own, and
    share the experts: the parallelism that serves large mixtures of experts, unlike more replicas, which share nothing.
    """

    kind: ClassVar[str] = "sharded"
    model: str
    quantisation: Quantisation
    gpu: str
    kv_format: KvFormat = KvFormat.BF16
    tensor_parallel: Annotated[int, Positive] = 1
    pipeline_parallel: Annotated[int, Positive] = 1  # stages, each with a part of the layers
    data_parallel: Annotated[int, Positive] = 1  # ranks in a stage
    expert_parallel: Annotated[int, Positive] = 1  # parts that whole experts are dealt out to; each part's GPUs split its experts
    sequence_parallel: bool = False  # activations between tensor-parallel layers split by token
    link: str | None = None  # between GPUs of a node
    gpus_per_node: Annotated[int, Positive] = 8
    node_link: str | None = None  # between nodes; needed where a group spans them
    host_s: Annotated[float, NonNegative] = 0.001  # scheduler and sampler, per step; 1 ms when nothing is known
    host_per_sequence_s: Annotated[float, NonNegative] = 20e-6  # the same, for each running sequence: 20 to 50 us in published runs
    step_scale: Annotated[float, Positive] = 1.0  # multiplies every step: 1 as the formulas say
    overhead_bytes: Annotated[float, NonNegative] = 1.1 * 2**30  # context, graphs, buffers: mean of nine real vLLM allocations
    speculation: Speculation | None = None
    tuning: Tuning | None = None  # what measured runs say of it, beside the catalogue

    def __post_init__(self) -> None:
        if self.gpus > 1 and self.gpus_per_node > 1 and self.link is None:
            degrees = f"tensor_parallel = {self.tensor_parallel}" if self.tensor_parallel == self.gpus else f"a group of {self.gpus} GPUs"
            raise ValueError(f"link is missing: {degrees} needs one (pcie3, pcie4, nvlink4)")
        if self.gpus > self.gpus_per_node and self.node_link is None:
            raise ValueError(f"node_link is missing: a group of {self.gpus} spans nodes of {self.gpus_per_node} GPUs")
        if self.gpus_per_stage % self.expert_parallel:
            raise ValueError(
                f"expert_parallel = {self.expert_parallel} must divide tensor_parallel * data_parallel ({self.gpus_per_stage})"
            )
        if self.sequence_parallel and self.tensor_parallel == 1:
            raise ValueError("sequence_parallel = true must go with tensor_parallel > 1: there is nobody to split activations with")

    @property
    def gpus_per_stage(self) -> int:
        """GPUs that hold a layer together."""
        return self.tensor_parallel * self.data_parallel

    @property
    def gpus(self) -> int:
        """GPUs of one replica."""
        return self.gpus_per_stage * self.pipeline_parallel


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

    batching: Batching = Batching.CONTINUOUS
    max_running: Annotated[int, Positive] | None = 256  # sequences in a batch
    max_batched_tokens: Annotated[int, Positive] | None = 2048  # a step's budget, decode and prefill together
    max_context_tokens: Annotated[int, Positive] | None = None  # prompt and answer; None: the model's own
    block_size_tokens: Annotated[int, Positive] = 16
    kv_blocks: Annotated[int, Positive] | None = None  # of a replica, as its log says; None: what memory leaves
    gpu_memory_utilization: Annotated[float, PositiveShare] = 0.9
    prefix_caching: bool = True
    allocation: Allocation = Allocation.PAGED
    restart_s: Annotated[float, Positive] = 60.0  # from out-of-memory until it serves again
    step_noise_cv: Annotated[float, NonNegative] = 0.0

    def __post_init__(self) -> None:
        if self.max_batched_tokens is not None and (self.max_running is None or self.max_running > self.max_batched_tokens):
            raise ValueError(
                f"max_batched_tokens = {self.max_batched_tokens} must be >= max_running ({self.max_running or 'no limit'}): "
                "every running sequence decodes one token a step"
            )
        if self.batching is Batching.STATIC and self.allocation is Allocation.PAGED:
            raise ValueError(
                'batching = "static" must go with allocation = "contiguous" or "unbounded": places are kept, so nobody gives way'
            )
        if self.prefix_caching and self.allocation is not Allocation.PAGED:
            raise ValueError(f'prefix_caching = true must go with allocation = "paged", not "{self.allocation}"; set it to false')


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscale:
    """Grow and shrink between `min_replicas` and the pool's `replicas`."""

    min_replicas: Annotated[int, Positive]
    target_outstanding: Annotated[float, Positive]  # waiting plus running, per replica
    interval_s: Annotated[float, Positive] = 10.0
    startup_s: Annotated[float, Positive] = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """Equal replicas that serve the same model names."""

    serves: tuple[str, ...]
    tier: str | None = None
    region: str | None = None
    replicas: Annotated[int, Positive] = 1
    hardware: Hardware
    engine: EngineLimits = field(default_factory=EngineLimits)
    router: Router = Router.LEAST_OUTSTANDING
    queue_limit: Annotated[int, NonNegative] | None = None  # requests waiting at a replica; one more is refused (503)
    max_queue_wait_s: Annotated[float, Positive] | None = None  # waiting longer than this is refused (503)
    min_free_kv_share: Annotated[float, Share] = 0.0  # a replica with less is passed over
    autoscale: Autoscale | None = None
    prefill_pool: str | None = None  # prompts are computed there
    transfer_link: str | None = None  # over which their KV comes

    @property
    def gpus_per_replica(self) -> int:
        """GPUs of one replica's group; a replica in plain constants counts as one."""
        return self.hardware.gpus if isinstance(self.hardware, ShardedModel) else 1

    def __post_init__(self) -> None:
        if self.autoscale is not None and self.autoscale.min_replicas > self.replicas:
            raise ValueError(f"autoscale.min_replicas = {self.autoscale.min_replicas} must be at most replicas ({self.replicas})")
        if (self.prefill_pool is None) != (self.transfer_link is None):
            raise ValueError("prefill_pool and transfer_link must be given together: KV has to come from there to here")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Which tier a request goes to that names none: by its traffic class, else drawn by `shares`, in this order."""

    shares: dict[str, Annotated[float, Share]]
    by_class: dict[str, str] = field(default_factory=dict)
    cascade: bool = False  # start at the first tier; `shares` says where an answer is found good enough

    def __post_init__(self) -> None:
        if not self.shares or abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError(f"shares must sum to 1, not {sum(self.shares.values()):g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Stages around generation, with their costs. Those before it share `threads` workers; the end waits for post-processing."""

    threads: Annotated[int, Positive] = 8
    authenticate_s: Annotated[float, NonNegative] = 0.0
    tokenise_s: Annotated[float, NonNegative] = 0.0
    tokenise_per_token_s: Annotated[float, NonNegative] = 0.0
    filter_s: Annotated[float, NonNegative] = 0.0
    select_s: Annotated[float, NonNegative] = 0.0
    post_process_s: Annotated[float, NonNegative] = 0.0
    log_s: Annotated[float, NonNegative] = 0.0  # beside the request's way: it delays nobody, and is reported
    refused_classes: tuple[str, ...] = ()  # traffic classes that the filter turns away


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A place: round trips from clients here to each region that serves them, this one included."""

    round_trip_s: dict[str, Annotated[float, NonNegative]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """A whole simulated backend."""

    name: str
    description: str = ""
    pools: dict[str, PoolSpec]
    tiers: Tiers | None = None
    regions: dict[str, Region] = field(default_factory=dict)
    pipeline: Pipeline | None = None
    faults: tuple[Fault, ...] = ()
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        if not self.pools:
            raise ValueError("pools is empty: a cluster needs at least one [pools.NAME]")
        for name in self.pools:
            if not _NAME.fullmatch(name):
                raise ValueError(
                    f"pools.{name!r} must be 1 to 40 letters, digits, dashes or underscores: it names rows and lines of figures"
                )
        self._check_prefill_pools()
        self._check_doors()
        for tier in self.tiers.shares if self.tiers else ():
            if all(pool.tier != tier for pool in self.pools.values()):
                raise ValueError(f"tiers.shares.{tier} names a tier that no pool has")
        for name, pool in self.pools.items():
            if pool.region is not None and pool.region not in self.regions:
                raise ValueError(f"pools.{name}.region = {pool.region!r} is not one of [regions] ({', '.join(self.regions) or 'none'})")
        for name, region in self.regions.items():
            for other in region.round_trip_s:
                if other not in self.regions:
                    raise ValueError(f"regions.{name}.round_trip_s.{other} is not one of [regions] ({', '.join(self.regions)})")
        check_faults(self.faults, self.sizes, tuple(self.regions))

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """(replicas, GPUs of each) by pool."""
        return {name: (pool.replicas, pool.gpus_per_replica) for name, pool in self.pools.items()}

    def _check_doors(self) -> None:
        """Each (model, tier, region) leads to one pool; a pool behind another serves nobody itself."""
        behind = {pool.prefill_pool for pool in self.pools.values()}
        seen: dict[tuple[str, str | None, str | None], str] = {}
        for name, pool in self.pools.items():
            if not pool.serves and name not in behind:
                raise ValueError(f"pools.{name}.serves = [] must name at least one model")
            for model in pool.serves:
                door = (model, pool.tier, pool.region)
                if door in seen:
                    raise ValueError(f"pools.{name}.serves = {model!r} is served by pools.{seen[door]} already, in this tier and region")
                seen[door] = name

    def _check_prefill_pools(self) -> None:
        for name, pool in self.pools.items():
            if pool.prefill_pool is None:
                continue
            if pool.prefill_pool not in self.pools or pool.prefill_pool == name:
                raise ValueError(f"pools.{name}.prefill_pool = {pool.prefill_pool!r} must be another pool")
            if self.pools[pool.prefill_pool].serves:
                raise ValueError(f"pools.{pool.prefill_pool}.serves must be empty: it computes prompts for pools.{name}")
