"""The band of a simulated run: its plan replayed with every step as short and as long as the residuals of measured rows allow."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from loadlab.analysis.latency import rank_of
from loadlab.campaign.trial import Trial
from loadlab.catalog.bands import Band, Phase, band_of
from loadlab.catalog.specs import Calibration, find, gpus, models
from loadlab.engines.base import Progress
from loadlab.engines.simulation import SimulationEngine
from loadlab.record.client import ClientFacts
from loadlab.record.request import Outcome, RequestRecord
from loadlab.record.rows import Row
from loadlab.record.run_dir import RunDir
from loadlab.report.prediction import BAND_SCHEMA, PERCENTILES, save_band
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster
from loadlab.simulator.spec import ClusterSpec, ShardedModel


@dataclass(slots=True)
class _Latencies:
    """A sink that keeps three numbers of an OK row, and forgets the rest."""

    ttft_s: array[float] = field(default_factory=lambda: array("d"))
    tpot_s: array[float] = field(default_factory=lambda: array("d"))
    e2e_s: array[float] = field(default_factory=lambda: array("d"))
    tokens: int = 0
    first_s: float = np.inf
    last_s: float = 0.0

    def append(self, records: Iterable[RequestRecord]) -> None:
        """See RecordSink."""
        self.append_rows(record.as_row() for record in records)

    def append_rows(self, rows: Iterable[Row]) -> None:
        """See RecordSink."""
        for row in rows:
            due, first, last, end, tokens = (
                row[key] for key in ("scheduled_s", "first_token_s", "last_token_s", "finished_s", "output_tokens")
            )
            if due is not None and end is not None:
                self.first_s, self.last_s = min(self.first_s, due), max(self.last_s, end)
            if row["outcome"] != Outcome.OK:
                continue
            self.e2e_s.append(end - due)
            if first is None:  # an embedding has no tokens of an answer
                continue
            self.tokens += tokens
            self.ttft_s.append(first - due)
            if tokens > 1:
                self.tpot_s.append((last - first) / (tokens - 1))

    def append_timeline(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """See RecordSink: the timeline is made as it is read, and nobody wants it here."""

    def flush(self) -> None:
        """See RecordSink."""

    def note_client(self, facts: ClientFacts, wall_s: float | None) -> None:
        """See RecordSink."""

    def figures(self) -> dict[str, dict[str, float]]:
        """Percentiles of each latency, and output tokens a second."""
        found: dict[str, dict[str, float]] = {}
        for name in ("ttft_s", "tpot_s", "e2e_s"):
            values = np.sort(np.array(getattr(self, name)))
            if len(values):
                found[name] = {key: float(values[rank_of(p, len(values)) - 1]) for key, p in PERCENTILES.items()}
        if self.tokens and self.last_s > self.first_s:
            found["output_tokens_per_s"] = {"value": self.tokens / (self.last_s - self.first_s)}
        return found


def write_band(trial: Trial, run: RunDir, progress: Progress) -> None:
    """Writes the run's band beside its rows; nothing where the target is no simulated cluster of catalogue models.

    Costs two more replays, of which no row is kept.
    """
    if not isinstance(trial.target, Path):
        return
    spec = load_cluster(trial.target)
    found = {name: _bands_of(pool.hardware) for name, pool in spec.pools.items() if isinstance(pool.hardware, ShardedModel)}
    if not found:
        return
    ends = []
    for end in ("low", "high"):
        sink = _Latencies()
        cluster = SimulatedCluster(
            _scaled(spec, {name: getattr(bands[0], end) for name, bands in found.items()}), str(trial.target), trial.drawn_with
        )
        SimulationEngine(cluster, itl=False).replay(trial.plan, sink, progress)
        ends.append(sink.figures())
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


def _bands_of(hardware: ShardedModel) -> tuple[Band, Band, str]:
    gpu, model = find(gpus(), hardware.gpu, what="gpu"), find(models(), hardware.model, what="model")
    kind = "dense" if model.experts is None else "moe"
    words = "calibrated" if gpu.calibration is Calibration.FITTED else "uncalibrated"
    return band_of(gpu, kind, Phase.SERVING), band_of(gpu, kind, Phase.TTFT), words


def _scaled(spec: ClusterSpec, scales: Mapping[str, float]) -> ClusterSpec:
    pools = dict(spec.pools)
    for name, scale in scales.items():
        hardware = pools[name].hardware
        assert isinstance(hardware, ShardedModel)
        pools[name] = replace(pools[name], hardware=replace(hardware, step_scale=hardware.step_scale * scale))
    return replace(spec, pools=pools)
