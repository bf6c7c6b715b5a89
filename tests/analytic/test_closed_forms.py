"""Where its rules reduce to a textbook queue, the backend must behave like it: closed forms judge the event loop."""

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


def sojourns_s(rate: float, output_tokens: NDArray[np.int64], seed: int, *, servers: int | None = 1, **constants: float) -> FloatArray:
    """Times from arrival to end, Poisson arrivals, at most `servers` at a time. Prompts of one token; KV never runs short."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, len(output_tokens)))
    limits = {"max_running": servers, "max_batched_tokens": None, "prefix_caching": False}
    cluster = make_cluster(kv_tokens=2**40, context_tokens=2**40, limits=limits, **constants)
    done = drive(cluster, [(float(t), request(i, 1, int(n))) for i, (t, n) in enumerate(zip(arrivals, output_tokens, strict=True))])
    return np.array([(s.ended_ps - s.arrival_ps) / PS_PER_S for s in done if s.ended_ps is not None])


def exponential_tokens(mean: float, n: int, seed: int) -> NDArray[np.int64]:
    return np.maximum(1, np.rint(np.random.default_rng(seed).exponential(mean, n))).astype(np.int64)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_constant_service_is_m_d_1(load: float) -> None:
    """Mean wait rho / (2 (1 - rho)) services (Pollaczek-Khinchine; Kleinrock, Queueing Systems I, 5.62)."""
    low, high = interval_999(sojourns_s(load, np.ones(40_000, dtype=np.int64), seed=1, step_s=1.0) - 1.0)
    assert low <= load / (2 * (1 - load)) <= high


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_exponential_service_is_m_m_1(load: float) -> None:
    """Mean time in system 1 / (mu - lambda); the time itself is exponential (Kleinrock, Queueing Systems I, 3.2 and 5.118)."""
    sojourn = sojourns_s(load, exponential_tokens(10_000, 40_000, seed=2), seed=3, step_s=1e-4)
    low, high = interval_999(sojourn)
    assert low <= 1 / (1 - load) <= high
    low, high = interval_999((sojourn > 2 / (1 - load)).astype(float))
    assert low <= math.exp(-2) <= high


def erlang_c(servers: int, offered: float) -> float:
    """Probability that an arrival has to wait (Erlang 1917; Kleinrock, Queueing Systems I, 3.40)."""
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) / (1 - offered / servers)
    return last / (sum(terms) + last)


@pytest.mark.parametrize("servers", [2, 8])
def test_a_batch_whose_steps_do_not_slow_down_is_m_m_c(servers: int) -> None:
    """`servers` places, each decoding at the same pace whoever else is there: time in system 1 + C / (c - rho c) services."""
    offered = 0.8 * servers
    sojourn = sojourns_s(offered, exponential_tokens(10_000, 40_000, seed=4), seed=5, servers=servers, step_s=1e-4)
    low, high = interval_999(sojourn)
    assert low <= 1 + erlang_c(servers, offered) / (servers - offered) <= high


@pytest.mark.parametrize("law", ["exponential", "two lengths"])
def test_a_batch_whose_steps_grow_with_it_is_m_g_1_ps(law: str) -> None:
    """Each of B sequences gets a B-th of the pace: mean time 1 / (1 - rho), whatever the law (Kleinrock, Queueing Systems II, 4.16)."""
    tokens = exponential_tokens(2_000, 20_000, seed=6)
    if law == "two lengths":
        tokens = np.where(np.random.default_rng(7).random(20_000) < 0.9, 1_000, 11_000).astype(np.int64)
    low, high = interval_999(sojourns_s(0.6, tokens, seed=8, servers=None, step_s=1e-9, per_decode_s=5e-4))
    assert low <= 1 / (1 - 0.6) <= high
