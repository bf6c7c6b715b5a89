"""Attainment against rate, made monotone, and the rate at which it falls to its target, with an interval. Nothing is extrapolated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import numpy as np
from scipy.interpolate import PchipInterpolator
from scipy.optimize import brentq, isotonic_regression

from loadlab.analysis.table import FloatArray
from loadlab.planning.levels import Level, pooled

CONFIDENCE = 0.9  # of the interval: each side 5 %
_LEAST = 0.25  # of a bad request: a level without any lies at a finite log


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityCurve:
    """Levels by rate, and where the fitted bad share meets the error budget.

    `rate_per_s`: the point; None where the levels do not bracket it, and then `note` says on which side it lies. `low_per_s` and
    `high_per_s` bound it at 90 %; None: not bracketed on that side. `fitted` is the monotone bad share at each rate of `rates_per_s`,
    `band` float64[2, levels] its bounds.
    """

    budget: float
    levels: tuple[Level, ...]
    rates_per_s: FloatArray
    fitted: FloatArray
    band: FloatArray
    rate_per_s: float | None
    low_per_s: float | None
    high_per_s: float | None
    note: str


def fit_capacity(levels: Sequence[Level], budget: float, confidence: float = CONFIDENCE) -> CapacityCurve:
    """The curve through what the levels show. Raises ValueError without levels.

    The logs of the bad shares are made monotone by isotonic regression, weighted by n / tau (R. E. Barlow et al., Statistical Inference
    under Order Restrictions, 1972), and joined by PCHIP in log rate. The interval inverts the band: where the upper bound of the bad
    share meets the budget is the lower end. An overloaded level counts as all bad: it bounds the capacity from above and is not fitted.
    """
    if not levels:
        raise ValueError("no levels: nothing was measured")
    by_rate = sorted(levels, key=lambda level: level.rate_per_s)
    ordered = _steadied([pooled(list(same)) for _, same in groupby(by_rate, key=lambda level: level.rate_per_s)])
    side = (1 + confidence) / 2
    rates = np.array([level.rate_per_s for level in ordered])
    weights = np.array([level.n_effective for level in ordered])
    point = _monotone(np.array([_share(level) for level in ordered]), weights)
    low = _monotone(np.array([1.0 if level.is_overloaded else level.lower_bound(side) for level in ordered]), weights)
    high = _monotone(np.array([1.0 if level.is_overloaded else level.upper_bound(side) for level in ordered]), weights)
    return CapacityCurve(
        budget=budget,
        levels=ordered,
        rates_per_s=rates,
        fitted=point,
        band=np.stack([low, high]),
        rate_per_s=_root(rates, point, budget),
        low_per_s=_root(rates, high, budget),
        high_per_s=_root(rates, low, budget),
        note=_note(rates, point, budget),
    )


def _steadied(ordered: Sequence[Level]) -> tuple[Level, ...]:
    """Levels whose tau is at least what the others say: dependence grows with the rate, but a run may see no burst by chance."""
    if len(ordered) < 2:
        return tuple(ordered)
    fitted = np.exp(isotonic_regression(np.log([level.tau for level in ordered]), weights=[level.n for level in ordered]).x)
    return tuple(replace(level, tau=max(level.tau, float(tau))) for level, tau in zip(ordered, fitted, strict=True))


def _share(level: Level) -> float:
    return 1.0 if level.is_overloaded else max(level.bad, _LEAST) / level.n


def _monotone(shares: FloatArray, weights: FloatArray) -> FloatArray:
    """The nearest shares, in logs and by weight, that never fall with the rate."""
    logs = np.log(np.maximum(shares, 1e-12))
    return np.exp(np.asarray(isotonic_regression(logs, weights=weights).x, dtype=np.float64))


def interpolate(rates: FloatArray, shares: FloatArray) -> Callable[[float], float]:
    """The log bad share between levels, as a function of the rate: PCHIP in log rate, which keeps monotone data monotone.

    F. N. Fritsch and R. E. Carlson, SIAM J. Numer. Anal. 17 (1980).
    """
    curve = PchipInterpolator(np.log(rates), np.log(shares))
    return lambda rate: float(curve(np.log(rate)))


def _root(rates: FloatArray, shares: FloatArray, budget: float) -> float | None:
    """The highest rate at which the share is still within the budget; None if the levels do not bracket it."""
    within = shares <= budget
    if within.all() or not within.any():
        return None
    last = int(np.flatnonzero(within)[-1])
    if shares[last] == budget:
        return float(rates[last])
    at = interpolate(rates, shares)
    return float(brentq(lambda rate: at(rate) - np.log(budget), rates[last], rates[last + 1], xtol=1e-9 * rates[last]))


def _note(rates: FloatArray, shares: FloatArray, budget: float) -> str:
    if (shares <= budget).all():
        return f"not bracketed: every rate measured holds, up to {rates[-1]:.3g}/s; measure higher rates"
    if (shares > budget).all():
        return f"not bracketed: no rate measured holds, down to {rates[0]:.3g}/s; measure lower rates"
    return ""
