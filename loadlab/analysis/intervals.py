"""Intervals of confidence for what a run estimates."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval for a success probability from n independent trials; None when n = 0.

    Wilson's score interval without continuity correction (E. B. Wilson, JASA 22, 1927, p. 209; recommended for all n by
    Brown, Cai and DasGupta, Statistical Science 16, 2001). Never leaves [0, 1]. Requests that queue behind each other are not
    independent, so near saturation it is too narrow.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are impossible")
    if n == 0:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high
