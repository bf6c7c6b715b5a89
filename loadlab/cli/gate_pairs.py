"""Pairs that `loadlab gate` makes itself: two targets from flags, runs in turn, then the verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from loadlab.campaign.baselines import Baseline, check_baseline_plans, load_baseline
from loadlab.campaign.gate import GateRules, gate_against_baseline, gate_against_runs
from loadlab.campaign.pairs import pair_seeds, prepare_pairs, record_pairs
from loadlab.campaign.target import Target
from loadlab.campaign.trial import Trial, default_out
from loadlab.cli import http_flags
from loadlab.cli.http_flags import HttpFlags
from loadlab.cli.live import live_screen
from loadlab.cli.screen import Screen
from loadlab.errors import InputError, RunInterruptedError
from loadlab.record.manifest import HostFacts
from loadlab.report.gate import GateReport
from loadlab.scenario.files import load_scenario
from loadlab.scenario.library import find_cluster, find_scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What the flags say of both sides: the base is a target, or a file of `loadlab baseline save`."""

    target: str | None
    base: str | None
    base_model: Sequence[str] | None
    file: Path | None
    http: HttpFlags

    def targets(self, screen: Screen) -> tuple[Target | None, Target]:
        """Base, if it is to be run, and candidate. Raises InputError naming the flag."""
        if (self.base is None) == (self.file is None):
            raise InputError(
                "needs one of --baseline-target (run pairs now), --baseline FILE (saved before), --self-test", key="--scenario"
            )
        if not (http_flags.is_http(self.target) or http_flags.is_http(self.base)):
            self.http.refuse("belongs to a target over HTTP, such as --target http://127.0.0.1:8000")
        candidate = _target(self.target, "--target", self.http, screen)
        if self.base is None:
            return None, candidate
        flags = self.http if self.base_model is None else replace(self.http, model=self.base_model)
        return _target(self.base, "--baseline-target", flags, screen), candidate


def _target(target: str | None, flag: str, http: HttpFlags, screen: Screen) -> Target:
    if target is not None and http_flags.is_http(target):
        return http_flags.build_endpoint(target, http, screen)
    kind, _, path = (target or "").partition(":")
    if kind != "sim" or not path:
        raise InputError(f"= {target!r} must be sim:CLUSTER.toml (sim:scenarios/clusters/t4-14b.toml) or http://HOST:PORT", key=flag)
    return find_cluster(Path(path))


def gate_pairs(
    file: Path, sides: Sides, *, pair_range: tuple[int, int], out: Path | None, rules: GateRules, host: HostFacts, screen: Screen
) -> GateReport:
    """Makes pairs of the scenario in `file`, then judges them. `pair_range`: seed of the first plan, and how many pairs.

    Raises InputError before anything runs if a flag, file or target is bad, and whatever ends a run early; whole pairs are kept.
    """
    base, candidate = sides.targets(screen)
    scenario, where = load_scenario(find_scenario(file)), out or default_out(f"gate-{file.stem}")
    baseline = None if sides.file is None else load_baseline(sides.file)
    trials = prepare_pairs(scenario, base, candidate, _seeds(pair_range, baseline))
    if baseline is not None:
        check_baseline_plans(baseline, [trial for _, _, trial in trials], host, str(sides.file))
    _confirm(trials, yes=sides.http.yes)
    try:
        with live_screen(screen, scenario.name, candidate) as (progress, watch):
            runs = record_pairs(trials, where, host, lambda n, planned: progress(scenario.name, n, planned), watch)
    except KeyboardInterrupt:
        advice = f"`loadlab gate {where}/candidate --baseline {sides.file or where / 'base'}` judges them"
        raise RunInterruptedError(f"whole pairs are kept in {where}; {advice}") from None
    screen.say(f"runs: {where}")
    if sides.file is not None:
        return gate_against_baseline(sides.file, runs.candidate, rules, host)
    return gate_against_runs(runs.base, runs.candidate, rules, host)


def _seeds(pair_range: tuple[int, int], baseline: Baseline | None) -> list[int]:
    """Of a baseline those that it was saved with: other plans would not be pairs."""
    seed, pairs = pair_range
    return pair_seeds(seed, pairs) if baseline is None else [run.seed for run in baseline.runs][:pairs]


def _confirm(trials: Sequence[tuple[str, int, Trial]], *, yes: bool) -> None:
    """Asks once for each endpoint that is not on this machine."""
    endpoints = {trial.target.url: trial.target for _, _, trial in trials if not isinstance(trial.target, Path)}
    for url, endpoint in endpoints.items():
        plans = [trial.plan for _, _, trial in trials if not isinstance(trial.target, Path) and trial.target.url == url]
        http_flags.confirm(endpoint, plans, yes=yes)
