"""Arrivals in clusters against the closed form of their dispersion."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.random import default_rng
from scipy import stats

from loadlab.scenario import lengths
from loadlab.scenario.arrivals import arrival_times_s
from loadlab.scenario.clusters import Cluster, cluster_times_s
from tests.scenario.point_process import ALPHA, WINDOWS_S, assert_dispersion

LAW = Cluster(rate_per_s=4, size=lengths.Geometric(mean=6), spread_s=3)


def dispersion(pairs_per_request: float, spread_s: float, w: float) -> float:
    """1 + E[M (M - 1)] / E[M] * (1 - (1 - e^(-w/s)) / (w/s)): two of one cluster lie a Laplace(s) apart."""
    return 1 + pairs_per_request * (1 - (1 - math.exp(-w / spread_s)) / (w / spread_s))


def test_counts_disperse_as_the_closed_form_says() -> None:
    pairs = 2 * (6 - 1)  # of a geometric law from 1 on: E[M (M - 1)] / E[M] = 2 (mean - 1)
    times = cluster_times_s(LAW, 400_000, default_rng(1))
    assert_dispersion(times, 4, {w: dispersion(pairs, 3, w) for w in WINDOWS_S})


def test_without_a_spread_clusters_come_at_once_and_as_a_poisson_process() -> None:
    times = cluster_times_s(Cluster(rate_per_s=2, size=lengths.Constant(value=5)), 20_000, default_rng(2))
    moments, sizes = np.unique(times, return_counts=True)
    assert set(sizes.tolist()) == {5}
    assert stats.kstest(np.diff(moments, prepend=0), stats.expon(scale=2.5).cdf).pvalue > ALPHA


def test_a_window_from_zero_holds_the_stated_rate() -> None:
    """Stragglers of clusters before time 0 are there, too."""
    counts = [len(arrival_times_s(LAW, default_rng(seed), duration_s=10)) for seed in range(2000)]
    assert np.mean(counts) == pytest.approx(40, abs=4 * np.std(counts) / np.sqrt(len(counts)))
