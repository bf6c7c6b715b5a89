"""Hybrid capacities against sweeps with as many requests: `python -m tests.bench.hybrid_capacity [SEEDS [CASE]]`, six SLO cases.

A sweep measures 8 levels of 2,000 from half of what is served to all of it. The hybrid measures four levels of 4,000 at 30 to 68 % of
saturation, calibrates a file whose every constant is wrong by up to 30 % either way, and simulates 40,000 requests a rate, 160,000 near
the capacity. A sweep that does not bracket it is counted apart. Truths are those
of `tests.bench.capacity_searches` (docs/validation.md). Errors are |found / truth - 1|, the median over seeds.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

from loadlab.campaign.calibrate import calibrate_observed
from loadlab.campaign.hybrid import FINE, NEAR, SHARES
from loadlab.scenario.arrivals import Poisson
from loadlab.scenario.build import build_plan
from loadlab.scenario.lengths import Constant, Geometric
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.schema import as_table, read_table
from loadlab.simulator.spec import ClusterSpec, EngineLimits, PlainConstants, PoolSpec
from tests.bench.calibration_figures import TODAY, measured_on
from tests.bench.capacity_searches import one_sweep
from tests.planning.slo_cases import BUDGET, CASES, REPLICA, Case, scenario

TRUTHS = (4.76, 5.36, 4.37, 4.91, 1.48, 6.67)
LEVEL_REQUESTS, FITTED_REQUESTS, SIMULATED = 4000, 3000, 40_000
SATURATION = {512.0: 6.02, 2048.0: 2.1}  # of prompts of that mean; M/M/8 has 8
# M/M/8 as a replica: eight places, a step of 1 ms for every place, answers of 1,000 tokens on average
MM8 = ClusterSpec(
    name="mm8",
    pools={
        "p": PoolSpec(
            serves=("m",),
            hardware=PlainConstants(step_s=1e-3, kv_tokens=10_000_000),
            engine=EngineLimits(max_running=8, max_batched_tokens=1024, prefix_caching=False),
        )
    },
)


def mm8_scenario(rate_per_s: float, requests: int) -> Scenario:
    """Arrivals of M/M/8 with mean service 1 s."""
    of = TrafficClass(model="m", prompt_tokens=Constant(value=1), output_tokens=Geometric(mean=1000.0))
    return Scenario(name="mm8", load=OpenLoop(arrivals=Poisson(rate_per_s=rate_per_s), requests=requests), classes={"c": of})


def wrong(spec: ClusterSpec, seed: int) -> dict[str, Any]:
    """The table of a file whose constants are wrong, by factors between 1 / 1.3 and 1.3."""
    table = as_table(spec)
    factors = np.exp(np.random.default_rng(seed).uniform(-1, 1, 3) * np.log(1.3))
    hardware = table["pools"]["p"]["hardware"]
    for key, factor in zip(("step_s", "per_decode_s", "per_prefill_token_s"), factors, strict=True):
        hardware[key] = hardware[key] * float(factor)
    return dict(table)


def traffic(case: Case, rate_per_s: float, requests: int) -> Scenario:
    """The requests of a case."""
    return mm8_scenario(rate_per_s, requests) if case.latency == "wait" else scenario(rate_per_s, requests, case.prompt_mean)


def fitted(case: Case, seed: int) -> ClusterSpec:
    """The wrong file of the case's target, calibrated on four levels of moderate load."""
    spec = MM8 if case.latency == "wait" else REPLICA
    saturation = 8.0 if case.latency == "wait" else SATURATION[case.prompt_mean]
    runs = []
    for number, share in enumerate(SHARES):
        plan = build_plan(traffic(case, share * saturation, LEVEL_REQUESTS), 1000 * (seed + 1) + number)
        run = measured_on(spec, plan, f"{share:g}")
        runs.append(replace(run, seconds={k: np.where(np.arange(len(v)) < FITTED_REQUESTS, v, np.nan) for k, v in run.seconds.items()}))
    found = calibrate_observed(runs, [], wrong(spec, seed), case.name, TODAY)
    if found.is_refused:
        print(f"{case.name}: refused, {[(f.level, f.latency, f.what, f.difference) for f in found.too_far]}")
    return found.spec


def simulated_capacity(spec: ClusterSpec, case: Case, first_per_s: float) -> float:
    """The rate at which the share of bad requests meets the budget, as `loadlab capacity --hybrid` seeks it, by bisection to 1 %."""
    low, high = _bisected(spec, case, first_per_s / 1.6, first_per_s * 1.6, NEAR, SIMULATED)
    return float(np.sqrt(np.prod(_bisected(spec, case, low / NEAR**0.5, high * NEAR**0.5, 1.01, FINE * SIMULATED))))


def _bisected(spec: ClusterSpec, case: Case, low: float, high: float, close: float, requests: int) -> tuple[float, float]:
    latency = {"ttft_s": "ttft", "wait": "ttft", "tpot_s": "tpot", "e2e_s": "e2e"}[case.latency]
    while high / low > close:
        rate = float(np.sqrt(low * high))
        values = measured_on(spec, build_plan(traffic(case, rate, requests), 7), "simulated").seconds[latency]
        low, high = (rate, high) if float(np.mean(values > case.limit_s)) <= BUDGET else (low, rate)
    return low, high


def main(seeds: int, only: str = "") -> None:
    """Prints a row for each case whose name has `only`."""
    print(f"{'case':28} {'truth':>6} {'sweep':>8} {'hybrid':>8} {'ratio':>6}   hybrid of each seed")
    known: dict[tuple[str, float, int], ClusterSpec] = {}
    began = time.process_time()
    for case, truth in zip(CASES, TRUTHS, strict=True):
        if only not in case.name:
            continue
        sweeps, hybrids = [], []
        for seed in range(seeds):
            key = ("wait" if case.latency == "wait" else "replica", case.prompt_mean, seed)
            spec = known[key] = known.get(key) or fitted(case, seed)
            hybrids.append(simulated_capacity(read_table(ClusterSpec, as_table(spec), "fitted"), case, 0.8 * truth * 1.2) / truth - 1)
        for seed in range(max(10, seeds)):
            point = one_sweep(case, seed).point
            sweeps += [] if point is None else [abs(point / truth - 1)]
        sweep, hybrid = float(np.median(sweeps or [np.nan])), float(np.median(np.abs(hybrids)))
        said = " ".join(f"{error:+.1%}" for error in hybrids)
        print(
            f"{case.name:28} {truth:6.2f} {sweep:8.1%} {hybrid:8.1%} {hybrid / sweep:6.2f}   {said}; {len(sweeps)} sweeps bracket it",
            flush=True,
        )
    print(f"{seeds} seeds, {max(10, seeds)} sweeps a case, {time.process_time() - began:.0f} CPU s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3, *sys.argv[2:3])
