"""Poisson arrivals whose rate is that of a state: in a fixed circle (on/off), or by a Markov chain (MMPP)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, ClassVar, assert_never

import numpy as np
from numpy.random import Generator

from loadlab.scenario.curves import cycle_inverse
from loadlab.scenario.limits import MAX_SPAN_S, RateOrZero
from loadlab.scenario.plan import FloatArray, IntArray
from loadlab.schema import Bound, Share, shown

Stay = Bound("> 0, from a microsecond to 30 days", lambda x: 1e-6 <= x <= MAX_SPAN_S)
MAX_STATES = 1000
MAX_CHAIN_STATES = 64  # of an MMPP: real traffic asks for 3 or 4, and two-state sources superposed for a power of 2


class Dwell(StrEnum):
    """How long a state of `OnOff` lasts: its dwell_s exactly, or exponential with that mean."""

    FIXED = "fixed"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnOff:
    """Poisson arrivals whose rate steps through `rates_per_s` in a circle, from the first state on, staying `dwell_s` in each."""

    kind: ClassVar[str] = "onoff"
    rates_per_s: Annotated[tuple[float, ...], RateOrZero]
    dwell_s: Annotated[tuple[float, ...], Stay]
    dwell: Dwell = Dwell.FIXED

    def __post_init__(self) -> None:
        _check_states(self.rates_per_s, self.dwell_s, MAX_STATES)

    @property
    def rate_per_s(self) -> float:
        """Mean rate over whole cycles."""
        return float(np.dot(self.rates_per_s, self.dwell_s)) / sum(self.dwell_s)

    @property
    def mean_stay_s(self) -> float:
        """Mean time in a state."""
        return sum(self.dwell_s) / len(self.dwell_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mmpp:
    """Markov-modulated Poisson process: exponential stays with means `dwell_s`, Poisson arrivals at rates_per_s[i] in state i.

    jumps[i][j] is the chance that state j follows state i; without it every other state is equally likely. The chain is stationary from
    time 0 on, so that any window offers the same mean (Fischer & Meier-Hellstern, The MMPP cookbook, 1993).
    """

    kind: ClassVar[str] = "mmpp"
    rates_per_s: Annotated[tuple[float, ...], RateOrZero]
    dwell_s: Annotated[tuple[float, ...], Stay]
    jumps: tuple[tuple[Annotated[float, Share], ...], ...] = ()

    def __post_init__(self) -> None:
        _check_states(self.rates_per_s, self.dwell_s, MAX_CHAIN_STATES)
        if self.jumps:
            self._check_jumps()

    def _check_jumps(self) -> None:
        n = len(self.dwell_s)
        if len(self.jumps) != n or any(len(row) != n for row in self.jumps):
            raise ValueError(f"jumps = {shown([list(row) for row in self.jumps])} must have {n} rows of {n}")
        if any(row[i] != 0 or abs(sum(row) - 1) > 1e-6 for i, row in enumerate(self.jumps)):
            raise ValueError("jumps must have rows that sum to 1, with 0 where a state would follow itself")
        reach = np.linalg.matrix_power(np.eye(n) + np.asarray(self.jumps), n)
        if not np.all(reach > 0):
            raise ValueError("jumps must lead from every state to every other, if not at once")

    def jump_matrix(self) -> FloatArray:
        """float64[states, states], rows sum to 1."""
        n = len(self.dwell_s)
        matrix = np.asarray(self.jumps) if self.jumps else (np.ones((n, n)) - np.eye(n)) / (n - 1)
        rows: FloatArray = matrix / matrix.sum(axis=1, keepdims=True)
        return rows

    def visit_shares(self) -> FloatArray:
        """Long-run share of the stays that are in each state: the jump chain's stationary law."""
        n = len(self.dwell_s)
        equations = np.vstack((self.jump_matrix().T - np.eye(n), np.ones(n)))
        visits: FloatArray = np.linalg.lstsq(equations, np.append(np.zeros(n), 1.0), rcond=None)[0]
        return np.maximum(visits, 0)

    @property
    def mean_stay_s(self) -> float:
        """Mean time in a state."""
        return float(self.visit_shares() @ np.asarray(self.dwell_s))

    def time_shares(self) -> FloatArray:
        """Long-run share of time in each state."""
        weights = self.visit_shares() * self.dwell_s
        shares: FloatArray = weights / weights.sum()
        return shares

    @property
    def rate_per_s(self) -> float:
        """Mean rate of arrivals."""
        return float(self.time_shares() @ np.asarray(self.rates_per_s))

    def dispersion(self, window_s: float) -> float:
        """Variance over mean of the arrivals in a window: 1 + 2 / (rate w) * integral of (w - u) C(u) du over the window, C the
        autocovariance of the rate, a sum of exponentials of the generator's eigenvalues (MMPP cookbook, eq. 12, in spectral form)."""
        rates, shares = np.asarray(self.rates_per_s), self.time_shares()
        generator = (self.jump_matrix() - np.eye(len(rates))) / np.asarray(self.dwell_s)[:, np.newaxis]
        values, vectors = np.linalg.eig(generator)
        weights = ((shares * rates) @ vectors) * np.linalg.solve(vectors, rates.astype(complex))
        decays = np.arange(len(rates)) != np.argmin(np.abs(values))  # the eigenvalue 0 carries the mean
        z = values[decays] * window_s
        area = np.sum(weights[decays] * (np.expm1(z) - z) / values[decays] ** 2)
        return 1 + 2 * float(np.real(area)) / (self.rate_per_s * window_s)


