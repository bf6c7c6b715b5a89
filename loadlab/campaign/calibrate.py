"""Runs to a calibrated cluster: the same requests simulated at candidate constants, until they see what they saw when measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from loadlab import __version__
from loadlab.analysis.intervals import Estimate, mean_estimate, quantile_estimate
from loadlab.analysis.latency import order_statistic
from loadlab.analysis.table import BoolArray, FloatArray
from loadlab.campaign.kv_use import ERROR, kv_use, log_difference
from loadlab.campaign.observed import LATENCIES, LeftOut, Observed, ends_s, observe
from loadlab.campaign.tuning import constants_of, patched, pools_to_fit, with_values
from loadlab.engines.simulation import SimulationEngine
from loadlab.errors import InputError
from loadlab.planning.calibration import FIGURE_ERROR, Fit, fit_constants
from loadlab.record.atomic_file import cannot_write, save_bytes
from loadlab.schema import as_table, check_schema, read_table, read_toml, shown_path
from loadlab.simulator.calibrated import Calibration
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import CLUSTER_SCHEMA
from loadlab.simulator.sequence import Sequence as Simulated
from loadlab.simulator.spec import ClusterSpec
from loadlab.units import PS_PER_S

LIMIT = 0.10  # of |simulated / measured - 1| after the fit: beyond, the calibration is refused
UNSEEN_S = 0.002  # a difference that clocks and networks make by themselves
SOFT_S = 0.0005  # added to both sides of a ratio, which otherwise asks of microseconds what no model has
CONFIDENCE = 0.9
LEAST_FOR_THIRDS = 90
LEAST_BAND = 0.02
OTHER_MEMORY = (
    "its server's share of KV memory in use grows otherwise with load than the simulated one: it may count something else, "
    "and no KV blocks were fitted to it"
)
Seconds = Mapping[str, FloatArray]
Say = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a run's requests see on a cluster: float64[n] of each latency, seconds, NaN where not served; and how full KV memory was."""

    seconds: dict[str, FloatArray]
    kv_use: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KvUse:
    """Share of KV memory in use in a run: as its server said, and as simulated before and after the fit."""

    measured: float
    before: float | None
    after: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of one level: as measured, with its interval, and as simulated before and after the fit. Seconds."""

    level: str
    rate_per_s: float
    latency: str
    what: str  # mean, p90
    measured: Estimate
    before_s: float
    after_s: float

    @property
    def difference(self) -> float:
        """simulated / measured - 1, after the fit."""
        return self.after_s / (self.measured.value or np.nan) - 1

    @property
    def is_too_far(self) -> bool:
        """True beyond LIMIT, where a clock can see it."""
        return abs(self.difference) > LIMIT and abs(self.after_s - (self.measured.value or 0.0)) > UNSEEN_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """The outcome: `spec` and `table` (of its TOML) are worth using only where `is_refused` is False."""

    fit: Fit
    figures: tuple[Figure, ...]
    runs: tuple[Observed, ...]
    left_out: tuple[LeftOut, ...]
    kv: tuple[KvUse | None, ...]  # of each run
    spec: ClusterSpec
    table: dict[str, Any]
    pools: tuple[str, ...]

    @property
    def too_far(self) -> tuple[Figure, ...]:
        """What lies too far off after the fit."""
        return tuple(figure for figure in self.figures if figure.is_too_far)

    @property
    def is_refused(self) -> bool:
        """True if the simulator, however its constants are set, does not do what was measured."""
        return bool(self.too_far)


def calibrate(paths: Sequence[Path], cluster: Path, as_of: str, say: Say, pool: str | None = None) -> Calibrated:
    """Fits the cluster of a file to run directories. `as_of`: today, ISO 8601. Raises InputError, also where no run is fit."""
    table = read_toml(cluster)
    check_schema(table, CLUSTER_SCHEMA, str(cluster))
    spec = read_table(ClusterSpec, table, str(cluster))
    runs, left = observe(paths, SimulatedCluster(spec, str(cluster)).serves)
    if not runs:
        reasons = "; ".join(f"{run.name} {run.why}" for run in left)
        raise InputError(f"no run can be calibrated on: {reasons}")
    return calibrate_observed(runs, left, table, str(cluster), as_of, say, pool)


def calibrate_observed(
    runs: Sequence[Observed],
    left: Sequence[LeftOut],
    table: Mapping[str, Any],
    source: str,
    as_of: str,
    say: Say = lambda *_: None,
    pool: str | None = None,
) -> Calibrated:
    """The same from runs that are read, and the table of a cluster file."""
    table = {key: value for key, value in table.items() if key not in ("schema", "calibration")}
    spec = read_table(ClusterSpec, table, source)
    pools = pools_to_fit(spec, pool, source)
    if len(pools) < len(spec.pools):  # what a server says is of all pools
        runs = [replace(run, kv_use=None) for run in runs]
    fit, before, after, written = _fitted(runs, table, spec, pools, source, say)
    if any(run.kv_use is not None and abs(log_difference(a.kv_use, run.kv_use)) > LIMIT for run, a in zip(runs, after, strict=True)):
        runs = [run if run.kv_use is None else replace(run, kv_use=None, notes=(*run.notes, OTHER_MEMORY)) for run in runs]
        fit, before, after, written = _fitted(runs, table, spec, pools, source, say)
    final = read_table(ClusterSpec, written, source)
    figures = tuple(figure for run, b, a in zip(runs, before, after, strict=True) for figure in _figures(run, b.seconds, a.seconds))
    block = _calibration(fit, figures, runs, source, as_of)
    return Calibrated(
        fit=fit,
        figures=figures,
        runs=tuple(runs),
        left_out=tuple(left),
        kv=tuple(_kv(run, b, a) for run, b, a in zip(runs, before, after, strict=True)),
        spec=replace(final, calibration=block),
        table={"schema": CLUSTER_SCHEMA} | written | {"calibration": as_table(block)},
        pools=pools,
    )


def _fitted(
    runs: Sequence[Observed], table: Mapping[str, Any], spec: ClusterSpec, pools: Sequence[str], source: str, say: Say
) -> tuple[Fit, list[Seen], list[Seen], dict[str, Any]]:
    """The fit, the runs simulated before and after it, and the cluster file's table with what was told written in."""
    constants = constants_of(
        spec, pools, source, has_network=not all(run.is_simulated for run in runs), knows_kv=any(run.kv_use is not None for run in runs)
    )
    evaluations = 0

    def simulated(values: Mapping[str, float]) -> list[Seen]:
        nonlocal evaluations
        evaluations += 1
        say(f"fit, simulation {evaluations}", 0, 0)
        return [simulate(with_values(spec, pools, values), run, source) for run in runs]

    fit = fit_constants(
        constants, lambda values: np.concatenate([_differences(run, seen) for run, seen in zip(runs, simulated(values), strict=True)])
    )
    written = patched(table, pools, {fitted.constant.name: fitted.value for fitted in fit.constants if fitted.is_told})
    final = read_table(ClusterSpec, written, source)
    before = simulated({constant.name: constant.start for constant in constants})
    return fit, before, [simulate(final, run, source) for run in runs], written


