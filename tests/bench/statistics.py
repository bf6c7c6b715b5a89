"""Do the intervals cover, and does the overload detector call what is overloaded? `python -m tests.bench.statistics [REPETITIONS]`

Prints the tables of docs/validation.md. Seeds are fixed: equal code gives equal tables. 200 repetitions take some four CPU-minutes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter
from scipy.stats import norm

from loadlab.analysis.intervals import Estimate, quantile_estimates
from loadlab.analysis.latency import order_statistic
from loadlab.analysis.steadiness import overload, warm_up_s
from loadlab.analysis.table import FloatArray, RequestTable, table_of_chunks
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import ClusterSpec, EngineLimits, PlainConstants, PoolSpec
from loadlab.units import PS_PER_S

PS = (0.50, 0.95, 0.99)
SIZES = (2_000, 10_000)
LOADS = (0.5, 0.8, 0.9)
SATURATION_PER_S = 6.02  # of the replica below, by a closed loop that never lets it wait
LONG_RUN, LONG_RUN_WARM_UP = 1_000_000, 20_000  # what "the truth" is read from
HARDWARE = PlainConstants(step_s=0.020, per_decode_s=0.00035, per_prefill_token_s=0.00011, kv_tokens=60_000)
ENGINE = EngineLimits(max_running=64, max_batched_tokens=1024)
FORGET_EVERY = 2_000


def lengths(mean: float, cv: float, n: int, rng: np.random.Generator) -> list[int]:
    """Lognormal counts of tokens with this mean and coefficient of variation, 2 or more."""
    sigma = np.sqrt(np.log(1 + cv**2))
    return np.maximum(2, np.rint(rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, n))).astype(int).tolist()


def simulate(load: float, n: int, seed: int) -> FloatArray:
    """float64[n, 3]: due, first token and end, seconds, of n Poisson arrivals at a share of saturation, from an empty replica."""
    rng = np.random.default_rng(seed)
    prompts, outputs = lengths(512, 1.0, n, rng), lengths(160, 0.8, n, rng)
    due_ps = np.rint(np.cumsum(rng.exponential(1 / (load * SATURATION_PER_S), n)) * PS_PER_S).astype(np.int64).tolist()
    cluster = SimulatedCluster(ClusterSpec(name="reference", pools={"p": PoolSpec(serves=("m",), hardware=HARDWARE, engine=ENGINE)}))
    sequences = []
    for i, at_ps in enumerate(due_ps):
        cluster.advance_to(at_ps)
        sequence = Sequence(seq=i, model="m", prompt_tokens=min(prompts[i], 8_000), output_tokens=min(outputs[i], 4_000))
        cluster.submit(sequence, at_ps)
        sequences.append(sequence)
        if i % FORGET_EVERY == 0:
            for replica in cluster.replicas:
                replica.log.settle(replica.batcher.tick)
    cluster.advance_to(NEVER_PS - 1)
    return np.array([(s.arrival_ps, s.first_token_ps or 0, s.ended_ps) for s in sequences]) / PS_PER_S


def ttft(times: FloatArray) -> FloatArray:
    """Time to first token of each request."""
    return times[:, 1] - times[:, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A kind of latency: its true quantiles, and repeated runs of the larger size, of which the smaller one is the beginning."""

    name: str
    true: dict[float, float]
    runs: list[FloatArray]


def sources(repetitions: int) -> Iterator[Source]:
    """Independent values, AR(1), and TTFT of the simulator at three loads."""
    n = max(SIZES)
    rng = np.random.default_rng(1)
    yield Source(name="i.i.d.", true={p: -np.log(1 - p) for p in PS}, runs=list(rng.exponential(size=(repetitions, n))))
    noise = rng.normal(size=(repetitions, n + 1_000))
    spread = 1 / np.sqrt(1 - 0.9**2)
    series = lfilter([1.0], [1.0, -0.9], noise, axis=1)[:, 1_000:]
    yield Source(name="AR(1) 0.9", true={p: norm.ppf(p) * spread for p in PS}, runs=list(series))
    for load in LOADS:
        long = ttft(simulate(load, LONG_RUN, 7))[LONG_RUN_WARM_UP:]
        runs = [ttft(simulate(load, n, 1_000 + i)) for i in range(repetitions)]
        yield Source(name=f"simulator, {100 * load:.0f} %", true={p: order_statistic(long, p) or 0.0 for p in PS}, runs=runs)


