"""Which requests met the SLO, and what the misses cost of the error budget."""

from __future__ import annotations

import numpy as np

from loadlab.analysis.intervals import Estimate
from loadlab.analysis.table import NO_NAME, BoolArray, RequestTable
from loadlab.slo import Slo, Slos

SLACK_S = 1e-9  # times are differences of float64: 2.6 - 2.0 is more than 0.6


def attained(table: RequestTable, slos: Slos) -> BoolArray:
    """True in the rows that are OK and met every limit of their class.

    TPOT binds answers of two tokens or more, TTFT those of one or more. An answer whose first token nobody saw has not met it: what
    cannot be shown is not claimed.
    """
    found = np.zeros(len(table), dtype=np.bool_)
    column = table.traffic_class
    for code, name in ((NO_NAME, None), *enumerate(column.names)):
        own = np.equal(column.codes, code)
        if own.any():
            found |= own & _met(table, slos.of(name))
    return found


def _met(table: RequestTable, slo: Slo) -> BoolArray:
    tokens = np.nan_to_num(table.output_tokens)
    met = table.ok
    if slo.ttft is not None:
        met &= (table.first_token_s - table.scheduled_s <= slo.ttft + SLACK_S) | (tokens < 1)
    if slo.tpot is not None:
        met &= (table.last_token_s - table.first_token_s <= slo.tpot * (tokens - 1) + SLACK_S) | (tokens < 2)
    if slo.e2e is not None:
        met &= table.finished_s - table.scheduled_s <= slo.e2e + SLACK_S
    return met


def burn_rate(attainment: Estimate, target: float) -> Estimate:
    """How many times too fast the error budget goes: share of bad requests / (1 - target).

    1 spends a budget exactly in its period (Site Reliability Workbook, 2018, chapter 5).
    """

    def burn(share: float | None) -> float | None:
        return None if share is None else (1 - share) / (1 - target)

    return Estimate(
        value=burn(attainment.value),
        low=burn(attainment.high),
        high=burn(attainment.low),
        n=attainment.n,
        tau=attainment.tau,
        n_effective=attainment.n_effective,
        note=attainment.note,
    )
