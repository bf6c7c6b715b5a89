"""A comparison on a terminal: what was compared, what may be said of it, then a line for each metric."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from loadlab.analysis.compare import Comparison, Difference, Finding
from loadlab.report.columns import Column, build_table, print_first_that_fits, say
from loadlab.report.comparison import bounds_text, change_text, claims, finding_text, side_text, value_text
from loadlab.report.text import clean_text
from loadlab.slo import parse_metric

_SMOOTHED = (
    "Percentiles are smoothed (Harrell-Davis), or a difference would be the luck of one request; a run's report shows the order statistic."
)
_NOTE = "[..] one-sided 95 % bounds each way. Detectable: the smallest true change that so many pairs show in 80 % of cases."


def print_comparison(name: str, comparison: Comparison, warnings: Sequence[str], console: Console) -> None:
    """The comparison of one scenario."""
    say(console, f"{clean_text(name)}: candidate against base", "bold")
    say(console, f"base       {side_text(comparison.base)}")
    say(console, f"candidate  {side_text(comparison.candidate)}")
    for warning in warnings:
        say(console, f"WARNING: {clean_text(warning)}", "bold red")
    for claim in claims(comparison):
        say(console, claim, "yellow")
    console.print()
    has_evidence = any(d.low is not None or d.high is not None for d in comparison.differences)
    print_first_that_fits(
        [build_table(_columns(comparison.differences, full, has_evidence), has_total=False) for full in (True, False)], console
    )
    _print_typical(comparison, console)
    say(console, _SMOOTHED, "dim")
    judged = sum(d.evidence is not None for d in comparison.differences)
    if judged:
        say(console, f"{_NOTE} Findings are corrected for {judged} metrics (Holm).", "dim")


def _columns(differences: Sequence[Difference], full: bool, has_evidence: bool) -> list[Column]:
    columns = [
        Column(head="metric", cells=[str(d.metric) for d in differences], is_text=True),
        Column(head="base", cells=[value_text(d.metric, d.base) for d in differences]),
        Column(head="candidate", cells=[value_text(d.metric, d.candidate) for d in differences]),
        Column(head="change", cells=[change_text(d.metric, d.effect) for d in differences]),
    ]
    if has_evidence:
        columns.append(Column(head="bounds", cells=[bounds_text(d) for d in differences]))
        if full:
            columns.append(Column(head="detectable", cells=[change_text(d.metric, d.detectable).lstrip("+") for d in differences]))
        columns.append(Column(head="finding", cells=[_finding(d, full) for d in differences], is_text=True))
    return columns


def _finding(d: Difference, full: bool) -> str:
    said = finding_text(d) if full or d.finding is not Finding.NOTHING else "none"
    return f"{said} ({d.note})" if full and d.note else said


def _print_typical(comparison: Comparison, console: Console) -> None:
    """One line: the typical request."""
    seconds = parse_metric("e2e.p50")
    said = []
    for t in comparison.typical:
        d = Difference(metric=seconds, base=None, candidate=None, effect=t.effect, low=t.low, high=t.high)
        said.append(f"{t.latency} {change_text(seconds, t.effect)} {bounds_text(d)}".rstrip())
    if said:
        say(console, f"The typical request (Hodges-Lehmann): {', '.join(said)}")
