"""Scores whole serving runs that nothing had seen: constants, request times and bands without a configuration, a model, or half the rows.

    python -m calibration.unseen ../shared/data/fidelity/serving_closed_loop.csv                      # each configuration left out in turn
    python -m calibration.unseen ../shared/data/fidelity/serving_closed_loop.csv --by model           # or half: random halves
    python -m calibration.unseen ../shared/data/fidelity/serving_closed_loop.csv --request-times      # request_s by engine, seen

Each row's closed loop is simulated as `loadlab validate serving` does it, with constants fitted to the other rows. Its band comes from the
residuals of the rows that were not left out with it, each of them predicted without itself (jackknife+: Barber et al. 2021).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from joblib import Parallel, delayed

from calibration.fit_serving import ENGINE_NAMES, Constants, configuration, fit, load, runs_of, with_constants
from loadlab.analysis.scoring import Scored, errors_of
from loadlab.campaign.closed_loop import ClosedLoopMeans, run_closed_loop
from loadlab.campaign.measured import has_number, number
from loadlab.campaign.validate_serving import METRICS, ServingRun, band_around, figures_of
from loadlab.catalog.bands import Band
from loadlab.catalog.names import engine_name
from loadlab.catalog.specs import engines, find, gpus, kernels
from loadlab.simulator.step_time import compile_step_times

FEWEST = 12  # rows of a GPU and kind; fewer take the band of the kind


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """A run with the engine constants that had not seen it, and what came of it."""

    run: ServingRun
    fold: str
    constants: Constants
    means: ClosedLoopMeans

    def ratio(self, metric: str) -> float:
        """Measured over predicted."""
        return number(self.run.row, metric) / figures_of(self.run, self.means)[metric]


@contextmanager
def kernels_with(constants: Constants) -> Iterator[None]:
    """The catalogue's kernels with other constants, for a while."""
    before = dict(kernels())
    kernels().update({name: with_constants(row, constants) for name, row in before.items()})
    compile_step_times.cache_clear()
    try:
        yield
    finally:
        kernels().update(before)
        compile_step_times.cache_clear()


def engine_with(run: ServingRun, constants: Constants) -> ServingRun:
    """The run with fitted host times; the catalogue's where its engine is none of the three."""
    engine = engine_name(str(run.row["engine"]))
    host_s, per_sequence_s = constants.hosts.get(engine, (run.engine.host_s, run.engine.host_per_sequence_s))
    return replace(run, hardware=replace(run.hardware, host_s=host_s, host_per_sequence_s=per_sequence_s))


def simulated(runs: Iterable[ServingRun], constants: Constants, scales: Iterable[float] | None = None) -> list[ClosedLoopMeans]:
    """Each run's closed loop with these constants, every step as long as its scale says."""
    chosen = list(runs)
    factors = [1.0] * len(chosen) if scales is None else list(scales)
    with kernels_with(constants):
        return [run_closed_loop(engine_with(run, constants).cluster(scale), run.work) for run, scale in zip(chosen, factors, strict=True)]


def request_times(runs: list[ServingRun], means: list[ClosedLoopMeans]) -> dict[str, float]:
    """Seconds that a request takes outside the scheduler, by engine: the median of what measured TTFT has above simulated, at least 0."""
    beyond: dict[str, list[float]] = {}
    for run, mean in zip(runs, means, strict=True):
        if has_number(run.row, "ttft_ms"):
            beyond.setdefault(engine_name(str(run.row["engine"])), []).append(number(run.row, "ttft_ms") / 1e3 - mean.ttft_s)
    return {name: max(0.0, float(np.median(beyond[name]))) for name in ENGINE_NAMES if name in beyond}


def without(fold: str, runs: list[ServingRun], folds: list[str]) -> list[Unseen]:
    """The runs of a fold, predicted by constants fitted to those of the others."""
    others = [run for run, of in zip(runs, folds, strict=True) if of != fold]
    constants = fit(load(others))
    times = request_times(others, simulated(others, constants))
    left_out = [_timed(run, times) for run, of in zip(runs, folds, strict=True) if of == fold]
    found = zip(left_out, simulated(left_out, constants), strict=True)
    return [Unseen(run=run, fold=fold, constants=constants, means=means) for run, means in found]


def _timed(run: ServingRun, times: dict[str, float]) -> ServingRun:
    engine = engine_name(str(run.row["engine"]))
    return replace(run, engine=replace(run.engine, request_s=times.get(engine, engines()[engine].request_s)))


