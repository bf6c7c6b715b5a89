"""Where a model's bytes lie: weights, activations, KV and overhead on each GPU of a tensor-parallel group, and whether they fit."""

from __future__ import annotations

from dataclasses import dataclass

from loadlab.catalog.specs import BF16_BYTES, BYTES_PER_WEIGHT, GpuSpec, LinkSpec, ModelSpec, find, gpus, links, models
from loadlab.errors import InputError
from loadlab.simulator.spec import Allocation, EngineLimits, PlainConstants, PoolSpec, ShardedModel
from loadlab.units import GIB, PS_PER_S, format_bytes

# What a process holds before any tensor: CUDA context, NCCL buffers, allocator slack (0.5 to 0.7 GiB on Turing to Hopper).
CONTEXT_BYTES = 0.6 * GIB
MIN_KV_TOKENS = 16  # less than one block cannot hold a sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One GPU's part of a tensor-parallel model, in bytes."""

    gpu: GpuSpec
    model: ModelSpec
    link: LinkSpec | None
    tensor_parallel: int
    weights_bytes: float
    kv_bytes_per_token: float
    activation_bytes_per_token: float


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
    """The part of each GPU. Raises InputError if a catalogue name is unknown or the heads cannot be split evenly."""
    model = find(models(), hardware.model, what="model")
    gpu = find(gpus(), hardware.gpu, what="gpu")
    tp = hardware.tensor_parallel
    link_name = hardware.node_link if tp > hardware.gpus_per_node else hardware.link  # a group that spans nodes goes at their pace
    link = None if link_name is None else find(links(), link_name, what="link")
    _check_split(hardware, model, gpu, link)
    weights, vision = _weights_bytes(hardware, model)
    kv_heads = max(1, model.kv_heads // tp)
    return Shard(
        gpu=gpu,
        model=model,
        link=link,
        tensor_parallel=tp,
        weights_bytes=weights / tp + vision,
        kv_bytes_per_token=2.0 * model.layers * kv_heads * model.head_dim * BF16_BYTES,
        activation_bytes_per_token=_activation_bytes_per_token(model, tp),
    )


def _check_split(hardware: ShardedModel, model: ModelSpec, gpu: GpuSpec, link: LinkSpec | None) -> None:
    """Raises InputError where this GPU cannot compute with these weights, or this group cannot hold this model's heads evenly."""
    if hardware.quantisation not in gpu.formats:
        raise InputError(f"quantisation = {hardware.quantisation} has no kernels on {hardware.gpu}; it has: {', '.join(gpu.formats)}")
    tp, largest = hardware.tensor_parallel, 1 if link is None else max(link.group_sizes)
    if not _splits(model, tp):
        allowed = ", ".join(str(n) for n in (1, 2, 4, 8) if _splits(model, n))
        heads = f"{model.heads} heads and {model.kv_heads} KV heads"
        raise InputError(f"tensor_parallel = {tp} cannot split {heads} evenly; allowed: {allowed}")
    if tp > largest:
        raise InputError(f"tensor_parallel = {tp} must be at most {largest}, the largest group that its link is known for")


def _splits(model: ModelSpec, tp: int) -> bool:
    """Whole heads on each GPU; KV heads split evenly, or are copied evenly where there are fewer than GPUs."""
    return model.heads % tp == 0 and (model.kv_heads % tp == 0 or tp % model.kv_heads == 0)


def _weights_bytes(hardware: ShardedModel, model: ModelSpec) -> tuple[float, float]:
    """Bytes of the language model, which is split, and of the vision encoder, which each GPU has whole."""
    weights = model.layers * model.layer_parameters * BYTES_PER_WEIGHT[hardware.quantisation] + model.embedding_parameters * BF16_BYTES
    return weights, 0.0 if model.vision is None else model.vision.parameters * BF16_BYTES


def _activation_bytes_per_token(model: ModelSpec, tp: int) -> float:
    """Live tensors at the feed-forward, the widest point: residual and input, gate and up, their product. 16-bit."""
    return BF16_BYTES * (2 * model.hidden + 3 * model.intermediate / tp)


def kv_capacity(pool: PoolSpec, source: str, key: str) -> KvCapacity:
    """KV blocks, context window and memory of one replica of `pool`.

    Raises InputError if the model does not fit its GPUs, saying by how many GiB on which GPU and what would fit.
    """
    hardware, engine = pool.hardware, pool.engine
    if isinstance(hardware, PlainConstants):
        return KvCapacity(
            num_blocks=max(1, hardware.kv_tokens // engine.block_size_tokens) if engine.allocation is not Allocation.UNBOUNDED else None,
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
    offered = part.gpu.memory_bytes * engine.gpu_memory_utilization
    for_kv = offered - part.weights_bytes - hardware.overhead_bytes
    num_blocks = int(for_kv // (part.kv_bytes_per_token * engine.block_size_tokens))
    if num_blocks * engine.block_size_tokens < MIN_KV_TOKENS:
        raise InputError(_does_not_fit(hardware, part, offered, for_kv), source=source, key=f"{key}.hardware")
    has_pool = engine.allocation is not Allocation.UNBOUNDED
    reserved = num_blocks * engine.block_size_tokens * part.kv_bytes_per_token if has_pool else 0.0
    return KvCapacity(
        num_blocks=num_blocks if has_pool else None,
        block_size_tokens=engine.block_size_tokens,
        context_tokens=_context_tokens(part.model, engine, source, key),
        memory_left_bytes=part.gpu.memory_bytes - part.weights_bytes - CONTEXT_BYTES - reserved,
        kv_bytes_per_token=part.kv_bytes_per_token,
        activation_bytes_per_token=part.activation_bytes_per_token,
    )


def _context_tokens(model: ModelSpec, engine: EngineLimits, source: str, key: str) -> int:
    asked = engine.max_context_tokens
    if asked is not None and asked > model.context_tokens:
        raise InputError(
            f"= {asked} must be at most the model's own window ({model.context_tokens})",
            source=source,
            key=f"{key}.engine.max_context_tokens",
        )
    return asked or model.context_tokens


def _does_not_fit(hardware: ShardedModel, part: Shard, offered: float, for_kv: float) -> str:
    missing = MIN_KV_TOKENS * part.kv_bytes_per_token - for_kv
    return (
        f"does not fit: {hardware.model} in {hardware.quantisation} needs {format_bytes(offered + missing)} on each {hardware.gpu} "
        f"(weights {format_bytes(part.weights_bytes)}, overhead {format_bytes(hardware.overhead_bytes)}, one KV block), "
        f"of which {format_bytes(offered)} are offered: {missing / GIB:.2f} GiB short. {_what_would_fit(hardware)}"
    )


def _what_would_fit(hardware: ShardedModel) -> str:
    """The smallest tensor-parallel degree of the same GPU that holds weights and overhead at 90 % of memory, in words."""
    model, gpu = find(models(), hardware.model, what="model"), find(gpus(), hardware.gpu, what="gpu")
    weights, vision = _weights_bytes(hardware, model)
    for tp in (1, 2, 4, 8):
        if _splits(model, tp) and weights / tp + vision + hardware.overhead_bytes < 0.9 * gpu.memory_bytes:
            return f"tensor_parallel = {tp} would hold it at gpu_memory_utilization = 0.9; so may a smaller quantisation"
    return "No group of up to 8 of these GPUs would hold it: take a larger GPU or a smaller quantisation"


def kv_transfer_ps(pool: PoolSpec, prompt_tokens: int) -> int:
    """Picoseconds for the KV of a prompt to come over `pool.transfer_link`: its latency, and each GPU's part over a link of its own."""
    assert pool.transfer_link is not None
    link = find(links(), pool.transfer_link, what="link")
    kv_bytes = 0.0 if isinstance(pool.hardware, PlainConstants) else shard(pool.hardware).kv_bytes_per_token
    return round((link.all_reduce_latency_s[0] + prompt_tokens * kv_bytes / link.bus_bytes_per_s[0]) * PS_PER_S)
