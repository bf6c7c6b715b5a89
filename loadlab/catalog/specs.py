"""GPUs, links and models as rows: each figure in SI base units, with its source and date. The rows lie in the TOML files beside this."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, TypeVar

from loadlab.errors import InputError
from loadlab.schema import NonNegative, Positive, PositiveShare, read_table, read_toml

HERE = Path(__file__).parent
BF16_BYTES = 2

T = TypeVar("T")


class Calibration(StrEnum):
    """Where a GPU's efficiencies come from."""

    FITTED = "fitted"  # to measured kernels of this GPU
    DATASHEET = "datasheet"  # data-sheet peaks times efficiencies of its class: nothing was measured


class Quantisation(StrEnum):
    """How the linear layers' weights are stored. Embeddings, output head and vision encoder stay 16-bit."""

    BF16 = "bf16"
    FP16 = "fp16"
    FP8 = "fp8"
    INT4 = "int4"


# int4: half a byte, and per group of 128 a 16-bit scale and a 4-bit zero point (AWQ, Lin et al. 2024, sec. 5).
BYTES_PER_WEIGHT: dict[Quantisation, float] = {
    Quantisation.BF16: 2.0,
    Quantisation.FP16: 2.0,
    Quantisation.FP8: 1.0,
    Quantisation.INT4: 0.5 + 2.5 / 128,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuSpec:
    """One GPU: data-sheet peaks, and the shares of them that kernels reach (`simulator/step_time.py` has the formulas)."""

    memory_bytes: Annotated[float, Positive]  # what the driver leaves to a process
    memory_bytes_per_s: Annotated[float, Positive]
    matmul_flops_per_s: Annotated[float, Positive]  # dense, 16-bit
    matmul_efficiency: Annotated[float, PositiveShare]
    weight_read_efficiency: Annotated[float, PositiveShare]
    kv_read_efficiency: Annotated[float, PositiveShare]
    prefill_attention_efficiency: Annotated[float, PositiveShare]
    roofline_sharpness: Annotated[float, Positive]  # p of the soft maximum of compute and memory time
    gemm_floor_s: Annotated[float, NonNegative]
    decode_attention_floor_s: Annotated[float, NonNegative]
    prefill_attention_floor_s: Annotated[float, NonNegative]
    elementwise_share: Annotated[float, NonNegative]
    formats: tuple[Quantisation, ...]  # weights that its kernels can compute with
    calibration: Calibration
    band_share: Annotated[float, Positive]  # half-width of the step-time band, as a share
    source: str
    as_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """All-reduce over one kind of link, for groups of 2, 4 and 8 GPUs (other sizes take the next larger)."""

    group_sizes: tuple[int, ...]
    all_reduce_latency_s: tuple[float, ...]
    bus_bytes_per_s: tuple[float, ...]
    source: str
    as_of: str

    def all_reduce_s(self, payload_bytes: float, gpus: int) -> float:
        """Seconds to sum `payload_bytes` over `gpus`: latency + 2(n-1)/n * bytes / bus bandwidth (NCCL's ring model)."""
        if gpus == 1:
            return 0.0
        row = next(i for i, size in enumerate(self.group_sizes) if gpus <= size)
        return self.all_reduce_latency_s[row] + 2 * (gpus - 1) / gpus * payload_bytes / self.bus_bytes_per_s[row]


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSpec:
    """An image encoder in front of the language model; `patch_px` is the side of what becomes one token."""

    parameters: Annotated[float, Positive]
    patches_per_token: Annotated[int, Positive]
    patch_px: Annotated[int, Positive]

    def image_tokens(self, width_px: int, height_px: int) -> int:
        """Tokens of an image: round(w / patch) * round(h / patch), at least one (Qwen2.5-VL technical report, 2025, sec. 2.1)."""
        return max(1, round(width_px / self.patch_px)) * max(1, round(height_px / self.patch_px))


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A dense decoder-only transformer, in the words of its Hugging Face config.json."""

    version: str
    layers: Annotated[int, Positive]
    hidden: Annotated[int, Positive]
    heads: Annotated[int, Positive]
    kv_heads: Annotated[int, Positive]
    head_dim: Annotated[int, Positive]
    intermediate: Annotated[int, Positive]
    vocabulary: Annotated[int, Positive]
    tied_embeddings: bool
    context_tokens: Annotated[int, Positive]
    vision: VisionSpec | None = None
    source: str
    as_of: str

    @property
    def layer_parameters(self) -> int:
        """Parameters of the linear layers of one block: attention projections and gated feed-forward."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden * self.intermediate

    @property
    def embedding_parameters(self) -> int:
        """Input embedding and, unless tied to it, the output head."""
        return self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)


@cache
def gpus() -> dict[str, GpuSpec]:
    """Every GPU of the catalogue by name."""
    return _rows(GpuSpec, HERE / "gpus.toml")


@cache
def links() -> dict[str, LinkSpec]:
    """Every link of the catalogue by name."""
    return _rows(LinkSpec, HERE / "links.toml")


@cache
def models() -> dict[str, ModelSpec]:
    """Every model of the catalogue by name."""
    return _rows(ModelSpec, HERE / "models.toml")


def _rows(cls: type[T], path: Path) -> dict[str, T]:
    return {name: read_table(cls, table, path.name, name) for name, table in read_toml(path).items()}


def find(rows: dict[str, T], name: str, *, what: str) -> T:
    """The row called `name`. Raises InputError that lists what the catalogue has."""
    if name not in rows:
        close = difflib.get_close_matches(name, rows, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"{what} {name!r} is not in the catalogue; {hint}It has: {', '.join(sorted(rows))}")
    return rows[name]
