"""Whether the files of a folder are sound: each scenario, campaign and cluster is read, each plan made, and held against its cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loadlab.engines.simulation import check_plan
from loadlab.errors import InputError
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import CAMPAIGN_FILE, experiment_seed, load_campaign, load_scenario, trace_of
from loadlab.scenario.library import entry_of
from loadlab.scenario.load import Replay
from loadlab.scenario.model import Scenario
from loadlab.schema import read_toml, sort_of
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster

SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Soundness:
    """What one file turned out to be. `problem` is None where it is sound, `requests` where it has no plan."""

    name: str
    sort: str
    problem: str | None = None
    requests: int | None = None


def check_folder(folder: Path) -> list[Soundness]:
    """Every scenario, campaign and cluster in a folder, or one file. Files of other sorts are left alone."""
    paths = sorted(folder.rglob("*.toml")) if folder.is_dir() else [folder]
    found = [_checked(path) for path in paths if path.name == CAMPAIGN_FILE or not (path.parent / CAMPAIGN_FILE).is_file()]
    return [result for result in found if result is not None]


def _checked(path: Path) -> Soundness | None:
    name, sort = str(path), "a file"
    try:
        sort = sort_of(read_toml(path).get("schema")) or "a file"
        match sort:
            case "a scenario":
                return Soundness(name=name, sort=sort, requests=_check_scenario(path))
            case "a campaign":
                return Soundness(name=name, sort=sort, requests=_check_campaign(path.parent if path.name == CAMPAIGN_FILE else path))
            case "a cluster":
                SimulatedCluster(load_cluster(path))
                return Soundness(name=name, sort=sort)
            case _:
                return None
    except InputError as error:
        return Soundness(name=name, sort=sort, problem=str(error) if error.source else f"{name}: {error}")


def _check_scenario(path: Path) -> int | None:
    scenario = load_scenario(path)
    return _check_plan(scenario, SEED, entry_of(path, is_campaign=False).cluster)


def _check_campaign(path: Path) -> int:
    campaign = load_campaign(path)
    total = 0
    for e in campaign.experiments:
        total += _check_plan(e.scenario, SEED if campaign.same_seed else experiment_seed(SEED, e.id), e.cluster) or 0
    return total


def _check_plan(scenario: Scenario, seed: int, cluster: Path | None) -> int | None:
    if isinstance(scenario.load, Replay) and scenario.load.trace is None:
        return None
    plan = build_plan(scenario, seed, trace_of(scenario))
    if cluster is not None:
        check_plan(plan, SimulatedCluster(load_cluster(cluster)))
    return len(plan)
