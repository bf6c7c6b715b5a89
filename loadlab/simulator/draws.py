"""Random numbers that depend on what they are for, not on the order in which they are asked: mix64(seed, replica, block)."""

from __future__ import annotations

import math
from statistics import NormalDist

_MASK = 2**64 - 1
_NORMAL = NormalDist()


def mix64(*numbers: int) -> int:
    """64 well-mixed bits of a tuple of integers: SplitMix64 (Steele, Lea and Flood 2014), chained over the numbers."""
    state = 0
    for number in numbers:
        state = (state + number + 0x9E3779B97F4A7C15) & _MASK
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 31
    return state


def uniform(*numbers: int) -> float:
    """A number in (0, 1), of 53 bits: never 0 and never 1."""
    return ((mix64(*numbers) >> 11) + 0.5) * 2.0**-53


def lognormal_factor(cv: float, *numbers: int) -> float:
    """A positive number of mean 1 and coefficient of variation `cv`."""
    variance = math.log1p(cv * cv)
    return math.exp(math.sqrt(variance) * _NORMAL.inv_cdf(uniform(*numbers)) - variance / 2)
