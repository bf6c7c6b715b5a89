"""What a calibration leaves in a cluster file: constants that measured runs corrected, and where they came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any

from loadlab.catalog.specs import GpuSpec
from loadlab.schema import NonNegative, Positive

DIGEST_CHARS = 8  # of a digest, in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How the GPUs of a pool differ from their catalogue row, and what a prompt's step costs beside its kernels."""

    compute_scale: Annotated[float, Positive] = 1.0  # of every FLOP/s of the catalogue
    bandwidth_scale: Annotated[float, Positive] = 1.0  # of its memory bytes/s
    prefill_step_s: Annotated[float, NonNegative] = 0.0  # of each step with prompt tokens: decodes in it wait for that as well

    def of(self, gpu: GpuSpec) -> GpuSpec:
        """The GPU so corrected."""
        by = self.compute_scale
        return replace(
            gpu,
            memory_bytes_per_s=gpu.memory_bytes_per_s * self.bandwidth_scale,
            bits16_flops_per_s=gpu.bits16_flops_per_s * by,
            bits8_flops_per_s=None if gpu.bits8_flops_per_s is None else gpu.bits8_flops_per_s * by,
            bits4_flops_per_s=None if gpu.bits4_flops_per_s is None else gpu.bits4_flops_per_s * by,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """`[calibration]` of a cluster file: the runs it was fitted to, and how far it lay from them afterwards.

    `low_ratio` and `high_ratio` bound measured over simulated means of TPOT and end to end of those runs, `ttft_*` those of TTFT: the band
    of what is predicted with it.
    """

    runs: tuple[str, ...]  # plan digests
    targets: tuple[str, ...]
    requests: Annotated[int, Positive]  # that the fit saw
    lowest_rate_per_s: Annotated[float, NonNegative]
    highest_rate_per_s: Annotated[float, NonNegative]
    fitted: dict[str, Annotated[float, NonNegative]]  # constants by name, as they are now
    kept: tuple[str, ...]  # what the runs did not tell
    worst_difference: Annotated[float, NonNegative]  # largest |simulated / measured - 1|, of what was judged
    low_ratio: Annotated[float, Positive]
    high_ratio: Annotated[float, Positive]
    ttft_low_ratio: Annotated[float, Positive]
    ttft_high_ratio: Annotated[float, Positive]
    as_of: str
    loadlab: str
    based_on: str  # the cluster file that was calibrated

    def words(self) -> dict[str, Any]:
        """What the conditions of a run say of it."""
        digests = ", ".join(digest.removeprefix("sha256:")[:DIGEST_CHARS] for digest in self.runs)
        return {
            "label": f"calibrated on {len(self.runs)} runs ({digests}) of {self.as_of}, {self.requests:,} requests, up to "
            f"{self.highest_rate_per_s:.3g}/s, worst difference {100 * self.worst_difference:.1f} %",
            "step_time_band": f"band {100 * (self.low_ratio - 1):+.0f} to {100 * (self.high_ratio - 1):+.0f} %",
        }
