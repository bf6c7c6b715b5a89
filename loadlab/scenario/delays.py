"""Laws of durations in seconds: the think time between an answer and the next question. Bounds clip, as in `lengths`.

A parameter is at most 30 days (`limits`); what is drawn may be longer, and then it is the plan that is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias, assert_never

import numpy as np
from numpy.random import Generator

from loadlab.scenario.lengths import Spread
from loadlab.scenario.limits import Delay, Span
from loadlab.scenario.plan import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Always `value_s`."""

    kind: ClassVar[str] = "constant"
    value_s: Annotated[float, Delay]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniform:
    """Equally likely anywhere in [min_s, max_s)."""

    kind: ClassVar[str] = "uniform"
    min_s: Annotated[float, Delay]
    max_s: Annotated[float, Delay]

    def __post_init__(self) -> None:
        _check_order(self.min_s, self.max_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exponential:
    """Exponential with mean `mean_s`."""

    kind: ClassVar[str] = "exponential"
    mean_s: Annotated[float, Span]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """exp of a normal law: `sigma` is the standard deviation of the logarithm. Clipped to [min_s, max_s]."""

    kind: ClassVar[str] = "lognormal"
    median_s: Annotated[float, Span]
    sigma: Annotated[float, Spread]
    min_s: Annotated[float, Delay] = 0.0
    max_s: Annotated[float, Delay] | None = None

    def __post_init__(self) -> None:
        if self.max_s is not None:
            _check_order(self.min_s, self.max_s)


DelayLaw: TypeAlias = Constant | Uniform | Exponential | Lognormal
NO_DELAY = Constant(value_s=0.0)


def draw(law: DelayLaw, n: int, rng: Generator) -> FloatArray:
    """n independent draws: float64[n], seconds. Drawing more from an equal generator begins with the same numbers."""
    match law:
        case Constant(value_s=value_s):
            return np.full(n, value_s)
        case Uniform():
            return rng.uniform(law.min_s, law.max_s, n)
        case Exponential(mean_s=mean_s):
            return rng.standard_exponential(n) * mean_s
        case Lognormal():
            delays = np.exp(math.log(law.median_s) + law.sigma * rng.standard_normal(n))
            return np.clip(delays, law.min_s, law.max_s)
        case _:
            assert_never(law)


def _check_order(low_s: float, high_s: float) -> None:
    if low_s > high_s:
        raise ValueError(f"min_s = {low_s} must be <= max_s ({high_s})")
