"""What a handful of differences says of their mean: bounds, p-values, the smallest effect that they could show.

All differences are on one scale, such as log Q(candidate) - log Q(base), where above 0 is more. Two forms of evidence: Student's t for
few of them, and for eight or more the exact distribution under flips of their signs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

import numpy as np
from scipy.special import stdtr, stdtrit

from loadlab.analysis.table import FloatArray

ALPHA = 0.05  # of each one-sided statement
POWER = 0.80
SIGN_FLIP_FROM = 8  # pairs: 2**-8 is below 5 %, so that a one-sided 95 % bound exists well inside the data
MAX_ENUMERATED = 16  # pairs: 65,535 subset means
MAX_PAIRS = 10_000  # beyond it "more pairs" is no advice


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """A centre with standard error `se` and `df` degrees of freedom. se = 0: the differences did not vary at all."""

    centre: float
    se: float
    df: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SignFlip:
    """Differences that are symmetric about their centre, and nothing else is assumed: `means` of all non-empty subsets, ascending.

    With K differences, the 2^K - 1 subset means cut the line into 2^K pieces, in each of which the centre lies equally often
    (J. A. Hartigan, Using subsample values as typical values, JASA 64, 1969, p. 1303): the inversion of the sign-flip test.
    """

    centre: float
    se: float
    df: float
    means: FloatArray


Evidence = Student | SignFlip


def evidence_of(differences: Sequence[float] | FloatArray, tests: int = 1) -> Evidence | None:
    """What K paired differences say of their mean; None for fewer than two. Sign flips from K = 8 to 16, else Student's t.

    `tests` is how many metrics share one verdict: Holm's first step asks for ALPHA / tests, and a p-value of sign flips is never below
    2^-K, so that where that is more (8 pairs, 13 metrics) t is used as well.
    """
    d = np.asarray(differences, dtype=np.float64)
    k = len(d)
    if k < 2:
        return None
    centre, se = float(d.mean()), float(d.std(ddof=1)) / math.sqrt(k)
    if not SIGN_FLIP_FROM <= k <= MAX_ENUMERATED or 2**-k > ALPHA / tests:
        return Student(centre=centre, se=se, df=k - 1)
    return SignFlip(centre=centre, se=se, df=k - 1, means=_subset_means(d))


def _subset_means(d: FloatArray) -> FloatArray:
    """Means of the 2^K - 1 non-empty subsets, ascending. float64[2**K - 1]."""
    sums, counts = np.zeros(1), np.zeros(1)
    for value in d:
        sums, counts = np.concatenate([sums, sums + value]), np.concatenate([counts, counts + 1])
    return np.sort(sums[1:] / counts[1:])


def welch(base: Sequence[float] | FloatArray, candidate: Sequence[float] | FloatArray) -> Student | None:
    """Mean of `candidate` - mean of `base`, independent samples of unlike variance; None unless both have two or more.

    B. L. Welch, Biometrika 34 (1947), p. 28, with Satterthwaite's degrees of freedom.
    """
    a, b = np.asarray(base, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    if len(a) < 2 or len(b) < 2:
        return None
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    squares = va * va / (len(a) - 1) + vb * vb / (len(b) - 1)
    df = (va + vb) ** 2 / squares if squares > 0 else float(len(a) + len(b) - 2)
    return Student(centre=float(b.mean() - a.mean()), se=math.sqrt(va + vb), df=df)


def p_above(evidence: Evidence, margin: float) -> float:
    """One-sided p-value against "the mean is at most `margin`": small where it is above."""
    match evidence:
        case Student(centre=centre, se=se, df=df):
            return _student_p(centre - margin, se, df)
        case SignFlip(means=means):
            return (1 + int(np.searchsorted(means, margin, side="right"))) / (len(means) + 1)
        case _:
            assert_never(evidence)


def p_below(evidence: Evidence, margin: float) -> float:
    """One-sided p-value against "the mean is at least `margin`": small where it is below."""
    match evidence:
        case Student(centre=centre, se=se, df=df):
            return _student_p(margin - centre, se, df)
        case SignFlip(means=means):
            return (1 + len(means) - int(np.searchsorted(means, margin, side="left"))) / (len(means) + 1)
        case _:
            assert_never(evidence)


def _student_p(distance: float, se: float, df: float) -> float:
    if se == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(df, -distance / se))


def bounds(evidence: Evidence, alpha: float = ALPHA) -> tuple[float, float]:
    """Lower and upper bound, each one-sided at 1 - alpha: together the interval of confidence 1 - 2 alpha.

    A mean is above `margin` at level alpha exactly where the lower bound is.
    """
    match evidence:
        case Student(centre=centre, se=se, df=df):
            half = se * t_quantile(1 - alpha, df)
            return centre - half, centre + half
        case SignFlip(means=means):
            rank = math.floor(alpha * (len(means) + 1) + 1e-9)
            if rank < 1:
                return -math.inf, math.inf
            return float(means[rank - 1]), float(means[-rank])
        case _:
            assert_never(evidence)


def t_quantile(p: float, df: float) -> float:
    """The p-quantile of Student's t with df degrees of freedom."""
    return float(stdtrit(df, p))


def detectable(evidence: Evidence) -> float:
    """The smallest true mean that so many such differences would show in 80 % of cases: (t_.95 + t_.80) s_d / sqrt(K).

    J. Cohen, Statistical Power Analysis (1988), ch. 2, in the t form; an approximation to the noncentral t.
    """
    return evidence.se * (t_quantile(1 - ALPHA, evidence.df) + t_quantile(POWER, evidence.df))


def pairs_needed(differences: Sequence[float] | FloatArray, margin: float) -> int | None:
    """How many pairs would settle on which side of `margin` the mean lies, in 80 % of cases, if mean and spread are as seen so far.

    None where two pairs have not been seen, or where more than MAX_PAIRS would not settle it: the difference lies at the margin.
    """
    d = np.asarray(differences, dtype=np.float64)
    if len(d) < 2:
        return None
    distance, sd = abs(float(d.mean()) - margin), float(d.std(ddof=1))
    if sd == 0:
        return len(d) if distance > 0 else None
    low, high = 2, MAX_PAIRS
    if not _settles(high, distance, sd):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _settles(middle, distance, sd) else (middle + 1, high)
    return low


def _settles(k: int, distance: float, sd: float) -> bool:
    return (t_quantile(1 - ALPHA, k - 1) + t_quantile(POWER, k - 1)) * sd / math.sqrt(k) <= distance


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: rejecting those <= alpha errs in any of them with probability at most alpha.

    S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979), p. 65. Holds for dependent tests.
    """
    m = len(p_values)
    adjusted = [1.0] * m
    highest = 0.0
    for rank, i in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (m - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
