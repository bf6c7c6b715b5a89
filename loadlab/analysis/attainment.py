"""Which requests met the SLO, and what the misses cost of the error budget."""

from __future__ import annotations

import numpy as np

from loadlab.analysis.intervals import Estimate
from loadlab.analysis.table import NO_NAME, BoolArray, RequestTable
from loadlab.slo import Slo, Slos

HOURS_OF_BUDGET = 30 * 24
PAGE_AT, TICKET_AT = 6.0, 1.0  # burn rates of the workbook's slower page (6 h) and of its ticket (3 days); the fast page is at 14.4 (1 h)
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


def hours_left(burn: Estimate) -> Estimate:
    """Hours until a 30-day error budget is gone if this goes on; None, without end, at a burn of 0."""

    def hours(rate: float | None) -> float | None:
        return HOURS_OF_BUDGET / rate if rate else None

    note = burn.note or ("never: nothing was bad" if burn.value == 0 else "")
    return Estimate(
        value=hours(burn.value), low=hours(burn.high), high=hours(burn.low), n=burn.n, tau=burn.tau, n_effective=burn.n_effective, note=note
    )


def alert_of(burn: Estimate) -> str | None:
    """What a burn that lasts would set off by the Site Reliability Workbook (chapter 5): "page", "ticket" or None."""
    if burn.value is None or burn.value < TICKET_AT:
        return None
    return "page" if burn.value >= PAGE_AT else "ticket"
