"""The parts of a step: what each kind of work costs one replica, in seconds. `step_time.py` compiles them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from loadlab.catalog.kernel_spec import Precision
from loadlab.catalog.specs import BF16_BYTES, BYTES_PER_WEIGHT, KV_BYTES, Quantisation
from loadlab.simulator import roofline
from loadlab.simulator.sharding import Shard
from loadlab.simulator.spec import PlainConstants, ShardedModel

# Per-tensor 8-bit expert kernels fall back where an expert's width on one GPU is no multiple of 128; block-wise ones were not seen to.
UNALIGNED = (Quantisation.FP8, Quantisation.INT8)


class Work(NamedTuple):
    """Prefill work of one step: `tokens` new tokens; `attention` = sum of s * (p + s/2) over chunks; prompts completed; image tokens."""

    tokens: int
    attention: float
    completed: int
    image_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantParts:
    """The parts of a step in plain constants."""

    constants: PlainConstants
    gpu_speed: float = 1.0

    def tokens_s(self, _tokens: int) -> float:
        """What every step costs, whatever its tokens."""
        return self.constants.step_s / self.gpu_speed

    def head_s(self, rows: int) -> float:
        """Rows that yield a token: decodes, and prompts that complete."""
        return self.constants.per_decode_s * rows / self.gpu_speed

    def decode_floor_s(self) -> float:
        """Attention floor of a step with decodes: part of the base."""
        return 0.0

    def prefill_s(self, work: Work) -> float:
        """Prefill tokens, an image's like any other."""
        return self.constants.per_prefill_token_s * work.tokens / self.gpu_speed

    def kv_s(self) -> float:
        """Reading one KV token."""
        return self.constants.per_kv_token_s / self.gpu_speed


