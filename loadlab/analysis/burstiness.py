"""How bursty arrivals are: dispersion and burst factors of counts in windows of several widths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadlab.analysis.table import FloatArray, IntArray

WINDOWS_S = (1, 10, 60)
MIN_WINDOWS = 20  # below, a dispersion says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Burstiness:
    """Counts in windows of one width. `dispersion`: variance over mean, Poisson has 1. `burst_factor`: 99th percentile over mean."""

    window_s: int
    dispersion: float
    burst_factor: float


def seconds_of(times_s: FloatArray) -> IntArray:
    """Arrivals in each whole second from 0 to the last arrival; the second in which that lies is left out, for it is cut."""
    whole = int(times_s[-1]) if len(times_s) else 0
    counts: IntArray = np.bincount(times_s.astype(np.int64), minlength=whole)[:whole]
    return counts


def burstiness_of(second_counts: IntArray, tick_s: float | None = None) -> tuple[Burstiness, ...]:
    """Of each of WINDOWS_S that fits MIN_WINDOWS times. Where the clock ticks, windows are whole ticks, and none is less than two."""
    tick = max(1, round(tick_s)) if tick_s else 1
    widths = [max(1, round(w / tick)) * tick for w in WINDOWS_S if tick == 1 or w >= 2 * tick]
    return tuple(_burstiness(second_counts, w) for w in widths if len(second_counts) // w >= MIN_WINDOWS)


def _burstiness(second_counts: IntArray, window_s: int) -> Burstiness:
    n = len(second_counts) // window_s
    counts = np.add.reduceat(second_counts[: n * window_s], np.arange(0, n * window_s, window_s))
    mean = float(counts.mean()) or 1.0
    return Burstiness(
        window_s=window_s,
        dispersion=float(counts.var()) / mean,
        burst_factor=float(np.quantile(counts, 0.99, method="inverted_cdf")) / mean,
    )
