"""A comparison on a terminal: what was compared, what may be said of it, then a line for each metric."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from loadlab.analysis.compare import Difference, Finding
from loadlab.report.columns import Column, build_table, print_first_that_fits, say
from loadlab.report.comparison import (
    BOUNDS_NOTE,
    SMOOTHED_NOTE,
    ComparedPage,
    bounds_text,
    change_text,
    claims,
    finding_text,
    side_text,
    typical_text,
    value_text,
)
from loadlab.report.terminal_styles import OPEN
from loadlab.report.text import clean_text

_FINDINGS = {Finding.NOTHING: "none shown"}


def print_comparisons(pages: Sequence[ComparedPage], console: Console) -> None:
    """The comparison of each scenario, then what the numbers are, once."""
    for page in pages:
        _print_one(page, console)
    say(console, SMOOTHED_NOTE, "dim")
    judged = [sum(d.evidence is not None for d in page.comparison.differences) for page in pages]
    if any(judged):
        say(console, f"{BOUNDS_NOTE} Findings are corrected for the {max(judged)} metrics of a table (Holm).", "dim")


def _print_one(page: ComparedPage, console: Console) -> None:
    comparison, name = page.comparison, page.name
    say(console, f"{clean_text(name)}: candidate against base", "bold")
    say(console, f"base       {side_text(comparison.base)}")
    say(console, f"candidate  {side_text(comparison.candidate)}")
    for warning in page.warnings:
        say(console, f"WARNING: {clean_text(warning)}", "bold red")
    for claim in (*page.notes, *claims(comparison)):
        say(console, clean_text(claim), OPEN)
    console.print()
    columns = _columns(comparison.differences)
    tables = (
        columns,
        [c for c in columns if c.head != "detectable"],
        [c for c in columns if c.head not in ("base", "candidate", "detectable")],
    )
    print_first_that_fits([build_table(some, has_total=False) for some in tables], console)
    typical = typical_text(comparison)
    if typical:
        say(console, f"The typical request (Hodges-Lehmann): {typical}")


def _columns(differences: Sequence[Difference]) -> list[Column]:
    """What a narrow terminal has no room for is left out by its head."""
    columns = [
        Column(head="metric", cells=[str(d.metric) for d in differences], is_text=True),
        Column(head="base", cells=[value_text(d.metric, d.base) for d in differences]),
        Column(head="candidate", cells=[value_text(d.metric, d.candidate) for d in differences]),
        Column(head="change", cells=[change_text(d.metric, d.effect) for d in differences]),
    ]
    if any(d.low is not None or d.high is not None for d in differences):
        columns += [
            Column(head="bounds", cells=[bounds_text(d) for d in differences]),
            *([] if all(d.detectable is None for d in differences) else [_detectable(differences)]),
            Column(head="finding", cells=[_FINDINGS.get(d.finding, finding_text(d)) for d in differences], is_text=True),
        ]
    return columns


def _detectable(differences: Sequence[Difference]) -> Column:
    return Column(head="detectable", cells=[change_text(d.metric, d.detectable).lstrip("+") for d in differences])
