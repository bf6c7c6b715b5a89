"""Laws of whole numbers: tokens of a prompt or an answer, turns of a session, images of a request.

`min` and `max` clip: what a law draws outside becomes an atom at the cap, as the caps of a real service do. A parameter such as
`mean` or `median` is that of the law before clipping; `mean()` here is the one after it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated, ClassVar, TypeAlias, assert_never

import numpy as np
from numpy.random import Generator

from loadlab.scenario.limits import WeightOrZero
from loadlab.scenario.plan import FloatArray, IntArray
from loadlab.schema import Bound, shown

MAX_COUNT = 10**9
Count = Bound("a count from 0 to 10^9", lambda x: 0 <= x <= MAX_COUNT)
AtLeastOne = Bound("from 1 to 10^9", lambda x: 1 <= x <= MAX_COUNT)
Spread = Bound("between 0 and 5", lambda x: 0 <= x <= 5)  # e^5 is a factor of 148 for one sigma


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Always `value`."""

    kind: ClassVar[str] = "constant"
    value: Annotated[int, Count]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Every whole number from min to max, both included, equally likely."""

    kind: ClassVar[str] = "uniform"
    min: Annotated[int, Count]
    max: Annotated[int, Count]

    def __post_init__(self) -> None:
        _check_order(self.min, self.max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """exp of a normal law: `sigma` is the standard deviation of the logarithm. Rounded to the nearest whole number, then clipped."""

    kind: ClassVar[str] = "lognormal"
    median: Annotated[float, AtLeastOne]
    sigma: Annotated[float, Spread]
    min: Annotated[int, Count] = 1
    max: Annotated[int, Count] = MAX_COUNT

    def __post_init__(self) -> None:
        _check_order(self.min, self.max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometric:
    """Trials up to the first success, from 1 on, with success probability 1 / mean: after each turn the same chance to stop."""

    kind: ClassVar[str] = "geometric"
    mean: Annotated[float, AtLeastOne]
    min: Annotated[int, Count] = 1
    max: Annotated[int, Count] = MAX_COUNT

    def __post_init__(self) -> None:
        _check_order(self.min, self.max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Empirical:
    """One of `values`, with probability proportional to its weight; equally likely without `weights`."""

    kind: ClassVar[str] = "empirical"
    values: Annotated[tuple[int, ...], Count]
    weights: Annotated[tuple[float, ...], WeightOrZero] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("values = [] must have at least one entry")
        check_weights(self.weights, len(self.values), "weights")


CountLaw: TypeAlias = Constant | Uniform | Lognormal | Geometric | Empirical


def draw(law: CountLaw, n: int, rng: Generator) -> IntArray:
    """n independent draws: int64[n]. Drawing more from an equal generator begins with the same numbers."""
    match law:
        case Constant(value=value):
            return np.full(n, value, dtype=np.int64)
        case Uniform():
            return rng.integers(law.min, law.max, size=n, endpoint=True)
        case Lognormal():
            lengths = np.exp(math.log(law.median) + law.sigma * rng.standard_normal(n))
            return np.clip(np.rint(lengths), law.min, law.max).astype(np.int64)
        case Geometric():
            return np.clip(_geometric(law.mean, n, rng), law.min, law.max).astype(np.int64)
        case Empirical():
            return np.asarray(law.values, dtype=np.int64)[draw_choices(law.weights, len(law.values), n, rng)]
        case _:
            assert_never(law)


def _geometric(mean: float, n: int, rng: Generator) -> FloatArray:
    """Inverse CDF: the least k with 1 - (1 - 1/mean)^k >= u."""
    u = rng.random(n)
    if mean == 1:
        return np.ones(n)
    return np.maximum(1.0, np.ceil(np.log1p(-u) / math.log1p(-1 / mean)))


def draw_choices(weights: tuple[float, ...], k: int, n: int, rng: Generator) -> IntArray:
    """n indices below k, each with probability proportional to its weight; equal weights where `weights` is empty."""
    edges = np.cumsum(weights or (1.0,) * k)
    chosen: IntArray = np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
    return chosen


def smallest(law: CountLaw) -> int:
    """The smallest number that the law can draw, or a lower bound of it."""
    match law:
        case Constant(value=value):
            return value
        case Uniform() | Lognormal():
            return law.min
        case Geometric():
            return max(1, law.min) if law.max >= 1 else law.max
        case Empirical(values=values):
            return min(values)
        case _:
            assert_never(law)


def mean(law: CountLaw) -> float:
    """Mean of what is drawn, clipping included; for the lognormal that before rounding, which is the same within half a unit."""
    match law:
        case Constant(value=value):
            return float(value)
        case Uniform():
            return (law.min + law.max) / 2
        case Lognormal():
            return _clipped_lognormal_mean(law)
        case Geometric():
            # E = min + sum of P(X > k) for k from min to max - 1, and P(X > k) = q^k
            q = 1 - 1 / law.mean
            return law.min + law.mean * (q**law.min - q**law.max)
        case Empirical():
            weights = law.weights or (1.0,) * len(law.values)
            return float(np.average(law.values, weights=weights))
        case _:
            assert_never(law)


def _clipped_lognormal_mean(law: Lognormal) -> float:
    """min P(X < min) + E[X; min < X < max] + max P(X > max), with the partial expectation of the lognormal."""
    if law.sigma == 0:
        return float(min(max(round(law.median), law.min), law.max))
    cdf = NormalDist().cdf
    low = (math.log(max(law.min, 1e-300) / law.median)) / law.sigma
    high = math.log(max(law.max, 1e-300) / law.median) / law.sigma
    middle = law.median * math.exp(law.sigma**2 / 2) * (cdf(high - law.sigma) - cdf(low - law.sigma))
    return law.min * cdf(low) + middle + law.max * (1 - cdf(high))


def _check_order(low: int, high: int) -> None:
    if low > high:
        raise ValueError(f"min = {low} must be <= max ({high})")


def check_weights(weights: tuple[float, ...], n: int, key: str) -> None:
    """Raises ValueError unless there are no weights, or n of them that are not all 0."""
    if weights and len(weights) != n:
        raise ValueError(f"{key} = {shown(list(weights))} must have {n} entries, one for each value")
    if weights and not any(weights):
        raise ValueError(f"{key} = {shown(list(weights))} must have an entry above 0")