def _check_states(rates_per_s: tuple[float, ...], dwell_s: tuple[float, ...], most: int) -> None:
    rates = shown(list(rates_per_s))
    if len(rates_per_s) != len(dwell_s) or not 2 <= len(dwell_s) <= most:
        raise ValueError(f"rates_per_s = {rates} must have as many entries as dwell_s ({len(dwell_s)}), 2 to {most:,}")
    if not any(rates_per_s):
        raise ValueError(f"rates_per_s = {rates} must have an entry above 0")


def state_times_s(law: OnOff | Mmpp, n: int, rng: Generator) -> FloatArray:
    """The first n arrival times: float64[n], seconds; inf beyond MAX_SPAN_S."""
    gaps_rng, dwells_rng = rng.spawn(2)
    sums = np.cumsum(gaps_rng.standard_exponential(n))
    if isinstance(law, Mmpp):
        return _through_chain(sums, law, dwells_rng)
    match law.dwell:
        case Dwell.FIXED:
            return cycle_inverse(sums, np.concatenate(([0.0], np.cumsum(law.dwell_s))), np.asarray(law.rates_per_s))
        case Dwell.EXPONENTIAL:
            return _through_random_stays(sums, np.asarray(law.rates_per_s), np.asarray(law.dwell_s), dwells_rng)
        case _:
            assert_never(law.dwell)


def _through_random_stays(sums: FloatArray, rates: FloatArray, mean_dwell_s: FloatArray, rng: Generator) -> FloatArray:
    """As the fixed states, over as many random cycles as the last sum or MAX_SPAN_S needs, whichever is less: later times are inf.

    Drawn cycle by cycle, so that more cycles begin alike.
    """
    if not len(sums):
        return sums
    dwells = np.empty((0, len(rates)))
    while float(np.sum(dwells @ rates)) <= sums[-1] and float(np.sum(dwells)) <= MAX_SPAN_S:
        cycles = max(16, len(dwells))
        dwells = np.concatenate((dwells, rng.standard_exponential((cycles, len(rates))) * mean_dwell_s))
    return _through_stays(sums, dwells.ravel(), (dwells * rates).ravel())


def _through_stays(sums: FloatArray, dwells_s: FloatArray, arrivals: FloatArray) -> FloatArray:
    edges = np.concatenate(([0.0], np.cumsum(dwells_s)))
    totals = np.concatenate(([0.0], np.cumsum(arrivals)))
    return np.interp(sums, totals, edges, right=np.inf)


def _through_chain(sums: FloatArray, law: Mmpp, rng: Generator) -> FloatArray:
    """Stays are drawn in blocks that double, until the last sum or MAX_SPAN_S is reached: more stays begin alike."""
    if not len(sums):
        return sums
    rates, mean_dwell_s = np.asarray(law.rates_per_s), np.asarray(law.dwell_s)
    jumps_rng, stays_rng = rng.spawn(2)
    state = int(np.searchsorted(np.cumsum(law.time_shares()), jumps_rng.random()))
    state = min(state, len(rates) - 1)
    edges = np.minimum(np.cumsum(law.jump_matrix(), axis=1), 1.0)
    edges[:, -1] = 1.0
    dwells, states = np.empty(0), np.empty(0, dtype=np.int64)
    while float(dwells @ rates[states]) <= sums[-1] and float(dwells.sum()) <= MAX_SPAN_S:
        size = max(64, len(dwells))
        more = _walk(state, edges, jumps_rng.random(size))
        states, state = np.concatenate((states, more[:-1])), int(more[-1])
        dwells = np.concatenate((dwells, stays_rng.standard_exponential(size) * mean_dwell_s[more[:-1]]))
    return _through_stays(sums, dwells, dwells * rates[states])


def _walk(state: int, edges: FloatArray, uniforms: FloatArray) -> IntArray:
    """The states of a Markov chain from `state` on: int64[len(uniforms) + 1]; edges[i] cumulates the chances of i's successors."""
    k = len(edges)
    successors = np.column_stack([np.searchsorted(edges[i], uniforms, side="right") for i in range(k)]).ravel().tolist()
    walk = [state]
    for start in range(0, len(successors), k):
        state = successors[start + state]
        walk.append(state)
    return np.array(walk)
