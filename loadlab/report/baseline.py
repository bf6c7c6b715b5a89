"""A saved baseline on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from rich.console import Console

from loadlab.analysis.readings import RunNumbers, combined, is_relative, scaled
from loadlab.report.columns import Column, build_table, print_first_that_fits, say
from loadlab.report.comparison import change_text, value_text
from loadlab.report.text import clean_text
from loadlab.slo import Metric, parse_metric

_SPREAD = "spread: standard deviation over the runs, whose plans differ; pairs of equal plans differ by less."


def print_baseline(head: str, digest: str, runs: Sequence[RunNumbers], console: Console) -> None:
    """Where it came from, then a line for each metric: its common value, and how much the runs spread."""
    say(console, clean_text(head), "bold")
    seeds = ", ".join(str(run.seed) for run in runs)
    planned, ok = sum(run.planned for run in runs), sum(run.ok for run in runs)
    count = "1 run, seed" if len(runs) == 1 else f"{len(runs)} runs, seeds"
    say(console, f"{count} {seeds}, {planned:,} requests planned, {ok:,} OK, scenario {digest[:19]}")
    metrics = [parse_metric(name) for name in runs[0].readings]
    columns = [
        Column(head="metric", cells=[str(metric) for metric in metrics], is_text=True),
        Column(head="value", cells=[value_text(m, combined(m, [run.readings[str(m)] for run in runs])) for m in metrics]),
        Column(head="spread", cells=[_spread(m, runs) for m in metrics]),
    ]
    print_first_that_fits([build_table(columns, has_total=False)], console)
    say(console, _SPREAD, "dim")


def _spread(metric: Metric, runs: Sequence[RunNumbers]) -> str:
    found = [scaled(metric, run.readings[str(metric)].smoothed) for run in runs]
    known = [x for x in found if x is not None]
    if len(known) < max(2, len(found)):
        return "-"
    spread = float(np.std(known, ddof=1))
    return change_text(metric, spread).lstrip("+") if not is_relative(metric) or spread < math.log(11) else "-"
