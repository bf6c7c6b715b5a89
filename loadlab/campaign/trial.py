"""One run on the simulated backend: checked as a whole before anything is written, then replayed into a run directory."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

from loadlab.engines.base import Progress, RecordSink
from loadlab.engines.simulation import SimulationEngine, check_plan
from loadlab.record.manifest import HostFacts, Manifest, Status, load_host_facts, load_versions
from loadlab.record.request import Outcome
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import dump_summary, summarise_run
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import trace_of
from loadlab.scenario.model import Scenario
from loadlab.scenario.plan import RequestPlan
from loadlab.schema import as_table
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A scenario, its plan, and the cluster file to replay it on. Built by `prepare`, it is known to suit.

    `target_seed` draws the cluster's noise, where that shall not be what `seed` draws: pairs of a gate share a plan and not their noise.
    """

    scenario: Scenario
    cluster_file: Path
    seed: int
    plan: RequestPlan
    warnings: tuple[str, ...] = ()  # what a person should know of the input, such as trace rows that failed
    target_seed: int | None = None

    def cluster(self) -> SimulatedCluster:
        """A fresh cluster: nothing of an earlier replay is left in it."""
        seed = self.seed if self.target_seed is None else self.target_seed
        return SimulatedCluster(load_cluster(self.cluster_file), str(self.cluster_file), seed)

    def manifest(self, host: HostFacts) -> Manifest:
        """Every condition of this run, as it begins."""
        return Manifest(
            status=Status.RUNNING,
            name=self.scenario.name,
            scenario=as_table(self.scenario),
            scenario_digest=_digest(as_table(replaced(self.scenario, slo=None, thresholds=()))),
            plan_digest=self.plan.digest,
            planned=len(self.plan),
            seed=self.seed,
            target=f"sim:{self.cluster_file.as_posix()}",
            engine="simulation",
            conditions=self.cluster().conditions(),
            versions=load_versions(),
            host=host,
            target_seed=self.target_seed,
        )


def prepare(scenario: Scenario, cluster_file: Path, seed: int, target_seed: int | None = None) -> Trial:
    """A trial that can run. Touches nothing. Raises InputError on a bad cluster or trace, or where plan and cluster do not suit."""
    cluster = SimulatedCluster(load_cluster(cluster_file), str(cluster_file))
    trace = trace_of(scenario)
    plan = build_plan(scenario, seed, trace)
    check_plan(plan, cluster)
    warnings = () if trace is None else trace.warnings
    return Trial(scenario=scenario, cluster_file=cluster_file, seed=seed, plan=plan, warnings=warnings, target_seed=target_seed)


def replay(trial: Trial, sink: RecordSink, progress: Progress, *, itl: bool = True) -> None:
    """Replays the trial on a fresh cluster."""
    SimulationEngine(trial.cluster(), itl=itl).replay(trial.plan, sink, progress)


def count(trial: Trial, progress: Progress) -> Counter[Outcome]:
    """What became of the trial's requests on a fresh cluster, by outcome; nothing else is kept."""
    return SimulationEngine(trial.cluster()).count(trial.plan, progress)


def record(trial: Trial, path: Path, host: HostFacts, progress: Progress, *, replace: bool = False) -> RunDir:
    """Replays the trial into a new run directory, finalises it and writes its summary; on KeyboardInterrupt as aborted, and re-raises."""
    with RunDir.create(path, trial.manifest(host), replace=replace) as run:
        try:
            replay(trial, run, progress)
        except KeyboardInterrupt:
            _close(run, trial, interrupted=True)
            raise
        _close(run, trial, interrupted=False)
    return run


def _close(run: RunDir, trial: Trial, *, interrupted: bool) -> None:
    run.finalise(len(trial.plan), interrupted=interrupted)
    run.save_summary(dump_summary(summarise_run(run)))


def host_facts(argv: list[str]) -> HostFacts:
    """Facts of this machine now: the only part of a simulated run that its inputs do not decide."""
    return load_host_facts(datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"), argv)


def default_out(name: str) -> Path:
    """runs/<UTC time>-<name>-<four digits of their hash>: a folder that does not exist yet."""
    stamp = datetime.datetime.now(datetime.UTC)
    tag = hashlib.sha256(f"{stamp.isoformat()}{name}".encode()).hexdigest()[:4]
    return Path("runs") / f"{stamp:%Y%m%dT%H%M%SZ}-{name}-{tag}"


def _digest(table: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()}"
