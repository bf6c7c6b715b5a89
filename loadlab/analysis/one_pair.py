"""One pair of runs of the same plan: how those two runs differ, from the same requests in both.

What it cannot say is how two runs of the *same* target differ, so that nothing here is evidence about the targets. Within the pair the
requests are cut into sections of time; each section has its own difference, and their spread is the uncertainty of the whole one. Queues
reach over neighbouring requests and hardly over whole sections, which is why sections and not requests are counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from loadlab.analysis.compare import (
    Comparison,
    Design,
    Difference,
    Shift,
    Typical,
    is_one_scenario,
    judged,
    shift_of,
    typical_of,
    with_evidence,
)
from loadlab.analysis.evidence import Student
from loadlab.analysis.readings import (
    DECILES,
    SHIFTED,
    RunNumbers,
    aligned,
    log_ratios,
    read_deciles,
    read_metric,
    scaled,
    typical_change,
)
from loadlab.analysis.table import FloatArray, IntArray, RequestTable
from loadlab.slo import Metric, Slos

FEWEST_SECTIONS, MOST_SECTIONS = 5, 20  # S. Asmussen and P. W. Glynn, Stochastic Simulation (2007), ch. IV.5: five to thirty
_TOO_SHORT = "too few requests for sections of their own"


def compare_one_pair(
    base: tuple[RunNumbers, RequestTable], candidate: tuple[RunNumbers, RequestTable], metrics: Sequence[Metric], slos: Slos | None
) -> Comparison:
    """The comparison of one run with another of an equal plan. Bounds are those of the pair, by sectioning: never of the targets."""
    (base_numbers, base_rows), (candidate_numbers, candidate_rows) = base, candidate
    a, b = aligned(base_rows, candidate_rows)
    differences = [within_one_pair(metric, base_numbers, candidate_numbers, a, b, slos) for metric in metrics]
    return Comparison(
        design=Design.ONE_PAIR,
        base=(base_numbers,),
        candidate=(candidate_numbers,),
        differences=tuple(judged(differences)),
        shifts=tuple(_shifts(base_numbers, candidate_numbers, a, b)),
        typical=tuple(_typical(a, b)),
        is_same_scenario=is_one_scenario((base_numbers, candidate_numbers)),
    )


def sections_of(metric: Metric, n: int) -> int:
    """Into how many sections n requests can be cut: each needs 1 / (1 - p) of them for a percentile p, 20 for anything else; 0 is none."""
    p = metric.percentile or 0.95
    sections = min(MOST_SECTIONS, math.floor(n * min(p, 1 - p) + 1e-9)) if 0 < p < 1 else 0
    return sections if sections >= FEWEST_SECTIONS else 0


def sectioned(whole: float, parts: FloatArray) -> Student:
    """A difference with the standard error of its sections' differences about it (sectioning: Asmussen and Glynn, ch. III.5)."""
    b = len(parts)
    return Student(centre=whole, se=math.sqrt(float(np.mean((parts - whole) ** 2)) / (b - 1)), df=b - 1)


def within_one_pair(
    metric: Metric, base: RunNumbers, candidate: RunNumbers, a: RequestTable, b: RequestTable, slos: Slos | None
) -> Difference:
    """One metric of two runs, from their aligned rows `a` and `b`; without bounds where sections would be too short."""
    ours, theirs = base.readings[str(metric)], candidate.readings[str(metric)]
    shown = Difference(metric=metric, base=ours.smoothed, candidate=theirs.smoothed)
    x, y = scaled(metric, ours.smoothed), scaled(metric, theirs.smoothed)
    if x is None or y is None:
        return replace(shown, note="a run has no such number")
    parts = _section_differences(metric, a, b, slos)
    if parts is None:
        return replace(shown, effect=y - x, differences=(y - x,), note=_TOO_SHORT)
    found = with_evidence(shown, sectioned(y - x, parts), (y - x,))
    return replace(found, detectable=None)  # that is a statement about pairs


def _section_differences(metric: Metric, a: RequestTable, b: RequestTable, slos: Slos | None) -> FloatArray | None:
    found = []
    for rows in np.array_split(np.arange(len(a)), max(1, sections_of(metric, len(a)))):
        x, y = (scaled(metric, read_metric(metric, table.rows(rows), slos).smoothed) for table in (a, b))
        if x is None or y is None:
            return None
        found.append(y - x)
    return np.array(found) if len(found) >= FEWEST_SECTIONS else None


def _shifts(base: RunNumbers, candidate: RunNumbers, a: RequestTable, b: RequestTable) -> list[Shift]:
    parts = [(read_deciles(a.rows(rows)), read_deciles(b.rows(rows))) for rows in _ten_sections(a)]
    shifts = []
    for name in SHIFTED:
        if name not in base.deciles or name not in candidate.deciles:
            continue
        whole = np.log(candidate.deciles[name]) - np.log(base.deciles[name])
        known = [np.log(y[name]) - np.log(x[name]) for x, y in parts if name in x and name in y]
        is_known = len(known) == len(parts)
        found = [sectioned(float(whole[k]), np.array([part[k] for part in known])) for k in range(len(DECILES))] if is_known else None
        shifts.append(shift_of(name, whole, found))
    return shifts


def _ten_sections(table: RequestTable) -> list[IntArray]:
    return np.array_split(np.arange(len(table)), MOST_SECTIONS // 2)


def _typical(a: RequestTable, b: RequestTable) -> list[Typical]:
    found = []
    for name in SHIFTED:
        whole = typical_change(log_ratios(name, a, b))
        parts = [typical_change(log_ratios(name, a.rows(rows), b.rows(rows))) for rows in _ten_sections(a)]
        if whole is not None:
            known = [part for part in parts if part is not None]
            found.append(typical_of(name, whole, sectioned(whole, np.array(known)) if len(known) == len(parts) else None))
    return found
