"""Laws of lengths for a column of tokens: single families, two lognormals, and a histogram that keeps caps as atoms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import default_rng

from loadlab.analysis.goodness import ks_distance
from loadlab.analysis.table import FloatArray, IntArray
from loadlab.scenario import lengths
from loadlab.scenario.distribution import cdf, mean

BINS = 60
TAIL = (0.995, 0.998, 0.999)
MEAN_ERROR, MAX_SPLITS = 0.0005, 60
ATOM_SHARE = 0.01  # a length with so many rows is a bin of its own: a cap, or a template's length
SUBSAMPLE = 100_000
EM_ROUNDS = 80
PARAMETRIC_KS = 0.03  # a family so near may be preferred to a histogram, for it says what it is


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthFit:
    """One law for one column. `ks`: distance between the trace and the law; `mean_ratio`: the law's mean over the trace's."""

    name: str
    law: lengths.CountLaw
    parameters: int
    aic: float
    ks: float
    mean_ratio: float


def fit_lengths(tokens: IntArray) -> tuple[LengthFit, tuple[LengthFit, ...]]:
    """The chosen law and all that were tried. tokens: int64[n], n >= 1, each >= 1.

    A family with a KS distance of at most PARAMETRIC_KS and a mean within 2 % is chosen before the histogram, the least AIC first.
    """
    low, high = int(tokens.min()), int(tokens.max())
    if low == high:
        only = _judged("constant", lengths.Constant(value=low), 1, tokens)
        return only, (only,)
    tried = [_judged("histogram", histogram(tokens), 0, tokens)]
    logs = np.log(tokens.astype(np.float64))
    m, cv = float(tokens.mean()), float(tokens.std() / tokens.mean())
    sigma = min(5.0, float(logs.std()))
    cv = min(max(cv, 0.05), 30.0)
    bounds = {"min": low, "max": high}
    tried += [
        _judged("lognormal", lengths.Lognormal(median=max(1.0, m / math.exp(sigma**2 / 2)), sigma=sigma, **bounds), 2, tokens),
        _judged("gamma", lengths.Gamma(mean=m, cv=cv, **bounds), 2, tokens),
        _judged("weibull", lengths.Weibull(mean=m, cv=cv, **bounds), 2, tokens),
        _judged("two lognormals", _two_lognormals(logs, m, low, high), 5, tokens),
    ]
    families = [fit for fit in tried[1:] if fit.ks <= PARAMETRIC_KS and abs(fit.mean_ratio - 1) <= 0.02]
    return min(families, key=lambda fit: fit.aic) if families else tried[0], tuple(tried)


def _judged(name: str, law: lengths.CountLaw, parameters: int, tokens: IntArray) -> LengthFit:
    values, counts = np.unique(tokens, return_counts=True)
    at = values.astype(np.float64)
    upto = cdf(law, at)
    empirical = np.cumsum(counts) / len(tokens)
    below, empirical_below = cdf(law, at - 1), np.concatenate(([0.0], empirical[:-1]))
    ks = float(max(np.abs(upto - empirical).max(), np.abs(below - empirical_below).max()))
    likelihood = float(counts @ np.log(np.maximum(upto - below, 1e-12)))
    bins = len(law.weights) if isinstance(law, lengths.Histogram) else parameters
    return LengthFit(
        name=name, law=law, parameters=bins, aic=2 * bins - 2 * likelihood, ks=ks, mean_ratio=_mean(law) / float(tokens.mean())
    )


def _mean(law: lengths.CountLaw) -> float:
    return float(mean(law))


def histogram(tokens: IntArray) -> lengths.Histogram:
    """Bins between quantiles, finer in the tail; a length that many rows have is a bin of its own."""
    values, counts = np.unique(tokens, return_counts=True)
    at = np.concatenate((np.linspace(0, 1, BINS + 1), TAIL))
    edges = set(np.quantile(tokens, at, method="inverted_cdf").tolist())
    for atom in values[counts >= max(3, ATOM_SHARE * len(tokens))].tolist():
        edges |= {atom, atom + 1}
    ordered = _split(np.array(sorted(edges | {int(values[0]), int(values[-1]) + 1}), dtype=np.int64), values, counts)
    weights = np.histogram(tokens, ordered)[0]
    weights[-1] = int((tokens >= ordered[-2]).sum())
    return lengths.Histogram(edges=tuple(ordered.tolist()), weights=tuple(float(w) for w in weights))


def _split(edges: IntArray, values: IntArray, counts: IntArray) -> IntArray:
    """More edges, until no bin's middle misstates the sum of all tokens by more than MEAN_ERROR: the tail is long, and bins are flat."""
    total = float(values @ counts)
    for _ in range(MAX_SPLITS):
        at = np.searchsorted(edges, values, side="right") - 1
        rows, tokens = (np.bincount(at, weights=w, minlength=len(edges) - 1) for w in (counts, counts * values))
        errors = np.abs(rows * (edges[:-1] + edges[1:] - 1) / 2 - tokens) * (np.diff(edges) > 1)
        worst = int(errors.argmax())
        if errors[worst] <= MEAN_ERROR * total:
            break
        middle = int((edges[worst] + edges[worst + 1]) // 2)
        edges = np.insert(edges, worst + 1, middle)
    return edges


def _two_lognormals(logs: FloatArray, mean_tokens: float, low: int, high: int) -> lengths.CountLaw:
    """By expectation-maximisation on logarithms; then both medians scaled alike, so that the mean before clipping is the trace's."""
    x = logs if len(logs) <= SUBSAMPLE else default_rng(1).choice(logs, SUBSAMPLE, replace=False)
    centres, spreads, shares = np.quantile(x, (0.25, 0.75)), np.full(2, max(float(x.std()), 1e-3)), np.full(2, 0.5)
    for _ in range(EM_ROUNDS):
        z = (x[:, np.newaxis] - centres) / spreads
        log_density = np.log(shares) - np.log(spreads) - z**2 / 2
        weights = np.exp(log_density - log_density.max(axis=1, keepdims=True))
        weights /= weights.sum(axis=1, keepdims=True)
        total = weights.sum(axis=0) + 1e-9
        shares, centres = total / total.sum(), weights.T @ x / total
        spreads = np.maximum(np.sqrt((weights * (x[:, np.newaxis] - centres) ** 2).sum(axis=0) / total), 0.02)
    scale = mean_tokens / float(shares @ np.exp(centres + spreads**2 / 2))
    parts = tuple(
        lengths.Lognormal(median=max(1.0, math.exp(c) * scale), sigma=min(5.0, float(s)), min=low, max=high)
        for c, s in zip(centres, spreads, strict=True)
    )
    return lengths.Mixture(of=parts, weights=tuple(float(w) for w in shares))


def length_ks(generated: IntArray, trace: IntArray) -> float:
    """KS distance between lengths that were generated and those of the trace."""
    return ks_distance(generated, trace)
