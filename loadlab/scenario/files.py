"""Scenario and campaign files: TOML to `Scenario` and `Campaign`, and the trace that a scenario names.

A file may name only files inside its own folder or the folder above: a scenario from a stranger must not read /etc.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from loadlab.errors import InputError
from loadlab.scenario.load import Replay
from loadlab.scenario.model import Campaign, DesignChoices, Experiment, Published, Scenario, Sensitivity, Variant, check_name
from loadlab.scenario.names import CAMPAIGN_FILE as CAMPAIGN_FILE  # as do those who look for it here
from loadlab.scenario.streams import experiment_seed as experiment_seed  # campaigns look for it here, beside their files
from loadlab.scenario.traces import TraceColumns, load_trace
from loadlab.schema import check_schema, has_control_characters, read_table, read_toml, shown, shown_path, sort_of

SCENARIO_SCHEMA = "loadlab/scenario/1"
CAMPAIGN_SCHEMA = "loadlab/campaign/1"
MAX_EXPERIMENTS = 1000
Table = dict[str, Any]


def load_scenario(path: Path) -> Scenario:
    """The scenario in a file. Raises InputError naming file and key.

    A relative `load.trace` is taken from the file's folder.
    """
    table = read_toml(path)
    if "schema" not in table and (path.parent / CAMPAIGN_FILE).is_file():
        raise InputError(f"is one experiment of a campaign; load its folder, {shown_path(path.parent)}", source=shown_path(path))
    check_schema(table, SCENARIO_SCHEMA, shown_path(path))
    return _with_trace_path(read_table(Scenario, table, shown_path(path)), path, "load.trace")


def trace_of(scenario: Scenario) -> TraceColumns | None:
    """The rows that a replay's load asks for; None for other loads. Raises InputError without a trace or on a bad one."""
    load = scenario.load
    if not isinstance(load, Replay):
        return None
    if load.trace is None:
        raise InputError("replays a trace, but none is given; name it with --trace FILE", source=scenario.name)
    return load_trace(load.trace, load.start_s, load.for_s, load.format)


def is_campaign(path: Path) -> bool:
    """True for a folder with campaign.toml, and for a file that says that it is a campaign.

    Raises InputError for another folder, and if a file cannot be read as TOML.
    """
    if _is_folder(path):
        _campaign_file(path)
        return True
    return str(read_toml(path).get("schema", "")).startswith("loadlab/campaign/")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name too long, say: reading it as a file will tell
        return False


def _campaign_file(folder: Path) -> Path:
    file = folder / CAMPAIGN_FILE
    if not file.is_file():
        raise InputError(f"holds no {CAMPAIGN_FILE}, so it is no campaign; name a scenario file", source=shown_path(folder))
    return file


