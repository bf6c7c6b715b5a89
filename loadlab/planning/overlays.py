"""Models of throughput that are drawn beside a capacity curve for the eye, and never used to find a capacity: they err by 20 to 28 %."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Usl:
    """The Universal Scalability Law X(N) = lambda N / (1 + sigma (N - 1) + kappa N (N - 1)) (N. J. Gunther, 2007), fitted."""

    lambda_per_s: float
    sigma: float
    kappa: float

    @property
    def peak_per_s(self) -> float:
        """The highest throughput: at N = sqrt((1 - sigma) / kappa), or lambda / sigma where it only levels off."""
        if self.kappa <= 0:
            return self.lambda_per_s / self.sigma if self.sigma > 0 else np.inf
        n = max(1.0, np.sqrt(max(0.0, 1 - self.sigma) / self.kappa))
        return float(self.lambda_per_s * n / (1 + self.sigma * (n - 1) + self.kappa * n * (n - 1)))


def fit_usl(levels: Sequence[Mapping[str, Any]]) -> Usl | None:
    """The law through levels with `served_per_s` and `e2e_mean_s`, their concurrency by Little's law; None below four, or without a fit."""
    known = [level for level in levels if level["served_per_s"] and level["e2e_mean_s"]]
    if len(known) < 4:
        return None
    served = np.array([level["served_per_s"] for level in known])
    concurrency = served * np.array([level["e2e_mean_s"] for level in known])

    def law(n: Any, rate: float, sigma: float, kappa: float) -> Any:
        return rate * n / (1 + sigma * (n - 1) + kappa * n * (n - 1))

    first = (served[0] / max(concurrency[0], 1e-9), 0.01, 1e-6)
    try:
        found, _ = curve_fit(law, concurrency, served, p0=first, bounds=([0, 0, 0], [np.inf, 1, 1]), maxfev=5000)
    except (RuntimeError, ValueError, OptimizeWarning):
        return None
    return Usl(lambda_per_s=float(found[0]), sigma=float(found[1]), kappa=float(found[2]))
