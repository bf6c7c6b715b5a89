"""Where a model's bytes lie: weights, activations, KV and overhead on each GPU of a replica's group, and whether they fit.

A replica's GPUs are ordered stage by stage (pipeline), in a stage by data-parallel rank, in a rank by tensor-parallel rank; experts are
spread over all GPUs of a stage. GPUs fill nodes in that order, so each group's nodes, and the link of each collective, are known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from loadlab.catalog.specs import (
    BF16_BYTES,
    BYTES_PER_WEIGHT,
    KV_BYTES,
    GpuSpec,
    KernelSpec,
    LinkSpec,
    ModelSpec,
    find,
    gpus,
    kernels,
    links,
    models,
)
from loadlab.errors import InputError
from loadlab.simulator.collectives import Group
from loadlab.simulator.spec import Allocation, EngineLimits, PlainConstants, PoolSpec, ShardedModel
from loadlab.units import GIB, PS_PER_S, format_bytes

# What a process holds before any tensor: CUDA context, NCCL buffers, allocator slack (0.5 to 0.7 GiB on Turing to Hopper).
CONTEXT_BYTES = 0.6 * GIB
MIN_KV_TOKENS = 16  # less than one block cannot hold a sequence
DEGREES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The fullest GPU's part of a replica, in bytes, and the groups that it talks to."""

    hardware: ShardedModel
    gpu: GpuSpec
    kernels: KernelSpec
    model: ModelSpec
    weights_bytes: float
    kv_bytes_per_token: float  # of a token of a sequence that it holds; a data-parallel rank holds its own sequences
    sequence_bytes: float  # of a sequence whatever its length: windows and recurrent states
    activation_bytes_per_token: float
    tensor_group: Group
    stage_group: Group  # tensor and data parallel: what experts are spread over
    hop_links: tuple[LinkSpec, ...]  # between pipeline stages

    @property
    def expert_width(self) -> float:
        """Of one expert on one GPU."""
        assert self.model.experts is not None
        return self.model.experts.intermediate * self.hardware.expert_parallel / self.hardware.gpus_per_stage

    @property
    def local_kv_heads(self) -> float:
        """KV heads on one GPU: copied where there are fewer than tensor-parallel ranks."""
        return max(1.0, self.model.kv_heads / self.hardware.tensor_parallel)


