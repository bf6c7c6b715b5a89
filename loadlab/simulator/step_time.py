"""Seconds of one engine step, compiled to integer picoseconds so that skipping over steps equals taking them.

A step processes the decode tokens of B running sequences, whose contexts hold K tokens in all, and at most some prefill
tokens. Its time splits into a part that depends on token counts (tables, filled on demand) and a part linear in K:

    step = linear(B + prefill) + head(rows) + attention floors + prefill attention + kv_ps * K  (+ image encoder)

Formulas (sizes already divided by the tensor-parallel degree; Williams et al. 2009 for the roofline):
  GEMM of m tokens, n by k:  compute 2mnk / (efficiency * peak); memory (weights + activations) / (efficiency * bandwidth);
                             time = (compute^p + memory^p)^(1/p) + floor: a soft maximum, since the two overlap imperfectly
  decode attention:          KV bytes / (efficiency * bandwidth) + floor, a layer
  prefill attention:         4 * heads * head_dim * sum s(p + s/2) / (efficiency * peak) + floor, a layer
  tensor-parallel all-reduce: twice a layer, see LinkSpec.all_reduce_s
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from loadlab.catalog.specs import BF16_BYTES, BYTES_PER_WEIGHT
from loadlab.simulator.sharding import Shard, shard
from loadlab.simulator.spec import Hardware, PlainConstants, ShardedModel

PS_PER_S = 10**12


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Prefill work of one step: `tokens` new tokens; `attention` = sum of s * (p + s/2) over chunks; prompts completed; image tokens."""

    tokens: int
    attention: float
    completed: int
    image_tokens: int


class StepTimes:
    """Step times of one replica. `kv_ps` is picoseconds per KV token read; the other parts are tables by token count."""

    def __init__(self, parts: RooflineParts | ConstantParts) -> None:
        self._parts = parts
        self.kv_ps = _ps(parts.kv_s())
        self._decode_ps: list[int] = [0]
        self._tokens_s: dict[int, float] = {}
        self._head_s: dict[int, float] = {}

    def decode_ps(self, running: int) -> int:
        """A step of `running` decodes and no prefill, without its KV reads."""
        table = self._decode_ps
        while len(table) <= running:
            n = len(table)
            table.append(_ps(self._parts.tokens_s(n) + self._parts.head_s(n) + self._parts.decode_floor_s()))
        return table[running]

    def mixed_ps(self, running: int, work: Work) -> int:
        """A step of `running` decodes and some prefill, without its KV reads."""
        parts, tokens, rows = self._parts, running + work.tokens, running + work.completed
        if tokens not in self._tokens_s:
            self._tokens_s[tokens] = parts.tokens_s(tokens)
        if rows not in self._head_s:
            self._head_s[rows] = parts.head_s(rows)
        seconds = self._tokens_s[tokens] + self._head_s[rows] + parts.prefill_s(work)
        return _ps(seconds + (parts.decode_floor_s() if running else 0.0))


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)


def compile_step_times(hardware: Hardware) -> StepTimes:
    """The step times of one replica on `hardware`."""
    match hardware:
        case ShardedModel():
            return StepTimes(RooflineParts(hardware=hardware, part=shard(hardware)))
        case PlainConstants():
            return StepTimes(ConstantParts(constants=hardware))
        case _:
            assert_never(hardware)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConstantParts:
    """The parts of a step in plain constants."""

    constants: PlainConstants

    def tokens_s(self, _tokens: int) -> float:
        """What every step costs, whatever its tokens."""
        return self.constants.step_s

    def head_s(self, rows: int) -> float:
        """Rows that yield a token: decodes, and prompts that complete."""
        return self.constants.per_decode_s * rows

    def decode_floor_s(self) -> float:
        """Attention floor of a step with decodes: part of the base."""
        return 0.0

    def prefill_s(self, work: Work) -> float:
        """Prefill tokens, an image's like any other."""
        return self.constants.per_prefill_token_s * work.tokens

    def kv_s(self) -> float:
        """Reading one KV token."""
        return self.constants.per_kv_token_s


@dataclass(frozen=True, slots=True, kw_only=True)
class RooflineParts:
    """The parts of a step by the formulas above."""

    hardware: ShardedModel
    part: Shard

    def gemm_s(self, m: int, n: float, k: float, weight_bytes: float) -> float:
        """One matrix product of m tokens by an n-by-k weight."""
        gpu = self.part.gpu
        compute = 2 * m * n * k / (gpu.matmul_efficiency * gpu.matmul_flops_per_s)
        traffic = weight_bytes * n * k + BF16_BYTES * m * (n + k)
        memory = traffic / (gpu.weight_read_efficiency * gpu.memory_bytes_per_s)
        p = gpu.roofline_sharpness
        return float((compute**p + memory**p) ** (1 / p)) + gpu.gemm_floor_s

    def tokens_s(self, tokens: int) -> float:
        """Linear layers, all-reduces and elementwise kernels of a step of `tokens` tokens, and the host's share."""
        model, tp = self.part.model, self.part.tensor_parallel
        width, bytes_per_weight = model.head_dim, BYTES_PER_WEIGHT[self.hardware.quantisation]
        shapes = (
            ((model.heads + 2 * max(model.kv_heads, tp)) * width / tp, model.hidden),  # query, key and value
            (model.hidden, model.heads * width / tp),  # attention output
            (2 * model.intermediate / tp, model.hidden),  # gate and up
            (model.hidden, model.intermediate / tp),  # down
        )
        layer = sum(self.gemm_s(tokens, n, k, bytes_per_weight) for n, k in shapes)
        if self.part.link is not None:
            layer += 2 * self.part.link.all_reduce_s(tokens * model.hidden * BF16_BYTES, tp)
        return model.layers * layer * (1 + self.part.gpu.elementwise_share) + self.hardware.host_s

    def head_s(self, rows: int) -> float:
        """Output head on the rows that need logits."""
        model = self.part.model
        return 0.0 if rows == 0 else self.gemm_s(rows, model.vocabulary / self.part.tensor_parallel, model.hidden, BF16_BYTES)

    def decode_floor_s(self) -> float:
        """Launch and reduction of decode attention, whatever its KV."""
        return self.part.model.layers * self.part.gpu.decode_attention_floor_s

    def prefill_s(self, work: Work) -> float:
        """Attention of the prefill chunks, and the image encoder: 2 FLOPs a parameter and patch."""
        model, gpu = self.part.model, self.part.gpu
        flops = 4 * model.heads / self.part.tensor_parallel * model.head_dim * work.attention
        attention = flops / (gpu.prefill_attention_efficiency * gpu.matmul_flops_per_s) + gpu.prefill_attention_floor_s
        encoder = 0.0
        if model.vision is not None and work.image_tokens:
            encoder_flops = 2 * model.vision.parameters * model.vision.patches_per_token * work.image_tokens
            encoder = encoder_flops / (gpu.matmul_efficiency * gpu.matmul_flops_per_s)
        return model.layers * attention + encoder

    def kv_s(self) -> float:
        """Reading the KV of one context token in all layers."""
        gpu = self.part.gpu
        return self.part.kv_bytes_per_token / (gpu.kv_read_efficiency * gpu.memory_bytes_per_s)
