"""What tests ask of a point process: its gaps after rescaling, and its dispersion at 1, 10 and 60 s. Fixed seeds, alpha 0.001."""

from __future__ import annotations

import numpy as np
from scipy import stats

from loadlab.scenario.plan import FloatArray

ALPHA = 0.001
WINDOWS_S = (1, 10, 60)
BATCHES = 40


def counts_per_window(times: FloatArray, window_s: float) -> FloatArray:
    """Arrivals in each whole window up to the last arrival."""
    return np.histogram(times, np.arange(0, times[-1], window_s))[0].astype(float)


def assert_poisson(times: FloatArray) -> None:
    """Unit-rate Poisson: exponential gaps, and counts as variable as their mean in windows of 1, 10 and 60."""
    assert stats.kstest(np.diff(times, prepend=0), "expon").pvalue > ALPHA
    for window_s in WINDOWS_S:
        counts = counts_per_window(times, window_s)
        dispersion = np.sum((counts - counts.mean()) ** 2) / counts.mean()
        freedom = len(counts) - 1
        assert stats.chi2.ppf(ALPHA / 2, freedom) < dispersion < stats.chi2.ppf(1 - ALPHA / 2, freedom)


def dispersions(times: FloatArray, window_s: float, rate_per_s: float) -> FloatArray:
    """Variance over mean of the counts in windows, estimated in 40 batches around the stated mean, so that none is biased."""
    counts = counts_per_window(times, window_s)
    squares = (counts - rate_per_s * window_s) ** 2 / (rate_per_s * window_s)
    return np.array([batch.mean() for batch in np.array_split(squares, BATCHES)])


def assert_dispersion(times: FloatArray, rate_per_s: float, expected: dict[float, float]) -> None:
    """At each window the batches' dispersions have the expected mean (t-test)."""
    for window_s, value in expected.items():
        found = dispersions(times, window_s, rate_per_s)
        assert stats.ttest_1samp(found, value).pvalue > ALPHA, (window_s, found.mean(), value)


def rescaled(times: FloatArray, rate_per_s: FloatArray, step_s: float) -> FloatArray:
    """Times through the integral of a rate given at the middles of steps: a unit Poisson process if the rate is right."""
    edges = np.arange(len(rate_per_s) + 1) * step_s
    return np.interp(times, edges, np.concatenate(([0.0], np.cumsum(rate_per_s * step_s))))
