"""The band of a simulated run: its plan replayed with every step as short and as long as the residuals of measured rows allow."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from loadlab.analysis.latency import rank_of
from loadlab.campaign.trial import Trial
from loadlab.campaign.tuning import slower
from loadlab.catalog.bands import Band, Phase, band_of
from loadlab.catalog.specs import Calibration, find, gpus, models
from loadlab.engines.base import Progress
from loadlab.engines.simulation import SimulationEngine
from loadlab.record.run_dir import RunDir
from loadlab.report.prediction import BAND_SCHEMA, PERCENTILES, save_band
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import ClusterSpec, ShardedModel
from loadlab.units import PS_PER_S


@dataclass(slots=True)
class _Latencies:
    """Three numbers of each request that was answered, and nothing else of a replay."""

    ttft_s: array[float] = field(default_factory=lambda: array("d"))
    tpot_s: array[float] = field(default_factory=lambda: array("d"))
    e2e_s: array[float] = field(default_factory=lambda: array("d"))
    tokens: int = 0
    first_ps: int = NEVER_PS
    last_ps: int = 0

    def note(self, ended: list[Sequence]) -> None:
        """Takes requests that are over."""
        self.first_ps = min(self.first_ps, min([request.arrival_ps for request in ended], default=NEVER_PS))
        self.last_ps = max(self.last_ps, max([request.ended_ps or 0 for request in ended], default=0))
        for request in ended:
            due, first, last, end = request.arrival_ps, request.first_token_ps, request.last_token_ps, request.ended_ps
            if request.cause is not None or end is None:
                continue
            self.e2e_s.append((end - due) / PS_PER_S)
            if first is None or last is None:  # an embedding has no tokens of an answer
                continue
            self.tokens += (tokens := request.generated)
            self.ttft_s.append((first - due) / PS_PER_S)
            if tokens > 1:
                self.tpot_s.append((last - first) / (tokens - 1) / PS_PER_S)

    def figures(self) -> dict[str, dict[str, float]]:
        """Percentiles of each latency, and output tokens a second."""
        found: dict[str, dict[str, float]] = {}
        for name in ("ttft_s", "tpot_s", "e2e_s"):
            values = np.sort(np.array(getattr(self, name)))
            if len(values):
                found[name] = {key: float(values[rank_of(p, len(values)) - 1]) for key, p in PERCENTILES.items()}
        if self.tokens and self.last_ps > self.first_ps:
            found["output_tokens_per_s"] = {"value": self.tokens * PS_PER_S / (self.last_ps - self.first_ps)}
        return found


def write_band(trial: Trial, run: RunDir, progress: Progress) -> None:
    """Writes the run's band beside its rows; nothing where the target is no simulated cluster of catalogue models, or a calibrated one.

    Costs two more replays, of which no row is kept.
    """
    if not isinstance(trial.target, Path):
        return
    spec = load_cluster(trial.target)
    found = pool_bands(spec)
    if not found:
        return
    ends = []
    for end in ("low", "high"):
        latencies = _Latencies()
        cluster = SimulatedCluster(
            with_pool_steps(spec, {name: getattr(bands[0], end) for name, bands in found.items()}), str(trial.target), trial.drawn_with
        )
        SimulationEngine(cluster).follow(trial.plan, latencies.note, progress)
        ends.append(latencies.figures())
    ttft = (min(bands[1].low for bands in found.values()), max(bands[1].high for bands in found.values()))
    save_band(
        run.path,
        {
            "schema": BAND_SCHEMA,
            "pools": {
                name: {
                    "step_scale": [bands[0].low, bands[0].high],
                    "ttft_scale": [bands[1].low, bands[1].high],
                    "rows": bands[0].rows,
                    "source": bands[0].source,
                    "calibration": bands[2],
                }
                for name, bands in found.items()
            },
            "ttft_scale": list(ttft),
            "ends": ends,
        },
    )


def pool_bands(spec: ClusterSpec) -> dict[str, tuple[Band, Band, str]]:
    """By pool: of steps, of TTFT, and where they come from. A calibrated cluster's are those of the runs that it was fitted to."""
    if spec.calibration is None:
        return {name: bands_of(pool.hardware) for name, pool in spec.pools.items() if isinstance(pool.hardware, ShardedModel)}
    block = spec.calibration
    said = str(block.words()["label"])
    of_steps = Band(low=block.low_ratio, high=block.high_ratio, rows=block.requests, source=said)
    of_ttft = Band(low=block.ttft_low_ratio, high=block.ttft_high_ratio, rows=block.requests, source=said)
    return dict.fromkeys(spec.pools, (of_steps, of_ttft, said))


def bands_of(hardware: ShardedModel) -> tuple[Band, Band, str]:
    """The bands of steps and of TTFT under load, and whether they are calibrated, in a word."""
    gpu, model = find(gpus(), hardware.gpu, what="gpu"), find(models(), hardware.model, what="model")
    kind = "dense" if model.experts is None else "moe"
    words = "calibrated" if gpu.calibration is Calibration.FITTED else "uncalibrated"
    return band_of(gpu, kind, Phase.SERVING), band_of(gpu, kind, Phase.TTFT), words


def with_pool_steps(spec: ClusterSpec, scales: Mapping[str, float]) -> ClusterSpec:
    """The cluster with each named pool's steps so many times as long."""
    pools = {name: replace(pool, hardware=slower(pool.hardware, scales.get(name, 1.0))) for name, pool in spec.pools.items()}
    return replace(spec, pools=pools)
