"""Laws of arrivals for a trace: constant rates, hidden states, and rates that follow the trace in steps; each judged by what it generates.

All are mean-matched: the rate is that of the trace, whatever the law. Renewal laws and steps are judged by the exact likelihood of
their gaps in operational time; hidden states by that of their counts, arrivals being uniform within a bin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from loadlab.analysis.burstiness import Burstiness, burstiness_of, seconds_of
from loadlab.analysis.fit_states import fit_states
from loadlab.analysis.goodness import ArrivalGoodness, ks_distance, median_bursts, misses
from loadlab.analysis.table import FloatArray
from loadlab.scenario.arrivals import Arrivals, Gamma, Lognormal, Modulated, Poisson, Step, Weibull, arrival_times_s
from loadlab.scenario.renewal import Gaps, weibull_shape

SEEDS = (1, 2, 3, 4, 5)
STEP_WIDTHS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200)
MAX_STEPS = 2000  # of a rate that a scenario file spells out
LEAST_GAP = 1e-3  # of the mean: shorter gaps count as so long, for clocks do not tell them and densities may have a pole at 0
CV_RANGE = (0.05, 30.0)  # which laws of gaps can be asked for
STRICT = 0.6  # of what is allowed: the first choice keeps away from the bounds, for every seed generates a little otherwise
SUBSAMPLE = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalFit:
    """One law, and how it does. `misses`: what it does not reproduce, in words; none for a good one."""

    name: str
    family: str
    law: Arrivals
    parameters: int
    aic: float
    goodness: ArrivalGoodness
    misses: tuple[str, ...]

    @property
    def is_good(self) -> bool:
        return not self.misses


def fit_arrivals(
    times_s: FloatArray, span_s: float, family: str | None = None, say: Callable[[str], None] | None = None
) -> tuple[ArrivalFit, tuple[ArrivalFit, ...]]:
    """The chosen law and all that were tried, in the order of trying. `family` leaves only its laws to choose from.

    Of the laws that reproduce rate, dispersion and bursts well within what is allowed the one with the least AIC is chosen; if none does,
    of those that do within it; if none does, the one that misses least. times_s: float64[n], n >= 2, ascending, from 0.
    """
    wanted = burstiness_of(seconds_of(times_s))
    tried = []
    for name, group, law, parameters, log_likelihood in _laws(times_s, span_s):
        if say is not None:
            say(name)
        goodness = _goodness(law, times_s, span_s)
        tried.append(
            ArrivalFit(
                name=name, family=group, law=law, parameters=parameters, aic=2 * parameters - 2 * log_likelihood,
                goodness=goodness, misses=tuple(misses(goodness, wanted)),
            )
        )  # fmt: skip
    allowed = [fit for fit in tried if family in (None, fit.family)]
    return _choice(allowed, wanted), tuple(tried)


def _choice(fits: Sequence[ArrivalFit], wanted: Sequence[Burstiness]) -> ArrivalFit:
    for good in ([fit for fit in fits if not misses(fit.goodness, wanted, STRICT)], [fit for fit in fits if fit.is_good]):
        if good:
            return min(good, key=lambda fit: fit.aic)
    return min(fits, key=lambda fit: _distance(fit.goodness, wanted))


def _distance(goodness: ArrivalGoodness, wanted: Sequence[Burstiness]) -> float:
    found = {b.window_s: b for b in goodness.bursts}
    pairs = [(found[b.window_s], b) for b in wanted if b.window_s in found]
    return abs(math.log(max(goodness.rate_ratio, 1e-3))) + sum(
        abs(math.log(max(a.dispersion, 1e-3) / max(b.dispersion, 1e-3))) for a, b in pairs
    )


def _goodness(law: Arrivals, times_s: FloatArray, span_s: float) -> ArrivalGoodness:
    runs = [arrival_times_s(law, np.random.default_rng(seed), duration_s=span_s) for seed in SEEDS]
    runs = [run for run in runs if len(run) > 1] or [np.array([0.0, span_s])]
    return ArrivalGoodness(
        rate_ratio=float(np.median([len(run) for run in runs])) / len(times_s),
        bursts=median_bursts([burstiness_of(_padded(run, span_s)) for run in runs]),
        gap_ks=float(np.median([ks_distance(np.diff(run), np.diff(times_s)) for run in runs])),
    )


def _padded(times_s: FloatArray, span_s: float) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Counts by second over the whole span, so that a quiet end counts."""
    return np.bincount(times_s.astype(np.int64), minlength=int(span_s))[: max(1, int(span_s))]


