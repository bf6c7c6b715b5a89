"""Two sides of a comparison, read from disk: a run, a folder of runs, or a campaign, measured pair by pair and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from loadlab.analysis.compare import Comparison, Design, compare_runs, design_of, pair_up, unrecorded
from loadlab.analysis.one_pair import compare_one_pair
from loadlab.analysis.readings import (
    SHIFTED,
    RunNumbers,
    aligned,
    default_metrics,
    log_ratios,
    read_deciles,
    read_metric,
    typical_change,
)
from loadlab.analysis.table import RequestTable
from loadlab.analysis.totals import totals_of
from loadlab.errors import InputError
from loadlab.record.manifest import MANIFEST_FILE, Status
from loadlab.record.run_dir import REQUESTS_FILE, RunDir
from loadlab.report.comparison import ComparedPage
from loadlab.report.imported import imported_warning
from loadlab.report.summary import load_table
from loadlab.slo import Metric, Slos, read_slos


def load_side(path: Path) -> list[RunDir]:
    """The run directory at `path`, or those in the folder, by name. Raises InputError if there is none, or one is damaged."""
    if (path / MANIFEST_FILE).exists() or not path.is_dir():
        return [RunDir.open(path)]
    runs = [RunDir.open(entry.parent) for entry in sorted(path.glob(f"*/{MANIFEST_FILE}"))]
    if not runs:
        raise InputError("holds no run directory, nor is it one. A run directory is what `loadlab run --out` writes", source=str(path))
    return runs


def compare_paths(base: Path, candidate: Path, metrics: Sequence[Metric] | None = None) -> list[ComparedPage]:
    """Each scenario that both sides ran, compared. `metrics` None: those of `default_metrics`.

    A side of one scenario is compared with the other whole, even where the scenario was changed. Raises InputError if nothing can be
    compared, or rows are damaged.
    """
    ours, theirs = load_side(base), load_side(candidate)
    groups = list(groups_by_scenario(ours, theirs))
    if not groups:
        said = f"{sorted({run.manifest.name for run in ours})} and {sorted({run.manifest.name for run in theirs})}"
        raise InputError(f"ran other scenarios than the base: {said} have none in common", source=str(candidate))
    return [compare_run_dirs(name, a, b, metrics) for name, a, b in groups]


def groups_by_scenario(base: Sequence[RunDir], candidate: Sequence[RunDir]) -> Iterator[tuple[str, list[RunDir], list[RunDir]]]:
    """(name, base runs, candidate runs) of each scenario that both sides ran; of one only, all of them, whatever their names."""
    names = dict.fromkeys(run.manifest.name for run in (*base, *candidate))
    if len({run.manifest.name for run in base}) == 1 == len({run.manifest.name for run in candidate}):
        yield base[0].manifest.name, list(base), list(candidate)
        return
    for name in names:
        a, b = ([run for run in side if run.manifest.name == name] for side in (base, candidate))
        if a and b:
            yield name, a, b


def compare_run_dirs(name: str, base: Sequence[RunDir], candidate: Sequence[RunDir], metrics: Sequence[Metric] | None) -> ComparedPage:
    """The comparison of runs of one scenario. An SLO is the base's, on both sides."""
    slos = read_slos(base[0].manifest.scenario, str(base[0].path / MANIFEST_FILE))
    asked = default_metrics(slos) if metrics is None else list(metrics)
    keys = [_key_only(run) for run in base], [_key_only(run) for run in candidate]
    match design_of(*keys):
        case Design.ONE_PAIR:
            (a, rows), (b, others) = (measure(side[0], asked, slos) for side in (base, candidate))
            comparison = compare_one_pair((a, rows), (b, others), asked, slos)
        case Design.PAIRS:
            comparison = _compare_pairs(base, candidate, pair_up(*keys) or [], asked, slos)
        case _:
            sides = [[measure(run, asked, slos)[0] for run in side] for side in (base, candidate)]
            comparison = compare_runs(sides[0], sides[1], asked)
    absent = [] if metrics is not None else unrecorded(comparison)
    shown = replace(comparison, differences=tuple(d for d in comparison.differences if d.metric not in absent))
    return ComparedPage(
        name=name,
        comparison=shown,
        warnings=(*_compared_with_themselves(base, candidate), *_warnings([*base, *candidate])),
        notes=(*_notes(base, candidate, comparison), *unrecorded_notes(absent)),
    )