def covers(found: Estimate, true: float) -> bool:
    """True if the interval holds the truth; an open end holds everything on its side."""
    return (found.low is None or found.low <= true) and (found.high is None or true <= found.high)


def print_coverage(repetitions: int) -> None:
    """Coverage of nominal 95 % intervals, how often they are open above, and how often the run is called too short."""
    print("| TTFT of | n | p | covers | open above | called inconclusive | covers, where conclusive | median tau |")
    print("|---|---|---|---|---|---|---|---|")
    for source in sources(repetitions):
        for n in SIZES:
            found = [quantile_estimates(run[:n], PS) for run in source.runs]
            for k, p in enumerate(PS):
                estimates = [row[k] for row in found]
                held = np.array([covers(e, source.true[p]) for e in estimates])
                is_open = np.array([e.high is None for e in estimates])
                short = np.array([e.is_inconclusive for e in estimates])
                sure = "-" if short.all() else f"{100 * held[~short].mean():.1f} %"
                tau = np.median([e.tau or 0.0 for e in estimates])
                print(
                    f"| {source.name} | {n:,} | p{100 * p:.0f} | {100 * held.mean():.1f} % | {100 * is_open.mean():.0f} % | "
                    f"{100 * short.mean():.0f} % | {sure} | {tau:.1f} |",
                    flush=True,
                )


def table(times: FloatArray) -> RequestTable:
    """The rows of a run, all OK."""
    rows = [
        {"seq": i, "outcome": "ok", "scheduled_s": due, "sent_s": due, "first_token_s": first, "finished_s": end}
        for i, (due, first, end) in enumerate(times.tolist())
    ]
    return table_of_chunks([rows])


def print_overload(repetitions: int) -> None:
    """How often a run is called overloaded, by load, n = 2,000."""
    print("\n| load | runs | called overloaded |\n|---|---|---|")
    for load in (0.9, 0.95, 1.1):
        found = [overload(table(simulate(load, 2_000, 50_000 + i))) for i in range(repetitions)]
        share = np.mean([one is not None and one.is_overloaded for one in found])
        print(f"| {100 * load:.0f} % | {repetitions} | {100 * share:.1f} % |", flush=True)


def print_warm_up(repetitions: int) -> None:
    """How often a warm-up is cut where there is none, and where the first 200 requests are up to 3 s slower."""
    print("\n| load | n | cut, of runs without a cold start | cut, of runs with one | median cut of the 200 cold ones |")
    print("|---|---|---|---|---|")
    for load in LOADS:
        plain = [simulate(load, 2_000, 1_000 + i) for i in range(repetitions)]
        cold = [times.copy() for times in plain]
        for times in cold:
            times[:200, 1] += np.linspace(3, 0, 200)
        found, cuts = ([warm_up_s(table(times))[0] for times in kind] for kind in (plain, cold))
        lengths_cut = [int((times[:, 0] < cut).sum()) for times, cut in zip(cold, cuts, strict=True) if cut is not None]
        shares = [f"{100 * np.mean([cut is not None for cut in kind]):.0f} %" for kind in (found, cuts)]
        print(f"| {100 * load:.0f} % | 2,000 | {shares[0]} | {shares[1]} | {np.median(lengths_cut):.0f} |", flush=True)


def main(repetitions: int = 200) -> None:
    """Every table."""
    print_coverage(repetitions)
    print_overload(2 * repetitions)
    print_warm_up(repetitions)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