@dataclass(frozen=True, slots=True, kw_only=True)
class KvCapacity:
    """What a replica offers its sequences."""

    num_blocks: int | None  # None: no budget, memory is the limit
    block_size_tokens: int
    context_tokens: int  # prompt and answer of one sequence
    memory_left_bytes: float  # for activations and (unbounded) KV, on each GPU, before out-of-memory
    kv_bytes_per_token: float
    activation_bytes_per_token: float

    def is_out_of_memory(self, step_tokens: int, kv_tokens: int) -> bool:
        """Whether a step of `step_tokens` with `kv_tokens` held exceeds memory; a paged pool's KV is reserved already."""
        kv_bytes = kv_tokens * self.kv_bytes_per_token if self.num_blocks is None else 0.0
        return step_tokens * self.activation_bytes_per_token + kv_bytes > self.memory_left_bytes

    def holds_tokens(self, allocation: Allocation) -> int:
        """KV tokens of the largest sequence that an empty replica can run."""
        if self.num_blocks is None:
            return 2**60
        tokens = self.num_blocks * self.block_size_tokens
        return 0 if allocation is Allocation.CONTIGUOUS and self.context_tokens > tokens else tokens

    def safe_step_tokens(self) -> int:
        """Step tokens up to which memory cannot run out, whatever the KV."""
        if self.num_blocks is None:
            return 0
        return int(self.memory_left_bytes // self.activation_bytes_per_token) if self.activation_bytes_per_token else 2**60

    def kv_tokens_before_oom(self, step_tokens: int) -> int:
        """The most KV tokens that an unbounded replica can hold while a step processes `step_tokens`."""
        return int((self.memory_left_bytes - step_tokens * self.activation_bytes_per_token) // self.kv_bytes_per_token)


def shard(hardware: ShardedModel) -> Shard:
    """The part of each GPU. Raises InputError if a catalogue name is unknown or the model cannot be split so."""
    model = find(models(), hardware.model, what="model")
    gpu = find(gpus(), hardware.gpu, what="gpu")
    gpu = gpu if hardware.tuning is None else hardware.tuning.of(gpu)
    link = None if hardware.link is None else find(links(), hardware.link, what="link")
    node_link = None if hardware.node_link is None else find(links(), hardware.node_link, what="link")
    _check_split(hardware, model, gpu)
    per_node, tp, stage = hardware.gpus_per_node, hardware.tensor_parallel, hardware.gpus_per_stage
    tensor_group = _group(tp, per_node, link, node_link, "tensor_parallel", tp)
    stage_group = _group(stage, per_node, link, node_link, "data_parallel", hardware.data_parallel)
    hops = range(1, hardware.pipeline_parallel)
    crossing = [i * stage // per_node != (i * stage - 1) // per_node for i in hops]
    return Shard(
        hardware=hardware,
        gpu=gpu,
        kernels=find(kernels(), gpu.kernels, what="kernels"),
        model=model,
        weights_bytes=_weights_bytes(hardware, model),
        kv_bytes_per_token=_kv_bytes_per_token(hardware, model),
        sequence_bytes=_sequence_bytes(hardware, model),
        activation_bytes_per_token=_activation_bytes_per_token(hardware, model),
        tensor_group=tensor_group,
        stage_group=stage_group,
        hop_links=tuple(found for is_crossing in crossing if (found := node_link if is_crossing else link) is not None),
    )


def _group(size: int, per_node: int, link: LinkSpec | None, node_link: LinkSpec | None, key: str, degree: int) -> Group:
    nodes = math.ceil(size / per_node)
    if size % nodes:
        raise InputError(f"{key} = {degree} makes groups of {size} GPUs, which do not spread evenly over nodes of {per_node}")
    for needed, known in ((size // nodes, link), (nodes, node_link)):
        if needed > 1 and known is not None and needed > max(known.group_sizes):
            raise InputError(f"{key} = {degree} must be at most {max(known.group_sizes)}, the largest group that its link is known for")
    return Group(gpus=size, nodes=nodes, link=link, node_link=node_link)


def _check_split(hardware: ShardedModel, model: ModelSpec, gpu: GpuSpec) -> None:
    """Raises InputError where this GPU cannot compute with these weights, or this group cannot hold this model evenly."""
    formats = (*gpu.formats, *gpu.weight_only_formats)
    if hardware.quantisation not in formats:
        raise InputError(f"quantisation = {hardware.quantisation} has no kernels on {hardware.gpu}; it has: {', '.join(formats)}")
    tp = hardware.tensor_parallel
    if not model.splits_over(tp):
        allowed = ", ".join(str(n) for n in DEGREES if model.splits_over(n) and (n <= 8 or n <= tp))
        heads = f"{model.heads} heads and {model.kv_heads} KV heads"
        raise InputError(f"tensor_parallel = {tp} cannot split {heads} evenly; allowed: {allowed}")
    if hardware.pipeline_parallel > model.layers:
        raise InputError(f"pipeline_parallel = {hardware.pipeline_parallel} must be at most the model's {model.layers} layers")
    ep = hardware.expert_parallel
    if ep > 1 and model.experts is None:
        raise InputError(f"expert_parallel = {ep} needs a mixture of experts, and {hardware.model} is dense; leave it out")
    if model.experts is not None and model.experts.experts % ep:
        raise InputError(f"expert_parallel = {ep} must divide the model's {model.experts.experts} experts")


def _weights_bytes(hardware: ShardedModel, model: ModelSpec) -> float:
    """Bytes on the fullest GPU: its stage's layers, an embedding (both, if there is one stage), and the vision encoder whole."""
    tp, pp = hardware.tensor_parallel, hardware.pipeline_parallel
    layers = model.dense_parameters / tp + model.expert_parameters / hardware.gpus_per_stage
    stage = layers * math.ceil(model.layers / pp) / model.layers
    embeddings = model.vocabulary * model.hidden if pp > 1 else model.embedding_parameters
    vision = 0.0 if model.vision is None else model.vision.parameters
    return stage * BYTES_PER_WEIGHT[hardware.quantisation] + (embeddings / tp + vision) * BF16_BYTES


def _kv_bytes_per_token(hardware: ShardedModel, model: ModelSpec) -> float:
    """KV of one token in the whole-context layers of a stage. Latent attention keeps its one vector on every tensor-parallel rank."""
    tp = hardware.tensor_parallel
    values = float(model.kv_values_per_token)
    if model.latent is None:
        values = values / model.kv_heads * max(1, model.kv_heads // tp)
    return math.ceil(model.full_layers / hardware.pipeline_parallel) * values * KV_BYTES[hardware.kv_format]


def _sequence_bytes(hardware: ShardedModel, model: ModelSpec) -> float:
    """What a sequence holds beside its whole-context KV: the windows of window layers, the states of recurrent ones."""
    total = 0.0
    if model.window is not None:
        heads = max(1.0, model.kv_heads / hardware.tensor_parallel)
        total += model.window.layers * model.window.tokens * 2 * heads * model.head_dim * KV_BYTES[hardware.kv_format]
    if model.recurrent is not None:
        total += model.recurrent.layers * model.recurrent.state_bytes / hardware.tensor_parallel
    return total / hardware.pipeline_parallel


def _activation_bytes_per_token(hardware: ShardedModel, model: ModelSpec) -> float:
    """Live tensors at the feed-forward, the widest point, 16-bit: residual and input, gate and up, their product. Of a step's token.

    Experts hold the inputs and outputs of the tokens routed to a GPU, on average top_k tokens for each, spread over the stage. Activation
    (sequence) sharding splits residual and input over the tensor-parallel ranks; a data-parallel rank has its own tokens only.
    """
    tp = hardware.tensor_parallel
    rank_share = 1 / hardware.data_parallel
    residual = 2 * model.hidden / (tp if hardware.sequence_parallel else 1) * rank_share
    dense = 3 * model.intermediate / tp * rank_share if model.feed_forward_layers else 0.0
    routed = 0.0
    if model.experts is not None:
        stage = hardware.gpus_per_stage
        routed = model.experts.top_k * (model.hidden * hardware.expert_parallel + 3 * model.experts.intermediate) / stage
        if hardware.data_parallel == 1:  # every rank keeps the inputs of all tokens
            routed = model.experts.top_k * (model.hidden / hardware.expert_parallel + 3 * model.experts.intermediate / stage)
    return BF16_BYTES * (residual + max(dense, routed))


def kv_capacity(pool: PoolSpec, source: str, key: str) -> KvCapacity:
    """KV blocks, context window and memory of one replica of `pool`.

    Raises InputError if the model does not fit its GPUs, saying by how many GiB on which GPU and what would fit.
    """
    hardware, engine = pool.hardware, pool.engine
    has_pool = engine.allocation is not Allocation.UNBOUNDED
    if isinstance(hardware, PlainConstants):
        return KvCapacity(
            num_blocks=(engine.kv_blocks or max(1, hardware.kv_tokens // engine.block_size_tokens)) if has_pool else None,
            block_size_tokens=engine.block_size_tokens,
            context_tokens=engine.max_context_tokens or hardware.context_tokens,
            memory_left_bytes=float(hardware.kv_tokens),  # in these units a KV token is one byte and an activation none
            kv_bytes_per_token=1.0,
            activation_bytes_per_token=0.0,
        )
    try:
        part = shard(hardware)
    except InputError as error:
        raise InputError(error.problem, source=source, key=f"{key}.hardware") from None
    for_kv = _for_kv_bytes(part, engine)
    ranks = hardware.data_parallel
    num_blocks = int(for_kv // (part.kv_bytes_per_token * engine.block_size_tokens)) * ranks
    if num_blocks * engine.block_size_tokens < MIN_KV_TOKENS * ranks:
        raise InputError(_does_not_fit(part, engine), source=source, key=f"{key}.hardware")
    reserved = num_blocks // ranks * engine.block_size_tokens * part.kv_bytes_per_token if has_pool else 0.0
    return KvCapacity(
        num_blocks=(engine.kv_blocks or num_blocks) if has_pool else None,
        block_size_tokens=engine.block_size_tokens,
        context_tokens=_context_tokens(part.model, engine, source, key),
        memory_left_bytes=part.gpu.memory_bytes - part.weights_bytes - CONTEXT_BYTES - reserved,
        kv_bytes_per_token=part.kv_bytes_per_token / ranks,
        activation_bytes_per_token=part.activation_bytes_per_token,
    )


def _for_kv_bytes(part: Shard, engine: EngineLimits) -> float:
    """What a GPU offers KV blocks: utilisation * memory - weights - overhead - what `max_running` sequences hold beside blocks."""
    offered = part.gpu.memory_bytes * engine.gpu_memory_utilization
    beside = part.sequence_bytes * (engine.max_running or 0) / part.hardware.data_parallel
    return offered - part.weights_bytes - part.hardware.overhead_bytes - beside


def missing_bytes(part: Shard, engine: EngineLimits) -> float:
    """What each GPU lacks to hold its part of the model and one KV block; 0 or less where it fits."""
    return MIN_KV_TOKENS * part.kv_bytes_per_token - _for_kv_bytes(part, engine)


def _context_tokens(model: ModelSpec, engine: EngineLimits, source: str, key: str) -> int:
    asked = engine.max_context_tokens
    if asked is not None and asked > model.context_tokens:
        raise InputError(
            f"= {asked} must be at most the model's own window ({model.context_tokens})",
            source=source,
            key=f"{key}.engine.max_context_tokens",
        )
    return asked or model.context_tokens


def _does_not_fit(part: Shard, engine: EngineLimits) -> str:
    hardware, missing = part.hardware, missing_bytes(part, engine)
    offered = part.gpu.memory_bytes * engine.gpu_memory_utilization
    beside = part.sequence_bytes * (engine.max_running or 0) / hardware.data_parallel
    states = f", states of {engine.max_running} sequences {format_bytes(beside)}" if beside else ""
    return (
        f"does not fit: {hardware.model} in {hardware.quantisation} needs {format_bytes(offered + missing)} on each {hardware.gpu} "
        f"(weights {format_bytes(part.weights_bytes)}, overhead {format_bytes(hardware.overhead_bytes)}{states}, one KV block), "
        f"of which {format_bytes(offered)} are offered: {missing / GIB:.2f} GiB short. {_what_would_fit(part, engine)}"
    )


def _what_would_fit(part: Shard, engine: EngineLimits) -> str:
    """The smallest tensor-parallel degree, then number of stages, of the same GPU that holds it at 90 % of memory, in words."""
    hardware, model = part.hardware, part.model
    roomy = replace(engine, gpu_memory_utilization=max(0.9, engine.gpu_memory_utilization))
    known = max(part.tensor_group.link.group_sizes) if part.tensor_group.link else 8
    degrees = [n for n in DEGREES if n <= min(known, hardware.gpus_per_node) or n <= 8]
    for pp in (1, 2, 4, 8):
        for tp in degrees:
            if not model.splits_over(tp) or pp > model.layers:
                continue
            tried = replace(
                hardware, tensor_parallel=tp, pipeline_parallel=pp, data_parallel=1, expert_parallel=1, link="any", node_link="any"
            )
            candidate = replace(
                part,
                hardware=tried,
                weights_bytes=_weights_bytes(tried, model),
                sequence_bytes=_sequence_bytes(tried, model),
                kv_bytes_per_token=_kv_bytes_per_token(tried, model),
            )
            if _for_kv_bytes(candidate, roomy) > MIN_KV_TOKENS * candidate.kv_bytes_per_token:
                stages = f" with pipeline_parallel = {pp}" if pp > 1 else ""
                at = f"gpu_memory_utilization = {roomy.gpu_memory_utilization:g}"
                return f"tensor_parallel = {tp}{stages} would hold it at {at}; so may a smaller quantisation"
    return "No group of up to 64 of these GPUs would hold it: take a larger GPU or a smaller quantisation"


def kv_transfer_ps(pool: PoolSpec, prompt_tokens: int) -> int:
    """Picoseconds for the KV of a prompt to come over `pool.transfer_link`: its latency, and each GPU's part over a link of its own."""
    assert pool.transfer_link is not None
    link = find(links(), pool.transfer_link, what="link")
    kv_bytes = 0.0 if isinstance(pool.hardware, PlainConstants) else shard(pool.hardware).kv_bytes_per_token
    return round(link.point_s(prompt_tokens * kv_bytes) * PS_PER_S)
