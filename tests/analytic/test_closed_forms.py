"""With batching off the backend is a single server, whose waiting has closed forms: they judge the event loop."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from loadlab.units import PS_PER_S
from tests.simulator.build import drive, make_cluster, request

BATCHES = 40
T_999 = stats.t.ppf(0.9995, BATCHES - 1)

FloatArray = NDArray[np.float64]


def interval_999(values: FloatArray) -> tuple[float, float]:
    """Two-sided 99.9 % interval of a stationary mean, by batch means after a tenth of warm-up."""
    settled = values[len(values) // 10 :]
    means = settled[: len(settled) // BATCHES * BATCHES].reshape(BATCHES, -1).mean(axis=1)
    half = T_999 * means.std(ddof=1) / math.sqrt(BATCHES)
    return means.mean() - half, means.mean() + half


def sojourns_s(load: float, output_tokens: NDArray[np.int64], step_s: float, seed: int) -> FloatArray:
    """Times from arrival to end of one request at a time, Poisson arrivals; the mean service is output_tokens * step_s = 1 s."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / load, len(output_tokens)))
    cluster = make_cluster(step_s=step_s, kv_tokens=2**40, context_tokens=2**40, limits={"max_running": 1, "prefix_caching": False})
    done = drive(cluster, [(float(t), request(i, 1, int(n))) for i, (t, n) in enumerate(zip(arrivals, output_tokens, strict=True))])
    return np.array([(s.ended_ps - s.arrival_ps) / PS_PER_S for s in done if s.ended_ps is not None])


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_constant_service_is_m_d_1(load: float) -> None:
    """Mean wait rho / (2 (1 - rho)) services (Pollaczek-Khinchine; Kleinrock, Queueing Systems I, 5.62)."""
    low, high = interval_999(sojourns_s(load, np.ones(40_000, dtype=np.int64), 1.0, seed=1) - 1.0)
    assert low <= load / (2 * (1 - load)) <= high


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_exponential_service_is_m_m_1(load: float) -> None:
    """Mean time in system 1 / (mu - lambda); the time itself is exponential (Kleinrock, Queueing Systems I, 3.2 and 5.118)."""
    steps = 10_000
    service = np.random.default_rng(2).exponential(steps, 40_000)
    sojourn = sojourns_s(load, np.maximum(1, np.rint(service)).astype(np.int64), 1 / steps, seed=3)
    low, high = interval_999(sojourn)
    assert low <= 1 / (1 - load) <= high
    low, high = interval_999((sojourn > 2 / (1 - load)).astype(float))
    assert low <= math.exp(-2) <= high
