"""Constants of GPUs that nobody measured here, and what measured ones start from."""

from __future__ import annotations

from dataclasses import replace

from loadlab.catalog.kernel_spec import BY_BLOCK, AttentionKernel, ElementwiseKernel, ExpertKernel, GemmKernel
from loadlab.catalog.specs import KernelSpec

USUAL = KernelSpec(
    gemm={
        "bits16": GemmKernel(compute_efficiency=0.8, memory_efficiency=0.8, sharpness=2.5, floor_s=5e-6, half_width=60.0),
        "bits8": GemmKernel(
            compute_efficiency=0.65, memory_efficiency=0.8, sharpness=2.5, floor_s=6e-6, half_width=60.0, quantise_passes=2.0
        ),
    },
    experts={
        "bits16": ExpertKernel(
            compute_efficiency=0.5,
            memory_efficiency=0.85,
            sharpness=1.5,
            floor_s=25e-6,
            compute_half_width=150.0,
            memory_half_width=25.0,
            routing_exponent=0.95,
        ),
        "bits8": ExpertKernel(
            compute_efficiency=0.3,
            memory_efficiency=0.8,
            sharpness=1.5,
            floor_s=30e-6,
            compute_half_width=150.0,
            memory_half_width=25.0,
            routing_exponent=0.95,
            unaligned_slowdown=2.0,
        ),
    },
    attention=AttentionKernel(
        decode_floor_s=12e-6,
        kv_efficiency=0.8,
        prefill_floor_s=12e-6,
        prefill_efficiency=0.6,
        prefill_half_heads=1.0,
        prefill_io_efficiency=0.5,
        cached_kv_efficiency=1.2,
        lone_read=1.6,
        short_floor=0.85,
        recurrent_floor_s=65e-6,  # calibration/fit_serving.py, on one model (Qwen3.5)
    ),
    elementwise=ElementwiseKernel(floor_s=8e-6, passes=14.0),
    rows=0,
    source="",
    as_of="2026-11",
)

# Of H100 and H200 together, from serving runs of DeepSeek, Qwen3 and MiniMax: calibration/fit_serving.py.
BLOCK = ExpertKernel(
    compute_efficiency=0.22,
    memory_efficiency=1.0,
    sharpness=1.5,
    floor_s=52e-6,
    compute_half_width=100.0,
    memory_half_width=128.0,
    routing_exponent=0.8,
)
HOPPER = replace(USUAL, experts=USUAL.experts | {BY_BLOCK: BLOCK})

AIC = "kernels of AIConfigurator 0.12's tables (Apache-2.0)"
TURING = KernelSpec(
    gemm={"bits16": GemmKernel(compute_efficiency=0.45, memory_efficiency=0.75, sharpness=1.6, floor_s=6e-6)},
    experts={"bits16": ExpertKernel(compute_efficiency=0.25, memory_efficiency=0.7, sharpness=1.6, floor_s=40e-6)},
    attention=AttentionKernel(lone_read=1.6, decode_floor_s=20e-6, kv_efficiency=0.7, prefill_floor_s=20e-6, prefill_efficiency=0.3),
    elementwise=ElementwiseKernel(floor_s=60e-6, passes=40.0),  # a dozen unfused kernels of 5 us
    rows=0,
    source="class estimate: Turing at 70 W: clocks fall under sustained matrix work; no FlashAttention-2 kernels for sm75",
    as_of="2026-11",
)
ADA_72W = replace(
    USUAL,
    gemm={
        "bits16": GemmKernel(compute_efficiency=0.5, memory_efficiency=0.78, sharpness=2.0, floor_s=6e-6, half_width=60.0),
        "bits8": GemmKernel(
            compute_efficiency=0.4, memory_efficiency=0.75, sharpness=2.0, floor_s=7e-6, half_width=60.0, quantise_passes=2.0
        ),
    },
    source="class estimate: Ada like the L40S, at 72 W: clocks fall under sustained matrix work",
)
AMPERE = replace(USUAL, gemm={"bits16": USUAL.gemm["bits16"]}, source="class estimate: Ampere like the A100, GDDR6 and 150 W")
CDNA3 = replace(
    USUAL,
    gemm={
        "bits16": GemmKernel(compute_efficiency=0.55, memory_efficiency=0.72, sharpness=2.0, floor_s=8e-6, half_width=60.0),
        "bits8": GemmKernel(
            compute_efficiency=0.45, memory_efficiency=0.7, sharpness=2.0, floor_s=9e-6, half_width=60.0, quantise_passes=2.0
        ),
    },
    source="class estimate: MI300X reaches a lower share of its peaks than Hopper (hipBLASLt, vLLM on ROCm 6)",
)


def base_kernels() -> dict[str, KernelSpec]:
    """Every row of kernels.toml before anything is fitted."""
    return {
        "turing": TURING,
        "ampere": AMPERE,
        "ada-72w": ADA_72W,
        "cdna3": CDNA3,
        "a100": replace(
            USUAL,
            gemm={"bits16": USUAL.gemm["bits16"]},
            experts={"bits16": USUAL.experts["bits16"]},
            source=f"{AIC}, vLLM 0.14; Vidur's profiles (MIT)",
        ),
        "h100": replace(HOPPER, source=f"{AIC}, vLLM 0.24; block-wise experts from serving runs"),
        "h200": replace(HOPPER, source=f"{AIC}, vLLM 0.24; block-wise experts from serving runs"),
        "l40s": replace(USUAL, source=f"{AIC}, vLLM 0.24"),
        "rtx4090": replace(USUAL, source="LLMServingSim's profiles (MIT), vLLM 0.19"),
        "rtxpro6000": replace(USUAL, source="LLMServingSim's profiles (MIT), vLLM 0.19"),
    }
