"""Whether what the server counted is what the client saw: requests, and times from sending.

The server's clock starts when a request has arrived and stops when an answer leaves, so that a client must see a little more, never
less. Its latencies come as histograms: the mean is exact, a quantile lies somewhere in a bucket.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np

from loadlab.analysis.latency import order_statistic, tpot_s
from loadlab.analysis.table import FloatArray, RequestTable
from loadlab.record.request import Outcome

ALLOWED_S = {"ttft_s": 0.010, "tpot_s": 0.001, "e2e_s": 0.010}  # network and HTTP on both sides, or ..
ALLOWED_SHARE = 0.10  # .. this share of the server's own time, whichever is more
EARLY_S, EARLY_SHARE = 0.001, 0.02  # by so much may a server's mean lie above the client's: clocks tick, and counters are read in turn
SAME_N_SHARE, SAME_N = 0.02, 2  # beyond it the two have timed other requests
STARTED_BY_S = 0.05
QUANTILES = {"p50": 0.50, "p95": 0.95}


class Agreement(Enum):
    """What the comparison says."""

    AGREES = "agrees"
    DISAGREES = "disagrees"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One quantity as both sides have it; `low` and `high` bound the server's number where it is a quantile of a histogram."""

    what: str  # requests, ttft_s.mean, ttft_s.p95 ..
    server: str
    client: float | None
    told: float | None
    low: float | None = None
    high: float | None = None
    verdict: Agreement
    why: str = ""


def compare_with_server(table: RequestTable, rows: Sequence[Mapping[str, Any]]) -> list[Compared]:
    """Requests, then TTFT, TPOT and end to end, for each kind of server whose pages were scraped. `rows`: of server.jsonl."""
    found = []
    for server in dict.fromkeys(row["server"] for row in rows if "server" in row):
        own = [row for row in rows if row.get("server") == server]
        if not any("finished" in row or _has_times(row) for row in own):
            continue
        unseen = _unseen(table, own)
        found += [*_requests(table, own, server, unseen), *_latencies(table, own, server, unseen)]
    return found


def _has_times(row: Mapping[str, Any]) -> bool:
    return any(name in row for name in ALLOWED_S)


def _unseen(table: RequestTable, rows: Sequence[Mapping[str, Any]]) -> str:
    """Why the pages do not cover the run; "" if they do."""
    last_s = float(np.nanmax(table.finished_s, initial=0.0))
    for source in dict.fromkeys(row["source"] for row in rows):
        own = [row for row in rows if row["source"] == source]
        if min(row["t_s"] for row in own) > STARTED_BY_S:
            return f"the first page of {source} came after the run had begun"
        if max(row["t_s"] + row["dt_s"] for row in own) < last_s:
            return f"the last page of {source} came before the run had ended"
    if any(row.get("restarted") for row in rows):
        return "a server began anew in mid-run, and with it its counts"
    return ""


def _requests(table: RequestTable, rows: Sequence[Mapping[str, Any]], server: str, unseen: str) -> Iterator[Compared]:
    if not any("finished" in row for row in rows):
        return
    told = sum(row.get("finished", 0) for row in rows)
    ok = int(np.count_nonzero(table.ok))
    sent = int(np.count_nonzero(~np.isnan(table.sent_s) & ~table.has_outcome(Outcome.NOT_SENT)))
    verdict, why = Agreement.AGREES, "" if told == ok else f"the other {told - ok:,} were answered there and not counted as OK here"
    if unseen:
        verdict, why = Agreement.NOT_COMPARED, unseen
    elif told < ok:
        verdict, why = Agreement.DISAGREES, f"{ok - told:,} of our OK requests are on none of its pages: is a replica's page missing?"
    elif told > sent:
        verdict, why = Agreement.DISAGREES, f"it finished {told - sent:,} more than we sent: somebody else loads it too"
    yield Compared(what="requests", server=server, client=ok, told=told, verdict=verdict, why=why)


def _latencies(table: RequestTable, rows: Sequence[Mapping[str, Any]], server: str, unseen: str) -> Iterator[Compared]:
    for name in ALLOWED_S:
        tallies = [row[name] for row in rows if name in row]
        n = sum(tally["count"] for tally in tallies)
        seen = _seen(name, table)
        if not n or not len(seen):
            continue
        mean = sum(tally["sum_s"] for tally in tallies) / n
        why = unseen or _other_requests(n, len(seen)) or _other_clock(rows)
        if why:
            yield Compared(
                what=f"{name}.mean", server=server, client=float(seen.mean()), told=mean, verdict=Agreement.NOT_COMPARED, why=why
            )
            continue
        yield _mean(name, server, float(seen.mean()), mean)
        for word, p in QUANTILES.items():
            low, high = _bucket_of(tallies, math.ceil(p * n))
            yield _quantile(f"{name}.{word}", name, server, order_statistic(seen, p) or 0.0, low, high)


def _seen(name: str, table: RequestTable) -> FloatArray:
    """The client's times from sending, of the requests that a server times too."""
    if name == "tpot_s":
        return tpot_s(table)
    times = table.first_token_s - table.sent_s if name == "ttft_s" else np.where(table.ok, table.finished_s - table.sent_s, np.nan)
    known: FloatArray = times[~np.isnan(times)]
    return known


def _other_requests(told: float, seen: int) -> str:
    if abs(told - seen) <= max(SAME_N, SAME_N_SHARE * seen):
        return ""
    return f"it timed {told:,.0f} requests, we {seen:,}"


def _other_clock(rows: Sequence[Mapping[str, Any]]) -> str:
    speed = next((row["speed"] for row in rows if "speed" in row), None)
    return "" if speed is None else f"it counts simulated seconds, {speed:g} in one of the wall"


def _allowed_s(name: str, told: float) -> float:
    return max(ALLOWED_S[name], ALLOWED_SHARE * told)


def _mean(name: str, server: str, client: float, told: float) -> Compared:
    verdict, why = Agreement.AGREES, ""
    if client < told - max(EARLY_S, EARLY_SHARE * told):
        verdict, why = Agreement.DISAGREES, "no client can see less than the server: other requests are in its numbers, or a clock is wrong"
    elif client > told + _allowed_s(name, told):
        verdict, why = Agreement.DISAGREES, "the difference arises before or behind the server: network, gateway, or this machine"
    return Compared(what=f"{name}.mean", server=server, client=client, told=told, verdict=verdict, why=why)


def _quantile(what: str, name: str, server: str, client: float, low: float, high: float | None) -> Compared:
    slack = max(EARLY_S, EARLY_SHARE * low)
    is_within = client >= low - slack and (high is None or client <= high + _allowed_s(name, high))
    verdict = Agreement.AGREES if is_within else Agreement.DISAGREES
    why = "" if is_within else "outside the bucket in which the server's own quantile lies"
    return Compared(what=what, server=server, client=client, told=None, low=low, high=high, verdict=verdict, why=why)


def _bucket_of(tallies: Sequence[Mapping[str, Any]], rank: int) -> tuple[float, float | None]:
    """(above, at most) of the bucket that holds the rank-th smallest; None: the last one has no upper end."""
    counts: dict[tuple[float, float], float] = {}
    for low, high, count in (bucket for tally in tallies for bucket in tally["buckets"]):
        key = (low, math.inf if high is None else high)
        counts[key] = counts.get(key, 0) + count
    passed = 0.0
    for (low, high), count in sorted(counts.items()):
        passed += count
        if passed >= rank:
            return low, None if math.isinf(high) else high
    return 0.0, None