def scored(fold: str, unseen: list[Unseen]) -> list[Scored]:
    """The figures of a fold's runs, with bands from the residuals of the other folds."""
    chosen, others = [u for u in unseen if u.fold == fold], [u for u in unseen if u.fold != fold]
    serving = [_band_of(u, others, "tpot_ms") for u in chosen]
    ttft = [_band_of(u, others, "ttft_ms") for u in chosen]
    constants = chosen[0].constants
    fast = simulated([u.run for u in chosen], constants, [band.low for band in serving])
    slow = simulated([u.run for u in chosen], constants, [band.high for band in serving])
    found = []
    for u, band, low, high in zip(chosen, ttft, fast, slow, strict=True):
        predicted, *ends = (figures_of(u.run, means) for means in (u.means, low, high))
        for metric in (m for m in METRICS if has_number(u.run.row, m)):
            around = band_around(metric, predicted[metric], ends[0][metric], ends[1][metric], band)
            found.append(
                Scored(
                    gpu=str(u.run.row["gpu"]),
                    kind=u.run.kind,
                    phase="agg",
                    engine=engine_name(str(u.run.row["engine"])),
                    metric=metric,
                    measured=number(u.run.row, metric),
                    predicted=predicted[metric],
                    low=around[0],
                    high=around[1],
                )
            )
    return found


def _band_of(unseen: Unseen, others: list[Unseen], metric: str) -> Band:
    """Quantiles of the residuals of the same GPU and kind, or of the kind where they are few."""
    alike = [u for u in others if u.run.kind == unseen.run.kind and has_number(u.run.row, metric)]
    near = [u for u in alike if _kernels_of(u.run) == _kernels_of(unseen.run)]
    low, high = np.quantile([u.ratio(metric) for u in (near if len(near) >= FEWEST else alike)], [0.1, 0.9])
    return Band(low=float(low), high=float(high), rows=len(alike), source="left out")


def _kernels_of(run: ServingRun) -> str:
    return find(gpus(), run.hardware.gpu, what="gpu").kernels


def folds_of(runs: list[ServingRun], by: str, seed: int = 1) -> list[str]:
    """What each run is left out with."""
    match by:
        case "half":
            return ["first" if first else "second" for first in np.random.default_rng(seed).random(len(runs)) < 0.5]
        case "model":
            return [run.hardware.model for run in runs]
        case _:
            return [configuration(run) for run in runs]


def cross_validated(path: Path, by: str) -> list[Unseen]:
    """Every run, predicted without its fold."""
    runs = runs_of(path)
    folds = folds_of(runs, by)
    parts = Parallel(-1)(delayed(without)(fold, runs, folds) for fold in sorted(set(folds)))
    return [u for part in parts for u in part]


def main() -> None:
    """Prints errors and coverage by metric, kind and, for models, by model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    parser.add_argument("--by", choices=("configuration", "model", "half"), default="configuration")
    parser.add_argument("--request-times", action="store_true", help="print what engines.toml holds as request_s, seen, and nothing else")
    asked = parser.parse_args()
    if asked.request_times:
        runs = runs_of(asked.csv)
        constants = fit(load(runs))
        print({name: f"{1e3 * seconds:.0f}ms" for name, seconds in request_times(runs, simulated(runs, constants)).items()})
        return
    unseen = cross_validated(asked.csv, asked.by)
    names = sorted({u.fold for u in unseen})
    by_fold = dict(zip(names, Parallel(-1)(delayed(scored)(name, unseen) for name in names), strict=True))
    every = [s for found in by_fold.values() for s in found]
    print(f"{len(names)} folds, each {asked.by} left out")
    for metric in METRICS:
        for kind in ("dense", "moe", "all"):
            _show(f"{metric} {kind}", [s for s in every if s.metric == metric and kind in (s.kind, "all")])
    for name in names if asked.by != "half" else []:
        _show(name, [s for s in by_fold[name] if s.metric == "tpot_ms"])


def _show(title: str, rows: list[Scored]) -> None:
    if not rows:
        return
    e = errors_of(rows)
    print(
        f"{title:100s} n {e['n']:3d} median {e['median']:5.1f} p90 {e['p90']:5.1f} bias {e['bias']:+6.1f} in band {e['band_coverage']:4.0%}"
    )


if __name__ == "__main__":
    sys.exit(main())