@dataclass(frozen=True, kw_only=True)
class RooflineParts:
    """The parts of a step by the formulas of roofline.py.

    Data-parallel ranks share a step's tokens evenly, and wait for one another. Pipeline stages each work on one of as many micro-batches:
    a step, in which every sequence advances, takes all layers at a micro-batch's size, and as many hops.
    """

    part: Shard
    gpu_speed: float = 1.0  # of the slowest GPU of the group: the others wait for it
    link_speed: float = 1.0
    scale: float = 1.0  # multiplies every part of a step

    @property
    def hardware(self) -> ShardedModel:
        """What the shard is of."""
        return self.part.hardware

    @cached_property
    def precision(self) -> Precision:
        """What the linear layers are multiplied in."""
        return self.part.gpu.precision(self.hardware.quantisation)

    def gemm_s(self, m: float, n: float, k: float, quantisation: Quantisation | None = None) -> float:
        """One matrix product of m tokens by an n-by-k weight, in the hardware's quantisation if none is given."""
        gpu = self.part.gpu
        stored = quantisation or self.hardware.quantisation
        precision = gpu.precision(stored)
        seconds: float = roofline.gemm_s(
            m,
            n,
            k,
            weight_bytes=BYTES_PER_WEIGHT[stored],
            flops_per_s=gpu.flops_per_s(precision),
            bytes_per_s=gpu.memory_bytes_per_s,
            kernel=self.part.kernels.gemm_of(precision),
        )
        return seconds

    # Of one layer, for m tokens of a data-parallel rank

    def projections_s(self, m: float) -> float:
        """The matrix products around attention. Latent attention decodes in absorbed form: as many products, of the same sizes."""
        model, tp = self.part.model, self.hardware.tensor_parallel
        latent = model.latent
        if latent is None:
            width = model.head_dim
            return self.gemm_s(m, (model.heads / tp + 2 * self.part.local_kv_heads) * width, model.hidden) + self.gemm_s(
                m, model.hidden, model.heads * width / tp
            )
        queries = model.heads * (latent.nope_dim + latent.rope_dim) / tp
        down = latent.kv_rank + latent.rope_dim
        if latent.q_rank is None:
            total = self.gemm_s(m, queries + down, model.hidden)
        else:
            total = self.gemm_s(m, latent.q_rank + down, model.hidden) + self.gemm_s(m, queries, latent.q_rank)
        total += self.gemm_s(m, model.heads * (latent.nope_dim + latent.v_dim) / tp, latent.kv_rank, Quantisation.BF16)
        return total + self.gemm_s(m, model.hidden, model.heads * latent.v_dim / tp)

    def feed_forward_s(self, m: float, intermediate: float) -> float:
        """A dense one of that width over all tensor-parallel ranks."""
        if intermediate == 0:
            return 0.0
        hidden, local = self.part.model.hidden, intermediate / self.hardware.tensor_parallel
        gates = 2 if self.part.model.is_gated else 1
        return self.gemm_s(m, gates * local, hidden) + self.gemm_s(m, hidden, local)

    def experts_s(self, m: float) -> float:
        """The routed experts, for m tokens of the whole stage, and the router."""
        part, experts, gpu = self.part, self.part.model.experts, self.part.gpu
        assert experts is not None
        kernel = part.kernels.experts_of(self.precision, self.hardware.quantisation)
        seconds: float = roofline.experts_s(
            m,
            hidden=float(part.model.hidden),
            width=part.expert_width,
            matrices=3.0 if part.model.is_gated else 2.0,
            experts=float(experts.experts),
            local_experts=experts.experts / self.hardware.expert_parallel,
            top_k=float(experts.top_k),
            weight_bytes=BYTES_PER_WEIGHT[self.hardware.quantisation],
            flops_per_s=gpu.flops_per_s(self.precision),
            bytes_per_s=gpu.memory_bytes_per_s,
            kernel=kernel,
        )
        if self.hardware.quantisation in UNALIGNED and part.expert_width % 128:
            seconds *= kernel.unaligned_slowdown
        return seconds

    def elementwise_s(self, m: float) -> float:
        """Norms, rotations, residuals; split over ranks by activation sharding."""
        local = m / self.hardware.tensor_parallel if self.hardware.sequence_parallel else m
        hidden = float(self.part.model.hidden)
        kernel = self.part.kernels.elementwise
        seconds: float = roofline.elementwise_s(local, hidden, bytes_per_s=self.part.gpu.memory_bytes_per_s, kernel=kernel)
        return seconds

    def exchange_s(self, m: float) -> float:
        """One all-reduce of activations over the tensor-parallel ranks, or its two halves around a sharded norm: as many bytes."""
        return self.part.tensor_group.all_reduce_s(m * self.part.model.hidden * BF16_BYTES)

    def expert_exchange_s(self, m: float) -> float:
        """What experts' inputs and outputs cost on links, for m tokens of the stage.

        One data-parallel rank: every GPU has all tokens, so one all-reduce sums the parts. More, and whole experts spread over them: to
        each expert's GPU and back, all-to-all, 8-bit there if computed so, 16-bit back, once for each GPU that a token's experts lie on.
        More, and experts split: a gather and a scatter, as many bytes as an all-reduce over the stage.
        """
        part, hardware, experts = self.part, self.hardware, self.part.model.experts
        assert experts is not None
        activations = m * part.model.hidden * BF16_BYTES
        if hardware.data_parallel == 1:
            return part.tensor_group.all_reduce_s(activations)
        if hardware.expert_parallel == 1:
            return part.stage_group.all_reduce_s(activations)
        places = hardware.expert_parallel
        copies = places * (1 - (1 - 1 / places) ** experts.top_k)
        sent = activations / part.stage_group.gpus * copies
        there = 0.5 if self.precision is not Precision.BITS16 else 1.0
        return part.stage_group.all_to_all_s(sent * there) + part.stage_group.all_to_all_s(sent)

    # Of the whole model

    def compute_s(self, tokens: int) -> float:
        """Linear layers and elementwise kernels of all layers, for a step of `tokens` tokens."""
        model = self.part.model
        stage = self._micro_batch(tokens)
        rank = stage / self.hardware.data_parallel
        seconds = model.attention_layers * self.projections_s(rank) + model.feed_forward_layers * self.feed_forward_s(
            rank, model.intermediate
        )
        if model.recurrent is not None:
            columns = model.recurrent.projection_parameters / model.hidden / self.hardware.tensor_parallel
            layer = self.gemm_s(rank, columns, model.hidden) + self.part.kernels.attention.recurrent_floor_s
            seconds += model.recurrent.layers * layer
        if model.experts is not None:
            routed = self.experts_s(stage) + self.feed_forward_s(rank, model.experts.shared_intermediate)
            seconds += model.experts.layers * routed
        return seconds

    def exchanges_s(self, tokens: int) -> float:
        """Collectives of all layers and hops of all stages."""
        model = self.part.model
        stage = self._micro_batch(tokens)
        rank = stage / self.hardware.data_parallel
        seconds = (model.layers + model.feed_forward_layers) * self.exchange_s(rank)
        if model.experts is not None:
            seconds += model.experts.layers * self.expert_exchange_s(stage)
        return seconds + sum(link.point_s(rank * model.hidden * BF16_BYTES) for link in self.part.hop_links)

    def tokens_s(self, tokens: int) -> float:
        """Everything of a step that depends on its tokens alone, and the host's share."""
        elementwise = self.part.model.layers * self.elementwise_s(self._micro_batch(tokens) / self.hardware.data_parallel)
        compute = (self.compute_s(tokens) + elementwise) / self.gpu_speed
        return self.scale * (compute + self.exchanges_s(tokens) / self.link_speed + self.hardware.host_s)

    def _micro_batch(self, tokens: int) -> float:
        """Tokens that a stage works on at once: one sequence's at least."""
        return max(tokens / self.hardware.pipeline_parallel, min(tokens, 1))

    def head_s(self, rows: int) -> float:
        """Output head on the rows that need logits, and what the host does for each of them."""
        if rows == 0:
            return 0.0
        local = max(1.0, rows / self.hardware.data_parallel / self.hardware.pipeline_parallel)
        model = self.part.model
        head = self.gemm_s(local, model.vocabulary / self.hardware.tensor_parallel, model.hidden, Quantisation.BF16)
        return self.scale * ((head + local * self._states_s()) / self.gpu_speed + rows * self.hardware.host_per_sequence_s)

    def _states_s(self) -> float:
        """Reading and writing a sequence's recurrent states and windows."""
        gpu, kernel = self.part.gpu, self.part.kernels.attention
        return 2 * self.part.sequence_bytes / (kernel.kv_efficiency * gpu.memory_bytes_per_s)

    def decode_floor_s(self) -> float:
        """Launch and reduction of decode attention, whatever its KV. A recurrent layer's update counts as one."""
        return self.scale * self.part.model.layers * self.part.kernels.attention.decode_floor_s / self.gpu_speed

    def prefill_s(self, work: Work) -> float:
        """Attention of the prefill chunks, and the image encoder: 2 FLOPs a parameter and patch. Linear in `work`."""
        model, gpu, kernel = self.part.model, self.part.gpu, self.part.kernels.attention
        share = 1 / (self.hardware.data_parallel * self.hardware.pipeline_parallel)
        latent = model.latent
        score, value = (latent.nope_dim + latent.rope_dim, latent.v_dim) if latent else (model.head_dim, model.head_dim)
        tokens, pairs = work.tokens * share, work.attention * share
        heads = model.heads / self.hardware.tensor_parallel

        def attention_s(pairs: float) -> float:
            seconds: float = roofline.prefill_attention_s(
                tokens,
                pairs,
                heads=heads,
                kv_heads=heads if latent else self.part.local_kv_heads,
                score_dim=float(score),
                value_dim=float(value),
                flops_per_s=gpu.bits16_flops_per_s,
                bytes_per_s=gpu.memory_bytes_per_s,
                kernel=kernel,
            )
            return seconds

        seconds = model.full_layers * attention_s(pairs)
        if model.window is not None:
            seconds += model.window.layers * attention_s(tokens * model.window.tokens)
        if model.recurrent is not None:
            seconds += model.recurrent.layers * attention_s(0.0)
        beside = 0.0 if self.hardware.tuning is None else self.hardware.tuning.prefill_step_s
        return self.scale * ((seconds + self._encoder_s(work.image_tokens)) / self.gpu_speed + beside)

    def _encoder_s(self, image_tokens: int) -> float:
        vision, gpu = self.part.model.vision, self.part.gpu
        if vision is None or not image_tokens:
            return 0.0
        efficiency = self.part.kernels.gemm_of(Precision.BITS16).compute_efficiency
        return 2 * vision.parameters * vision.patches_per_token * image_tokens / (efficiency * gpu.bits16_flops_per_s)

    def decode_attention_s(self, sequences: Any, context: Any, *, is_alone: bool) -> Any:
        """Decode attention of `sequences` with `context` tokens each. `is_alone`: as tables of kernels have it, each timed by itself.

        In an engine a layer's KV is cold, since all others were read since; and the event loop needs a time that is linear in KV tokens.
        """
        model, gpu = self.part.model, self.part.gpu
        if not is_alone or model.latent is not None:
            return self.decode_floor_s() + self.kv_s() * sequences * context
        layer = roofline.kv_read_alone_s(
            sequences * context * 2 * self.part.local_kv_heads * model.head_dim * KV_BYTES[self.hardware.kv_format],
            sequences,
            self.part.local_kv_heads,
            context,
            cache_bytes=gpu.cache_bytes,
            bytes_per_s=gpu.memory_bytes_per_s,
            kernel=self.part.kernels.attention,
        )
        floors = (model.layers - model.full_layers) * self.part.kernels.attention.decode_floor_s
        return self.scale * (model.full_layers * layer + floors) / self.gpu_speed

    def kv_s(self) -> float:
        """Attending to one context token in all whole-context layers."""
        model, gpu, hardware = self.part.model, self.part.gpu, self.hardware
        heads = model.heads / hardware.tensor_parallel
        if model.latent is None:
            values, flops = 2 * self.part.local_kv_heads * model.head_dim, 4 * heads * model.head_dim
        else:  # absorbed: every head scores against the latent vector and the shared key, and sums latent vectors
            values = float(model.kv_values_per_token)
            flops = 2 * heads * (2 * model.latent.kv_rank + model.latent.rope_dim)
        layer = roofline.kv_read_s(
            values * KV_BYTES[hardware.kv_format],
            flops,
            flops_per_s=gpu.bits16_flops_per_s,
            bytes_per_s=gpu.memory_bytes_per_s,
            kernel=self.part.kernels.attention,
        )
        return self.scale * model.full_layers * float(layer) / (hardware.data_parallel * hardware.pipeline_parallel * self.gpu_speed)
