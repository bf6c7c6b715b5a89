"""How far a generated load lies from a trace, and when that is too far to call a model good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loadlab.analysis.burstiness import Burstiness
from loadlab.analysis.table import FloatArray, IntArray

MAX_DISPERSION_FACTOR = 2.0  # either way
MAX_RATE_ERROR = 0.10
MAX_BURST_ERROR = 0.30
MAX_LENGTH_KS = 0.12
MAX_HIT_ERROR = 0.05  # of all prompt tokens


def ks_distance(a: FloatArray | IntArray, b: FloatArray | IntArray) -> float:
    """Largest difference between two empirical distribution functions (Kolmogorov-Smirnov)."""
    x, y = np.sort(a), np.sort(b)
    at = np.concatenate((x, y))
    difference = np.searchsorted(x, at, side="right") / len(x) - np.searchsorted(y, at, side="right") / len(y)
    return float(np.max(np.abs(difference)))


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalGoodness:
    """Arrivals that a law generates beside those of a trace; medians over seeds. `gap_ks` counts in the time of the clock."""

    rate_ratio: float
    bursts: tuple[Burstiness, ...]
    gap_ks: float


def median_bursts(runs: Sequence[tuple[Burstiness, ...]]) -> tuple[Burstiness, ...]:
    """The median of each figure, for the windows that all runs have."""
    widths = [b.window_s for b in min(runs, key=len)]
    return tuple(
        Burstiness(
            window_s=w,
            dispersion=float(np.median([b.dispersion for run in runs for b in run if b.window_s == w])),
            burst_factor=float(np.median([b.burst_factor for run in runs for b in run if b.window_s == w])),
        )
        for w in widths
    )


def misses(goodness: ArrivalGoodness, trace: Sequence[Burstiness], slack: float = 1.0) -> list[str]:
    """What a model misses, in words; empty for a good one. `slack` below 1 asks for more."""
    words = []
    if abs(goodness.rate_ratio - 1) > MAX_RATE_ERROR * slack:
        words.append(f"its rate is {goodness.rate_ratio:.2f} times the trace's")
    for wanted in trace:
        found = next((b for b in goodness.bursts if b.window_s == wanted.window_s), None)
        if found is None:
            words.append(f"it has no {wanted.window_s} s windows to compare")
            continue
        if (factor := _factor(found.dispersion, wanted.dispersion)) > 1 + (MAX_DISPERSION_FACTOR - 1) * slack:
            side = "under" if found.dispersion < wanted.dispersion else "over"
            beside = f"{found.dispersion:.3g} and the trace's {wanted.dispersion:.3g}"
            words.append(f"dispersion at {wanted.window_s} s is {beside}: {factor:.3g} times {side}")
        elif wanted.burst_factor and abs(found.burst_factor / wanted.burst_factor - 1) > MAX_BURST_ERROR * slack:
            words.append(
                f"bursts of {wanted.window_s} s reach {found.burst_factor:.3g} times the mean, and the trace's {wanted.burst_factor:.3g}"
            )
    return words


def _factor(a: float, b: float) -> float:
    low, high = sorted((max(a, 1e-9), max(b, 1e-9)))
    return high / low
