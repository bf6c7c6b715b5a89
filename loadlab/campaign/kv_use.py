"""How full the KV memory was while a run's requests came: as its server said, or as a simulated cluster says. What tells KV blocks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

LEAST_READINGS = 20  # rows of the server: fewer are no time mean
ERROR = 0.04  # of a share, as a share of it: a page is looked at once a second, and what is late at the server is so in no simulation
LEAST_USE = 0.002  # below, a page's digits and half-filled blocks are a good part of it


def kv_use(rows: Iterable[Mapping[str, Any]], first_s: float, last_s: float) -> float | None:
    """Share of KV memory in use, 0 to 1: the mean over [first_s, last_s] and the replicas that say it. None where too little is said.

    `rows` are those of server.jsonl. A share is tokens resident over tokens that fit: with the former simulated, it tells the latter.
    """
    weights, used, readings = 0.0, 0.0, 0
    for row in rows:
        share = row.get("kv_usage")
        inside = min(row["t_s"] + row["dt_s"], last_s) - max(row["t_s"], first_s)
        if share is None or inside <= 0:
            continue
        weights, used, readings = weights + inside, used + inside * share, readings + 1
    if readings < LEAST_READINGS or used < LEAST_USE * weights:
        return None
    return used / weights


def log_difference(simulated: float | None, measured: float) -> float:
    """log(simulated / measured) of two shares; a simulated cluster that holds next to nothing counts as a tenth of it."""
    return math.log((simulated or measured / 10) / measured)
