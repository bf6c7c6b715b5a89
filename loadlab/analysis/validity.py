"""Is a measurement one? A load generator that was late, starved or full measured itself, not the target.

The limits are those of the design: a lag below 10 ms or a twentieth of TTFT is not seen in percentiles; a percent of missing load shifts
a rate by a percent; a process that waits for a core a fifth of its time stamps late what it receives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from loadlab.analysis.latency import order_statistic, ttft_s
from loadlab.analysis.table import CAUSES, FloatArray, RequestTable
from loadlab.record.request import Cause

LAG_LIMIT_S = 0.010
LAG_SHARE_OF_TTFT = 0.05
LEAST_ACHIEVED = 0.99
MOST_WAITING = 0.20
FEW = 100  # OK requests: below it p99 is the maximum


class Verdict(StrEnum):
    """What a measurement is worth."""

    VALID = "valid"
    INVALID = "invalid"  # the client spoilt it: it says nothing of the target
    INCOMPLETE = "incomplete"  # it ended early, or lost requests: it says something of what it saw


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """The verdict with its reasons, and what they were judged by; None where there was nothing to judge."""

    verdict: Verdict
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    n: int  # requests that were sent
    lag_p50_s: float | None
    lag_p99_s: float | None
    lag_limit_s: float
    offered_per_s: float | None
    achieved_per_s: float | None
    run_queue_wait_share: float | None


def judge(table: RequestTable, planned: int, client: Mapping[str, Any] | None, incomplete: str | None = None) -> Validity:
    """The validity of a run over HTTP. `client`: see `ClientFacts`. `incomplete`: why the run is not whole, None if it is.

    Rates are (n - 1) / span, of the requests due and of those sent. A request that came due and was not sent (too many in flight, no
    sockets) lowers the achieved rate.
    """
    lag_s = (table.sent_s - table.scheduled_s)[~np.isnan(table.sent_s)]
    ttft_p50_s = order_statistic(ttft_s(table), 0.5)
    limit_s = max(LAG_LIMIT_S, LAG_SHARE_OF_TTFT * (ttft_p50_s or 0.0))
    p99_s = order_statistic(lag_s, 0.99)
    offered, achieved = _rate_per_s(table.scheduled_s), _rate_per_s(table.sent_s)
    due, sent = np.count_nonzero(~np.isnan(table.scheduled_s)), len(lag_s)
    waiting = _waiting_share(client)
    reasons = []
    if len(table) < planned:
        incomplete = incomplete or f"{planned - len(table):,} requests have no row"
    if p99_s is not None and p99_s > limit_s:
        reasons.append(f"requests left late: dispatch lag p99 {1e3 * p99_s:.1f} ms, the limit is {1e3 * limit_s:.1f} ms")
    if (offered and (achieved or 0.0) < LEAST_ACHIEVED * offered) or sent < LEAST_ACHIEVED * due:
        said = f"{achieved or 0.0:,.1f} of {offered or 0.0:,.1f} requests/s"
        reasons.append(f"less was sent than was due: {said}, {due - sent:,} not sent{_unsent_words(table)}")
    if waiting is not None and waiting > MOST_WAITING:
        reasons.append(f"the load generator waited for a core {100 * waiting:.0f} % of the time, the limit is {100 * MOST_WAITING:.0f} %")
    verdict = Verdict.INCOMPLETE if incomplete is not None else Verdict.INVALID if reasons else Verdict.VALID
    return Validity(
        verdict=verdict,
        reasons=tuple(reasons) if incomplete is None else (incomplete, *reasons),
        notes=tuple(_notes(table, waiting)),
        n=sent,
        lag_p50_s=order_statistic(lag_s, 0.5),
        lag_p99_s=p99_s,
        lag_limit_s=limit_s,
        offered_per_s=offered,
        achieved_per_s=achieved,
        run_queue_wait_share=waiting,
    )


def _rate_per_s(times_s: FloatArray) -> float | None:
    known = times_s[~np.isnan(times_s)]
    span_s = float(known.max() - known.min()) if len(known) > 1 else 0.0
    return (len(known) - 1) / span_s if span_s > 0 else None


def _waiting_share(client: Mapping[str, Any] | None) -> float | None:
    facts = client or {}
    waited_s, wall_s = facts.get("run_queue_wait_s"), facts.get("wall_s")
    return None if waited_s is None or not wall_s else float(waited_s) / float(wall_s)


def _unsent_words(table: RequestTable) -> str:
    found = {cause: int(np.count_nonzero(table.cause == CAUSES.index(cause))) for cause in (Cause.IN_FLIGHT_LIMIT, Cause.OUT_OF_SOCKETS)}
    words = {
        Cause.IN_FLIGHT_LIMIT: "--max-in-flight was reached",
        Cause.OUT_OF_SOCKETS: "file descriptors or ports ran out",
    }
    said = [words[cause] for cause, count in found.items() if count]
    return f" ({'; '.join(said)})" if said else ""


def _notes(table: RequestTable, waiting: float | None) -> list[str]:
    ok = int(np.count_nonzero(table.ok))
    notes = [f"{ok:,} OK requests: a p99 of fewer than {FEW} is their maximum"] if ok < FEW else []
    if waiting is None:
        notes.append("time without a core was not counted: the system does not tell, or the load generator did not live to say")
    return notes
