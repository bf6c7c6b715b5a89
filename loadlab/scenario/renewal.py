"""Renewal arrivals: independent gaps of one law, at a constant rate.

A law with random gaps is stationary from time 0 on: its first gap is what an observer sees who comes at a random moment, U times
a gap drawn by its length (Cox, Renewal Theory, 1962, ch. 5). Begun with a whole gap, a window from 0 would hold (cv^2 - 1) / 2
arrivals too many.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar, TypeAlias, assert_never

import numpy as np
from numpy.random import Generator

from loadlab.scenario.limits import Rate
from loadlab.scenario.plan import FloatArray
from loadlab.schema import Bound

# Gaps with CV 100 come in bursts of some cv^2 / 2 = 5,000 requests; beyond, a plan is one burst. Below 0.01 nothing is left to chance.
Cv = Bound("> 0, from 0.01 to 100", lambda x: 0.01 <= x <= 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """Arrival k (from 0) at k / rate_per_s exactly."""

    kind: ClassVar[str] = "constant"
    rate_per_s: Annotated[float, Rate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Poisson:
    """Independent arrivals: gaps are exponential (Ross, Stochastic Processes, 2nd ed., prop. 2.2.1)."""

    kind: ClassVar[str] = "poisson"
    rate_per_s: Annotated[float, Rate]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Gamma gaps of coefficient of variation `cv`: 1 is Poisson, above is bursty, below is regular."""

    kind: ClassVar[str] = "gamma"
    rate_per_s: Annotated[float, Rate]
    cv: Annotated[float, Cv]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weibull:
    """Weibull gaps of coefficient of variation `cv`: with cv > 1 the longer nobody came, the longer it will take."""

    kind: ClassVar[str] = "weibull"
    rate_per_s: Annotated[float, Rate]
    cv: Annotated[float, Cv]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lognormal:
    """Lognormal gaps of coefficient of variation `cv`: a heavier tail of silences than Gamma or Weibull of the same cv."""

    kind: ClassVar[str] = "lognormal"
    rate_per_s: Annotated[float, Rate]
    cv: Annotated[float, Cv]


Renewal: TypeAlias = Constant | Poisson | Gamma | Weibull | Lognormal


class Gaps(StrEnum):
    """The shape of gaps."""

    CONSTANT = "constant"
    EXPONENTIAL = "exponential"
    GAMMA = "gamma"
    WEIBULL = "weibull"
    LOGNORMAL = "lognormal"


def renewal_times_s(law: Renewal, n: int, rng: Generator) -> FloatArray:
    """The first n arrival times: float64[n], seconds."""
    match law:
        case Constant():
            return unit_sums(Gaps.CONSTANT, 0.0, n, rng) / law.rate_per_s
        case Poisson():
            return unit_sums(Gaps.EXPONENTIAL, 1.0, n, rng) / law.rate_per_s
        case Gamma() | Weibull() | Lognormal():
            return unit_sums(Gaps(law.kind), law.cv, n, rng) / law.rate_per_s
        case _:
            assert_never(law)


def unit_sums(gaps: Gaps, cv: float, n: int, rng: Generator) -> FloatArray:
    """The first n arrivals of a stationary renewal process of rate 1: float64[n]. `cv` counts for gamma, weibull and lognormal.

    More arrivals from an equal generator begin with the same numbers.
    """
    match gaps:
        case Gaps.CONSTANT:
            return np.arange(n, dtype=np.float64)
        case Gaps.EXPONENTIAL:
            return np.cumsum(rng.standard_exponential(n))
        case Gaps.GAMMA:
            return _gamma_sums(cv, n, rng)
        case Gaps.WEIBULL:
            return _weibull_sums(weibull_shape(cv), n, rng)
        case Gaps.LOGNORMAL:
            return _lognormal_sums(math.sqrt(math.log1p(cv**2)), n, rng)
        case _:
            assert_never(gaps)


def _gamma_sums(cv: float, n: int, rng: Generator) -> FloatArray:
    """A gap drawn by its length is Gamma(shape + 1)."""
    shape = 1 / cv**2
    first = rng.random() * rng.standard_gamma(shape + 1)
    return _summed(first, rng.standard_gamma(shape, max(n - 1, 0)), n) / shape


def _weibull_sums(shape: float, n: int, rng: Generator) -> FloatArray:
    """A gap drawn by its length has the density x^shape e^(-x^shape): the power 1 / shape of a Gamma(1 + 1 / shape)."""
    first = rng.random() * rng.standard_gamma(1 + 1 / shape) ** (1 / shape)
    return _summed(first, rng.weibull(shape, max(n - 1, 0)), n) / math.gamma(1 + 1 / shape)


def _lognormal_sums(sigma: float, n: int, rng: Generator) -> FloatArray:
    """Mean 1 is mu = -sigma^2 / 2; a gap drawn by its length is lognormal with mu + sigma^2."""
    first = rng.random() * math.exp(sigma**2 / 2 + sigma * rng.standard_normal())
    return _summed(first, np.exp(sigma * rng.standard_normal(max(n - 1, 0)) - sigma**2 / 2), n)


def _summed(first: float, others: FloatArray, n: int) -> FloatArray:
    return np.cumsum(np.concatenate(([first], others))[:n])


def weibull_shape(cv: float) -> float:
    """The shape c with cv^2 = G(1 + 2/c) / G(1 + 1/c)^2 - 1, G the gamma function (Johnson, Kotz & Balakrishnan 1994, ch. 21), by
    bisection on log c: cv falls from 430 at c = 0.1 to 0.006 at c = 200."""
    low, high = math.log(0.1), math.log(200)
    wanted = math.log1p(cv**2)
    for _ in range(60):  # 7.6 / 2^60 is below what float64 tells apart
        middle = (low + high) / 2
        inverse = math.exp(-middle)
        is_too_wide = math.lgamma(1 + 2 * inverse) - 2 * math.lgamma(1 + inverse) > wanted
        low, high = (middle, high) if is_too_wide else (low, middle)
    return math.exp((low + high) / 2)
