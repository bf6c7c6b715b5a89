"""Seconds that kernels take, from sizes and a GPU's constants. Sizes are those of one GPU: already divided by its parallel degrees.

Each formula takes numbers or numpy arrays, so that calibration/ fits what the simulator runs. Sources: Williams et al. 2009 for the
roofline; the soft maximum, half widths and floors are empirical: docs/simulator-model.md derives and judges them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from loadlab.catalog.kernel_spec import AttentionKernel, ElementwiseKernel, ExpertKernel, GemmKernel
from loadlab.catalog.quantisation import BF16_BYTES

ONE_SPLIT_TOKENS = 256  # FlashAttention's and FlashInfer's decode kernels split a context into parts of some 256 tokens at least
Sizes = Any  # a number, or an array of them, one for each measured row


def gemm_s(m: Sizes, n: Sizes, k: Sizes, *, weight_bytes: float, flops_per_s: float, bytes_per_s: float, kernel: GemmKernel) -> Sizes:
    """One matrix product of m tokens by an n-by-k weight of `weight_bytes` a number.

    compute = 2mnk / (e peak), e = efficiency / (1 + half_width / min(n, k)); memory = (weights + activations) / (e bandwidth);
    time = (compute^p + memory^p)^(1/p) + floor, and, where the input has to be quantised, passes over it: 16-bit in, 8-bit out.
    """
    efficiency = kernel.compute_efficiency / (1 + kernel.half_width / _smaller(n, k))
    compute = 2 * m * n * k / (efficiency * flops_per_s)
    achieved = kernel.memory_efficiency * bytes_per_s
    memory = (weight_bytes * n * k + BF16_BYTES * m * (n + k)) / achieved
    quantise = kernel.quantise_passes * m * k * 3 / achieved
    p = kernel.sharpness
    return (compute**p + memory**p) ** (1 / p) + kernel.floor_s + quantise


def _smaller(n: Sizes, k: Sizes) -> Sizes:
    """Plain numbers stay plain: numpy's take three times as long in all that follows."""
    return np.minimum(n, k) if isinstance(n, np.ndarray) or isinstance(k, np.ndarray) else min(n, k)


def experts_s(
    m: Sizes,
    *,
    hidden: Sizes,
    width: Sizes,
    matrices: float,
    experts: Sizes,
    local_experts: Sizes,
    top_k: Sizes,
    weight_bytes: float,
    flops_per_s: float,
    bytes_per_s: float,
    kernel: ExpertKernel,
) -> Sizes:
    """The routed experts of one layer on one GPU, which holds `local_experts` of `experts`, each `width` wide, for m tokens of the group.

    memory: the experts that m tokens reach, E (1 - (1 - k/E)^(m^r)), as a share of the local ones, and activations;
    compute: m k tokens-times-experts, spread evenly over the group.
    """
    share = local_experts / experts
    hit = local_experts * (1 - (1 - top_k / experts) ** (m**kernel.routing_exponent))
    weights = matrices * hidden * width
    rows = m * top_k * share
    achieved = kernel.memory_efficiency / (1 + kernel.memory_half_width / width) * bytes_per_s
    memory = (hit * weights * weight_bytes + BF16_BYTES * rows * (2 * hidden + matrices * width)) / achieved
    compute = 2 * rows * weights / (kernel.compute_efficiency / (1 + kernel.compute_half_width / width) * flops_per_s)
    p = kernel.sharpness
    return (compute**p + memory**p) ** (1 / p) + kernel.floor_s


def prefill_attention_s(
    tokens: Sizes,
    pairs: Sizes,
    *,
    heads: Sizes,
    kv_heads: Sizes,
    score_dim: Sizes,
    value_dim: Sizes,
    flops_per_s: float,
    bytes_per_s: float,
    kernel: AttentionKernel,
) -> Sizes:
    """Attention of one layer over prompt chunks of `tokens` tokens and `pairs` = sum of s (p + s/2) pairs of query and key.

    2 heads (score_dim + value_dim) FLOPs a pair (causal half counted in `pairs`), and reading and writing q, k, v and o once.
    """
    efficiency = kernel.prefill_efficiency / (1 + kernel.prefill_half_heads / heads)
    compute = 2 * heads * (score_dim + value_dim) * pairs / (efficiency * flops_per_s)
    moved = BF16_BYTES * tokens * (heads + kv_heads) * (score_dim + value_dim)
    return kernel.prefill_floor_s + compute + moved / (kernel.prefill_io_efficiency * bytes_per_s)


def kv_read_s(kv_bytes: Sizes, flops: Sizes, *, flops_per_s: float, bytes_per_s: float, kernel: AttentionKernel) -> Sizes:
    """Decode attention beyond its floor: reading KV, or, where many heads share it (latent attention), computing with it."""
    memory = kv_bytes / (kernel.kv_efficiency * bytes_per_s)
    return np.maximum(memory, flops / (kernel.prefill_efficiency * flops_per_s))


def kv_read_alone_s(
    kv_bytes: Sizes, sequences: Sizes, kv_heads: Sizes, context: Sizes, *, cache_bytes: float, bytes_per_s: float, kernel: AttentionKernel
) -> Sizes:
    """Decode attention of one layer, timed again and again by itself: what tables of kernels have and a running engine has not.

    Up to `cache_bytes` of KV are read from cache. Few sequences with few KV heads leave most of the GPU idle: reading takes
    1 + (lone_read / (sequences kv_heads))^2 times as long. Contexts up to ONE_SPLIT_TOKENS need no second kernel to sum up their parts.
    """
    efficiency = np.where(kv_bytes <= cache_bytes, kernel.cached_kv_efficiency, kernel.kv_efficiency)
    reading = kv_bytes / (efficiency * bytes_per_s) * (1 + (kernel.lone_read / (sequences * kv_heads)) ** 2)
    return kernel.decode_floor_s * np.where(context <= ONE_SPLIT_TOKENS, kernel.short_floor, 1.0) + reading


def elementwise_s(m: Sizes, hidden: Sizes, *, bytes_per_s: float, kernel: ElementwiseKernel) -> Sizes:
    """Norms, rotations and residuals of one layer."""
    return kernel.floor_s + kernel.passes * m * hidden * BF16_BYTES / bytes_per_s
