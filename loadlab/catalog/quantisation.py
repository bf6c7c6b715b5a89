"""How numbers are stored: weights of the linear layers, and keys and values."""

from __future__ import annotations

from enum import StrEnum

BF16_BYTES = 2


class Quantisation(StrEnum):
    """How the linear layers' weights are stored. Embeddings, output head, router and vision encoder stay 16-bit."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"  # a scale per tensor or per channel
    FP8_BLOCK = "fp8_block"  # a 32-bit scale per block of 128 by 128, as DeepSeek-V3's checkpoint has
    INT8 = "int8"  # a scale per channel; activations in int8 too
    INT4 = "int4"  # weights only: computed in 16 bits
    MXFP4 = "mxfp4"  # weights only: computed in 16 bits where the GPU has no fp4
    NVFP4 = "nvfp4"


# int4: half a byte, and per group of 128 a 16-bit scale and a 4-bit zero point (AWQ, Lin et al. 2024, sec. 5).
# mxfp4: an 8-bit scale per 32 (OCP Microscaling Formats 1.0, 2023, sec. 5.1); nvfp4: an 8-bit scale per 16 (NVIDIA, 2025-06).
# fp8_block: a 32-bit scale per 128 by 128 (DeepSeek-V3 technical report, 2024, sec. 3.3).
BYTES_PER_WEIGHT: dict[Quantisation, float] = {
    Quantisation.BF16: 2.0,
    Quantisation.FP16: 2.0,
    Quantisation.FP8: 1.0,
    Quantisation.FP8_BLOCK: 1.0 + 4 / 128**2,
    Quantisation.INT8: 1.0,
    Quantisation.INT4: 0.5 + 2.5 / 128,
    Quantisation.MXFP4: 0.5 + 1 / 32,
    Quantisation.NVFP4: 0.5 + 1 / 16,
}


class KvFormat(StrEnum):
    """How keys and values are stored."""

    BF16 = "bf16"
    FP8 = "fp8"


KV_BYTES: dict[KvFormat, int] = {KvFormat.BF16: 2, KvFormat.FP8: 1}
