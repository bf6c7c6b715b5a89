"""Files that earlier versions wrote are still read, and say the same; one of a later version is refused in words.

The files in `formats/` were written once, by the version that brought their format, and are never edited. A new version of a format
adds a file beside them, and a case here: whoever changes a reader sees at once whose files it breaks.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from loadlab.errors import InputError
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import summarise_run
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import load_scenario
from loadlab.simulator.files import load_cluster

FORMATS = Path(__file__).parent / "formats"
DIGEST = "sha256:16ee7dc82a1364646541060585e6f68d90fb4865fb61d1e3fbd1bbf0be09efb2"  # numpy, which draws, is pinned


def test_a_run_of_version_1() -> None:
    summary = summarise_run(RunDir.open(FORMATS / "run-1"))
    totals = summary["totals"]
    assert (totals["planned"], totals["ok"], totals["rejected"], totals["timeout"]) == (5, 3, 1, 1)
    assert summary["metrics"]["ttft_s"]["p50"]["value"] == pytest.approx(0.6)
    assert summary["metrics"]["e2e_s"]["p50"]["value"] == pytest.approx(1.6)
    assert summary["observed"]["kv_peak"]["value"] == 0.5


def test_a_scenario_of_version_1_gives_the_same_plan() -> None:
    plan = build_plan(load_scenario(FORMATS / "scenario-1.toml"), 1)
    assert len(plan) == 50
    assert plan.digest == DIGEST


def test_a_cluster_of_version_1() -> None:
    cluster = load_cluster(FORMATS / "cluster-1.toml")
    (pool,) = cluster.pools.values()
    assert (pool.serves, pool.replicas) == (("llm-14b",), 1)


@pytest.mark.parametrize("name", ["scenario", "cluster"])
def test_a_later_version_is_refused(tmp_path: Path, name: str) -> None:
    file = tmp_path / "later.toml"
    file.write_text((FORMATS / f"{name}-1.toml").read_text().replace(f"loadlab/{name}/1", f"loadlab/{name}/2"))
    with pytest.raises(InputError, match=rf"later.toml: schema = 'loadlab/{name}/2' .* reads 'loadlab/{name}/1'"):
        load_scenario(file) if name == "scenario" else load_cluster(file)


def test_a_run_of_a_later_version_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(FORMATS / "run-1", run)
    manifest = run / "manifest.json"
    manifest.write_text(manifest.read_text().replace("loadlab/manifest/1", "loadlab/manifest/2"))
    with pytest.raises(
        InputError, match=r"schema = 'loadlab/manifest/2' is not one that this version reads \(it reads 'loadlab/manifest/1'\)"
    ):
        RunDir.open(run)
