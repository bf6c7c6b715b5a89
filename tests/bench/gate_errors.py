"""How often the gate errs: false alarms of a target against itself, and slowdowns that it finds. Numbers of docs/validation.md.

    python -m tests.bench.gate_errors --gates 200 --pairs 5 --requests 400 --json gate_errors.json

Everything is drawn from --seed. Runs are simulated in memory: two T4, 14B in 4 bits, Poisson chat at 0.9 requests/s, step noise.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from loadlab.analysis.compare import Comparison, compare_runs
from loadlab.analysis.evidence import ALPHA, evidence_of, p_above
from loadlab.analysis.gating import DEFAULT_MARGINS, GateVerdict, Margin, judge, parse_margin
from loadlab.analysis.latency import order_statistic, series_of
from loadlab.analysis.readings import RunNumbers, default_metrics, read_metric
from loadlab.analysis.table import RequestTable, table_of_chunks
from loadlab.campaign.pairs import target_seed
from loadlab.engines.simulation import SimulationEngine
from loadlab.record.client import ClientFacts
from loadlab.record.request import RequestRecord
from loadlab.record.rows import Row
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import load_scenario
from loadlab.scenario.model import Scenario
from loadlab.scenario.plan import RequestPlan
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster
from loadlab.simulator.spec import ClusterSpec
from tests.cli.planted import cluster, scenario, slow_gpu

METRICS = [metric for metric in default_metrics(None) if str(metric) != "success_rate"]  # twenty
MEDIANS = ("ttft.p50", "tpot.p50", "itl.p50", "e2e.p50")
P99 = "ttft.p99"


class Rows:
    """Keeps what the simulation records, as a RecordSink."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def append(self, records: Iterable[RequestRecord]) -> None:
        self.append_rows(record.as_row() for record in records)

    def append_rows(self, rows: Iterable[Row]) -> None:
        self.rows.extend(rows)

    def append_timeline(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Lets bins go by."""

    def flush(self) -> None:
        """Everything is in memory."""

    def note_client(self, facts: ClientFacts, wall_s: float | None) -> None:
        """The simulation has no client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """One gate: its comparison, and the TTFTs and TPOTs of its first pair for the rules of others."""

    comparison: Comparison
    ttft_s: tuple[np.ndarray, np.ndarray]
    tpot_s: tuple[np.ndarray, np.ndarray]


def simulate(plan: RequestPlan, spec: ClusterSpec, seed: int) -> RequestTable:
    """The rows of one run."""
    rows = Rows()
    SimulationEngine(SimulatedCluster(spec, "bench", seed)).replay(plan, rows, lambda *_: None)
    return table_of_chunks([rows.rows])


def numbers(table: RequestTable, plan: RequestPlan, seed: int) -> RunNumbers:
    readings = {str(metric): read_metric(metric, table, None) for metric in METRICS}
    return RunNumbers(
        label="x", plan_digest=plan.digest, scenario_digest="s", seed=seed, planned=len(plan), ok=int(table.ok.sum()), readings=readings
    )


def run_gate(traffic: Scenario, base: ClusterSpec, candidate: ClusterSpec, seed: int, pairs: int, *, is_noise_common: bool) -> Gate:
    """Pairs with plans seed, seed + 1 .., as `loadlab gate` makes them: each side with noise of its own, or both with the same."""
    sides: tuple[list[RunNumbers], list[RunNumbers]] = ([], [])
    first: list[RequestTable] = []
    for k in range(pairs):
        plan = build_plan(traffic, seed + k)
        for side, spec, found in zip(("base", "candidate"), (base, candidate), sides, strict=True):
            table = simulate(plan, spec, target_seed(seed + k, k + 1, "base" if is_noise_common else side))
            found.append(numbers(table, plan, seed + k))
            if k == 0:
                first.append(table)
    ttft, tpot = ((series_of(name, first[0]), series_of(name, first[1])) for name in ("ttft", "tpot"))
    return Gate(comparison=compare_runs(*sides, METRICS), ttft_s=ttft, tpot_s=tpot)


def verdicts(gates: Sequence[Gate], margins: Sequence[Margin]) -> dict[str, float]:
    """Share of each verdict."""
    found = [judge(gate.comparison, margins).verdict for gate in gates]
    return {
        verdict.value: found.count(verdict) / len(found)
        for verdict in (GateVerdict.PASSED, GateVerdict.INCONCLUSIVE, GateVerdict.REGRESSED)
    }


def differences(gates: Sequence[Gate], metric: str) -> np.ndarray:
    """float64[gates, pairs]: log ratios of each pair."""
    return np.array([d.differences for gate in gates for d in gate.comparison.differences if str(d.metric) == metric])


def margins_of(allowed: str) -> list[Margin]:
    return [parse_margin(f"{metric}={allowed}") for metric in METRICS]


def uncorrected(gates: Sequence[Gate]) -> float:
    """Share of gates in which some metric of twenty has p <= 0.05 on its own."""
    return float(np.mean([any(_p(d.differences) <= ALPHA for d in gate.comparison.differences) for gate in gates]))


def _p(d: Sequence[float]) -> float:
    evidence = evidence_of(d)
    return 1.0 if evidence is None else p_above(evidence, 0.0)


def others(gates: Sequence[Gate]) -> dict[str, float]:
    """What usual rules say of one pair: Mann-Whitney at 5 % on all TPOTs, and a p99 TTFT that is 10 % higher."""
    mann_whitney = [mannwhitneyu(b, a, alternative="two-sided").pvalue <= ALPHA for a, b in (gate.tpot_s for gate in gates)]
    higher = [(order_statistic(b, 0.99) or 0) > 1.1 * (order_statistic(a, 0.99) or 0) for a, b in (gate.ttft_s for gate in gates)]
    return {"mann-whitney on TPOT": float(np.mean(mann_whitney)), "p99 TTFT + 10 %": float(np.mean(higher))}


def regrouped(gates: Sequence[Gate], pairs: int) -> float:
    """Share of gates of more pairs, put together from these, in which p99 TTFT alone regresses at margin 0."""
    d = differences(gates, P99).ravel()
    groups = [d[i : i + pairs] for i in range(0, len(d) - pairs + 1, pairs)]
    return float(np.mean([_p(group) <= ALPHA for group in groups]))


def report(name: str, gates: Sequence[Gate]) -> dict[str, Any]:
    """The figures of one experiment."""
    d = {metric: differences(gates, metric) for metric in (*MEDIANS, P99)}
    return {
        "experiment": name,
        "gates": len(gates),
        "medians_differ_by": {m: float(np.expm1(np.abs(d[m])).mean()) for m in MEDIANS},
        "mean_shift": {m: float(np.expm1(x.mean())) for m, x in d.items()},
        "noise_of_a_pair": {m: float(x.std(ddof=1)) for m, x in d.items()},
        "20 metrics, margin 0": verdicts(gates, margins_of("0%")),
        "20 metrics, margin 2 %": verdicts(gates, margins_of("2%")),
        "20 metrics, margin 5 %": verdicts(gates, margins_of("5%")),
        "ttft.p99 alone, margin 0": verdicts(gates, [parse_margin("ttft.p99=0%")]),
        "ttft.p99 alone, more pairs": {str(k): regrouped(gates, k) for k in (5, 8, 10, 16, 20, 40)},
        "default margins": verdicts(gates, [parse_margin(text) for text in DEFAULT_MARGINS]),
        "20 metrics, uncorrected": uncorrected(gates),
        "one pair, rules of others": others(gates),
    }


def main() -> None:
    """Prints a table, and writes JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for flag, default in (("--gates", 200), ("--pairs", 5), ("--requests", 400), ("--seed", 1)):
        parser.add_argument(flag, type=int, default=default)
    parser.add_argument("--noise", type=float, default=0.12, help="step_noise_cv")
    parser.add_argument("--rate", type=float, default=0.9)
    parser.add_argument("--speeds", type=float, nargs="*", default=[1.0, 0.95], help="of the candidate's GPUs; 1 is A/A")
    parser.add_argument("--common-noise", action="store_true", help="both sides of a pair draw the same step noise")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        traffic = load_scenario(scenario(home, requests=asked.requests, rate=asked.rate))
        base = load_cluster(cluster(home, "base", noise_cv=asked.noise))
        for speed in asked.speeds:
            begun = time.process_time()
            fault = "" if speed == 1 else slow_gpu(speed)
            spec = load_cluster(cluster(home, "candidate", noise_cv=asked.noise, fault=fault))
            seeds = range(asked.seed, asked.seed + asked.gates * asked.pairs, asked.pairs)
            gates = [run_gate(traffic, base, spec, seed * 1000, asked.pairs, is_noise_common=asked.common_noise) for seed in seeds]
            kind = "common" if asked.common_noise else "own"
            name = f"speed {speed}, step noise {asked.noise}, {kind}, {asked.pairs} pairs of {asked.requests}"
            found.append(report(name, gates) | {"cpu_s": time.process_time() - begun})
            print(json.dumps(found[-1], indent=2, default=float))
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=2, default=float) + "\n")


if __name__ == "__main__":
    main()
