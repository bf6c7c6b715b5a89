"""How far measured values lay from predicted ones: the 10 % and 90 % quantiles of measured / predicted, by what was predicted.

The rows lie in bands.toml, written by calibration/fit_bands.py. Steps: random halves, each predicted by constants fitted to the other.
Serving: each model predicted by host times fitted to the others, by a mean field of the loop. TTFT: rows as simulated, seen by one constant
an engine. What whole runs come to with bands of rows left out is scored by calibration/unseen.py. What has no row of its own takes the band
of its kind over all GPUs, then that of GPUs without measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated

from loadlab.catalog.kernel_spec import Calibration, GpuSpec
from loadlab.schema import Positive, read_table, read_toml


class Phase(StrEnum):
    """What a band is of."""

    DECODE = "decode"  # one step of decodes, kernels alone
    PREFILL = "prefill"  # one step of prompts
    SERVING = "serving"  # TPOT and throughput of an engine under load: as a factor on every step
    TTFT = "ttft"  # time to first token of an engine under load


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Factors on a prediction: eight in ten measured values lay between."""

    low: Annotated[float, Positive]
    high: Annotated[float, Positive]
    rows: int
    source: str

    @property
    def is_calibrated(self) -> bool:
        """Whether measured rows stand behind it."""
        return self.rows > 0


@cache
def bands() -> dict[str, Band]:
    """Every band, by `kernels.kind.phase`."""
    return {name: read_table(Band, table, "bands.toml", name) for name, table in read_toml(Path(__file__).parent / "bands.toml").items()}


def band_name(kernels: str, kind: str, phase: Phase, calibration: Calibration) -> str:
    """The row of bands.toml for a GPU's kernels, dense or moe, and phase. A GPU without measured kernels has one row a phase."""
    if calibration is Calibration.DATASHEET:
        return f"datasheet-{phase}"
    return f"{kernels}-{kind}-{phase}"


def band_of(gpu: GpuSpec, kind: str, phase: Phase) -> Band:
    """The band of a prediction for a model of that kind, dense or moe, on that GPU."""
    own = band_name(gpu.kernels, kind, phase, gpu.calibration)
    known = bands()
    for name in (own, f"fitted-{kind}-{phase}", f"datasheet-{phase}"):
        if name in known:
            return known[name]
    raise AssertionError(f"bands.toml has no datasheet-{phase}")
