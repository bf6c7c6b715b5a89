"""Six targets with an SLO each, for searches to be judged on: five on one simulated replica, and M/M/8, whose truth has a formula.

The replica: a step takes 20 ms, 0.35 ms for each decode and 0.11 ms for each prefill token; 64 running, chunks of 1,024 tokens, 60,000
tokens of KV. Prompts have mean 512 and CV 1, answers mean 160 and CV 0.8, arrivals are Poisson. It saturates at 6.0 requests a second.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from loadlab.analysis.steadiness import warm_up_length
from loadlab.analysis.table import FloatArray
from loadlab.engines.simulation import SimulationEngine
from loadlab.planning.levels import Level, level_of
from loadlab.planning.search import Ask, Search, SearchResult
from loadlab.record.request import RequestRecord
from loadlab.record.rows import Row
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
    """float64[n] each, seconds, in due order."""

    ttft_s: FloatArray
    tpot_s: FloatArray
    e2e_s: FloatArray


def simulate(rate_per_s: float, requests: int, seed: int, prompt_mean: float = 512.0) -> Latencies:
    """One run on a fresh replica."""
    plan = build_plan(scenario(rate_per_s, requests, prompt_mean), seed)
    sink = _Columns(requests)
    SimulationEngine(SimulatedCluster(REPLICA), itl=False).replay(plan, sink, lambda *_: None)
    due, first, last, end, tokens = sink.columns
    return Latencies(ttft_s=first - due, tpot_s=np.where(tokens > 1, (last - first) / np.maximum(tokens - 1, 1), 0.0), e2e_s=end - due)


class _Columns:
    """A sink that keeps five numbers of each row."""

    def __init__(self, requests: int) -> None:
        self.columns = np.full((5, requests), np.nan)

    def append_rows(self, rows: Iterable[Row]) -> None:
        for r in rows:
            self.columns[:, r["seq"]] = (r["scheduled_s"], r["first_token_s"], r["last_token_s"], r["finished_s"], r["output_tokens"])

    def append_timeline(self, rows: Iterable[Any]) -> None:
        for _ in rows:
            pass

    def append(self, records: Iterable[RequestRecord]) -> None:
        self.append_rows(record.as_row() for record in records)

    def flush(self) -> None: ...

    def note_client(self, facts: Any, wall_s: float | None) -> None: ...


def mm8_waits_s(rate_per_s: float, requests: int, rng: Generator) -> FloatArray:
    """Waiting times of M/M/8 with mean service 1 s, first come first served: float64[requests]."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One SLO: at most 1 % of requests above `limit_s`. `first_per_s`: where a search begins, about half of what is served."""

    name: str
    latency: str  # a field of Latencies, or "wait" of M/M/8
    limit_s: float
    first_per_s: float
    prompt_mean: float = 512.0

    def run(self, rate_per_s: float, requests: int, seed: int) -> FloatArray:
        """That latency of a run, in due order: float64[requests], seconds."""
        if self.latency == "wait":
            return mm8_waits_s(rate_per_s, requests, np.random.default_rng(seed))
        found: FloatArray = getattr(simulate(rate_per_s, requests, seed, self.prompt_mean), self.latency)
        return found


CASES = (
    Case(name="p99 TTFT 0.7 s", latency="ttft_s", limit_s=0.7, first_per_s=3.0),
    Case(name="p99 TTFT 2 s", latency="ttft_s", limit_s=2.0, first_per_s=3.0),
    Case(name="p99 TPOT 60 ms", latency="tpot_s", limit_s=0.060, first_per_s=3.0),
    Case(name="p99 end to end 30 s", latency="e2e_s", limit_s=30.0, first_per_s=3.0),
    Case(name="p99 TTFT 3 s, prompts x 4", latency="ttft_s", limit_s=3.0, first_per_s=0.7, prompt_mean=2048.0),
    Case(name="p99 wait 3 s, M/M/8", latency="wait", limit_s=3.0, first_per_s=4.0),
)
BUDGET = 0.01


def follow(steps: Search, answer: Callable[[Ask], Level]) -> SearchResult:
    """Drives a search to its end."""
    ask = next(steps)
    while True:
        try:
            ask = steps.send(answer(ask))
        except StopIteration as end:
            result: SearchResult = end.value
            return result


def level_at(case: Case, ask: Ask, seed: int) -> Level:
    """What a run of a case shows at the look at which the search is content: a longer run begins with the shorter one."""
    values = np.empty(0)
    for look in ask.looks:
        if look > len(values):
            values = case.run(ask.rate_per_s, max(look, min(4000, ask.looks[-1])), seed)
        seen = values[:look]
        warm_up = warm_up_length(seen) or 0
        bad = seen > case.limit_s
        level = level_of(ask.rate_per_s, bad[warm_up:], seen[warm_up:], warm_up=warm_up)
        if ask.judge(level) is not None:
            break
    return level