def _kv(run: Observed, before: Seen, after: Seen) -> KvUse | None:
    return None if run.kv_use is None else KvUse(measured=run.kv_use, before=before.kv_use, after=after.kv_use)


def simulate(spec: ClusterSpec, run: Observed, source: str) -> Seen:
    """The run's requests on a fresh cluster."""
    found = {latency: np.full(len(run), np.nan) for latency in LATENCIES}

    def note(ended: list[Simulated]) -> None:
        for request in ended:
            first, last, end = request.first_token_ps, request.last_token_ps, request.ended_ps
            if request.cause is not None or end is None:
                continue
            found["e2e"][request.seq] = (end - request.arrival_ps) / PS_PER_S
            if first is not None and last is not None:
                found["ttft"][request.seq] = (first - request.arrival_ps) / PS_PER_S
                if request.generated > 1:
                    found["tpot"][request.seq] = (last - first) / (request.generated - 1) / PS_PER_S

    cluster = SimulatedCluster(spec, source, run.plan.seed)
    SimulationEngine(cluster, itl=False).follow(run.plan, note, lambda *_: None)
    return Seen(seconds=found, kv_use=kv_use(cluster.timeline_rows(), *ends_s(run.plan)))


def _differences(run: Observed, seen: Seen) -> FloatArray:
    """log(simulated / measured) of what is fitted: means, medians, p90, TTFT by thirds of prompt length, how many were answered, KV use."""
    simulated = seen.seconds
    found: list[float] = [] if run.kv_use is None else [FIGURE_ERROR / ERROR * log_difference(seen.kv_use, run.kv_use)]
    for latency in LATENCIES:
        both = _both(run, simulated, latency)
        measured, predicted = run.seconds[latency][both], simulated[latency][both]
        if not len(measured):
            found += [0.0] * 3 if np.isnan(run.seconds[latency]).all() else [-1.0] * 3
            continue
        found.append(_log_ratio(predicted.mean(), measured.mean()))
        found += [_log_ratio(order_statistic(predicted, p), order_statistic(measured, p)) for p in (0.5, 0.9)]
    known = np.flatnonzero(~np.isnan(run.seconds["ttft"]))
    if len(known) >= LEAST_FOR_THIRDS:
        by_length = known[np.argsort(run.plan.prompt_tokens[known], kind="stable")]
        for third in np.array_split(by_length, 3):
            served = third[~np.isnan(simulated["ttft"][third])]
            found.append(_log_ratio(simulated["ttft"][served].mean(), run.seconds["ttft"][served].mean()) if len(served) else -1.0)
    answered = np.count_nonzero(_both(run, simulated, "e2e"))
    found.append(float(np.log((answered + 1) / (np.count_nonzero(~np.isnan(run.seconds["e2e"])) + 1))))
    return np.array(found)


