"""Laws of counts: their distribution, their caps as atoms, their means."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from loadlab.scenario.distribution import cdf, mean, quantile, smallest
from loadlab.scenario.lengths import (
    Constant,
    CountLaw,
    Empirical,
    Gamma,
    Geometric,
    Histogram,
    Lognormal,
    Mixture,
    Pareto,
    Uniform,
    Weibull,
    Zipf,
    draw,
)

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
    Gamma(mean=300, cv=1.5, min=20, max=900),
    Gamma(mean=40, cv=0.3),
    Weibull(mean=300, cv=1.8, max=2000),
    Pareto(scale=50, alpha=1.2, max=100_000),
    Pareto(scale=50, alpha=2.5, min=60),
    Zipf(max=1000, exponent=1.1),
    Histogram(edges=(1, 10, 100, 1000), weights=(5, 3, 1)),
    Mixture(of=(Lognormal(median=20, sigma=0.5), Lognormal(median=400, sigma=0.4), Constant(value=4096)), weights=(6, 3, 1)),
]


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_draws_follow_the_distribution_function_with_its_atoms(law: CountLaw) -> None:
    """Chi-square over some twenty cells of equal weight: the quantiles cut them, so an atom is a cell of its own."""
    n = 40_000
    counts = draw(law, n, default_rng(9))
    edges = np.unique(quantile(law, np.linspace(0.05, 0.95, 19)))
    upto = cdf(law, edges.astype(float))
    weights = np.diff(np.concatenate(([0.0], upto, [1.0])))
    observed = np.bincount(np.searchsorted(edges, counts, side="left"), minlength=len(edges) + 1)
    assert observed[weights < 1e-9].sum() == 0
    if np.sum(weights >= 1e-9) > 1:
        kept = weights >= 1e-9
        assert stats.chisquare(observed[kept], n * weights[kept] / weights[kept].sum()).pvalue > ALPHA


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_a_quantile_is_the_smallest_count_that_reaches_it(law: CountLaw) -> None:
    uniforms = np.linspace(0.001, 0.999, 400)
    counts = quantile(law, uniforms).astype(float)
    assert np.all(cdf(law, counts) >= uniforms)
    assert np.all(cdf(law, counts - 1) < uniforms)


def test_a_heavy_tail_without_a_cap_has_the_mean_of_its_closed_form() -> None:
    assert mean(Pareto(scale=100, alpha=2.5)) == pytest.approx(100 * 2.5 / 1.5, rel=1e-3)  # less half a unit of rounding at most
    assert mean(Gamma(mean=5000, cv=2)) == pytest.approx(5000, rel=1e-3)
    assert mean(Weibull(mean=1e6, cv=1)) == pytest.approx(1e6, rel=1e-5)


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
