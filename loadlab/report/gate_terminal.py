"""A gate on a terminal: the verdict first, then a line for each check."""

from __future__ import annotations

from rich.console import Console

from loadlab.analysis.gating import GateVerdict
from loadlab.report.columns import say
from loadlab.report.comparison import claims, side_text
from loadlab.report.gate import GateReport, Line, headline
from loadlab.report.terminal_styles import GOOD, OPEN
from loadlab.report.text import clean_text

_STYLES = {GateVerdict.PASSED: GOOD, GateVerdict.INCONCLUSIVE: OPEN}


def print_gate(report: GateReport, console: Console) -> None:
    """What the gate found."""
    say(console, clean_text(headline(report)), f"bold {_style(report.verdict)}")
    if report.comparison is not None:
        say(console, f"base       {side_text(report.comparison.base)}")
        say(console, f"candidate  {side_text(report.comparison.candidate)}")
    for warning in report.warnings:
        say(console, f"note: {clean_text(warning)}", OPEN)
    for line in report.lines:
        _print_line(line, console)
    if report.comparison is not None:
        for claim in claims(report.comparison):
            say(console, claim, "dim")
        say(console, "[..] one-sided 95 % bounds each way; a regression is claimed after Holm's correction over all margins.", "dim")


def _print_line(line: Line, console: Console) -> None:
    say(console, f"  {line.verdict.value:<12}  {clean_text(line.name)}", _style(line.verdict))
    for text, style in ((line.said, ""), (line.detail, "dim")):
        if text:
            say(console, clean_text(text), style, indent=16)


def _style(verdict: GateVerdict) -> str:
    return _STYLES.get(verdict, "red")