def _compared_with_themselves(base: Sequence[RunDir], candidate: Sequence[RunDir]) -> Iterator[str]:
    ours = {run.path.resolve() for run in base}
    for run in candidate:
        if run.path.resolve() in ours:
            yield f"{run.path} is on both sides: it is compared with itself, and no difference says nothing"


def _compare_pairs(
    base: Sequence[RunDir], candidate: Sequence[RunDir], pairs: Sequence[tuple[int, int]], metrics: Sequence[Metric], slos: Slos | None
) -> Comparison:
    ours: list[RunNumbers] = []
    theirs: list[RunNumbers] = []
    changes: dict[str, list[float]] = {name: [] for name in SHIFTED}
    for i, j in pairs:
        (a, rows), (b, others) = measure(base[i], metrics, slos), measure(candidate[j], metrics, slos)
        ours.append(a)
        theirs.append(b)
        same = aligned(rows, others)
        for name, found in changes.items():
            change = typical_change(log_ratios(name, *same))
            if change is not None:
                found.append(change)
    whole = {name: found for name, found in changes.items() if len(found) == len(pairs)}
    return compare_runs(ours, theirs, metrics, whole)


def _key_only(run: RunDir) -> RunNumbers:
    manifest = run.manifest
    return RunNumbers(
        label=str(run.path), plan_digest=manifest.plan_digest, scenario_digest=manifest.scenario_digest, seed=manifest.seed,
        planned=manifest.planned, ok=0, readings={},
    )  # fmt: skip


def measure(run: RunDir, metrics: Sequence[Metric], slos: Slos | None) -> tuple[RunNumbers, RequestTable]:
    """A run's numbers, and the rows that they come from. Raises InputError if rows are damaged, or a metric needs an SLO."""
    table = load_table(run)
    try:
        totals = totals_of(table, run.manifest.planned)
        readings = {str(metric): read_metric(metric, table, slos) for metric in metrics}
    except ValueError as error:
        raise InputError(str(error), source=str(run.path / REQUESTS_FILE)) from None
    manifest = run.manifest
    numbers = RunNumbers(
        label=str(run.path), plan_digest=manifest.plan_digest, scenario_digest=manifest.scenario_digest, seed=manifest.seed,
        planned=manifest.planned, ok=totals.ok, readings=readings, deciles=read_deciles(table),
    )  # fmt: skip
    return numbers, table


def _warnings(runs: Sequence[RunDir]) -> Iterator[str]:
    for run in runs:
        if run.manifest.status is not Status.COMPLETE:
            yield f"{run.path} is {run.manifest.status}: what it did not measure counts as not OK, and its latencies are those of a part"
        imported = imported_warning(str(run.path), run.manifest.engine, list(run.manifest.conditions))
        if imported is not None:
            yield imported


def unrecorded_notes(metrics: Sequence[Metric]) -> Iterator[str]:
    """One sentence about latencies that neither side recorded."""
    names = list(dict.fromkeys(metric.name for metric in metrics))
    if names:
        yield f"Neither side recorded {', '.join(names)}: left out."


def _notes(base: Sequence[RunDir], candidate: Sequence[RunDir], comparison: Comparison) -> Iterator[str]:
    """Simulated pairs that share their seed share their noise: what differs is the clusters, and not what two runs of one differ by."""
    manifests = [run.manifest for run in (*base, *candidate)]
    if comparison.num_pairs and all(m.engine == "simulation" and m.target_seed is None for m in manifests):
        yield "Simulated, both sides with the same noise: bounds lack what two runs of one target differ by. `loadlab gate` draws it anew."