def _laws(times_s: FloatArray, span_s: float) -> list[tuple[str, str, Arrivals, int, float]]:
    """(name, family, law, parameters, log likelihood) of every law that is tried."""
    rate = len(times_s) / span_s
    flat = times_s * rate
    found: list[tuple[str, str, Arrivals, int, float]] = []
    for gaps in (Gaps.EXPONENTIAL, Gaps.GAMMA, Gaps.WEIBULL, Gaps.LOGNORMAL):
        cv, likelihood = _gap_likelihood(flat, gaps)
        law = _renewal(gaps, rate, cv)
        name = "poisson" if gaps is Gaps.EXPONENTIAL else f"{gaps.value}, CV {cv:.3g}"
        parameters = 1 if gaps is Gaps.EXPONENTIAL else 2
        found.append(
            (name, "poisson" if gaps is Gaps.EXPONENTIAL else gaps.value, law, parameters, likelihood + len(flat) * math.log(rate))
        )
    for states in (2, 4):
        mmpp = fit_states(times_s, span_s, states)
        if mmpp is not None:
            found.append((f"mmpp of {states} states", "mmpp", mmpp.law, mmpp.parameters, mmpp.log_likelihood))
    return found + [_stepped(times_s, span_s, float(w)) for w in STEP_WIDTHS_S if 2 <= span_s / w <= MAX_STEPS]


def _renewal(gaps: Gaps, rate: float, cv: float) -> Poisson | Gamma | Weibull | Lognormal:
    match gaps:
        case Gaps.GAMMA:
            return Gamma(rate_per_s=rate, cv=cv)
        case Gaps.WEIBULL:
            return Weibull(rate_per_s=rate, cv=cv)
        case Gaps.LOGNORMAL:
            return Lognormal(rate_per_s=rate, cv=cv)
        case _:
            return Poisson(rate_per_s=rate)


def _stepped(times_s: FloatArray, span_s: float, width_s: float) -> tuple[str, str, Arrivals, int, float]:
    """A rate for each step, and the law of gaps that is likeliest around it."""
    starts = np.arange(0.0, span_s, width_s)
    starts = starts[:-1] if len(starts) > 1 and span_s - starts[-1] < width_s / 2 else starts  # a short rest joins the step before
    edges = np.append(starts, span_s)
    counts = np.histogram(times_s, edges)[0]
    rates = counts / np.diff(edges)
    operational = np.interp(times_s, edges, np.concatenate(([0.0], np.cumsum(counts))))
    own = rates[np.searchsorted(starts, times_s, side="right") - 1]
    density = float(np.log(np.maximum(own, 1e-12)).sum())
    profile = Step(at_s=tuple(starts.tolist()), rates_per_s=tuple(_short(rates)))
    fits = [(*_gap_likelihood(operational, gaps), gaps) for gaps in (Gaps.EXPONENTIAL, Gaps.GAMMA, Gaps.WEIBULL, Gaps.LOGNORMAL)]
    cv, likelihood, gaps = max(fits, key=lambda fit: fit[1] - (fit[2] is not Gaps.EXPONENTIAL))
    if gaps is Gaps.EXPONENTIAL:
        return f"rate in steps of {width_s:g} s, poisson", "steps", profile, len(rates), likelihood + density
    law = Modulated(profile=profile, gaps=gaps, cv=float(f"{cv:.4g}"))
    return f"rate in steps of {width_s:g} s, {gaps.value} CV {cv:.3g}", "steps", law, len(rates) + 1, likelihood + density


def _short(rates: FloatArray) -> list[float]:
    return [float(f"{rate:.6g}") for rate in rates]


def _gap_likelihood(operational: FloatArray, gaps: Gaps) -> tuple[float, float]:
    """CV of the gaps by moments, and the log likelihood of unit-mean gaps; for more than SUBSAMPLE gaps scaled up from the first."""
    g = np.diff(operational)
    if not len(g):
        return 1.0, 0.0
    cv = min(max(float(g.std()) / max(float(g.mean()), 1e-12), CV_RANGE[0]), CV_RANGE[1])
    x = np.maximum(g[:SUBSAMPLE], LEAST_GAP)
    match gaps:
        case Gaps.GAMMA:
            k = 1 / cv**2
            terms = k * math.log(k) - special.gammaln(k) + (k - 1) * np.log(x) - k * x
        case Gaps.WEIBULL:
            c = weibull_shape(cv)
            b = 1 / math.gamma(1 + 1 / c)
            terms = math.log(c / b) + (c - 1) * np.log(x / b) - (x / b) ** c
        case Gaps.LOGNORMAL:
            variance = math.log1p(cv**2)
            terms = -np.log(x) - 0.5 * math.log(2 * math.pi * variance) - (np.log(x) + variance / 2) ** 2 / (2 * variance)
        case _:
            terms = -x
    return cv, float(np.mean(terms)) * len(g)
