"""Estimates with their intervals, for requests that queue behind each other.

Neighbouring requests share a queue, so n of them say less than n independent ones: as much as n / tau, where tau is the integrated
autocorrelation time (1 for independent values, above 50 near saturation). Every interval here counts n / tau, never n. Where that is
too little to bound a number, the bound is None, and the note says what would suffice: "unbounded" is an honest answer.

Values come in time order: that is where their dependence shows.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import special

from loadlab.analysis.latency import rank_of
from loadlab.analysis.table import BoolArray, FloatArray

EFFECTIVE_FOR_A_QUANTILE = 300  # n / tau below it: p99 is under-read by 3 to 43 %, more the higher the load (docs/statistics.md)
LEVEL_OF_TAU = 0.9
DIRECT_LAGS = 32  # autocovariances summed one by one before the FFT is worth it
FIRST_REACH = 1 << 9  # lags looked at next in a longer series, then eight times as many, before all of them
BATCHES = 20
_BATCH_FACTOR = float(special.stdtrit(BATCHES - 1, 0.975) / special.ndtri(0.975)) ** 2  # 1.14
_NO_VARIANCE = 1e-18
_MIN_EVENTS = 10  # hits and misses below which their own clustering cannot be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number, its interval, and what they rest on.

    `value` is None where nothing was seen; `low` or `high` where the data do not bound it, and then `note` says why. `n_effective` is
    n / tau. `needs_n` is how many requests would do, where n does not: the number is then inconclusive; None where n suffices.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int
    tau: float | None = None
    n_effective: float | None = None
    note: str = ""
    needs_n: int | None = None

    @property
    def is_inconclusive(self) -> bool:
        """True where the run is too short for this number, whatever its interval."""
        return self.needs_n is not None

    def scaled(self, factor: float) -> Estimate:
        """The estimate of factor times the same quantity; factor > 0."""
        value, low, high = (None if x is None else x * factor for x in (self.value, self.low, self.high))
        return replace(self, value=value, low=low, high=high)


def autocorrelation_time(values: FloatArray, p: float = LEVEL_OF_TAU) -> float:
    """tau of the p-quantile: how many neighbouring values say as much about it as one independent value; at least 1.

    The error of q_p is that of the share of values above it, var = tau p (1 - p) / (n f(q)^2), so its tau is that of the series
    1{x > q_p}: "this one was slow". Far in the tail a run has too few exceedances to see how they cluster, so that of p99 the larger of
    the tau at q90 and at q99 counts. Neither alone would do: a batching server clusters more in its tail (20 against 7 at 80 % load,
    `docs/statistics.md`), a Gaussian AR(1) less.
    """
    return max(_times_above(values, np.sort(values), _levels(p)).values()) if len(values) else 1.0


def _levels(p: float) -> set[float]:
    return {min(max(p, 1 - LEVEL_OF_TAU), LEVEL_OF_TAU), p}


def _times_above(values: FloatArray, ordered: FloatArray, levels: Iterable[float]) -> dict[float, float]:
    """tau of "this one was slower than the level's quantile", by level."""
    return {level: cautious_time(values > ordered[rank_of(level, len(values)) - 1]) for level in levels}


def cautious_time(series: NDArray[np.generic]) -> float:
    """tau as the intervals count it: the larger of two estimates, each on the wide side by its own error; at least 1, at most n.

    Geyer's, plus its standard error sqrt(2 (2W + 1) / n) for W lags summed (N. Madras and A. D. Sokal, J. Stat. Phys. 50, 1988, p. 109).
    It stops where noise begins, and misses long, weak dependence. So too: batch means, n_b var(means of 20 batches) / var, with Student's
    quantile for 20 batches in place of the normal one (C. Alexopoulos and A. F. Seila in J. Banks, Handbook of Simulation, 1998, 7.3).
    """
    n = len(series)
    total, lags = _geyer(series)
    with_error = total * (1 + math.sqrt(2 * (2 * lags + 1) / n)) if total > 1 else total
    return float(f"{min(max(1.0, with_error, _BATCH_FACTOR * batch_time(series)), max(n, 1)):.6g}")


def batch_time(series: NDArray[np.generic]) -> float:
    """tau by the variance of BATCHES means of equal batches; 0 where that says nothing: too short a series, or a constant one."""
    size = len(series) // BATCHES
    if size < 2:
        return 0.0
    batches = series[: size * BATCHES].reshape(BATCHES, size).mean(axis=1)
    variance = float(series.astype(np.float64).var())
    return size * float(batches.var(ddof=1)) / variance if variance > _NO_VARIANCE else 0.0


def integrated_time(series: NDArray[np.generic]) -> float:
    """1 + 2 * sum of autocorrelations, summed to the last of Geyer's initial positive pairs; at least 1, and 1 for a constant series.

    C. J. Geyer, "Practical Markov chain Monte Carlo", Statistical Science 7 (1992), section 3.3: sums of two neighbouring
    autocorrelations are positive in theory, so that the first negative one is noise. Below 1 (an alternating series) is not claimed.
    Rounded to six digits, so that machines whose last bits differ agree on every rank.
    """
    return float(f"{_geyer(series)[0]:.6g}")


def _geyer(series: NDArray[np.generic]) -> tuple[float, int]:
    """The estimate, and how many lags were summed."""
    deviation = series.astype(np.float64)
    n = len(deviation)
    if n < 2:
        return 1.0, 0
    deviation -= deviation.mean()
    variance = _product(deviation, deviation)
    if variance <= _NO_VARIANCE * n:
        return 1.0, 0
    total, lags, is_over = _sum_of_pairs(_direct_covariances(deviation) / variance)
    reach = FIRST_REACH
    while not is_over and reach < n:
        total, lags, is_over = _sum_of_pairs(_near_covariances(deviation, reach) / variance)
        reach *= 8
    if not is_over:
        total, lags, _ = _sum_of_pairs(_all_covariances(deviation) / variance)
    return max(1.0, min(2 * total - 1, n)), lags


def _sum_of_pairs(correlations: FloatArray) -> tuple[float, int, bool]:
    """Sum of rho(2k) + rho(2k + 1) before the first pair that is not positive, how many lags those are, and whether there was one."""
    even = len(correlations) // 2 * 2
    pairs = correlations[:even:2] + correlations[1:even:2]
    ends = np.flatnonzero(pairs <= 0)
    last = int(ends[0]) if len(ends) else len(pairs)
    return float(pairs[:last].sum()), 2 * last, bool(len(ends))


def _direct_covariances(deviation: FloatArray) -> FloatArray:
    n = len(deviation)
    return np.array([_product(deviation[: n - lag], deviation[lag:]) for lag in range(min(DIRECT_LAGS, n))])


def _product(a: FloatArray, b: FloatArray) -> float:
    """Sum of a_i b_i, not by BLAS: its threads wait for each other in a loop, for minutes where other work has the cores."""
    return float(np.einsum("i,i->", a, b))


def _near_covariances(deviation: FloatArray, reach: int) -> FloatArray:
    """Autocovariances at lags below `reach`, times n, block after block: a long series is never transformed, and copied, whole."""
    size = 8 * reach
    block = size - reach + 1
    found = np.zeros(reach)
    for start in range(0, len(deviation), block):
        ahead = np.fft.rfft(deviation[start : start + block + reach - 1], size)
        ahead *= np.fft.rfft(deviation[start : start + block], size).conj()
        found += np.fft.irfft(ahead, size)[:reach]
    return found


def _all_covariances(deviation: FloatArray) -> FloatArray:
    """Autocovariances at every lag, times n, by the Wiener-Khinchin theorem."""
    n = len(deviation)
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(deviation, size)
    covariances: FloatArray = np.fft.irfft(spectrum.real**2 + spectrum.imag**2, size)[:n]
    return covariances


def interval_ranks(n: int, p: float, confidence: float = 0.95, tau: float = 1.0) -> tuple[int | None, int | None]:
    """Ranks (from 1) of the order statistics that hold the p-quantile between them; None on a side that n / tau values cannot bound.

    The share of the law below the k-th of m independent values is Beta(k, m + 1 - k) (H. A. David, Order Statistics, section 2.1). With
    m = n / tau and ranks scaled alike this is the exact binomial interval for tau = 1, each side at (1 - confidence) / 2.
    """
    m, side = n / tau, (1 - confidence) / 2

    def minus_share_below(rank: int) -> float:
        """-P(this order statistic <= q_p), ascending in the rank."""
        k = min(rank / tau, m)
        return -float(special.betainc(k, m + 1 - k, p))

    ranks = range(math.ceil(tau - 1e-9), n + 1)  # from one whole effective value on
    below = bisect_right(ranks, side - 1, key=minus_share_below)
    upper = bisect_left(ranks, -side, key=minus_share_below)
    return ranks[below - 1] if below else None, ranks[upper] if upper < len(ranks) else None


def quantile_estimate(values: FloatArray, p: float, confidence: float = 0.95) -> Estimate:
    """The order statistic of rank ceil(p n) of values in time order, between two others: an interval that holds for dependent values."""
    return quantile_estimates(values, (p,), confidence)[0]


def quantile_estimates(values: FloatArray, ps: Sequence[float], confidence: float = 0.95) -> list[Estimate]:
    """The same for several quantiles, which share one sort and the tau of q90."""
    n = len(values)
    if n == 0:
        return [Estimate(value=None, n=0, note="nothing was measured") for _ in ps]
    ordered = np.sort(values)
    taus = _times_above(values, ordered, set().union(*map(_levels, ps)))
    return [_quantile(ordered, p, confidence, max(taus[level] for level in _levels(p))) for p in ps]


def _quantile(ordered: FloatArray, p: float, confidence: float, tau: float) -> Estimate:
    n = len(ordered)
    low, high = interval_ranks(n, p, confidence, tau)
    needed = math.ceil(EFFECTIVE_FOR_A_QUANTILE * tau)
    return Estimate(
        value=float(ordered[rank_of(p, n) - 1]),
        low=None if low is None else float(ordered[low - 1]),
        high=None if high is None else float(ordered[high - 1]),
        n=n,
        tau=tau,
        n_effective=n / tau,
        note=_unbounded_note(p, confidence, n / tau, tau, low is None, high is None),
        needs_n=needed if n < needed else None,
    )


def _unbounded_note(p: float, confidence: float, n_effective: float, tau: float, no_low: bool, no_high: bool) -> str:
    if not (no_low or no_high):
        return ""
    sides = " and ".join(word for word, is_open in (("below", no_low), ("above", no_high)) if is_open)
    worst = max(p if no_high else 0.0, 1 - p if no_low else 0.0)
    needed = math.ceil(math.log((1 - confidence) / 2) / math.log(worst) - 1e-9)
    return (
        f"unbounded {sides}: that takes {math.ceil(needed * tau):,} requests ({needed:,} effective), there are {n_effective:,.0f} effective"
    )


def requests_for_claim(p: float, violations: int = 0, confidence: float = 0.95) -> int:
    """How many independent requests claim "q_p is within its limit" when `violations` of them are above it; times tau if dependent.

    The smallest n with P(Binomial(n, 1 - p) <= violations) <= 1 - confidence. At 99 % and p99 these are the query counts of MLPerf
    Inference (459, 662, 2,010 for 0, 1 and 10; V. J. Reddi et al., ISCA 2020, section IV-C).
    """
    if not (0 < p < 1 and violations >= 0 and 0 < confidence < 1):
        raise ValueError(f"p = {p}, violations = {violations}, confidence = {confidence}: shares are inside (0, 1), violations >= 0")
    highest = violations + 1
    while special.bdtr(violations, highest, 1 - p) > 1 - confidence:
        highest *= 2
    ns = range(violations + 1, highest + 1)
    return ns[bisect_left(ns, confidence - 1, key=lambda n: -float(special.bdtr(violations, n, 1 - p)))]


def mean_estimate(series: FloatArray, confidence: float = 0.95, tau: float | None = None) -> Estimate:
    """The mean of latencies or counts in time order, with Student's interval on n / tau values; the tau is that of the values themselves.

    No such mean is negative, and so no bound is.
    Unbounded below two effective values. Heavy tails make it too narrow: a mean of few requests is a poor summary of latency.
    """
    n = len(series)
    if n == 0:
        return Estimate(value=None, n=0, note="nothing was measured")
    tau = cautious_time(series) if tau is None else tau
    mean, effective = _digits(float(series.mean())), n / tau
    if effective < 2:
        note = f"unbounded: {n:,} requests are worth fewer than two independent ones"
        return Estimate(value=mean, n=n, tau=tau, n_effective=effective, note=note)
    error = float(series.std(ddof=1)) / math.sqrt(effective)
    half = float(special.stdtrit(effective - 1, (1 + confidence) / 2)) * error
    return Estimate(value=mean, low=_digits(max(mean - half, 0.0)), high=_digits(mean + half), n=n, tau=tau, n_effective=effective)


def share_estimate(hits: BoolArray, stand_in: FloatArray | None = None, confidence: float = 0.95) -> Estimate:
    """The share of True among trials in time order, with Wilson's interval on n / tau trials.

    Failures come in bursts, so they too are dependent: tau is that of the hits. Below ten hits or ten misses their clustering cannot be
    seen; then the tau of `stand_in`, a latency of the same requests, counts if it is the larger: what fails is what would be slow.
    """
    n, k = len(hits), int(np.count_nonzero(hits))
    if n == 0:
        return Estimate(value=None, n=0, note="nothing was planned")
    tau = cautious_time(hits)
    if stand_in is not None and min(k, n - k) < _MIN_EVENTS:
        tau = min(float(n), max(tau, autocorrelation_time(stand_in)))
    low, high = wilson(k / tau, n / tau, confidence) or (None, None)
    return Estimate(value=k / n, low=low, high=high, n=n, tau=tau, n_effective=n / tau)


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Interval for a success probability from n independent trials; None when n = 0.

    Wilson's score interval without continuity correction (E. B. Wilson, JASA 22, 1927, p. 209; recommended for all n by
    Brown, Cai and DasGupta, Statistical Science 16, 2001). Never leaves [0, 1]. For dependent trials both counts are divided by
    their tau: `share_estimate` does.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are impossible")
    if n == 0:
        return None
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    scale = 1 + z * z / n
    centre = (share + z * z / (2 * n)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high


def _digits(value: float) -> float:
    """Twelve digits: sums differ in their last bits from machine to machine, and equal runs shall be equal text."""
    return float(f"{value:.12g}")
