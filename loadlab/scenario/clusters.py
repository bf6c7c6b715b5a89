"""Arrivals in clusters: one cause brings several requests, as a page with five widgets does, or a batch job."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.random import Generator

from loadlab.errors import InputError
from loadlab.scenario import distribution, lengths
from loadlab.scenario.limits import Delay, Rate
from loadlab.scenario.plan import FloatArray

MAX_MEAN_SIZE = 10_000
MAX_PENDING = 50_000  # requests that are still to come from clusters that began, in the mean
MAX_DRAWN = 20_000_000
LOOK_BACK = 40  # spreads before time 0 from which a straggler may come: e^-40 of them would be older


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Neyman-Scott process: clusters come as a Poisson process, each with `size` requests, every one at its own exponential delay of
    mean spread_s after the cluster's moment (Daley & Vere-Jones, An Introduction to the Theory of Point Processes, 2003, ex. 6.3(a)).

    `rate_per_s` counts requests. Stationary from time 0 on. With spread_s = 0 the requests of a cluster come at once.
    """

    kind: ClassVar[str] = "cluster"
    rate_per_s: Annotated[float, Rate]
    size: lengths.CountLaw
    spread_s: Annotated[float, Delay] = 0.0

    def __post_init__(self) -> None:
        if distribution.smallest(self.size) < 1:
            raise ValueError("size = 0 must not be possible: set its min, value or values to 1 or more")
        mean = distribution.mean(self.size)
        if mean > MAX_MEAN_SIZE:
            raise ValueError(f"size has a mean of {mean:.4g} requests, and {MAX_MEAN_SIZE:,} is the limit")
        if self.rate_per_s * self.spread_s > MAX_PENDING:
            pending = f"{self.rate_per_s * self.spread_s:.3g} requests would be still to come at any time"
            raise ValueError(f"spread_s = {self.spread_s} must be shorter: {pending}, and {MAX_PENDING:,} is the limit")


def cluster_times_s(law: Cluster, n: int, rng: Generator) -> FloatArray:
    """The first n arrival times: float64[n], seconds.

    Times before the last cluster's moment are final: clusters are drawn until that are n. More of them begin alike.
    """
    seed = int(rng.integers(2**63))
    clusters = math.ceil(n / distribution.mean(law.size)) + 16
    while True:
        moments_rng, sizes_rng, delays_rng = np.random.default_rng(seed).spawn(3)
        gap_s = distribution.mean(law.size) / law.rate_per_s
        back = LOOK_BACK * law.spread_s
        moments = np.cumsum(moments_rng.standard_exponential(clusters + math.ceil(back / gap_s))) * gap_s - back
        sizes = lengths.draw(law.size, len(moments), sizes_rng)
        if sizes.sum() > MAX_DRAWN:
            raise InputError(f"gives {sizes.sum():,} requests in {len(sizes):,} clusters: set a max", key="load.arrivals.size")
        times = np.repeat(moments, sizes) + law.spread_s * delays_rng.standard_exponential(int(sizes.sum()))
        final = np.sort(times[(times >= 0) & (times <= moments[-1])])
        if len(final) >= n:
            return final[:n]
        clusters *= 2
