"""The gate: runs of a candidate against a base, a saved baseline, or thresholds; every check in one report."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loadlab.analysis.compare import Comparison, Design, compare_runs, unrecorded
from loadlab.analysis.gating import GateResult, GateVerdict, Margin, complete_margins, judge
from loadlab.analysis.latency import duration_s
from loadlab.analysis.readings import default_metrics
from loadlab.analysis.table import RequestTable
from loadlab.campaign.baselines import Baseline, check_same_scenario, load_baseline
from loadlab.campaign.sides import compare_run_dirs, measure, unrecorded_notes
from loadlab.errors import InputError
from loadlab.record.manifest import MANIFEST_FILE, HostFacts, Status
from loadlab.record.run_dir import RunDir
from loadlab.report.gate import GateReport, threshold_line
from loadlab.report.imported import IMPORTED
from loadlab.report.numbers import gather, judgements, thresholds_block
from loadlab.report.summary import load_table
from loadlab.report.validity import validity_block
from loadlab.slo import Metric, Slos, parse_threshold, read_slos


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What a candidate is held to. No margins: the default ones, where there is a base. `thresholds` hold for each of its runs."""

    margins: tuple[Margin, ...] = ()
    thresholds: tuple[str, ...] = ()
    fewest_pairs: int = 2
    passes_inconclusive: bool = False


def gate_by_thresholds(candidate: Sequence[RunDir], rules: GateRules, host: HostFacts) -> GateReport:
    """The report on runs that are compared with nothing: each keeps the thresholds of its scenario and those of `rules`, or does not.

    Raises InputError if there is no threshold, or one needs an SLO that the run has not.
    """
    rules = replace(rules, thresholds=tuple(dict.fromkeys([*candidate[0].manifest.scenario.get("thresholds", ()), *rules.thresholds])))
    if not rules.thresholds:
        raise InputError(
            "is missing, and the scenario has no thresholds: say what the run is held to, such as --threshold 'ttft.p95 < 800ms', "
            "or what it is compared with (--baseline)",
            key="--threshold",
        )
    return _report(candidate[0].manifest.name, candidate, candidate, None, None, rules, host)


def gate_against_runs(base: Sequence[RunDir], candidate: Sequence[RunDir], rules: GateRules, host: HostFacts) -> GateReport:
    """The report on a candidate against runs of a base. Raises InputError if their scenarios differ, or rows are damaged."""
    name = _common_name(base, candidate)
    slos = _slos(base[0])
    margins = complete_margins(rules.margins, slos)
    compared = compare_run_dirs(name, base, candidate, _metrics(margins, slos))
    absent = [] if rules.margins else unrecorded(compared.comparison)
    comparison = replace(compared.comparison, differences=tuple(d for d in compared.comparison.differences if d.metric not in absent))
    result = judge(comparison, [margin for margin in margins if margin.metric not in absent], rules.fewest_pairs)
    warnings = (*compared.warnings, *compared.notes, *unrecorded_notes(absent), *_said(comparison, base))
    return _report(name, [*base, *candidate], candidate, comparison, result, rules, host, warnings)


def gate_against_baseline(file: Path, candidate: Sequence[RunDir], rules: GateRules, host: HostFacts) -> GateReport:
    """The report on a candidate against a saved baseline: pairs where seeds are equal. Raises InputError as `gate_against_runs` does."""
    baseline = load_baseline(file)
    for run in candidate:
        check_same_scenario(baseline, run.manifest.scenario_digest, run.manifest.scenario, str(run.path), str(file))
    slos = _slos(candidate[0])
    margins = complete_margins(rules.margins, slos)
    _check_saved(baseline, margins, file)
    metrics = [metric for metric in _metrics(margins, slos) if str(metric) in baseline.metrics]
    plans = {run.manifest.plan_digest for run in candidate}
    partners = [run for run in baseline.runs if run.plan_digest in plans]
    comparison = compare_runs(partners or baseline.runs, [measure(run, metrics, slos)[0] for run in candidate], metrics)
    warnings = [
        f"the baseline is of {baseline.saved_from[:10]}, loadlab {baseline.loadlab}, target {baseline.target}: "
        "what else changed since then counts as a difference",
        *_said(comparison, candidate),
    ]
    result = judge(comparison, margins, rules.fewest_pairs)
    return _report(baseline.name, candidate, candidate, comparison, result, rules, host, warnings)


