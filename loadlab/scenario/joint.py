"""Prompt and answer lengths that go together: by a copula over their two laws, or in pairs as they were seen."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias

import numpy as np
from numpy.random import Generator

from loadlab.scenario.distribution import quantile
from loadlab.scenario.lengths import Count, CountLaw, check_weights, draw_choices
from loadlab.scenario.limits import WeightOrZero
from loadlab.scenario.plan import IntArray
from loadlab.schema import Bound

Correlation = Bound("between -0.99 and 0.99", lambda x: -0.99 <= x <= 0.99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Copula:
    """Gaussian copula with Spearman rank correlation `correlation`; the two laws stay what they are."""

    kind: ClassVar[str] = "copula"
    correlation: Annotated[float, Correlation]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """One of `values`, each [prompt tokens, answer tokens], by weight: equally likely without `weights`. Replaces the two laws."""

    kind: ClassVar[str] = "pairs"
    values: tuple[tuple[Annotated[int, Count], Annotated[int, Count]], ...]
    weights: Annotated[tuple[float, ...], WeightOrZero] = ()

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("values = [] must have at least one [prompt tokens, answer tokens]")
        check_weights(self.weights, len(self.values), "weights")


Joint: TypeAlias = Copula | Pairs


def draw_copula(copula: Copula, prompt: CountLaw, output: CountLaw, n: int, rngs: tuple[Generator, Generator]) -> tuple[IntArray, IntArray]:
    """n pairs of lengths; rngs: of prompts and of answers. A normal pair with correlation r has the Spearman correlation
    6 / pi * asin(r / 2) (Kruskal, Ordinal measures of association, 1958). More draws begin with the fewer."""
    from scipy import special

    r = 2 * math.sin(math.pi * copula.correlation / 6)
    first, second = (rng.standard_normal(n) for rng in rngs)
    return quantile(prompt, special.ndtr(first)), quantile(output, special.ndtr(r * first + math.sqrt(1 - r**2) * second))


def draw_pairs(pairs: Pairs, n: int, rng: Generator) -> tuple[IntArray, IntArray]:
    """n pairs of lengths. More draws begin with the fewer."""
    chosen = np.asarray(pairs.values, dtype=np.int64)[draw_choices(pairs.weights, len(pairs.values), n, rng)]
    return np.ascontiguousarray(chosen[:, 0]), np.ascontiguousarray(chosen[:, 1])
