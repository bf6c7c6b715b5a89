"""A gate on a terminal: the verdict first, then a line for each check."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from loadlab.analysis.gating import GateVerdict
from loadlab.report.comparison import claims, side_text
from loadlab.report.gate import GateReport, Line, headline
from loadlab.report.text import clean_text

_STYLES = {GateVerdict.PASSED: "green", GateVerdict.INCONCLUSIVE: "yellow"}


def print_gate(report: GateReport, console: Console) -> None:
    """What the gate found."""
    _say(console, clean_text(headline(report)), f"bold {_style(report.verdict)}")
    if report.comparison is not None:
        _say(console, f"base       {side_text(report.comparison.base)}")
        _say(console, f"candidate  {side_text(report.comparison.candidate)}")
    for warning in report.warnings:
        _say(console, f"WARNING: {clean_text(warning)}", "bold red")
    for line in report.lines:
        _print_line(line, console)
    if report.comparison is not None:
        for claim in claims(report.comparison):
            _say(console, claim, "dim")
        _say(console, "[..] one-sided 95 % bounds each way; a regression is claimed after Holm's correction over all margins.", "dim")


def _print_line(line: Line, console: Console) -> None:
    _say(console, f"  {line.verdict.value:<12}  {clean_text(line.name)}", _style(line.verdict))
    _say(console, f"                {clean_text(line.said)}")
    if line.detail:
        _say(console, f"                {clean_text(line.detail)}", "dim")


def _style(verdict: GateVerdict) -> str:
    return _STYLES.get(verdict, "red")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style))
