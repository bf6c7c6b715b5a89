"""Where a certificate is worth trying, for how many requests, and what so many dependent requests prove there.

Choosing uses a model, proving does not. The rate and the length of a run are those that promise most for their requests under a law of two
numbers, the capacity and how steeply the bad share grows with the rate, as far as the probes know them. The proof counts bad requests at
that rate, and at higher ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from scipy import special
from scipy.optimize import brentq, isotonic_regression

from loadlab.analysis.table import FloatArray
from loadlab.planning.levels import Level, pooled

LOOKS = (3000, 6000, 10_000, 15_000, 20_000, 26_000, 32_000)  # requests after which a certificate may end
ERROR = 0.08  # of one try, over all of its looks; what a search as a whole errs by, at 2 % above, is measured (docs/validation.md)
SLOPE, SLOPE_SPREAD = 12.0, 0.7  # d log bad share / d log rate at the capacity, a lognormal prior: 3 to 47 in 95 %; 3 to 25 measured
CAUTION = 1.5  # probes count this much less in the choice: short ones see less dependence than there is
NEAR = 0.35  # probes within e^+-0.35 of the bracket speak of the law there
PRICE = 0.005  # what 1,000 requests must gain, as a ratio of rates, at tau = 1; at a higher tau by the power of PATIENCE less
PATIENCE = 0.35
WORST = 0.15  # below the bracket, as a log ratio: what no certificate is worth ..
CARE = 0.05  # .. and by how much less after each try
HOPEFUL = 0.8  # a run goes on where it would come to hold if the rest of it were as good as this lower bound of what it showed
SAME_RATE = 1.02  # as a ratio: runs so near count as runs at the same rate
_MARGINS = 0.3, 0.2, 0.1  # log ratios: capacities and rates considered below and above the bracket


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """A run that may prove a rate. `looks`: after how many requests it may end; `confidence`: of the bound at each."""

    rate_per_s: float
    looks: tuple[int, ...]
    confidence: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """Rates between which the capacity should lie, and those that can be offered."""

    low_per_s: float
    high_per_s: float
    lowest_per_s: float = 0.0
    highest_per_s: float = math.inf


def best_try(levels: Sequence[Level], budget: float, bracket: Bracket, proven_per_s: float | None, tries: int) -> Try | None:
    """The run that promises most above what is `proven_per_s`, less its price, after so many `tries`.

    None where no run could prove anything; once something is proven, also where none is worth its price.

    What a run promises: the chance that its bound comes to lie within the budget, times the log ratio of its rate to what is proven.
    """
    capacity, slope, weight = posterior(levels, budget, bracket)
    low, high = math.log(bracket.low_per_s), math.log(bracket.high_per_s)
    floor = low - WORST - CARE * tries if proven_per_s is None else math.log(proven_per_s)
    rates = np.clip(np.arange(low - _MARGINS[0], high + _MARGINS[2], 0.01), *_logs(bracket))
    rates = rates[rates > floor + 0.01]
    if not len(rates):
        return None
    lengths = np.array(LOOKS[1:])
    taus = fitted_tau(levels)(rates)[:, None]
    chance = _chance(rates, lengths / taus, budget, capacity, slope, weight)
    worth = chance * (rates[:, None] - floor) - PRICE * lengths / 1000 / taus**PATIENCE
    at, length = divmod(int(np.argmax(worth)), worth.shape[1])
    if proven_per_s is not None and worth[at, length] <= 0:
        return None
    if not chance.any():  # as far as is known: dependence may be less further down, where nothing ran
        at, length = 0, len(lengths) - 1
        if any(level.rate_per_s <= math.exp(rates[0]) * 1.01 for level in levels):
            return None
    looks = tuple(look for look in LOOKS if look <= lengths[length])
    return Try(rate_per_s=float(np.exp(rates[at])), looks=looks, confidence=confidences(looks))


def _logs(bracket: Bracket) -> tuple[float, float]:
    return math.log(max(bracket.lowest_per_s, 1e-300)), math.log(min(bracket.highest_per_s, 1e300))


def _chance(
    rates: FloatArray, effective: FloatArray, budget: float, capacity: FloatArray, slope: FloatArray, weight: FloatArray
) -> FloatArray:
    """The chance of a proof at rates[i] with effective[i, j] requests: float64[rates, lengths]. Counts are Poisson, taken as normal."""
    share = np.minimum(budget * np.exp(slope * (rates[:, None, None] - capacity)), 0.95)
    provable = _most_bad(effective, budget, confidences(LOOKS)[-1])
    found = np.zeros(effective.shape)
    for j in range(effective.shape[1]):
        expected = effective[:, j, None, None] * share
        z = (provable[:, j, None, None] + 0.3 - expected) / np.sqrt(expected + 0.1)
        found[:, j] = np.where(provable[:, j] < 0, 0.0, (weight * special.ndtr(z)).sum(axis=(1, 2)))
    return found


def _most_bad(effective: FloatArray, budget: float, confidence: float) -> FloatArray:
    """The most effective bad requests of so many whose upper bound is within the budget; -1 where not even none."""
    low, high = np.zeros(effective.shape), budget * effective
    for _ in range(40):
        middle = (low + high) / 2
        proves_it = special.betainc(middle + 1, np.maximum(effective - middle, 1e-9), budget) >= confidence
        low, high = np.where(proves_it, middle, low), np.where(proves_it, high, middle)
    return np.where(special.betainc(1.0, np.maximum(effective, 1e-9), budget) >= confidence, low, -1.0)


def posterior(levels: Sequence[Level], budget: float, bracket: Bracket) -> tuple[FloatArray, FloatArray, FloatArray]:
    """What the probes say of the law share = budget * (rate / capacity) ** slope: log capacities, slopes, and a weight for each pair.

    float64[capacities, 1], float64[1, slopes], float64[capacities, slopes]. Counts are Poisson on n / tau; an overloaded probe says
    that the capacity is hardly above its rate.
    """
    low, high = math.log(bracket.low_per_s), math.log(bracket.high_per_s)
    capacity = np.linspace(low - _MARGINS[0], high + _MARGINS[1], 80)[:, None]
    log_slope = np.linspace(math.log(2.0), math.log(50.0), 24)[None, :]
    slope = np.exp(log_slope)
    log_weight = -0.5 * ((log_slope - math.log(SLOPE)) / SLOPE_SPREAD) ** 2 + 0 * capacity
    for level in levels:
        at = math.log(level.rate_per_s)
        if abs(at - (low + high) / 2) > NEAR:
            continue
        if level.is_overloaded:
            log_weight = log_weight - 4.0 * (capacity > at)
            continue
        share = np.minimum(budget * np.exp(slope * (at - capacity)), 0.95)
        log_weight = log_weight + (level.bad * np.log(share) - level.n * share) / (CAUTION * level.tau)
    weight = np.exp(log_weight - log_weight.max())
    return capacity, slope, weight / weight.sum()


def fitted_tau(levels: Sequence[Level]) -> Callable[[FloatArray], FloatArray]:
    """tau by log rate, never falling with it: isotonic in logs. Weighted by bad requests: few do not show how they cluster."""
    stable = sorted((level for level in levels if not level.is_overloaded), key=lambda level: level.rate_per_s) or list(levels)
    fitted = isotonic_regression(np.log([level.tau for level in stable]), weights=[level.bad + 1 for level in stable]).x
    at = np.log([level.rate_per_s for level in stable])
    return lambda log_rates: np.asarray(np.exp(np.interp(log_rates, at, fitted)), dtype=np.float64)


@cache
def confidences(looks: tuple[int, ...]) -> tuple[float, ...]:
    """One-sided confidence of the bound at each look, so that all err in ERROR together: little early, most at the end.

    P. C. O'Brien and T. R. Fleming, Biometrics 35 (1979): the sum of the deviations, a Brownian motion over the share of the requests,
    shall not cross a constant boundary.
    """
    shares = np.array(looks) / looks[-1]
    boundary = brentq(lambda height: _crossing(shares, height) - ERROR, 0.5, 5.0, xtol=1e-3)
    return tuple(float(special.ndtr(boundary / math.sqrt(share))) for share in shares)


def _crossing(shares: FloatArray, height: float) -> float:
    """The chance that a Brownian motion lies above a height at one of these times in (0, 1]: its density carried from time to time."""
    at = np.linspace(height - 7.0, height, 281)
    spread = np.sqrt(np.diff(shares, prepend=0.0))
    density = np.exp(-0.5 * (at / spread[0]) ** 2) / (spread[0] * math.sqrt(2 * math.pi))
    width = np.full(at.shape, at[1] - at[0])
    width[[0, -1]] /= 2  # the trapezoidal rule
    for one in spread[1:]:
        kernel = np.exp(-0.5 * ((at[:, None] - at) / one) ** 2) / (one * math.sqrt(2 * math.pi))
        density = kernel @ (density * width)
    return 1.0 - float(density @ width)


def proves(level: Level, run: Try, budget: float, probes: Sequence[Level] = (), higher: Sequence[Level] = ()) -> bool | None:
    """True where the bound is within the budget, False where it cannot come to be so with the requests there are; None: go on.

    `higher`: what certificates showed at this rate and above, nearest first, counts too: fewer are bad at this one, so that a bound on the
    share over all of them holds here. `probes`: a run that saw no burst by chance is not believed to have less dependence than they say.
    """
    if level.is_overloaded:
        return False
    least_tau = float(fitted_tau([*probes, level])(np.array([math.log(level.rate_per_s)]))[0])
    level, *above = (replace(one, tau=max(one.tau, least_tau)) for one in (level, *higher))
    sent = level.n + level.warm_up
    look = next((i for i, look in enumerate(run.looks) if sent <= look), len(run.looks) - 1)
    if _bound(level, above, run.confidence[look]) <= budget:
        return True
    rest = run.looks[-1] - sent
    if rest <= 0:
        return False
    hoped = replace(level, n=level.n + rest, bad=level.bad + round(level.lower_bound(HOPEFUL) * rest))
    return None if _bound(hoped, above, run.confidence[-1]) <= budget else False


def _bound(level: Level, above: Sequence[Level], confidence: float) -> float:
    """The least upper bound of the level with none, one, .. all of those above it; runs at hardly more than its rate always count.

    Else a rate could be tried until a run by luck holds, and those that failed be forgotten.
    """
    least = sum(one.rate_per_s <= level.rate_per_s * SAME_RATE for one in above)
    return min(pooled([level, *above[:k]]).upper_bound(confidence) for k in range(least, len(above) + 1))
