"""What the benchmarks run, each in a process of its own: `python -m tests.bench.drives WHAT FOLDER` prints CPU-seconds and peak memory."""

from __future__ import annotations

import io
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from rich.console import Console

from loadlab.campaign.study import prepare_study, run_study
from loadlab.campaign.trial import host_facts
from loadlab.catalog.specs import Quantisation
from loadlab.cli.app import app
from loadlab.engines.simulation import collection_paused
from loadlab.report.terminal import print_campaign
from loadlab.scenario.files import load_campaign
from loadlab.scenario.plan import IntArray
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.events import ENDED
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.settling import gap_quantiles_ps, settle, split_logged
from loadlab.simulator.spec import ClusterSpec, EngineLimits, PoolSpec, Router, ShardedModel
from loadlab.units import PS_PER_S

T4 = Path(__file__).parents[2] / "scenarios" / "t4-study"
REQUESTS = 100_000
AT_ONCE = 2048  # as many ended requests are written down together
SIGMA = 0.6

CLUSTER = """
schema = "loadlab/cluster/1"
name = "h100"
[pools.chat]
serves = ["m"]
hardware = { kind = "sharded", model = "llama-3.1-8b-instruct", quantisation = "bf16", gpu = "H100" }
"""
MILLION = """
schema = "loadlab/scenario/1"
name = "million"
load = { kind = "open_loop", requests = 1_000_000, arrivals = { kind = "poisson", rate_per_s = 12 } }
[classes.chat]
model = "m"
prompt_tokens = { kind = "lognormal", median = 668, sigma = 0.6, min = 1, max = 20000 }
output_tokens = { kind = "lognormal", median = 167, sigma = 0.6, min = 1, max = 8000 }
"""


def h100s(replicas: int) -> SimulatedCluster:
    """Llama 3.1 8B in BF16, one H100 a replica."""
    hardware = ShardedModel(model="llama-3.1-8b-instruct", quantisation=Quantisation.BF16, gpu="H100")
    engine = EngineLimits(max_running=256, max_batched_tokens=2048)
    pool = PoolSpec(serves=("m",), hardware=hardware, replicas=replicas, router=Router.KV_AWARE, engine=engine)
    return SimulatedCluster(ClusterSpec(name="bench", pools={"p": pool}))


def drive(replicas: int, *, shares: bool) -> None:
    """100,000 requests at 12/s a replica through the public door: lognormal 800/200, quantiles of their gaps included.

    `shares`: half of the prompt tokens are one of 200 prefixes, of a length of its own, with the other half behind it.
    """
    rng = np.random.default_rng(1)
    prompts, outputs = (np.maximum(2, np.rint(rng.lognormal(np.log(mean) - SIGMA**2 / 2, SIGMA, REQUESTS))) for mean in (800, 200))
    arrivals = np.rint(np.cumsum(rng.exponential(1 / (12 * replicas), REQUESTS)) * PS_PER_S).astype(np.int64)
    groups = rng.integers(0, 200, REQUESTS)
    prefixes = prompts[:200].astype(np.int64) // 2
    if shares:
        prompts = prefixes[groups] + np.ceil(prompts / 2)
    plan = zip(*(column.astype(np.int64).tolist() for column in (arrivals, prompts, outputs, groups)), strict=True)
    cluster = h100s(replicas)
    with collection_paused():  # as the engine does
        start = time.process_time()
        _drive(cluster, plan, prefixes, shares=shares)
        print(time.process_time() - start)


def _drive(cluster: SimulatedCluster, plan: Iterable[tuple[int, int, int, int]], prefixes: IntArray, *, shares: bool) -> None:
    ended: list[Sequence] = []
    for seq, (at_ps, prompt, output, group) in enumerate(plan):
        for kind, _, sequence in cluster.advance_to(at_ps):
            if kind is ENDED:
                ended.append(sequence)
        prefix = ((group, int(prefixes[group])),) if shares else ()
        cluster.submit(Sequence(seq, "m", prompt, output, 0, prefix), at_ps)
        if len(ended) >= AT_ONCE:
            ended = write_down(cluster, ended)
    ended += [sequence for kind, _, sequence in cluster.advance_to(NEVER_PS - 1) if kind is ENDED]
    assert not write_down(cluster, ended)


def write_down(cluster: SimulatedCluster, ended: list[Sequence]) -> list[Sequence]:
    """Quantiles of the gaps of requests that ended; returns those whose tokens are not logged yet."""
    ready, left = split_logged(cluster.replicas, ended)
    gap_quantiles_ps(cluster.replicas, ready, (50, 95, 99, 100))
    settle(cluster.replicas, left)
    return left


def run_million(folder: Path) -> None:
    """`loadlab run --no-report` of one million planned requests."""
    scenario, cluster = folder / "million.toml", folder / "h100.toml"
    scenario.write_text(MILLION)
    cluster.write_text(CLUSTER)
    start = time.process_time()
    argv = ["run", str(scenario), "--target", f"sim:{cluster}", "--out", str(folder / "run"), "--no-report", "--quiet"]
    app(argv, standalone_mode=False)
    print(time.process_time() - start)


def run_t4(folder: Path) -> None:
    """`loadlab run scenarios/t4-study --no-report`, from its files to its tables."""
    start = time.process_time()
    summary = run_study(prepare_study(load_campaign(T4), 1), folder / "run", host_facts([]), lambda *_: None)
    print_campaign(summary, Console(file=io.StringIO(), width=100))
    print(time.process_time() - start)


def main(what: str, folder: str) -> None:
    """One line of CPU-seconds, one of peak memory in MB."""
    match what:
        case "one":
            drive(1, shares=False)
        case "eight":
            drive(8, shares=True)
        case "million":
            run_million(Path(folder))
        case "t4":
            run_t4(Path(folder))
        case _:
            raise ValueError(what)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])
