"""Scores the simulator on a real run, request by request: the same arrivals and lengths are replayed on a simulated cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from loadlab.analysis.scoring import Scored, Unpredicted
from loadlab.campaign.measured import exclusion_of, has_number, number, read_rows
from loadlab.catalog.bands import Phase, band_of
from loadlab.catalog.specs import find, gpus, models
from loadlab.errors import InputError
from loadlab.simulator.cluster import EventKind, SimulatedCluster
from loadlab.simulator.files import load_cluster
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import ClusterSpec, PoolSpec, ShardedModel
from loadlab.units import PS_PER_S

COLUMNS = ("run", "arrival_s", "input_tokens", "output_tokens")
METRICS = ("ttft_ms", "tpot_ms", "e2e_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request of the log."""

    row: dict[str, Any]
    arrival_ps: int
    input_tokens: int
    output_tokens: int


def score_requests(path: Path, cluster: Path, run: str | None = None) -> tuple[list[Scored], list[Unpredicted]]:
    """Each run of the log (or `run` alone) on a fresh cluster of that file. Raises InputError, also where the log has no such run."""
    rows = read_rows(path, COLUMNS)
    runs = sorted({str(row["run"]) for row in rows})
    if run is not None and run not in runs:
        raise InputError(f"= {run!r} is not a run of {path.name}; it has: {', '.join(runs)}", key="--run")
    spec = load_cluster(cluster)
    scored: list[Scored] = []
    unpredicted: list[Unpredicted] = []
    for name in runs if run is None else [run]:
        of_run = [row for row in rows if str(row["run"]) == name]
        more_scored, more_unpredicted = _score_run(name, of_run, spec, str(cluster))
        scored += more_scored
        unpredicted += more_unpredicted
    return scored, unpredicted


def _score_run(name: str, rows: list[dict[str, Any]], spec: ClusterSpec, source: str) -> tuple[list[Scored], list[Unpredicted]]:
    asked: list[Asked] = []
    scored: list[Scored] = []
    unpredicted: list[Unpredicted] = []
    for row in rows:
        reason = exclusion_of(row)
        try:
            if reason is None:
                asked.append(_read(row))
        except ValueError as error:
            reason = str(error)
        if reason is not None:
            unpredicted += [Unpredicted(metric=metric, reason=reason) for metric in METRICS if has_number(row, metric)]
    pool = next(iter(spec.pools.values()))
    low, high = _scales(pool)
    expected, fast, slow = (_replay(asked, _scaled(spec, scale), source) for scale in (1.0, low, high))
    for request, *found in zip(asked, expected, fast, slow, strict=True):
        metrics = [metric for metric in METRICS if has_number(request.row, metric)]
        if any(figures is None for figures in found):
            unpredicted += [
                Unpredicted(metric=metric, reason="the simulated cluster refused it or could not finish it") for metric in metrics
            ]
        else:
            scored += [_scored(name, request, metric, pool, [f[metric] for f in found if f is not None]) for metric in metrics]
    return scored, unpredicted


def mean_error(rows: list[dict[str, Any]], spec: ClusterSpec) -> float:
    """How far the mean end-to-end time of a run lies off, as a share of the measured; of the requests that were served in both."""
    asked = [_read(row) for row in rows if has_number(row, "e2e_ms")]
    pairs = [(number(a.row, "e2e_ms"), f["e2e_ms"]) for a, f in zip(asked, _replay(asked, spec, "calibration"), strict=True) if f]
    measured, predicted = np.array(pairs).T
    return float(predicted.mean() / measured.mean() - 1)


def _read(row: dict[str, Any]) -> Asked:
    arrival_s = float(row["arrival_s"])
    if not 0 <= arrival_s < 1e7:
        raise ValueError(f"arrival_s = {row['arrival_s']!r} must be seconds from the run's start")
    return Asked(
        row=row,
        arrival_ps=round(arrival_s * PS_PER_S),
        input_tokens=round(number(row, "input_tokens")),
        output_tokens=round(number(row, "output_tokens")),
    )


def _scored(name: str, request: Asked, metric: str, pool: PoolSpec, figures: list[float]) -> Scored:
    hardware = pool.hardware
    is_sharded = isinstance(hardware, ShardedModel)
    is_dense = not isinstance(hardware, ShardedModel) or models()[hardware.model].experts is None
    return Scored(
        gpu=hardware.gpu if isinstance(hardware, ShardedModel) else "constants",
        kind="dense" if is_dense else "moe",
        phase=name,
        engine="",
        metric=metric,
        measured=number(request.row, metric),
        predicted=figures[0],
        low=min(figures) if is_sharded else None,
        high=max(figures) if is_sharded else None,
    )


def _scales(pool: PoolSpec) -> tuple[float, float]:
    hardware = pool.hardware
    if not isinstance(hardware, ShardedModel):
        return 1.0, 1.0
    kind = "dense" if find(models(), hardware.model, what="model").experts is None else "moe"
    band = band_of(find(gpus(), hardware.gpu, what="gpu"), kind, Phase.SERVING)
    return band.low, band.high


def _scaled(spec: ClusterSpec, scale: float) -> ClusterSpec:
    """The same cluster, with every sharded pool's steps as long as `scale` says."""
    pools = {
        name: replace(pool, hardware=replace(pool.hardware, step_scale=pool.hardware.step_scale * scale))
        if isinstance(pool.hardware, ShardedModel)
        else pool
        for name, pool in spec.pools.items()
    }
    return replace(spec, pools=pools)


def _replay(asked: list[Asked], spec: ClusterSpec, source: str) -> list[dict[str, float] | None]:
    """What each request saw, in milliseconds; None where it was not served to its end."""
    cluster = SimulatedCluster(spec, source)
    model = cluster.serves[0]
    order = np.argsort([request.arrival_ps for request in asked], kind="stable")
    found: dict[int, dict[str, float] | None] = {}

    def note(events: Any) -> None:
        for kind, _, sequence in events:
            if kind is EventKind.ENDED:
                found[sequence.seq] = _figures(sequence)

    for i in order.tolist():
        request = asked[i]
        note(cluster.advance_to(request.arrival_ps))
        sequence = Sequence(seq=i, model=model, prompt_tokens=request.input_tokens, output_tokens=request.output_tokens)
        if not cluster.submit(sequence, request.arrival_ps):
            found[i] = None
    while (now := cluster.next_event_ps()) != NEVER_PS:
        note(cluster.advance_to(now))
    return [found.get(i) for i in range(len(asked))]


def _figures(sequence: Sequence) -> dict[str, float] | None:
    first, last = sequence.first_token_ps, sequence.last_token_ps
    if first is None or last is None or sequence.generated < sequence.output_tokens:
        return None
    gaps = max(1, sequence.generated - 1)
    scale = 1e3 / PS_PER_S
    return {
        "ttft_ms": (first - sequence.arrival_ps) * scale,
        "tpot_ms": (last - first) / gaps * scale,
        "e2e_ms": (last - sequence.arrival_ps) * scale,
    }
