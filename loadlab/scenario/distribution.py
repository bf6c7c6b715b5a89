"""What a law of counts says before anything is drawn: its smallest value, its mean, its distribution function and the inverse of that."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import assert_never

import numpy as np

from loadlab.scenario.lengths import (
    MAX_COUNT,
    Constant,
    CountLaw,
    Empirical,
    Gamma,
    Geometric,
    Histogram,
    Lognormal,
    Mixture,
    Pareto,
    Uniform,
    Weibull,
    Zipf,
    zipf_weights,
)
from loadlab.scenario.plan import FloatArray, IntArray

EXACT = 100_000  # the first values of a tail that are summed one by one
GRID = 4_000  # points over the rest of it, on a logarithmic scale


def smallest(law: CountLaw) -> int:
    """The smallest number that the law can draw, or a lower bound of it."""
    match law:
        case Constant(value=value):
            return value
        case Uniform() | Lognormal() | Gamma() | Weibull():
            return law.min
        case Pareto():
            return min(max(law.min, math.floor(law.scale)), law.max)
        case Zipf():
            return 1
        case Histogram():
            return law.edges[0]
        case Mixture():
            return min(smallest(part) for part in law.of)
        case Geometric():
            return max(1, law.min) if law.max >= 1 else law.max
        case Empirical(values=values):
            return min(values)
        case _:
            assert_never(law)


def mean(law: CountLaw) -> float:
    """Mean of what is drawn, clipping included. For the lognormal that before rounding, which is the same within half a unit; for Gamma,
    Weibull and Pareto to six digits."""
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
        case Gamma() | Weibull() | Pareto():
            return _mean_of_tail(law)
        case Zipf():
            return float(np.average(np.arange(1, law.max + 1), weights=zipf_weights(law)))
        case Histogram():
            edges = np.asarray(law.edges, dtype=np.float64)
            return float(np.average((edges[:-1] + edges[1:] - 1) / 2, weights=law.weights))
        case Mixture():
            return float(np.average([mean(part) for part in law.of], weights=law.weights or None))
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


def _mean_of_tail(law: Gamma | Weibull | Pareto) -> float:
    """min + the sum of P(X > k) from min to max - 1: term by term at first, then by the trapezoidal rule over log k."""
    near = np.arange(law.min, min(law.max, law.min + EXACT), dtype=np.float64)
    total = law.min + float(np.sum(1 - cdf(law, near)))
    if law.max > law.min + EXACT:
        far = np.geomspace(law.min + EXACT, law.max, GRID)
        tail = (1 - cdf(law, far - 0.5 - 1e-9)) * far  # between two whole numbers, where the sum of steps is their area
        total += float(np.sum((tail[1:] + tail[:-1]) / 2 * np.diff(np.log(far))))
    return total


def cdf(law: CountLaw, at: FloatArray) -> FloatArray:
    """P(X <= at) for each of `at` (whole numbers, as floats), rounding and clipping included."""
    match law:
        case Constant():
            return (at >= law.value).astype(np.float64)
        case Uniform():
            return np.clip((at - law.min + 1) / (law.max - law.min + 1), 0, 1)
        case Lognormal() | Geometric() | Gamma() | Weibull() | Pareto():
            below: FloatArray = np.where(at >= law.max, 1.0, np.where(at < law.min, 0.0, _unclipped(law, np.maximum(at, 0.0))))
            return below
        case Empirical():
            order = np.argsort(law.values)
            return _steps(np.asarray(law.values, dtype=np.float64)[order], np.asarray(law.weights or (1.0,) * len(order))[order], at)
        case Zipf():
            return _steps(np.arange(1, law.max + 1, dtype=np.float64), np.asarray(zipf_weights(law)), at)
        case Histogram():
            return np.interp(at + 1, law.edges, np.concatenate(([0.0], np.cumsum(law.weights))) / sum(law.weights))
        case Mixture():
            weights = np.asarray(law.weights or (1.0,) * len(law.of))
            return np.asarray(np.average([cdf(part, at) for part in law.of], axis=0, weights=weights))
        case _:
            assert_never(law)


def _unclipped(law: Lognormal | Geometric | Gamma | Weibull | Pareto, at: FloatArray) -> FloatArray:
    """P(X <= at) before clipping; what is rounded reaches half a unit further."""
    from scipy import special  # takes a tenth of a second, and few scenarios ask for it

    upto = at + 0.5
    match law:
        case Lognormal(sigma=0):
            return (at >= round(law.median)).astype(np.float64)
        case Lognormal():
            return np.asarray(special.ndtr(np.log(upto / law.median) / max(law.sigma, 1e-12)))
        case Geometric(mean=1):
            return (at >= 1).astype(np.float64)
        case Geometric():
            return -np.expm1(at * math.log1p(-1 / law.mean))
        case Gamma():
            return np.asarray(special.gammainc(1 / law.cv**2, upto / (law.mean * law.cv**2)))
        case Weibull():
            shape, scale = law.shape_and_scale
            return -np.expm1(-((upto / scale) ** shape))
        case Pareto():
            return np.where(upto < law.scale, 0.0, 1 - (law.scale / np.maximum(upto, law.scale)) ** law.alpha)
        case _:
            assert_never(law)


def _steps(values: FloatArray, weights: FloatArray, at: FloatArray) -> FloatArray:
    totals = np.concatenate(([0.0], np.cumsum(weights)))
    shares: FloatArray = totals[np.searchsorted(values, at, side="right")] / totals[-1]
    return shares


TABLE = np.arange(65_536, dtype=np.float64)  # counts whose distribution function is tabulated, which is most that traffic has


def quantile(law: CountLaw, uniforms: FloatArray) -> IntArray:
    """The smallest value k with P(X <= k) >= u for each u in [0, 1): int64; from a table, and by bisection beyond it."""
    counts: IntArray = np.searchsorted(cdf(law, TABLE), uniforms, side="left")
    beyond = np.flatnonzero(counts == len(TABLE))
    low, high = np.full(len(beyond), float(len(TABLE) - 1)), np.full(len(beyond), float(MAX_COUNT))
    while np.any(high - low > 1):
        middle = np.floor((low + high) / 2)
        reaches = cdf(law, middle) >= uniforms[beyond]
        low, high = np.where(reaches, low, middle), np.where(reaches, middle, high)
    counts[beyond] = high.astype(np.int64)
    return counts