@dataclass(frozen=True, slots=True, kw_only=True)
class _CampaignFile:
    """campaign.toml as written: experiments, defaults and profiles are partial scenarios, still tables."""

    name: str
    description: str = ""
    same_seed: bool = False
    variants: dict[str, Variant] = field(default_factory=dict)
    sensitivity: Sensitivity | None = None
    published: Published | None = None
    design_choices: DesignChoices | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layers:
    """Where the keys of an experiment come from: later layers win. `source` is the campaign file."""

    source: Path
    defaults: Table
    profiles: dict[str, Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Own:
    """An experiment's own table and where it stands: `prefix` is its key where the file holds more than it."""

    id: str
    table: Table
    source: Path
    prefix: str


def load_campaign(path: Path) -> Campaign:
    """The campaign in a folder (campaign.toml and one file per experiment) or in one file with [experiments.ID] tables.

    Raises InputError naming file and key. Clusters are named, not read.
    """
    file = _campaign_file(path) if _is_folder(path) else path
    table = read_toml(file)
    check_schema(table, CAMPAIGN_SCHEMA, shown_path(file))
    layers = _Layers(
        source=file,
        defaults=_take_table(table, "defaults", file),
        profiles=_profiles(_take_table(table, "profiles", file), file),
    )
    inline = _take_table(table, "experiments", file)
    head = read_table(_CampaignFile, table, shown_path(file))
    for name, key in [(head.name, "name"), *((variant, "variants") for variant in head.variants)]:
        _check_name(name, key, file)
    experiments = tuple(_experiment(own, layers) for own in _own_tables(file, inline))
    campaign = Campaign(
        name=head.name,
        description=head.description,
        same_seed=head.same_seed,
        experiments=experiments,
        variants=head.variants,
        sensitivity=head.sensitivity,
        published=head.published,
        design_choices=head.design_choices,
    )
    _check_sensitivity(campaign, file)
    return campaign


def _profiles(tables: Table, file: Path) -> dict[str, Table]:
    for name in tables:
        _check_name(name, "profiles", file)
    return {name: _as_table(table, f"profiles.{name}", file) for name, table in tables.items()}


def _own_tables(file: Path, inline: Table) -> list[_Own]:
    """Every experiment, by id."""
    own: dict[str, _Own] = {}
    for name, value in inline.items():
        _check_name(name, "experiment id", file)
        prefix = f"experiments.{name}"
        own[name] = _Own(id=name, table=_as_table(value, prefix, file), source=file, prefix=prefix)
    for path in sorted(file.parent.glob("*.toml")) if file.name == CAMPAIGN_FILE else []:
        if path.name == CAMPAIGN_FILE:
            continue
        _check_name(path.stem, "experiment id", path)
        if path.stem in own:
            raise InputError(f"is defined twice: here and in {shown_path(path)}", source=shown_path(file), key=f"experiments.{path.stem}")
        own[path.stem] = _Own(id=path.stem, table=read_toml(path), source=path, prefix="")
    if not own:
        raise InputError("has no experiments; add a file such as E01.toml beside it, or a table [experiments.E01]", source=shown_path(file))
    if len(own) > MAX_EXPERIMENTS:
        raise InputError(f"has {len(own):,} experiments; at most {MAX_EXPERIMENTS:,} are read", source=shown_path(file))
    for one in own.values():
        _refuse_whole_files(one)
    return [own[name] for name in sorted(own)]


def _refuse_whole_files(own: _Own) -> None:
    """An experiment is a part of its campaign: what has a schema is whole by itself and stands in the wrong place."""
    if "schema" in own.table:
        found = own.table["schema"]
        what = f"this is {sort_of(found) or 'something else'} by itself, not an experiment of the campaign"
        what_to_do = "Leave schema out" if own.prefix else "Move it to another folder, or leave schema out if it is an experiment"
        key = f"{own.prefix}.schema".lstrip(".")
        raise InputError(f"= {shown(found)}: {what}. {what_to_do}", source=shown_path(own.source), key=key)


def _experiment(own: _Own, layers: _Layers) -> Experiment:
    profile_name, profile = _profile(own, layers)
    merged = _merge(_merge(layers.defaults, profile), own.table)
    merged.pop("profile", None)
    try:
        shows, cluster = _take_text(merged, "shows", ""), _take_text(merged, "cluster", None)
        scenario = read_table(Scenario, {"description": shows} | merged, "")
        scenario = _with_trace_path(scenario, layers.source, "load.trace")
        return Experiment(id=own.id, name=scenario.name, shows=shows, scenario=scenario, cluster=_inside(cluster, layers.source, "cluster"))
    except InputError as error:
        raise _where_it_stands(error, own, profile_name, profile, layers) from None


def _profile(own: _Own, layers: _Layers) -> tuple[str | None, Table]:
    """The profile that an experiment names, and its table; empty where it names none."""
    if "profile" not in own.table:
        return None, {}
    name = own.table["profile"]
    if not isinstance(name, str) or name not in layers.profiles:
        known = ", ".join(sorted(layers.profiles)) or "none"
        key = f"{own.prefix}.profile".lstrip(".")
        raise InputError(f"= {shown(name)} must be one of the campaign's profiles: {known}", source=shown_path(own.source), key=key)
    return name, layers.profiles[name]


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Table:
    """`base` with the keys of `over`, table by table; a table of another `kind` replaces the whole table below."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        deep = isinstance(below, Mapping) and isinstance(value, Mapping) and value.get("kind", below.get("kind")) == below.get("kind")
        merged[key] = _merge(below, value) if deep else value  # type: ignore[arg-type]
    return merged


def _where_it_stands(error: InputError, own: _Own, profile_name: str | None, profile: Table, layers: _Layers) -> InputError:
    """The error under the file and key where the merged value was written: experiment, profile or defaults, in this order."""
    campaign = shown_path(layers.source)
    key = error.key or ""
    if _holds(own.table, key) or not (_holds(profile, key) or _holds(layers.defaults, key)):
        return InputError(error.problem, source=shown_path(own.source), key=f"{own.prefix}.{key}".strip(".") or None)
    prefix = f"profiles.{profile_name}" if _holds(profile, key) else "defaults"
    return InputError(f"{error.problem} (in experiment {own.id})", source=campaign, key=f"{prefix}.{key}")


def _holds(table: Mapping[str, Any], key: str) -> bool:
    """True if the dotted key leads to something in the table."""
    item: Any = table
    for name in re.sub(r"\[\d+\]", "", key).split("."):
        if not isinstance(item, Mapping) or name not in item:
            return False
        item = item[name]
    return True


def _check_sensitivity(campaign: Campaign, file: Path) -> None:
    """Tries every value: the key must be one that every scenario has."""
    if campaign.sensitivity is not None:
        try:
            for value in campaign.sensitivity.values:
                campaign.with_value(campaign.sensitivity.key, value)
        except InputError as error:
            problem = f"= {shown(campaign.sensitivity.key)} does not fit: {error}"
            raise InputError(problem, source=shown_path(file), key="sensitivity.key") from None


def _with_trace_path(scenario: Scenario, file: Path, key: str) -> Scenario:
    load = scenario.load
    if not isinstance(load, Replay) or load.trace is None:
        return scenario
    return replace(scenario, load=replace(load, trace=_inside(load.trace.as_posix(), file, key)))


def _inside(written: str | None, file: Path, key: str) -> Path:
    """The path that a file writes, seen from where we stand. Raises InputError if it leaves the folder above the file's."""
    if written is None:
        raise InputError('is missing: name the cluster file, such as "../clusters/t4-14b.toml", here or in a profile', key=key)
    joined = file.parent / written
    if not written.isprintable() or Path(written).is_absolute() or not _is_within(joined, file.parent):
        raise InputError(
            f"= {shown(written)} must be a relative path that stays inside the folder of {file.name} or the folder above it",
            key=key,
            source=shown_path(file),
        )
    return Path(os.path.normpath(joined))


def _is_within(path: Path, folder: Path) -> bool:
    """True if the path, its links followed, stays inside the folder or the one above it."""
    try:
        return path.resolve().is_relative_to(folder.resolve().parent)
    except (OSError, RuntimeError):  # a loop of links, or a name too long for the file system
        return False


def _take_table(table: Table, key: str, file: Path) -> Table:
    return _as_table(table.pop(key, {}), key, file)


def _as_table(value: Any, key: str, file: Path) -> Table:
    if not isinstance(value, dict):
        raise InputError(f"= {shown(value)} must be a table", source=shown_path(file), key=key)
    return value


def _take_text(table: Table, key: str, default: str | None) -> Any:
    value = table.pop(key, default)
    if value is not default and not isinstance(value, str):
        raise InputError(f"= {shown(value)} must be text in quotes", key=key)
    if value and has_control_characters(value):
        raise InputError(f"= {shown(value)} must be text without control characters", key=key)
    return value


def _check_name(name: str, key: str, file: Path) -> None:
    try:
        check_name(name, key)
    except ValueError as error:
        raise InputError(str(error), source=shown_path(file)) from None