def _common_name(base: Sequence[RunDir], candidate: Sequence[RunDir]) -> str:
    first = base[0].manifest
    for run in (*base, *candidate):
        if run.manifest.scenario_digest != first.scenario_digest:  # of imported runs neither is known
            raise InputError(
                f"ran another scenario than {base[0].path}, so that a difference may be that of the traffic. "
                "Run the same scenario on both targets; `loadlab compare` shows strangers",
                source=str(run.path),
            )
    return first.name


def _slos(run: RunDir) -> Slos | None:
    return read_slos(run.manifest.scenario, str(run.path / MANIFEST_FILE))


def _metrics(margins: Sequence[Margin], slos: Slos | None) -> list[Metric]:
    """What blocks first, then the usual metrics, which are shown and do not block."""
    return list(dict.fromkeys([*(margin.metric for margin in margins), *default_metrics(slos)]))


def _check_saved(baseline: Baseline, margins: Sequence[Margin], file: Path) -> None:
    for margin in margins:
        if str(margin.metric) not in baseline.metrics:
            raise InputError(
                f"was saved without {margin.metric}; save it again with --metric '{margin.metric}', or leave the margin out",
                source=str(file),
            )


def _said(comparison: Comparison, runs: Sequence[RunDir]) -> list[str]:
    if runs[0].manifest.engine == IMPORTED:  # they have no plan that could be given twice
        return []
    if comparison.design in (Design.STRANGERS, Design.TWO_STRANGERS):
        return ["the plans differ, so that runs are not paired: give both sides the same seeds, and 5 % is seen where 30 % is now"]
    return []


def _report(
    name: str,
    runs: Sequence[RunDir],
    candidate: Sequence[RunDir],
    comparison: Comparison | None,
    result: GateResult | None,
    rules: GateRules,
    host: HostFacts,
    warnings: Sequence[str] = (),
) -> GateReport:
    found = [_threshold_blocks(run, rules.thresholds) for run in candidate] if rules.thresholds else []
    return GateReport(
        name=name,
        command=shlex.join(host.argv),
        t0=host.t0,
        hostname=host.hostname,
        duration_s=sum(duration_s(load_table(run)) or 0.0 for run in runs),
        problems=tuple(_problems(runs)),
        comparison=comparison,
        result=result,
        thresholds=tuple(threshold_line(block, many=len(candidate) > 1) for blocks in found for block in blocks),
        threshold_blocks=tuple(block for blocks in found for block in blocks),
        warnings=tuple(warnings),
        passes_inconclusive=rules.passes_inconclusive,
    )


def _threshold_blocks(run: RunDir, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Each threshold as the run's summary has it, with the run's name. Raises InputError on one that cannot be judged."""
    table = load_table(run)
    for text in texts:
        _check_labels(text, table, run)
    try:
        found = judgements(gather(table, run.manifest.scenario, _slos(run)), texts)
    except ValueError as error:
        raise InputError(f"= {error}", source=str(run.path), key="thresholds") from None
    return [{"run": str(run.path), **block} for block in thresholds_block(found)]


def _check_labels(text: str, table: RequestTable, run: RunDir) -> None:
    """A misspelt class is bad usage, not a target that failed. A class of the scenario without a request is judged: nothing measured."""
    for label, value in parse_threshold(text).metric.labels:
        if label == "turn":
            continue
        known = set(table.names(label).names) | (set(run.manifest.scenario.get("classes", ())) if label == "class" else set())
        if value not in known:
            there_are = ", ".join(sorted(known)) or "none"
            raise InputError(
                f"= {text!r} names {label} {value!r}, which no request of {run.path} has; there are: {there_are}", key="thresholds"
            )


def _problems(runs: Sequence[RunDir]) -> Iterator[tuple[str, GateVerdict, str]]:
    """Runs that are no measurement: on them nothing passes."""
    for run in runs:
        validity = validity_block(load_table(run), run.manifest)
        if run.manifest.status is not Status.COMPLETE:
            yield str(run.path), GateVerdict.INCOMPLETE, f"its status is {run.manifest.status}: run it again"
        elif validity is not None and validity["verdict"] == "invalid":
            yield str(run.path), GateVerdict.INVALID, "; ".join(validity["reasons"])
