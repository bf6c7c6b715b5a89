"""A target that went away without a word: connections refused, reset or cut off in a row, after answers that were good.

It is a suspicion beside the rows, never a cause: a crash, a restart, a network that failed and a proxy that gave up look the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadlab.analysis.table import CAUSES, OUTCOMES, RequestTable
from loadlab.record.request import Cause, Outcome

IN_A_ROW = 5  # fewer happen to any server; a crash takes everything in flight, and refuses what comes
_GONE = [CAUSES.index(cause) for cause in (Cause.REFUSED, Cause.RESET, Cause.RESET_MID_STREAM)]
_OK = OUTCOMES.index(Outcome.OK)
_UNTOLD = [OUTCOMES.index(outcome) for outcome in (Outcome.NOT_SENT, Outcome.UNKNOWN)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspectedDeath:
    """One burst: when its first connection was lost, and how many were until the next that was not, or the end."""

    at_s: float
    requests: int


def suspected_deaths(table: RequestTable) -> tuple[SuspectedDeath, ...]:
    """Bursts of at least IN_A_ROW lost connections, in the order in which requests ended, each with a success before it."""
    told = ~np.isin(table.outcome, _UNTOLD) & ~np.isnan(table.finished_s)
    order = np.flatnonzero(told)[np.argsort(table.finished_s[told], kind="stable")]
    is_gone = np.isin(table.cause[order], _GONE)
    is_after_success = np.cumsum(table.outcome[order] == _OK) > 0
    edges = np.flatnonzero(np.diff(np.concatenate(([0], is_gone.astype(np.int8), [0]))))
    bursts = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
    return tuple(
        SuspectedDeath(at_s=float(table.finished_s[order[first]]), requests=last - first)
        for first, last in bursts
        if last - first >= IN_A_ROW and is_after_success[first]
    )
