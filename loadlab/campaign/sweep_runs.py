"""A sweep from runs that exist: its axes are what their manifests say differs, or what is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loadlab.campaign.sweep import row_of_table
from loadlab.errors import InputError
from loadlab.planning.grid import ALIASES, RATE, Point, Value
from loadlab.record.manifest import Manifest
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import load_table
from loadlab.scenario.model import Scenario
from loadlab.scenario.rates import mean_rate_per_s
from loadlab.schema import read_table, shown, shown_path
from loadlab.slo import Slos

IGNORED = ("scenario:name", "scenario:schema", "scenario:slo", "scenario:thresholds", "scenario:description")
ENDS = ("scenario:load.requests", "scenario:load.duration_s")  # how long a run was is no condition of it
Facts = dict[str, Value]


def rows_of_runs(paths: Sequence[Path], named: Sequence[str], slos: Slos | None) -> tuple[list[dict[str, Any]], list[str]]:
    """(a row for each run, the axes). `named`: keys to take as axes, short or dotted; none: all in which the runs differ.

    Keys are those of --over: rate, scenario:.. as the run's scenario has it, cluster:POOL.KEY as its conditions have it. Raises InputError
    where a key is in no run, and where nothing differs.
    """
    runs = [RunDir.open(path) for path in paths]
    facts = [_facts(run) for run in runs]
    axes = [_known(name, facts) for name in named] or _differing(facts)
    if not axes:
        raise InputError("has runs that differ in nothing but their seed: name keys of theirs with --over, or give others", key="--from")
    rows = []
    for number, (run, fact) in enumerate(zip(runs, facts, strict=True)):
        table = load_table(run).in_due_order()
        rate = offered_rate_per_s(run.manifest) if RATE in axes else None
        point = Point(number=number, values={axis: fact.get(axis, "-") for axis in axes}, seed=run.manifest.seed)
        rows.append(row_of_table(table, slos, point, run.manifest.plan_digest, rate) | {"run": shown_path(run.path)})
    return rows, axes


def target_of_runs(paths: Sequence[Path]) -> str:
    """The targets of these runs, in words."""
    return ", ".join(sorted({RunDir.open(path).manifest.target for path in paths}))


def conditions_of_runs(paths: Sequence[Path]) -> list[Mapping[str, Any]]:
    """What the manifests of these runs say of their conditions, equal tables once."""
    found: list[Mapping[str, Any]] = []
    for path in paths:
        found += [table for table in RunDir.open(path).manifest.conditions if table not in found]
    return found


def _facts(run: RunDir) -> Facts:
    """What a run's manifest says of its conditions, by key."""
    manifest = run.manifest
    found = {key: value for key, value in _flat(manifest.scenario, "scenario:") if not key.startswith((*IGNORED, *ENDS))}
    for table in manifest.conditions:
        prefix = f"cluster:{table['pool']}." if "pool" in table else "endpoint:"
        found |= dict(_flat({name: value for name, value in table.items() if name != "pool"}, prefix))
    rate = offered_rate_per_s(manifest)
    return found if rate is None else {RATE: f"{rate:.4g}/s", **{key: value for key, value in found.items() if not _is_arrival(key)}}


def _is_arrival(key: str) -> bool:
    return key.startswith("scenario:load.arrivals") or (key.startswith("scenario:classes.") and ".arrivals." in key)


def offered_rate_per_s(manifest: Manifest) -> float | None:
    """The mean rate that its scenario offers; None in closed loop and replay."""
    scenario = read_table(Scenario, {key: value for key, value in manifest.scenario.items() if key != "schema"}, manifest.name)
    try:
        return mean_rate_per_s(scenario)
    except InputError:
        return None


def _flat(table: Mapping[str, Any], prefix: str) -> list[tuple[str, Value]]:
    """(dotted key, value) of every plain value in nested tables; of a list, its text."""
    found: list[tuple[str, Value]] = []
    for name, value in table.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{prefix}{name}.")
        elif value is not None:
            found.append((f"{prefix}{name}", value if isinstance(value, int | float | str) else str(value)))
    return found


def _differing(facts: Sequence[Facts]) -> list[str]:
    """Keys that not all runs have alike; the rate first. Of keys that change together, the first one stands for all."""
    by_parting: dict[tuple[int, ...], str] = {}
    for key in dict.fromkeys(key for fact in facts for key in fact):
        values = [str(fact.get(key)) for fact in facts]
        parting = tuple(values.index(value) for value in values)
        if any(parting):
            by_parting.setdefault(parting, key)
    return list(by_parting.values())


def _known(name: str, facts: Sequence[Facts]) -> str:
    """The key that is meant: as written, or the end of exactly one of those that the runs have."""
    keys = dict.fromkeys(key for fact in facts for key in fact)
    if name in keys:
        return name
    last = ALIASES.get(name, name).rpartition(".")[2]
    ends = [key for key in keys if key.endswith(f".{last}")]
    if len(ends) == 1:
        return ends[0]
    told = f"is {len(ends)} keys of these runs: {', '.join(ends[:4])}; write one of them" if ends else "is no key of these runs"
    differing = ", ".join(_differing(facts)[:6]) or "nothing"
    raise InputError(f"= {shown(name)} {told}{'' if ends else f'; they differ in {differing}'}", key="--over")
