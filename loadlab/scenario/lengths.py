"""Laws of whole numbers: tokens of a prompt or an answer, turns of a session, images of a request.

`min` and `max` clip: what a law draws outside becomes an atom at the cap, as the caps of a real service do. A parameter such as
`mean` or `median` is that of the law before clipping; `distribution.mean` is the one after it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, TypeAlias, assert_never

import numpy as np
from numpy.random import Generator

from loadlab.scenario.limits import WeightOrZero
from loadlab.scenario.plan import FloatArray, IntArray
from loadlab.scenario.renewal import Cv, weibull_shape
from loadlab.schema import Bound, shown

MAX_COUNT = 10**9
Count = Bound("a count from 0 to 10^9", lambda x: 0 <= x <= MAX_COUNT)
AtLeastOne = Bound("from 1 to 10^9", lambda x: 1 <= x <= MAX_COUNT)
MAX_RANKS = 1_000_000
MAX_PARTS = 20
Ranks = Bound(f"from 1 to {MAX_RANKS:,}", lambda x: 1 <= x <= MAX_RANKS)
Exponent = Bound("between 0.01 and 10", lambda x: 0.01 <= x <= 10)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Gamma law of mean `mean` and coefficient of variation `cv`. Rounded, then clipped, as all laws of real numbers here."""

    kind: ClassVar[str] = "gamma"
    mean: Annotated[float, AtLeastOne]
    cv: Annotated[float, Cv]
    min: Annotated[int, Count] = 1
    max: Annotated[int, Count] = MAX_COUNT

    def __post_init__(self) -> None:
        _check_order(self.min, self.max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weibull:
    """Weibull law of mean `mean` and coefficient of variation `cv`."""

    kind: ClassVar[str] = "weibull"
    mean: Annotated[float, AtLeastOne]
    cv: Annotated[float, Cv]
    min: Annotated[int, Count] = 1
    max: Annotated[int, Count] = MAX_COUNT

    def __post_init__(self) -> None:
        _check_order(self.min, self.max)

    @property
    def shape_and_scale(self) -> tuple[float, float]:
        """The c and b of P(X > x) = e^(-(x / b)^c)."""
        shape = weibull_shape(self.cv)
        return shape, self.mean / math.exp(math.lgamma(1 + 1 / shape))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pareto:
    """P(X > x) = (scale / x)^alpha from `scale` on: a power-law tail. With alpha up to 1 only `max` gives it a mean."""

    kind: ClassVar[str] = "pareto"
    scale: Annotated[float, AtLeastOne]
    alpha: Annotated[float, Exponent]
    min: Annotated[int, Count] = 1
    max: Annotated[int, Count] = MAX_COUNT

    def __post_init__(self) -> None:
        _check_order(self.min, self.max)


@dataclass(frozen=True, slots=True, kw_only=True)
class Zipf:
    """Rank k from 1 to max with probability proportional to k^-exponent."""

    kind: ClassVar[str] = "zipf"
    max: Annotated[int, Ranks]
    exponent: Annotated[float, Exponent]


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """A bin by weight, then any whole number in it, equally likely: bin i holds edges[i] to edges[i + 1] - 1."""

    kind: ClassVar[str] = "histogram"
    edges: Annotated[tuple[int, ...], Count]
    weights: Annotated[tuple[float, ...], WeightOrZero]

    def __post_init__(self) -> None:
        if len(self.edges) < 2 or any(later <= earlier for earlier, later in pairwise(self.edges)):
            raise ValueError(f"edges = {shown(list(self.edges))} must ascend, and be two or more")
        if not self.weights:
            raise ValueError("weights = [] must have an entry for each bin")
        check_weights(self.weights, len(self.edges) - 1, "weights")


SingleCount: TypeAlias = Constant | Uniform | Lognormal | Geometric | Empirical | Gamma | Weibull | Pareto | Zipf | Histogram


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixture:
    """One of the laws `of`, by weight: short answers and long ones."""

    kind: ClassVar[str] = "mixture"
    of: tuple[SingleCount, ...]
    weights: Annotated[tuple[float, ...], WeightOrZero] = ()

    def __post_init__(self) -> None:
        if not 1 <= len(self.of) <= MAX_PARTS:
            raise ValueError(f"of = {len(self.of)} laws must be 1 to {MAX_PARTS}")
        check_weights(self.weights, len(self.of), "weights")


CountLaw: TypeAlias = SingleCount | Mixture


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
        case Gamma():
            return _whole(rng.standard_gamma(1 / law.cv**2, n) * (law.mean * law.cv**2), law)
        case Weibull():
            shape, scale = law.shape_and_scale
            return _whole(rng.weibull(shape, n) * scale, law)
        case Pareto():
            return _whole(law.scale * np.exp(rng.standard_exponential(n) / law.alpha), law)
        case Zipf():
            return 1 + draw_choices(zipf_weights(law), law.max, n, rng)
        case Histogram():
            return _from_bins(law, n, rng)
        case Mixture():
            return _from_mixture(law, n, rng)
        case _:
            assert_never(law)


def _whole(values: FloatArray, law: Gamma | Weibull | Pareto) -> IntArray:
    return np.clip(np.rint(values), law.min, law.max).astype(np.int64)


def zipf_weights(law: Zipf) -> tuple[float, ...]:
    """k^-exponent for each rank."""
    return tuple((np.arange(1, law.max + 1, dtype=np.float64) ** -law.exponent).tolist())


def _from_bins(law: Histogram, n: int, rng: Generator) -> IntArray:
    bins_rng, places_rng = rng.spawn(2)
    chosen = draw_choices(law.weights, len(law.weights), n, bins_rng)
    edges = np.asarray(law.edges, dtype=np.int64)
    widths = np.diff(edges)[chosen]
    places: IntArray = edges[chosen] + (places_rng.random(n) * widths).astype(np.int64)
    return places


def _from_mixture(law: Mixture, n: int, rng: Generator) -> IntArray:
    """Each law has a stream of its own, so that more draws begin with the fewer."""
    choice_rng, *part_rngs = rng.spawn(1 + len(law.of))
    chosen = draw_choices(law.weights, len(law.of), n, choice_rng)
    values = np.empty(n, dtype=np.int64)
    for k, (part, part_rng) in enumerate(zip(law.of, part_rngs, strict=True)):
        rows = np.flatnonzero(chosen == k)
        values[rows] = draw(part, len(rows), part_rng)
    return values


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


def _check_order(low: int, high: int) -> None:
    if low > high:
        raise ValueError(f"min = {low} must be <= max ({high})")


def check_weights(weights: tuple[float, ...], n: int, key: str) -> None:
    """Raises ValueError unless there are no weights, or n of them that are not all 0."""
    if weights and len(weights) != n:
        raise ValueError(f"{key} = {shown(list(weights))} must have {n} entries, one for each value")
    if weights and not any(weights):
        raise ValueError(f"{key} = {shown(list(weights))} must have an entry above 0")
