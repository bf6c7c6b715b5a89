"""One run on one target: checked as a whole before anything is written, then replayed into a run directory."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

from loadlab.campaign.target import Target, check_target, check_thresholds, conditions_of, engine_name, engine_of, target_name
from loadlab.engines.base import Progress, RecordSink, RunStoppedError
from loadlab.engines.endpoint import TargetUnreachableError
from loadlab.engines.live import Watch
from loadlab.engines.locust import Say
from loadlab.record.manifest import HostFacts, Manifest, Status, load_host_facts, load_versions
from loadlab.record.run_dir import RunDir
from loadlab.record.shares import WORKERS_FOLDER
from loadlab.report.summary import dump_summary, summarise_run
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import trace_of
from loadlab.scenario.model import Scenario
from loadlab.scenario.plan import RequestPlan
from loadlab.schema import as_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A scenario, its plan, and the target to replay it on. Built by `prepare`, it is known to suit.

    `target_seed` draws a simulated target's noise, where that shall not be what `seed` draws: pairs of a gate share a plan and not their
    noise.
    """

    scenario: Scenario
    target: Target
    seed: int
    plan: RequestPlan
    warnings: tuple[str, ...] = ()  # what a person should know of the input, such as trace rows that failed
    target_seed: int | None = None

    @property
    def drawn_with(self) -> int:
        """The seed of a simulated target."""
        return self.seed if self.target_seed is None else self.target_seed

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
            target=target_name(self.target),
            engine=engine_name(self.target),
            conditions=conditions_of(self.target, self.plan, self.drawn_with),
            versions=load_versions(),
            host=host,
            target_seed=self.target_seed,
        )


def prepare(scenario: Scenario, target: Target, seed: int, target_seed: int | None = None) -> Trial:
    """A trial that can run. Touches nothing. Raises InputError on a bad cluster or trace, or where plan and target do not suit."""
    trace = trace_of(scenario)
    plan = build_plan(scenario, seed, trace)
    check_target(target, plan)
    check_thresholds(target, scenario.thresholds)
    warnings = () if trace is None else trace.warnings
    return Trial(scenario=scenario, target=target, seed=seed, plan=plan, warnings=warnings, target_seed=target_seed)


def replay(
    trial: Trial,
    sink: RecordSink,
    progress: Progress,
    *,
    itl: bool = True,
    watch: Watch | None = None,
    folder: Path | None = None,
    say: Say | None = None,
) -> None:
    """Replays the trial on its target. `watch` sees a run over HTTP as it stands; `folder` and `say`: see LocustEngine."""
    run_id = f"{trial.scenario.name}-{secrets.token_hex(4)}"
    engine = engine_of(trial.target, trial.scenario.classes, trial.drawn_with, run_id, itl=itl, watch=watch, folder=folder, say=say)
    engine.replay(trial.plan, sink, progress)


def record(
    trial: Trial,
    path: Path,
    host: HostFacts,
    progress: Progress,
    *,
    replace: bool = False,
    watch: Watch | None = None,
    summarise: bool = True,
    say: Say | None = None,
) -> RunDir:
    """Replays the trial into a new run directory, finalises it and writes its summary, unless the caller will.

    Where the run ends early it does the same, and re-raises: KeyboardInterrupt, TargetUnreachableError and RunStoppedError. What has no
    row then was not sent, unless the load generator itself was lost.
    """
    with RunDir.create(path, trial.manifest(host), replace=replace) as run:
        try:
            replay(trial, run, progress, watch=watch, folder=path / WORKERS_FOLDER, say=say)
        except (KeyboardInterrupt, TargetUnreachableError):
            _close(run, trial, interrupted=True)
            raise
        except RunStoppedError as error:
            _close(run, trial, interrupted=not error.is_lost, is_lost=error.is_lost)
            raise
        _close(run, trial, interrupted=False, summarise=summarise)
    return run


def _close(run: RunDir, trial: Trial, *, interrupted: bool, is_lost: bool = False, summarise: bool = True) -> None:
    run.finalise(len(trial.plan), interrupted=interrupted, incomplete=is_lost)
    if summarise:
        write_summary(run)


def write_summary(run: RunDir) -> dict[str, Any]:
    """Makes the summary of a finalised run from its rows, writes it, and returns it."""
    summary = summarise_run(run)
    run.save_summary(dump_summary(summary))
    return summary


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
