"""What a target against itself shows: how much a metric differs between two runs by chance, and what so many pairs could detect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from loadlab.analysis.compare import Comparison, Difference
from loadlab.analysis.evidence import pairs_needed
from loadlab.analysis.gating import Check
from loadlab.analysis.readings import is_relative, is_worse_when_higher
from loadlab.report.columns import Column, build_table, print_first_that_fits, say
from loadlab.report.comparison import change_text
from loadlab.report.gate import margin_text
from loadlab.report.terminal_styles import OPEN

_NOTE = (
    "noise: standard deviation of one pair's difference, A against A. detectable: the smallest true change that so many pairs show in "
    "80 % of cases. pairs to pass: how many an equal candidate needs to be surely within the margin."
)

_NO_NOISE = (
    "! every pair is equal to the digit: this target has no noise at all, and nothing above says what a real one would show. A simulated "
    "cluster differs from run to run with `step_noise_cv`."
)


def noise_of(d: Difference) -> float | None:
    """Standard deviation of one pair's difference, on its scale; None below two pairs."""
    k = len(d.differences)
    return None if d.evidence is None or k < 2 else d.evidence.se * math.sqrt(k)


def pairs_to_pass(check: Check) -> int | None:
    """Pairs after which an equal candidate passes in 80 % of cases; None where that is more than anybody runs."""
    d = check.difference
    if d.evidence is None:
        return None
    centred = [x - d.evidence.centre for x in d.differences]
    return pairs_needed(centred if is_worse_when_higher(d.metric) else [-x for x in centred], check.margin.worsening)


def noise_block(comparison: Comparison, checks: Sequence[Check]) -> list[dict[str, Any]]:
    """For `--json`: noise and detectable change of each metric, and of those with a margin the pairs to pass."""
    needed = {check.margin.metric: pairs_to_pass(check) for check in checks}
    return [
        {
            "metric": str(d.metric),
            "noise": _share(d, noise_of(d)),
            "detectable": _share(d, d.detectable),
            "pairs": len(d.differences),
            "pairs_to_pass": needed.get(d.metric),
        }
        for d in comparison.differences
    ]


def _share(d: Difference, x: float | None) -> float | None:
    return None if x is None else float(f"{math.expm1(x) if is_relative(d.metric) else x:.12g}")


def print_noise(comparison: Comparison, checks: Sequence[Check], console: Console) -> None:
    """The same as a table."""
    by_metric = {check.margin.metric: check for check in checks}
    rows = comparison.differences
    columns = [
        Column(head="metric", cells=[str(d.metric) for d in rows], is_text=True),
        Column(head="noise", cells=[change_text(d.metric, noise_of(d)).lstrip("+") for d in rows]),
        Column(head="detectable", cells=[change_text(d.metric, d.detectable).lstrip("+") for d in rows]),
        Column(head="margin", cells=[_margin(by_metric.get(d.metric)) for d in rows]),
        Column(head="pairs to pass", cells=[_pairs(by_metric.get(d.metric)) for d in rows]),
    ]
    print_first_that_fits([build_table(columns, has_total=False)], console)
    say(console, _NOTE, "dim")
    if rows and all(noise_of(d) == 0 for d in rows):
        say(console, _NO_NOISE, OPEN)


def _margin(check: Check | None) -> str:
    return "" if check is None else margin_text(check.margin.metric, check.margin.allowed)


def _pairs(check: Check | None) -> str:
    if check is None:
        return ""
    needed = pairs_to_pass(check)
    return "> 10,000" if needed is None else f"{needed:,}"
