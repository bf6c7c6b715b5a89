"""What one rate showed: how many requests missed their SLO, and how much that many dependent requests can prove."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from loadlab.analysis.intervals import share_estimate
from loadlab.analysis.table import BoolArray, FloatArray

SPRT_GOOD, SPRT_BAD = 0.6, 1.6  # the two hypotheses of Wald's test, as multiples of the error budget
SPRT_BOUND = math.log(19)  # both errors at 5 %: A. Wald, Sequential Analysis (1947), ch. 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """n planned requests at one rate, in the order in which they were due. `bad` of them failed or broke a limit of the SLO.

    `tau` is the integrated autocorrelation time of being bad: n / tau independent requests say as much. `is_overloaded` where the
    backlog grew: no number of such a run is a property of the target. `digest` names the plan, `run` where the rows lie.
    """

    rate_per_s: float
    n: int
    bad: int
    tau: float
    is_overloaded: bool = False
    warm_up: int = 0  # requests before these that were left out
    digest: str = ""
    run: str | None = None
    served_per_s: float | None = None  # good and bad alike, over the run
    ttft_p50_s: float | None = None
    ttft_p99_s: float | None = None
    e2e_mean_s: float | None = None

    @property
    def bad_share(self) -> float:
        """Share of requests that were bad."""
        return self.bad / self.n

    @property
    def is_dead(self) -> bool:
        """Whether nothing was good, and nothing is known to have been served: too slow a target still serves."""
        return self.bad == self.n and not self.served_per_s

    @property
    def n_effective(self) -> float:
        """How many independent requests say as much."""
        return self.n / self.tau

    def upper_bound(self, confidence: float) -> float:
        """One-sided upper bound on the long-run bad share: Clopper and Pearson's, with both counts divided by tau.

        C. J. Clopper and E. S. Pearson, Biometrika 26 (1934): the confidence-quantile of Beta(k + 1, n - k).
        """
        k, n = self.bad / self.tau, self.n_effective
        return 1.0 if k >= n else float(special.betaincinv(k + 1, n - k, confidence))

    def lower_bound(self, confidence: float) -> float:
        """One-sided lower bound: the (1 - confidence)-quantile of Beta(k, n - k + 1)."""
        k, n = self.bad / self.tau, self.n_effective
        return 0.0 if k <= 0 else float(special.betaincinv(k, n - k + 1, 1 - confidence))

    def log_likelihood_ratio(self, budget: float) -> float:
        """Wald's log likelihood ratio of "1.6 times the budget" against "0.6 times the budget", over tau."""
        good, bad = SPRT_GOOD * budget, min(SPRT_BAD * budget, (1 + budget) / 2)
        total = self.bad * math.log(bad / good) + (self.n - self.bad) * math.log((1 - bad) / (1 - good))
        return total / self.tau


def pooled(levels: Sequence[Level]) -> Level:
    """The first level with the requests of the others counted as its own; tau so that their effective requests add up."""
    if len(levels) == 1:
        return levels[0]
    n = sum(level.n for level in levels)
    bad, n_effective = sum(level.bad for level in levels), sum(level.n_effective for level in levels)
    return replace(levels[0], n=n, bad=bad, tau=n / n_effective, is_overloaded=any(level.is_overloaded for level in levels))


def level_of(rate_per_s: float, bad: BoolArray, stand_in: FloatArray, *, is_overloaded: bool = False, warm_up: int = 0) -> Level:
    """The level that rows in due order show. `stand_in`: a latency of the same requests, whose dependence counts where few were bad.

    float64[n]; what has no latency counts as the slowest.
    """
    if np.isnan(stand_in).any():
        known = stand_in[~np.isnan(stand_in)]
        stand_in = np.where(np.isnan(stand_in), known.max(initial=0.0) + 1.0, stand_in)
    tau = share_estimate(bad, stand_in).tau or 1.0
    return Level(rate_per_s=rate_per_s, n=len(bad), bad=int(np.count_nonzero(bad)), tau=tau, is_overloaded=is_overloaded, warm_up=warm_up)
