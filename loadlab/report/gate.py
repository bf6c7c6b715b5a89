"""What a gate found: one document, from which the terminal, JUnit, Markdown and JSON are made, so that they cannot disagree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from loadlab.analysis.compare import Comparison
from loadlab.analysis.gating import Check, GateResult, GateVerdict, common_verdict
from loadlab.analysis.readings import is_relative
from loadlab.errors import ExitCode
from loadlab.report.comparison import bounds_text, change_text, comparison_block, difference_block, value_text
from loadlab.report.findings import verdict_lines
from loadlab.report.text import clean_text
from loadlab.slo import Metric, Unit

_THRESHOLDS = {"passed": GateVerdict.PASSED, "failed": GateVerdict.FAILED, "undecided": GateVerdict.INCONCLUSIVE}
GATE_SCHEMA = "loadlab/gate/1"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that was checked, as people read it: a metric against its margin, a threshold, or a run that has to be whole."""

    name: str
    verdict: GateVerdict
    said: str  # what was found
    detail: str = ""  # why, and what to do


@dataclass(frozen=True, slots=True, kw_only=True)
class GateReport:
    """Everything that a gate found. `problems`: runs that are no measurement, each with its verdict and why."""

    name: str
    command: str
    t0: str
    hostname: str
    duration_s: float | None  # of the measured runs together
    problems: tuple[tuple[str, GateVerdict, str], ...] = ()
    comparison: Comparison | None = None
    result: GateResult | None = None
    thresholds: tuple[Line, ...] = ()
    threshold_blocks: tuple[Json, ...] = ()
    warnings: tuple[str, ...] = ()
    passes_inconclusive: bool = False
    noise: tuple[Json, ...] = ()  # of a self-test: what each metric differs by, by chance

    @property
    def verdict(self) -> GateVerdict:
        """The gravest of all checks."""
        found = [verdict for _, verdict, _ in self.problems]
        found += [line.verdict for line in self.thresholds]
        if self.result is not None:
            found.append(self.result.verdict)
        return common_verdict(found)

    @property
    def exit_code(self) -> ExitCode:
        """98 invalid, 97 incomplete, 99 regressed, failed, or inconclusive where that does not pass; else 0."""
        match self.verdict:
            case GateVerdict.INVALID:
                return ExitCode.INVALID
            case GateVerdict.INCOMPLETE:
                return ExitCode.INCOMPLETE
            case GateVerdict.REGRESSED | GateVerdict.FAILED:
                return ExitCode.THRESHOLD_FAILED
            case GateVerdict.INCONCLUSIVE:
                return ExitCode.OK if self.passes_inconclusive else ExitCode.THRESHOLD_FAILED
            case GateVerdict.PASSED:
                return ExitCode.OK

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every check: runs that are no measurement, then margins, then thresholds."""
        broken = [Line(name=f"{label} is a measurement", verdict=v, said=v.value, detail=why) for label, v, why in self.problems]
        checks = () if self.result is None else self.result.checks
        judged = (*map(check_line, checks), *self.thresholds)
        return (*broken, *(map(_not_judged, judged) if broken else judged))


def _not_judged(line: Line) -> Line:
    """On runs that are no measurement nothing passes, and nothing regresses."""
    return replace(line, verdict=GateVerdict.INCONCLUSIVE, detail="not judged: a run is no measurement")


def margin_text(metric: Metric, allowed: float) -> str:
    """ "5 %" of the base, "1 pt" of a share, "3" of a count."""
    if is_relative(metric):
        return f"{100 * allowed:g} %"
    return f"{100 * allowed:g} pt" if metric.unit is Unit.SHARE else f"{allowed:g}"


def check_line(check: Check) -> Line:
    """A margin and what was found of it."""
    d = check.difference
    name = f"{d.metric} worse by at most {margin_text(d.metric, check.margin.allowed)}"
    if d.effect is None:
        return Line(name=name, verdict=check.verdict, said="not measured", detail=check.note)
    said = f"{change_text(d.metric, d.effect)} {bounds_text(d)}".rstrip()
    said += f", {value_text(d.metric, d.base)} to {value_text(d.metric, d.candidate)}"
    return Line(name=name, verdict=check.verdict, said=said, detail="; ".join(_details(check)))


def _details(check: Check) -> Iterator[str]:
    d = check.difference
    if check.note:
        yield check.note
    if check.verdict is GateVerdict.INCONCLUSIVE and check.p_regressed is not None:
        yield (
            "more pairs than anybody runs would be needed"
            if check.more_pairs is None
            else f"about {_pairs(check.more_pairs)} would settle it"
        )
    if d.detectable is not None and check.verdict is not GateVerdict.REGRESSED:
        yield f"detectable: {change_text(d.metric, d.detectable).lstrip('+')}"


def threshold_line(block: Json, *, many: bool) -> Line:
    """A threshold of one run, from its block of a summary and the run's name; `many` runs each have their own line."""
    (line,) = verdict_lines({"thresholds": [block]})
    name = f"{line.threshold} ({clean_text(block['run'])})" if many else line.threshold
    return Line(name=name, verdict=_THRESHOLDS[block["verdict"]], said=line.seen, detail=line.why)


def headline(report: GateReport) -> str:
    """The verdict in one sentence, first what a person at 3 a.m. needs."""
    lines = [line for line in report.lines if line.verdict is report.verdict]
    names = ", ".join(clean_text(line.name.partition(" worse by")[0].removesuffix(" is a measurement")) for line in lines)
    match report.verdict:
        case GateVerdict.PASSED:
            return f"PASSED: {len(lines)} of {len(report.lines)} checks hold"
        case GateVerdict.REGRESSED:
            return f"REGRESSED: {names}"
        case GateVerdict.FAILED:
            return f"FAILED: {names}"
        case GateVerdict.INCONCLUSIVE:
            passes = " (passes: --inconclusive pass)" if report.passes_inconclusive else ""
            return f"INCONCLUSIVE: {names or 'nothing was checked'}{_more(report)}{passes}"
        case GateVerdict.INCOMPLETE:
            return f"INCOMPLETE: {names}"
        case GateVerdict.INVALID:
            return f"INVALID: {names}"


def _more(report: GateReport) -> str:
    more = None if report.result is None else report.result.more_pairs
    return "" if more is None else f"; about {_pairs(more)} would settle it"


def _pairs(more: int) -> str:
    return f"{more:,} more pair{'s' * (more != 1)}"


def gate_document(report: GateReport) -> Json:
    """`loadlab gate --json`."""
    result = report.result
    return {
        "schema": GATE_SCHEMA,
        "name": report.name,
        "verdict": report.verdict.value,
        "exit_code": int(report.exit_code),
        "headline": headline(report),
        "inconclusive_passes": report.passes_inconclusive,
        "more_pairs": None if result is None else result.more_pairs,
        "warnings": list(report.warnings),
        "problems": [{"run": run, "verdict": verdict.value, "why": why} for run, verdict, why in report.problems],
        "checks": [_check_block(check) for check in (() if result is None else result.checks)],
        "thresholds": list(report.threshold_blocks),
        "comparison": None if report.comparison is None else comparison_block(report.comparison),
        "noise": list(report.noise),
        "host": {"t0": report.t0, "hostname": report.hostname, "command": report.command, "duration_s": report.duration_s},
    }


def _check_block(check: Check) -> Json:
    return difference_block(check.difference) | {
        "margin": check.margin.allowed,
        "verdict": check.verdict.value,
        "p_regressed": check.p_regressed,
        "p_passed": check.p_passed,
        "more_pairs": check.more_pairs,
        "note": check.note,
    }