def _both(run: Observed, simulated: Seconds, latency: str) -> BoolArray:
    return np.asarray(~np.isnan(run.seconds[latency]) & ~np.isnan(simulated[latency]), dtype=np.bool_)


def _log_ratio(simulated: float | None, measured: float | None) -> float:
    return float(np.log(((simulated or 0.0) + SOFT_S) / ((measured or 0.0) + SOFT_S)))


def _figures(run: Observed, before: Seconds, after: Seconds) -> list[Figure]:
    found = []
    for latency in LATENCIES:
        both = _both(run, before, latency) & _both(run, after, latency)
        measured = run.seconds[latency][both]
        if not len(measured):
            continue
        values = [seconds[latency][both] for seconds in (before, after)]
        for what in ("mean", "p90"):
            is_mean = what == "mean"
            said = mean_estimate(measured, CONFIDENCE) if is_mean else quantile_estimate(measured, 0.9, CONFIDENCE)
            ends = [float(v.mean()) if is_mean else order_statistic(v, 0.9) or 0.0 for v in values]
            found.append(
                Figure(
                    level=run.name, rate_per_s=run.rate_per_s, latency=latency, what=what,
                    measured=said, before_s=ends[0], after_s=ends[1],
                )
            )  # fmt: skip
    return found


def _calibration(fit: Fit, figures: Sequence[Figure], runs: Sequence[Observed], source: str, as_of: str) -> Calibration:
    """The block that stays in the file."""
    means = [1 / (1 + f.difference) for f in figures if f.what == "mean" and f.latency != "ttft"] or [1.0]
    first = [1 / (1 + f.difference) for f in figures if f.latency == "ttft"] or [1.0]
    worst = max((abs(f.difference) for f in figures if abs(f.after_s - (f.measured.value or 0.0)) > UNSEEN_S), default=0.0)
    return Calibration(
        runs=tuple(run.digest for run in runs),
        targets=tuple(dict.fromkeys(run.target for run in runs)),
        requests=sum(len(run) for run in runs),
        lowest_rate_per_s=min(run.rate_per_s for run in runs),
        highest_rate_per_s=max(run.rate_per_s for run in runs),
        fitted={f.constant.name: f.value for f in fit.constants if f.is_told},
        kept=tuple(f.constant.name for f in fit.constants if not f.is_told),
        worst_difference=worst,
        low_ratio=min(*means, 1 - LEAST_BAND),
        high_ratio=max(*means, 1 + LEAST_BAND),
        ttft_low_ratio=min(*first, 1 - LEAST_BAND),
        ttft_high_ratio=max(*first, 1 + LEAST_BAND),
        as_of=as_of,
        loadlab=__version__,
        based_on=source,
    )


def save_cluster(calibrated: Calibrated, out: Path) -> None:
    """Writes the calibrated cluster file. Raises InputError where it cannot be written."""
    import tomli_w

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        save_bytes(out, tomli_w.dumps(calibrated.table).encode())
    except OSError as error:
        raise cannot_write(Path(shown_path(out)), error) from None
