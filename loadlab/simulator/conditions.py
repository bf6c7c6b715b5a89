"""What a report must say about a simulated pool: as written, and what follows from it."""

from __future__ import annotations

from typing import Any

from loadlab.catalog.bands import Phase, band_of
from loadlab.catalog.specs import Calibration, find, gpus, models
from loadlab.schema import as_table
from loadlab.simulator.placement import Placement
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import PlainConstants, PoolSpec

_CALIBRATION_WORDS = {
    Calibration.FITTED: "fitted to measured kernels",
    Calibration.DATASHEET: "datasheet, uncalibrated",
}


def describe_pool(name: str, spec: PoolSpec, capacity: KvCapacity, placements: list[Placement]) -> dict[str, Any]:
    """A pool's keys as its file would say them, with KV and context tokens, model version, GPUs, and how far step times can be trusted."""
    hardware, blocks = spec.hardware, capacity.num_blocks
    table: dict[str, Any] = as_table(spec) | {
        "pool": name,
        "context_tokens": capacity.context_tokens,
        "kv_tokens": None if blocks is None else blocks * capacity.block_size_tokens,
        "nodes": len(frozenset[int]().union(*(placement.nodes for placement in placements))),
    }
    if isinstance(hardware, PlainConstants):
        return table | {"label": "plain constants, as given"}
    gpu, model = find(gpus(), hardware.gpu, what="gpu"), find(models(), hardware.model, what="model")
    band = band_of(gpu, "dense" if model.experts is None else "moe", Phase.SERVING)
    return table | {
        "model_version": model.version,
        "mixture_of_experts": None if model.experts is None else f"{model.experts.top_k} of {model.experts.experts} experts",
        "gpus_per_replica": hardware.gpus,
        "gpus": hardware.gpus * spec.replicas,
        "label": f"{hardware.gpu}: {_CALIBRATION_WORDS[gpu.calibration]}",
        "step_time_band": f"band {100 * (band.low - 1):+.0f} to {100 * (band.high - 1):+.0f} %",
        "gpu_source": f"{gpu.source} ({gpu.as_of})",
    }
