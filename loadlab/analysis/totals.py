"""The ledger of a run: every planned request is in exactly one column."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from loadlab.analysis.table import CAUSES, OUTCOMES, RequestTable
from loadlab.record.request import Outcome

FAILED = (Outcome.OOM, Outcome.TIMEOUT, Outcome.HTTP_ERROR, Outcome.CONNECTION_ERROR, Outcome.TRUNCATED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Requests planned, and how many ended in each outcome. Invariant: planned == sum of the others."""

    planned: int
    ok: int = 0
    rejected: int = 0
    oom: int = 0
    timeout: int = 0
    http_error: int = 0
    connection_error: int = 0
    truncated: int = 0
    not_sent: int = 0
    unknown: int = 0

    def __post_init__(self) -> None:
        if self.planned != sum(self.count(outcome) for outcome in Outcome):
            raise ValueError(f"planned = {self.planned} is not the sum of the outcomes: {self}")

    def count(self, outcome: Outcome) -> int:
        """Requests that ended so."""
        return int(getattr(self, outcome.value))

    @property
    def failed(self) -> int:
        """Sent, not refused, and not answered in full and in time."""
        return sum(self.count(outcome) for outcome in FAILED)

    def __add__(self, other: Totals) -> Totals:
        counts = {outcome: self.count(outcome) + other.count(outcome) for outcome in Outcome}
        return Totals(planned=self.planned + other.planned, **counts)


def count_outcomes(outcomes: Iterable[Outcome], planned: int) -> Totals:
    """The ledger of a list of outcomes; planned requests without one are unknown. ValueError if there are too many."""
    counts = dict.fromkeys(OUTCOMES, 0)
    for outcome in outcomes:
        counts[outcome] += 1
    return _ledger(counts, planned)


def totals_of(table: RequestTable, planned: int) -> Totals:
    """The ledger of a table; planned requests without a row are unknown. ValueError if a seq is there twice or is not planned."""
    if len(table) and not (table.seq.min() >= 0 and table.seq.max() < planned):
        raise ValueError(f"a row has a seq outside the plan of {planned} requests")
    ordered = table.seq if np.all(table.seq[1:] > table.seq[:-1]) else np.sort(table.seq)
    if np.any(ordered[1:] == ordered[:-1]):
        raise ValueError("a seq is there twice")
    counts = np.bincount(table.outcome, minlength=len(OUTCOMES))
    return _ledger({outcome: int(counts[code]) for code, outcome in enumerate(OUTCOMES)}, planned)


def causes_of(table: RequestTable) -> dict[str, int]:
    """Rows by cause, in the order of `Cause`; only causes that occur."""
    counts = np.bincount(table.cause[table.cause >= 0], minlength=len(CAUSES))
    return {cause.value: int(counts[code]) for code, cause in enumerate(CAUSES) if counts[code]}


def _ledger(counts: Mapping[Outcome, int], planned: int) -> Totals:
    missing = planned - sum(counts.values())
    if missing < 0:
        raise ValueError(f"{sum(counts.values())} outcomes for {planned} planned requests")
    by_name = {outcome.value: count for outcome, count in counts.items()}
    return Totals(planned=planned, **by_name | {"unknown": by_name["unknown"] + missing})
