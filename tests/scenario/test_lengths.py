"""Laws of counts: their distribution, their caps as atoms, their means."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from loadlab.scenario.lengths import Constant, CountLaw, Empirical, Geometric, Lognormal, Uniform, draw, mean, smallest

ALPHA = 0.001
LAWS: list[CountLaw] = [
    Constant(value=7),
    Uniform(min=3, max=9),
    Lognormal(median=380, sigma=0.9, min=16, max=3000),
    Lognormal(median=50, sigma=0, min=1, max=40),
    Lognormal(median=20, sigma=0.5),
    Geometric(mean=4, min=1, max=12),
    Geometric(mean=1),
    Geometric(mean=3, min=2),
    Empirical(values=(1, 2, 4), weights=(0.7, 0.2, 0.1)),
    Empirical(values=(5, 6)),
]


def test_lognormal_between_its_caps_follows_the_lognormal_law() -> None:
    lengths = draw(Lognormal(median=10_000, sigma=0.9, min=1), 5_000, default_rng(1))
    assert stats.kstest(np.log(lengths), stats.norm(np.log(10_000), 0.9).cdf).pvalue > ALPHA


def test_lognormal_outside_its_caps_becomes_atoms_of_the_right_weight() -> None:
    lengths = draw(Lognormal(median=400, sigma=1.0, min=100, max=1000), 20_000, default_rng(2))
    assert lengths.min() == 100
    assert lengths.max() == 1000
    for cap, share in ((100, stats.norm.cdf(np.log(100.5 / 400))), (1000, stats.norm.sf(np.log(999.5 / 400)))):
        assert stats.binomtest(int(np.sum(lengths == cap)), len(lengths), share).pvalue > ALPHA


def test_geometric_counts_follow_the_geometric_law() -> None:
    turns = draw(Geometric(mean=4), 20_000, default_rng(3))
    observed = [int(np.sum(turns == k)) for k in range(1, 15)] + [int(np.sum(turns >= 15))]
    expected = [20_000 * stats.geom.pmf(k, 0.25) for k in range(1, 15)] + [20_000 * stats.geom.sf(14, 0.25)]
    assert stats.chisquare(observed, expected).pvalue > ALPHA


def test_empirical_values_come_by_weight() -> None:
    counts = draw(Empirical(values=(1, 2, 4), weights=(7, 2, 1)), 10_000, default_rng(4))
    observed = [int(np.sum(counts == k)) for k in (1, 2, 4)]
    assert stats.chisquare(observed, [7_000, 2_000, 1_000]).pvalue > ALPHA


def test_a_value_of_weight_zero_never_comes() -> None:
    assert set(draw(Empirical(values=(1, 2, 3), weights=(0, 1, 0)), 2_000, default_rng(5)).tolist()) == {2}


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_draws_are_whole_numbers_not_below_the_smallest_and_have_the_stated_mean(law: CountLaw) -> None:
    counts = draw(law, 40_000, default_rng(6))
    assert counts.dtype == np.int64
    assert counts.min() >= smallest(law)
    assert counts.mean() == pytest.approx(mean(law), abs=4 * counts.std() / 200 + 0.02)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_more_draws_begin_with_the_fewer(law: CountLaw) -> None:
    np.testing.assert_array_equal(draw(law, 500, default_rng(7))[:20], draw(law, 20, default_rng(7)))


def test_extreme_parameters_stay_within_the_largest_count() -> None:
    counts = draw(Lognormal(median=1e9, sigma=5), 1_000, default_rng(8))
    assert counts.min() >= 1
    assert counts.max() == 10**9
