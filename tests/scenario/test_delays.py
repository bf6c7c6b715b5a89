"""Laws of think times."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from loadlab.scenario.delays import Constant, DelayLaw, Exponential, Lognormal, Uniform, draw


@pytest.mark.parametrize(
    ("law", "reference"),
    [
        (Exponential(mean_s=8), stats.expon(scale=8)),
        (Uniform(min_s=2, max_s=6), stats.uniform(2, 4)),
        (Lognormal(median_s=8, sigma=0.8), stats.lognorm(0.8, scale=8)),
    ],
    ids=lambda x: getattr(x, "kind", ""),
)
def test_think_times_follow_their_law(law: DelayLaw, reference: stats.rv_continuous) -> None:
    assert stats.kstest(draw(law, 5_000, default_rng(1)), reference.cdf).pvalue > 0.001


def test_constant_think_time_is_always_the_same() -> None:
    assert draw(Constant(value_s=2.5), 3, default_rng(1)).tolist() == [2.5, 2.5, 2.5]


def test_lognormal_think_time_is_clipped_at_both_ends() -> None:
    delays = draw(Lognormal(median_s=8, sigma=2, min_s=1, max_s=20), 2_000, default_rng(2))
    assert (delays.min(), delays.max()) == (1, 20)
    assert np.sum(delays == 20) > 100
