"""A rate that jumps between hidden states, fitted to counts by Baum and Welch's expectation-maximisation (Rabiner, 1989, sec. III)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from loadlab.analysis.table import FloatArray, IntArray
from loadlab.scenario.arrivals import Mmpp

MAX_BINS = 3000
ROUNDS = 25
STICKY = 0.95  # chance to stay, to begin with
LEAST_JUMP = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class StatesFit:
    """The law at the trace's mean rate. `log_likelihood`: of the arrival times, uniform within a bin."""

    law: Mmpp
    parameters: int
    log_likelihood: float


def fit_states(times_s: FloatArray, span_s: float, states: int) -> StatesFit | None:
    """None where the trace is too short, or the states come out alike."""
    width_s = max(1.0, span_s / MAX_BINS)
    bins = int(span_s / width_s)
    if bins < 20 * states:
        return None
    counts = np.bincount((times_s / width_s).astype(np.int64), minlength=bins)[:bins]
    rates = np.quantile(counts, (np.arange(states) + 0.5) / states) + 0.05 + 0.2 * np.arange(states) * counts.mean()
    jumps = np.full((states, states), (1 - STICKY) / (states - 1))
    np.fill_diagonal(jumps, STICKY)
    first = np.full(states, 1 / states)
    likelihood = -np.inf
    for _ in range(ROUNDS):
        likelihood, rates, jumps, first = _step(counts, rates, jumps, first)
    jumps = np.maximum(jumps, LEAST_JUMP)
    jumps /= jumps.sum(axis=1, keepdims=True)
    stay = np.diag(jumps)
    off = jumps - np.diag(stay)
    off /= off.sum(axis=1, keepdims=True)
    try:
        law = _law(np.maximum(rates / width_s, 1e-6), width_s / (1 - stay), off, len(times_s) / span_s)
    except ValueError:
        return None
    density = likelihood + float((gammaln(counts + 1) - counts * np.log(width_s)).sum())
    return StatesFit(law=law, parameters=states**2, log_likelihood=density)


def _law(rates: FloatArray, dwell_s: FloatArray, jumps: FloatArray, rate_per_s: float) -> Mmpp:
    """At the mean rate that is asked for. Raises ValueError as Mmpp does."""
    rows = tuple(tuple(float(x) for x in row) for row in jumps)
    dwell = tuple(float(f"{d:.5g}") for d in dwell_s)
    raw = Mmpp(rates_per_s=tuple(rates.tolist()), dwell_s=dwell, jumps=rows)
    scale = rate_per_s / raw.rate_per_s
    return Mmpp(rates_per_s=tuple(float(f"{r * scale:.6g}") for r in rates), dwell_s=dwell, jumps=rows)


def _step(counts: IntArray, rates: FloatArray, jumps: FloatArray, first: FloatArray) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """One round: log likelihood of the counts under the old parameters, and new ones."""
    log_emission = counts[:, np.newaxis] * np.log(rates) - rates - gammaln(counts + 1)[:, np.newaxis]
    peak = log_emission.max(axis=1)
    emission = np.exp(log_emission - peak[:, np.newaxis])
    n, k = emission.shape
    forward, scale = np.empty((n, k)), np.empty(n)
    row = first * emission[0]
    for i in range(n):
        if i:
            row = (forward[i - 1] @ jumps) * emission[i]
        scale[i] = total = max(row.sum(), 1e-300)
        forward[i] = row / total
    backward = np.ones((n, k))
    for i in range(n - 2, -1, -1):
        backward[i] = jumps @ (emission[i + 1] * backward[i + 1]) / scale[i + 1]
    state = forward * backward
    state /= state.sum(axis=1, keepdims=True)
    after = emission[1:] * backward[1:] / scale[1:, np.newaxis]
    moves = jumps * (forward[:-1].T @ after) + 1e-9
    weight = state.sum(axis=0) + 1e-9
    new_rates = np.maximum(state.T @ counts / weight, 1e-4)
    return float(np.log(scale).sum() + peak.sum()), new_rates, moves / moves.sum(axis=1, keepdims=True), state[0]
