"""What a GPU's kernels reach of its data sheet: the constants of the formulas in `simulator/roofline.py`.

The rows lie in kernels.toml, written by the scripts in calibration/, which say what measured rows they saw. An "efficiency" is a share of
the data sheet's peak; above 1 means that part of the data came from cache.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from loadlab.catalog.quantisation import Quantisation
from loadlab.schema import NonNegative, Positive


class Calibration(StrEnum):
    """Where a GPU's efficiencies come from."""

    FITTED = "fitted"  # to measured kernels of this GPU
    DATASHEET = "datasheet"  # data-sheet peaks times efficiencies of its class: nothing was measured


BY_BLOCK = "bits8_block"  # 8-bit expert kernels for block-wise scales: another library than those for one scale a tensor


class Precision(StrEnum):
    """What matrix units multiply."""

    BITS16 = "bits16"
    BITS8 = "bits8"
    BITS4 = "bits4"


@dataclass(frozen=True, slots=True, kw_only=True)
class GemmKernel:
    """Matrix products of one precision."""

    compute_efficiency: Annotated[float, Positive]
    memory_efficiency: Annotated[float, Positive]
    sharpness: Annotated[float, Positive]  # p of the soft maximum of compute and memory time
    floor_s: Annotated[float, NonNegative]
    half_width: Annotated[float, NonNegative] = 0.0  # narrower sides than this reach less than half of compute_efficiency
    quantise_passes: Annotated[float, NonNegative] = 0.0  # over the input, to bring it into 8 or 4 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertKernel:
    """Grouped matrix products of a mixture of experts, of one precision."""

    compute_efficiency: Annotated[float, Positive]
    memory_efficiency: Annotated[float, Positive]
    sharpness: Annotated[float, Positive]
    floor_s: Annotated[float, NonNegative]
    compute_half_width: Annotated[float, NonNegative] = 0.0  # of an expert's own width on one GPU
    memory_half_width: Annotated[float, NonNegative] = 0.0
    routing_exponent: Annotated[float, Positive] = 1.0  # m tokens reach as many experts as m**this with uniform routing
    unaligned_slowdown: Annotated[float, Positive] = 1.0  # where an expert's width on one GPU is no multiple of 128


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionKernel:
    """Attention, in 16 bits."""

    decode_floor_s: Annotated[float, NonNegative]  # a layer
    kv_efficiency: Annotated[float, Positive]  # from memory, many sequences
    prefill_floor_s: Annotated[float, NonNegative]
    prefill_efficiency: Annotated[float, Positive]
    prefill_half_heads: Annotated[float, NonNegative] = 0.0  # fewer heads on a GPU reach less than half of it
    prefill_io_efficiency: Annotated[float, Positive] = 1.0  # of reading and writing queries, keys, values and outputs
    cached_kv_efficiency: Annotated[float, Positive] = 1.2  # where a layer's KV stays in the L2 cache, as it does in a kernel timed alone
    lone_read: Annotated[float, NonNegative] = 0.0  # sequences times KV heads at which reading takes twice as long
    short_floor: Annotated[float, Positive] = 1.0  # share of decode_floor_s for contexts that one block reads: nothing to sum up
    recurrent_floor_s: Annotated[float, NonNegative] = 40e-6  # the small kernels of a recurrent layer, beyond decode_floor_s


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementwiseKernel:
    """Norms, rotations, residuals: a floor a layer, and passes over the hidden state."""

    floor_s: Annotated[float, NonNegative]
    passes: Annotated[float, NonNegative]


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSpec:
    """One GPU's kernels."""

    gemm: dict[str, GemmKernel]  # by Precision
    experts: dict[str, ExpertKernel]  # by Precision, or BY_BLOCK for fp8_block
    attention: AttentionKernel
    elementwise: ElementwiseKernel
    rows: Annotated[int, NonNegative]  # measured steps that it was fitted to
    source: str
    as_of: str

    def __post_init__(self) -> None:
        for name, kernels in (("gemm", self.gemm), ("experts", self.experts)):
            if Precision.BITS16 not in kernels:
                raise ValueError(f"{name} must have a table bits16")
            for key in kernels:
                if key not in (*Precision, BY_BLOCK):
                    raise ValueError(f"{name}.{key} is not one of {', '.join((*Precision, BY_BLOCK))}")

    def gemm_of(self, precision: Precision) -> GemmKernel:
        """Its matrix products of that precision; where none is known, those of the next wider one."""
        return self.gemm[_known(self.gemm, precision)]

    def experts_of(self, precision: Precision, quantisation: Quantisation) -> ExpertKernel:
        """Its expert products of that precision; where none is known, those of the next wider one."""
        if quantisation is Quantisation.FP8_BLOCK and BY_BLOCK in self.experts:
            return self.experts[BY_BLOCK]
        return self.experts[_known(self.experts, precision)]


def _known(kernels: dict[str, GemmKernel] | dict[str, ExpertKernel], precision: Precision) -> Precision:
    wider = {Precision.BITS4: Precision.BITS8, Precision.BITS8: Precision.BITS16}
    while precision not in kernels:
        precision = wider[precision]
    return precision


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """One GPU: what its data sheet says, dense (without sparsity), and which kernels it runs."""

    memory_bytes: Annotated[float, Positive]  # what the driver leaves to a process
    memory_bytes_per_s: Annotated[float, Positive]
    cache_bytes: Annotated[float, NonNegative] = 0.0  # its last-level cache
    bits16_flops_per_s: Annotated[float, Positive]
    bits8_flops_per_s: Annotated[float, Positive] | None = None  # None: computed in 16 bits
    bits4_flops_per_s: Annotated[float, Positive] | None = None
    formats: tuple[Quantisation, ...]  # weights that its kernels can compute with
    weight_only_formats: tuple[Quantisation, ...] = ()  # stored so, computed in 16 bits: its matrix units know no such numbers
    kernels: str  # whose efficiencies it has: a row of kernels.toml
    calibration: Calibration  # fitted: those are its own
    link: str | None = None  # between GPUs of its usual node
    gpus_per_node: Annotated[int, Positive] = 8
    node_link: str | None = None  # between such nodes
    source: str
    as_of: str

    def precision(self, quantisation: Quantisation) -> Precision:
        """What its matrix units multiply, given weights of that kind. Weight-only formats are computed in 16 bits."""
        if quantisation in self.weight_only_formats:
            return Precision.BITS16
        if quantisation is Quantisation.NVFP4 and self.bits4_flops_per_s is not None:
            return Precision.BITS4
        eight = (Quantisation.FP8, Quantisation.FP8_BLOCK, Quantisation.INT8)
        return Precision.BITS8 if quantisation in eight and self.bits8_flops_per_s is not None else Precision.BITS16

    def flops_per_s(self, precision: Precision) -> float:
        """Peak of that precision."""
        match precision:
            case Precision.BITS4:
                return self.bits4_flops_per_s or self.flops_per_s(Precision.BITS8)
            case Precision.BITS8:
                return self.bits8_flops_per_s or self.bits16_flops_per_s
            case Precision.BITS16:
                return self.bits16_flops_per_s
