"""Latencies of the requests that succeeded, counted from the time they were due, in the order of the rows; and their percentiles."""

from __future__ import annotations

import math

import numpy as np

from loadlab.analysis.table import FloatArray, RequestTable


def per_row_s(latency: str, table: RequestTable) -> FloatArray:
    """float64[n]: "ttft", "tpot" or "e2e" of each row, seconds; NaN where the row is not OK, or lacks the stamps or tokens for it."""
    match latency:
        case "ttft":
            values = table.first_token_s - table.scheduled_s
        case "tpot":
            values = (table.last_token_s - table.first_token_s) / np.where(table.output_tokens >= 2, table.output_tokens - 1, np.nan)
        case "e2e":
            values = table.finished_s - table.scheduled_s
        case _:
            raise ValueError(f"{latency} is not a latency of a row")
    return np.where(table.ok, values, np.nan)


def series_of(latency: str, table: RequestTable) -> FloatArray:
    """The values of `per_row_s` that are known, in the order of the rows."""
    return _known(per_row_s(latency, table))


def ttft_s(table: RequestTable) -> FloatArray:
    """Time to first token of OK rows that have one: first token - scheduled, seconds."""
    return series_of("ttft", table)


def tpot_s(table: RequestTable) -> FloatArray:
    """Time per output token after the first, of OK rows of two tokens or more: (last - first) / (tokens - 1), seconds."""
    return series_of("tpot", table)


def e2e_s(table: RequestTable) -> FloatArray:
    """End to end of OK rows: finished - scheduled, seconds."""
    return series_of("e2e", table)


def dispatch_lag_s(table: RequestTable) -> FloatArray:
    """The load generator's own delay, of every row that was sent, whatever its outcome: sent - scheduled, seconds."""
    return _known(table.sent_s - table.scheduled_s)


def duration_s(table: RequestTable) -> float | None:
    """From the first due time to the last end, whatever the outcome; None where no row has a time."""
    known = _known(np.concatenate([table.scheduled_s, table.finished_s]))
    return float(known.max() - known.min()) if len(known) else None


def rank_of(p: float, n: int) -> int:
    """Rank, from 1, of the order statistic that is the p-quantile of n values: ceil(p n).

    The empirical distribution function's inverse (Hyndman and Fan 1996, definition 1). Rounded before ceil, since
    0.07 * 100 is 7.000000000000001 in floating point.
    """
    if not 0 < p <= 1:
        raise ValueError(f"p = {p} must be above 0 and at most 1")
    return max(1, math.ceil(round(p * n, 9)))


def order_statistic(values: FloatArray, p: float) -> float | None:
    """The value of rank ceil(p n): one that occurred, never interpolated. None when n = 0."""
    n = len(values)
    if n == 0:
        return None
    rank = rank_of(p, n)
    return float(np.partition(values, rank - 1)[rank - 1])


def _known(values: FloatArray) -> FloatArray:
    return values[~np.isnan(values)]
