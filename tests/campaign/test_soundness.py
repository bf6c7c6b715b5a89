"""Folders of scenarios: the shipped one is sound and answers at once; a broken one is told file by file."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from loadlab.campaign.soundness import check_folder
from loadlab.engines.simulation import SimulationEngine
from loadlab.record.request import Outcome
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import load_scenario
from loadlab.scenario.library import entries, shipped_folder
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster

WITH_CLUSTER = [entry for entry in entries(shipped_folder()) if not entry.is_campaign and entry.cluster and entry.name != "replay"]


def test_every_shipped_file_is_sound() -> None:
    results = check_folder(shipped_folder())
    assert [result for result in results if result.problem] == []
    assert sum(result.sort == "a scenario" for result in results) >= 15
    assert sum(result.sort == "a cluster" for result in results) >= 20


LONG = {"expert-tier-day"}  # a whole day
READY = [pytest.param(entry, id=entry.name, marks=[pytest.mark.slow] if entry.name in LONG else []) for entry in WITH_CLUSTER]


@pytest.mark.parametrize("entry", READY)
def test_every_ready_scenario_runs_on_its_cluster_in_seconds(entry: object) -> None:
    start = time.process_time()
    plan = build_plan(load_scenario(entry.path), 1)  # type: ignore[attr-defined]
    cluster = SimulatedCluster(load_cluster(entry.cluster))  # type: ignore[attr-defined]
    outcomes = SimulationEngine(cluster).count(plan, lambda *_: None)
    assert sum(outcomes.values()) == len(plan)
    assert outcomes[Outcome.OK] >= 0.85 * len(plan)  # adversarial: a tenth is refused, as it should be
    assert time.process_time() - start < 20


def test_what_is_broken_is_told_file_by_file_and_the_rest_still_checked(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("schema = ")
    (tmp_path / "b.toml").write_text('schema = "loadlab/scenario/1"\nname = "b"\n')
    (tmp_path / "c.toml").write_text((shipped_folder() / "smoke.toml").read_text())
    (tmp_path / "d.toml").write_text((shipped_folder() / "smoke.toml").read_text().replace('model = "llm-14b"', 'model = "else"'))
    (tmp_path / "prices.toml").write_text('schema = "loadlab/prices/1"\n')
    results = {Path(result.name).name: result for result in check_folder(tmp_path)}
    assert "is not valid TOML" in (results["a.toml"].problem or "")
    assert "load is missing" in (results["b.toml"].problem or "")
    assert results["c.toml"].requests == 50
    assert "asks for model 'else', which cluster 't4-14b' does not serve" in (results["d.toml"].problem or "")
    assert "prices.toml" not in results
