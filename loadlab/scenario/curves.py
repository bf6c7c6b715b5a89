"""Integrals of rate curves and their inverses: pieces at constant rates, once or in a circle; a straight line; a decay; a wave."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loadlab.scenario.plan import FloatArray


def step_total(t_s: float, starts_s: FloatArray, rates_per_s: FloatArray) -> float:
    """The integral up to t_s of a rate that is rates_per_s[k] from starts_s[k] (0 first) to the next start; the last without end."""
    ends_s = np.append(starts_s[1:], np.inf)
    return float(np.sum(rates_per_s * np.clip(np.minimum(ends_s, t_s) - starts_s, 0, None)))


def step_inverse(sums: FloatArray, starts_s: FloatArray, rates_per_s: FloatArray) -> FloatArray:
    """When the integral of `step_total` reaches each sum; inf beyond a last rate of 0."""
    totals = np.concatenate(([0.0], np.cumsum(np.diff(starts_s) * rates_per_s[:-1])))
    with np.errstate(divide="ignore", invalid="ignore"):  # a last rate of 0 is never reached beyond its start
        after = starts_s[-1] + (sums - totals[-1]) / rates_per_s[-1]
    return np.where(sums < totals[-1], np.interp(sums, totals, starts_s), np.where(np.isnan(after), np.inf, after))


def cycle_total(t_s: float, edges_s: FloatArray, rates_per_s: FloatArray) -> float:
    """The integral up to t_s of rates that come again after edges_s[-1]; rates_per_s[k] holds from edges_s[k] to edges_s[k + 1]."""
    totals = np.concatenate(([0.0], np.cumsum(np.diff(edges_s) * rates_per_s)))
    cycles, rest_s = divmod(t_s, float(edges_s[-1]))
    return cycles * float(totals[-1]) + float(np.interp(rest_s, edges_s, totals))


def cycle_inverse(sums: FloatArray, edges_s: FloatArray, rates_per_s: FloatArray) -> FloatArray:
    """When the integral of `cycle_total` reaches each sum."""
    totals = np.concatenate(([0.0], np.cumsum(rates_per_s * np.diff(edges_s))))
    cycles, rest = np.divmod(sums, totals[-1])
    return np.asarray(cycles * edges_s[-1] + np.interp(rest, totals, edges_s))


def ramp_inverse(sums: FloatArray, from_per_s: float, to_per_s: float, over_s: float) -> FloatArray:
    """When the integral of a rate that goes straight from one value to another, and stays there, reaches each sum.

    The root of a x + b x^2 / 2 = s without cancellation: 2 s / (a + sqrt(a^2 + 2 b s)).
    """
    slope, total = (to_per_s - from_per_s) / over_s, (from_per_s + to_per_s) / 2 * over_s
    with np.errstate(divide="ignore", invalid="ignore"):  # at a sum of 0, and after a ramp down to 0
        slowest = from_per_s + np.sqrt(np.maximum(from_per_s**2 + 2 * slope * np.minimum(sums, total), 0))
        inside = np.where(slowest > 0, 2 * np.minimum(sums, total) / slowest, 0.0)
        after = over_s + (sums - total) / to_per_s
    return np.where(sums < total, inside, np.where(np.isnan(after), np.inf, after))


TAIL_STEPS = 40  # Newton's method from below doubles its digits once it is near; a tail at a millionth of its peak needs 25


def tail_inverse(sums: FloatArray, base_per_s: float, peak_per_s: float, decay_s: float) -> FloatArray:
    """When the integral of base + (peak - base) e^(-x / decay_s) reaches each sum.

    The integral is concave, so Newton's method from below climbs to the root and never passes it.
    """
    extra = peak_per_s - base_per_s
    x = np.maximum(sums / peak_per_s, (sums - extra * decay_s) / base_per_s)
    for _ in range(TAIL_STEPS):
        fade = np.exp(-x / decay_s)
        step = (sums - base_per_s * x - extra * decay_s * (1 - fade)) / (base_per_s + extra * fade)
        x = x + np.maximum(step, 0.0)
        if not np.any(step > 1e-12 * (x + decay_s)):
            break
    return x


GRID = 4096  # points over one period, between which a wave is inverted
NEWTON_STEPS = 4  # from a grid of 4,096 two reach rounding error wherever the rate is not close to 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """A periodic rate: mean_per_s times 1 plus, for each term (j, amplitude, phase_s), amplitude * sin(2 pi j (t - phase_s) / period_s)."""

    mean_per_s: float
    period_s: float
    terms: tuple[tuple[int, float, float], ...]

    def rate_per_s(self, t_s: FloatArray) -> FloatArray:
        """The rate at each time."""
        swings = np.zeros_like(t_s)
        for j, amplitude, phase_s in self.terms:
            swings += amplitude * np.sin(2 * math.pi * j / self.period_s * (t_s - phase_s))
        rate: FloatArray = self.mean_per_s * (1 + swings)
        return rate

    def total(self, t_s: FloatArray) -> FloatArray:
        """The integral of the rate from 0 to each time."""
        total = t_s.copy()
        for j, amplitude, phase_s in self.terms:
            turn = 2 * math.pi * j / self.period_s
            total += amplitude / turn * (np.cos(turn * phase_s) - np.cos(turn * (t_s - phase_s)))
        return self.mean_per_s * total

    def inverse(self, sums: FloatArray) -> FloatArray:
        """When the integral reaches each sum: whole periods by division, the rest by Newton's method inside one cell of a grid."""
        grid = np.linspace(0.0, self.period_s, GRID + 1)
        totals = self.total(grid)
        periods, rest = np.divmod(sums, self.mean_per_s * self.period_s)
        cell = np.clip(np.searchsorted(totals, rest, side="right") - 1, 0, GRID - 1)
        t = np.interp(rest, totals, grid)
        for _ in range(NEWTON_STEPS):
            rate_per_s = np.maximum(self.rate_per_s(t), 1e-9 * self.mean_per_s)
            t = np.clip(t - (self.total(t) - rest) / rate_per_s, grid[cell], grid[cell + 1])
        times: FloatArray = periods * self.period_s + t
        return times
