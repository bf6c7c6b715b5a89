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
from loadlab.scenario.streams import experiment_seed
from loadlab.scenario.traces import TraceColumns, load_trace
from loadlab.schema import check_schema, read_table, read_toml

__all__ = ["experiment_seed", "is_campaign", "load_campaign", "load_scenario", "trace_of"]

SCENARIO_SCHEMA = "loadlab/scenario/1"
CAMPAIGN_SCHEMA = "loadlab/campaign/1"
CAMPAIGN_FILE = "campaign.toml"
Table = dict[str, Any]


def load_scenario(path: Path) -> Scenario:
    """The scenario in a file. Raises InputError naming file and key.

    A relative `load.trace` is taken from the file's folder.
    """
    table = read_toml(path)
    if "schema" not in table and (path.parent / CAMPAIGN_FILE).is_file():
        raise InputError(f"is one experiment of a campaign; load its folder, {path.parent}", source=str(path))
    _refuse_the_other("campaign", CAMPAIGN_SCHEMA, table, path)
    check_schema(table, SCENARIO_SCHEMA, str(path))
    return _with_trace_path(read_table(Scenario, table, str(path)), path, "load.trace")


def trace_of(scenario: Scenario) -> TraceColumns | None:
    """The rows that a replay's load asks for; None for other loads. Raises InputError without a trace or on a bad one."""
    load = scenario.load
    if not isinstance(load, Replay):
        return None
    if load.trace is None:
        raise InputError("replays a trace, but none is given; name it with --trace FILE", source=scenario.name)
    return load_trace(load.trace, load.start_s, load.for_s, load.format)


def is_campaign(path: Path) -> bool:
    """True for a folder, and for a file that says that it is a campaign. Raises InputError if the path cannot be read as TOML."""
    if path.is_dir():
        return True
    return str(read_toml(path).get("schema", "")).startswith("loadlab/campaign/")


@dataclass(frozen=True, slots=True, kw_only=True)
class _CampaignFile:
    """campaign.toml as written: experiments, defaults and profiles are partial scenarios, still tables."""

    name: str
    description: str = ""
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
    file = path / CAMPAIGN_FILE if path.is_dir() else path
    table = read_toml(file)
    _refuse_the_other("scenario", SCENARIO_SCHEMA, table, file)
    check_schema(table, CAMPAIGN_SCHEMA, str(file))
    layers = _Layers(
        source=file,
        defaults=_take_table(table, "defaults", file),
        profiles={name: _as_table(t, f"profiles.{name}", file) for name, t in _take_table(table, "profiles", file).items()},
    )
    inline = _take_table(table, "experiments", file)
    head = read_table(_CampaignFile, table, str(file))
    _check_name(head.name, "name", file)
    experiments = tuple(_experiment(own, layers) for own in _own_tables(file, inline))
    campaign = Campaign(
        name=head.name,
        description=head.description,
        experiments=experiments,
        variants=head.variants,
        sensitivity=head.sensitivity,
        published=head.published,
        design_choices=head.design_choices,
    )
    _check_sensitivity(campaign, file)
    return campaign


def _own_tables(file: Path, inline: Table) -> list[_Own]:
    """Every experiment, by id."""
    own = {name: _Own(id=name, table=_as_table(t, f"experiments.{name}", file), source=file, prefix=f"experiments.{name}")
           for name, t in inline.items()}  # fmt: skip
    for path in sorted(file.parent.glob("*.toml")) if file.name == CAMPAIGN_FILE else []:
        if path.name == CAMPAIGN_FILE:
            continue
        if path.stem in own:
            raise InputError(f"is defined twice: here and in {path}", source=str(file), key=f"experiments.{path.stem}")
        own[path.stem] = _Own(id=path.stem, table=read_toml(path), source=path, prefix="")
    if not own:
        raise InputError("has no experiments; add a file such as E01.toml beside it, or a table [experiments.E01]", source=str(file))
    for one in own.values():
        _check_name(one.id, "experiment id", one.source)
    return [own[name] for name in sorted(own)]


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
        raise InputError(f"= {name!r} must be one of the campaign's profiles: {known}", source=str(own.source), key=key)
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
    campaign = str(layers.source)
    key = error.key or ""
    if _holds(own.table, key) or not (_holds(profile, key) or _holds(layers.defaults, key)):
        return InputError(error.problem, source=str(own.source), key=f"{own.prefix}.{key}".strip(".") or None)
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
            raise InputError(f"= {campaign.sensitivity.key!r} does not fit: {error}", source=str(file), key="sensitivity.key") from None


def _with_trace_path(scenario: Scenario, file: Path, key: str) -> Scenario:
    load = scenario.load
    if not isinstance(load, Replay) or load.trace is None:
        return scenario
    return replace(scenario, load=replace(load, trace=_inside(load.trace.as_posix(), file, key)))


def _inside(written: str | None, file: Path, key: str) -> Path:
    """The path that a file writes, seen from where we stand. Raises InputError if it leaves the folder above the file's."""
    if written is None:
        raise InputError('is missing: name the cluster file, such as "../clusters/t4-14b.toml", here or in a profile', key=key)
    folder = file.parent
    joined = folder / written
    allowed = folder.resolve().parent
    if not written.isprintable() or Path(written).is_absolute() or not joined.resolve().is_relative_to(allowed):
        raise InputError(
            f"= {written!r} must be a relative path that stays inside the folder of {file.name} or the folder above it",
            key=key,
            source=str(file),
        )
    return Path(os.path.normpath(joined))


def _take_table(table: Table, key: str, file: Path) -> Table:
    return _as_table(table.pop(key, {}), key, file)


def _as_table(value: Any, key: str, file: Path) -> Table:
    if not isinstance(value, dict):
        raise InputError(f"= {value!r} must be a table", source=str(file), key=key)
    return value


def _take_text(table: Table, key: str, default: str | None) -> Any:
    value = table.pop(key, default)
    if value is not default and not isinstance(value, str):
        raise InputError(f"= {value!r} must be text in quotes", key=key)
    return value


def _check_name(name: str, key: str, file: Path) -> None:
    try:
        check_name(name, key)
    except ValueError as error:
        raise InputError(str(error), source=str(file)) from None


def _refuse_the_other(word: str, schema: str, table: Table, path: Path) -> None:
    if table.get("schema") == schema:
        raise InputError(f"= {schema!r}: this file is a {word}", source=str(path), key="schema")
