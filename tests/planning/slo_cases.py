"""Six targets with an SLO each, for searches to be judged on: five on one simulated replica, and M/M/8, whose truth has a formula.

The replica: a step takes 20 ms, 0.35 ms for each decode and 0.11 ms for each prefill token; 64 running, chunks of 1,024 tokens, 60,000
tokens of KV. Prompts have mean 512 and CV 1, answers mean 160 and CV 0.8, arrivals are Poisson. It saturates at 6.0 requests a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence

from loadlab.analysis.table import BoolArray, FloatArray
from loadlab.engines.simulation import SimulationEngine
from loadlab.scenario.arrivals import Poisson
from loadlab.scenario.build import build_plan
from loadlab.scenario.lengths import Lognormal
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.spec import ClusterSpec, EngineLimits, PlainConstants, PoolSpec

REPLICA = ClusterSpec(
    name="slo-cases",
    pools={
        "p": PoolSpec(
            serves=("m",),
            hardware=PlainConstants(step_s=0.020, per_decode_s=0.35e-3, per_prefill_token_s=0.11e-3, kv_tokens=60_000),
            engine=EngineLimits(max_running=64, max_batched_tokens=1024),
        )
    },
)


def lognormal(mean: float, cv: float) -> Lognormal:
    """The lognormal law of a mean and a coefficient of variation."""
    sigma = math.sqrt(math.log(1 + cv * cv))
    return Lognormal(median=mean * math.exp(-sigma * sigma / 2), sigma=sigma, min=1, max=50_000)


def scenario(rate_per_s: float, requests: int, prompt_mean: float = 512.0) -> Scenario:
    """Poisson requests of the cases' lengths."""
    chat = TrafficClass(model="m", prompt_tokens=lognormal(prompt_mean, 1.0), output_tokens=lognormal(160, 0.8))
    load = OpenLoop(arrivals=Poisson(rate_per_s=rate_per_s), requests=requests)
    return Scenario(name="slo-case", load=load, classes={"chat": chat})


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """float64[n] each, seconds, in due order; NaN where there is none. `due_s` and `end_s` tell a backlog."""

    ttft_s: FloatArray
    tpot_s: FloatArray
    e2e_s: FloatArray
    due_s: FloatArray
    end_s: FloatArray


def simulate(rate_per_s: float, requests: int, seed: int, prompt_mean: float = 512.0) -> Latencies:
    """One run on a fresh replica."""
    plan = build_plan(scenario(rate_per_s, requests, prompt_mean), seed)
    columns = np.full((5, requests), np.nan)
    engine = SimulationEngine(SimulatedCluster(REPLICA), itl=False)

    def take(ended: list) -> None:  # type: ignore[type-arg]
        for s in ended:
            columns[:, s.seq] = (s.first_token_ps or 0, s.last_token_ps or 0, s.ended_ps, s.generated, s.arrival_ps)

    engine._run(plan, take, lambda *_: None, itl=False)
    first, last, end, tokens, due = columns
    return Latencies(
        ttft_s=(first - due) / 1e12,
        tpot_s=np.where(tokens > 1, (last - first) / np.maximum(tokens - 1, 1), 0.0) / 1e12,
        e2e_s=(end - due) / 1e12,
        due_s=due / 1e12,
        end_s=end / 1e12,
    )


def mm8_waits_s(rate_per_s: float, requests: int, rng: Generator) -> FloatArray:
    """Waiting times of M/M/8 with mean service 1 s, first come first served: float64[requests]."""
    import heapq

    gaps, services = rng.exponential(1 / rate_per_s, requests), rng.exponential(1.0, requests)
    free = [0.0] * 8
    waits, now = np.empty(requests), 0.0
    for i, (gap, service) in enumerate(zip(gaps.tolist(), services.tolist(), strict=True)):
        now += gap
        start = max(now, heapq.heappop(free))
        waits[i] = start - now
        heapq.heappush(free, start + service)
    return waits


def mm8_bad_share(rate_per_s: float, limit_s: float) -> float:
    """P(wait > limit) of M/M/8 with mean service 1 s: Erlang C times exp(-(8 - rate) limit) (Kleinrock, Queueing Systems I, 1975)."""
    a, c = rate_per_s, 8
    if a >= c:
        return 1.0
    terms = [a**k / math.factorial(k) for k in range(c)]
    last = a**c / math.factorial(c) * c / (c - a)
    return last / (sum(terms) + last) * math.exp(-(c - a) * limit_s)
