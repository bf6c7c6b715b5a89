"""`loadlab sweep`: keys of both files, a table with digests, resumed, over HTTP, planned, and refused."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from loadlab.campaign.sweep import Sweep, prepare_jobs, run_sweep
from loadlab.campaign.trial import host_facts, prepare, record
from loadlab.planning.grid import parse_axis
from loadlab.record.manifest import Status
from loadlab.record.run_dir import RunDir
from loadlab.scenario.files import load_scenario
from loadlab.scenario.rates import with_rate
from tests.cli.command import CLUSTERS, SCENARIOS, Command
from tests.server.running import running

SMOKE, CLUSTER = SCENARIOS / "smoke.toml", CLUSTERS / "t4-14b.toml"
TARGET = ["--target", f"sim:{CLUSTER}"]
SLO = ["--slo", "ttft=2s", "--slo", "target=90%"]
GRID = ["--over", "rate=0.5,4/s", "--over", "max_running=4,32", "--requests", "60", "--seeds", "2"]


def test_every_cell_has_its_rows_and_the_capacity_of_each_column_is_told(command: Command, tmp_path: Path) -> None:
    answer = command("sweep", SMOKE, *TARGET, *GRID, *SLO, "--out", tmp_path / "s")
    assert answer.code == 0, answer.err
    frame = pd.read_csv(tmp_path / "s" / "sweep.csv")
    assert len(frame) == 8
    assert frame.groupby(["rate", "max_running"]).size().tolist() == [2] * 4
    assert frame["plan_digest"].str.startswith("sha256:").all()
    assert frame.groupby(["rate", "seed"])["plan_digest"].nunique().max() == 1  # a cluster's key leaves the plan alone
    by = frame.groupby(["rate", "max_running"])["attainment"].mean()
    assert by["4/s", 4] < by["0.5/s", 4]
    found = json.loads((tmp_path / "s" / "sweep.json").read_bytes())
    assert [one["at"] for one in found["capacities_per_s"]] == [{"max_running": 4}, {"max_running": 32}]
    assert 0.5 < found["capacities_per_s"][0]["value"] < 4
    assert "max_running=4: " in answer.out
    assert {path.name for path in (tmp_path / "s").glob("*.svg")} == {"attainment.svg", "ttft_p95_s.svg", "output_tokens_per_s.svg"}


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_cuts_nothing(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    answer = command(
        "sweep", SMOKE, *TARGET, "--over", "rate=0.5,4/s", "--over", "max_running=4", "--requests", "60", *SLO, "--out", tmp_path / "s"
    )
    assert "…" not in answer.out
    assert max(map(len, answer.out.splitlines()[:8])) <= width
    for words in ("max_", "running", "attainment"):
        assert words in answer.out


def test_keys_of_scenario_and_cluster_reach_the_runs(command: Command, tmp_path: Path) -> None:
    flags = [
        "--over",
        "prompt.median=32,512",
        "--over",
        "replicas=1,2",
        "--over",
        "rate=1/s",
        "--requests",
        "40",
        "--out",
        tmp_path / "s",
        "--json",
    ]
    answer = command("sweep", SMOKE, *TARGET, *flags)
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)["rows"]
    assert len({row["plan_digest"] for row in rows}) == 2
    ttft = {(row["prompt.median"], row["replicas"]): row["ttft_p50_s"] for row in rows}
    assert ttft[512, 1] > ttft[32, 1]
    assert ttft[512, 2] < ttft[512, 1] or ttft[512, 2] == pytest.approx(ttft[512, 1], rel=0.2)
    assert len(list((tmp_path / "s" / "clusters").glob("*.toml"))) == 2
    (tmp_path / "one").mkdir()
    again = command(
        "run", SMOKE, "--target", f"sim:{tmp_path / 's' / 'clusters' / 'replicas-2.toml'}", "--out", tmp_path / "one" / "r", "-q"
    )
    assert again.code == 0, again.err


def test_a_sweep_that_was_interrupted_ends_with_the_same_table(tmp_path: Path) -> None:
    def sweep(out: Path) -> Sweep:
        axes = (parse_axis("rate=0.5,1,2/s"), parse_axis("max_running=4,8"))
        return Sweep(scenario=load_scenario(SMOKE), target=CLUSTER, axes=axes, seeds=1, seed=3, requests=30, out=out)

    def stop(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    whole, broken = sweep(tmp_path / "a"), sweep(tmp_path / "b")
    rows = run_sweep(whole, prepare_jobs(whole), lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        run_sweep(broken, prepare_jobs(broken), stop)
    journal = tmp_path / "b" / "points.jsonl"
    assert len(journal.read_bytes().splitlines()) == 4
    journal.write_bytes(journal.read_bytes() + b'{"point": 5, "ra')  # and killed while it wrote
    assert run_sweep(broken, prepare_jobs(broken), lambda *_: None, resume=True) == rows


def test_a_routers_share_is_an_axis_and_the_mix_has_a_capacity(command: Command, tmp_path: Path) -> None:
    flags = ["--over", "tiers.shares.expert=0,0.9", "--over", "rate=8,60/s", "--requests", "400", "--slo", "target=95%", "--json"]
    target = ["--target", f"sim:{CLUSTERS / 'h100-router.toml'}"]
    answer = command("sweep", SCENARIOS / "support" / "router.toml", *target, *flags, "--out", tmp_path / "s")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)["capacities_per_s"]
    assert [one["at"]["tiers.shares.expert"] for one in found] == [0, 0.9]
    assert all(8 < one["value"] < 60 for one in found)
    assert found[0]["value"] != found[1]["value"]


def test_an_endpoint_is_swept_one_run_after_another(command: Command, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(
        """schema = "loadlab/scenario/1"
name = "small"
timeout_s = 20
slo = { ttft = "1s" }
load = { kind = "open_loop", requests = 20, arrivals = { kind = "constant", rate_per_s = 40 } }
classes.chat = { model = "m", prompt_tokens = { kind = "constant", value = 20 }, output_tokens = { kind = "constant", value = 4 } }
"""
    )
    with running() as server:
        flags = ["--target", server.url, "--model", "m", "--over", "rate=20,60/s", "--out", tmp_path / "s"]
        planned = command("sweep", tmp_path / "s.toml", *flags, "--plan")
        answer = command("sweep", tmp_path / "s.toml", *flags)
        refused = command("sweep", tmp_path / "s.toml", "--target", server.url, "--model", "m", "--over", "tp=1,2", "--out", tmp_path / "t")
    assert "of arrivals, one run after another" in planned.out
    assert answer.code == 0, answer.err
    frame = pd.read_csv(tmp_path / "s" / "sweep.csv")
    assert frame["success_rate"].tolist() == [1, 1]
    assert frame["requests_per_s"].is_monotonic_increasing
    kept = [RunDir.open(tmp_path / "s" / name) for name in frame["run"]]  # each point is a run directory, named with its digest
    assert [run.manifest.plan_digest for run in kept] == frame["plan_digest"].tolist()
    assert [sum(1 for _ in run.rows()) for run in kept] == [20, 20]
    assert {run.manifest.status for run in kept} == {Status.COMPLETE}
    runs = [flag for run in kept for flag in ("--from", run.path)]
    again = command("sweep", tmp_path / "s.toml", *runs, "--out", tmp_path / "again")
    assert again.code == 0, again.err
    both = pd.read_csv(tmp_path / "again" / "sweep.csv")
    same = [name for name in frame.columns if name not in ("run", "rate")]
    pd.testing.assert_frame_equal(both[same], frame[same])
    assert refused.code == 2
    assert "is a key of a cluster file, and the target is an endpoint" in refused.err


def test_a_plan_says_what_would_run_and_writes_no_rows(command: Command, tmp_path: Path) -> None:
    answer = command("sweep", SMOKE, *TARGET, *GRID, "--plan", "--out", tmp_path / "s")
    assert answer.code == 0, answer.err
    assert "8 runs, 2 a cell" in answer.out
    assert "cores, if all are like the middle one" in answer.out
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--over", "rate=1,x/s"], "rate"),
        (["--over", "tp=0,1"], "tensor_parallel"),
        (["--over", "max_running=many,1"], "max_running"),
        (["--over", "cluster:pools.nobody.replicas=1,2"], "pools.nobody"),
        (["--over", "rate=1..3/s", "--resume", "nowhere"], "nothing to resume"),
        (["--over", "rate=1..3/s", "--out", "a", "--resume", "b"], "cannot be given together"),
        (["--over", "rate=1..3/s", "--backend", "slurm://x"], "must be dask://HOST:PORT or ray://HOST:PORT"),
        (["--over", "rate=1..3/s", "--backend", "dask://127.0.0.1:1"], "distributed"),
        (["--over", "rate=1..9999/s", "--seeds", "2"], "at most 10,000"),
    ],
)
def test_what_cannot_be_swept_is_told(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = command("sweep", SMOKE, *TARGET, *flags)
    assert answer.code == 2, answer.err
    assert says in answer.err
    assert "Traceback" not in answer.err


def test_another_sweep_is_not_resumed(command: Command, tmp_path: Path) -> None:
    first = ["sweep", SMOKE, *TARGET, "--over", "rate=1,2/s", "--requests", "20", "-q"]
    assert command(*first, "--out", tmp_path / "s").code == 0
    again = command(*first, "--out", tmp_path / "s")
    other = command(*first, "--seed", "9", "--resume", tmp_path / "s")
    assert (again.code, other.code) == (2, 2)
    assert "pass --resume" in again.err
    assert "was begun with another scenario, target, grid or seed" in other.err


@pytest.fixture(scope="module")
def kept_runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four simulated runs: two rates, and two seeds of each."""
    folder, runs = tmp_path_factory.mktemp("kept"), []
    for rate in (0.5, 12.0):
        for seed in (1, 2):
            trial = prepare(with_rate(load_scenario(SMOKE), rate, 60), CLUSTER, seed)
            runs.append(folder / f"{rate}-{seed}")
            record(trial, runs[-1], host_facts([]), lambda *_: None)
    return runs


def test_runs_that_exist_are_swept_over_what_differs(command: Command, kept_runs: list[Path], tmp_path: Path) -> None:
    flags = [flag for run in kept_runs for flag in ("--from", run)]
    answer = command("sweep", SMOKE, *flags, *SLO, "--out", tmp_path / "s", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["axes"] == ["rate"]
    assert [row["rate"] for row in found["rows"]] == ["0.5/s", "0.5/s", "12/s", "12/s"]
    assert [row["plan_digest"] for row in found["rows"]] == [RunDir.open(run).manifest.plan_digest for run in kept_runs]
    assert 0.5 < found["capacities_per_s"][0]["value"] < 12
    assert (tmp_path / "s" / "attainment.svg").exists()
    again = command("sweep", SMOKE, *flags, "--out", tmp_path / "s")
    assert again.code == 2
    assert "choose another --out" in again.err


@pytest.mark.parametrize(
    ("which", "flags", "says"),
    [
        (slice(0, 2), [], "differ in nothing but their seed"),
        (slice(0, 4), ["--over", "nonsense"], "is no key of these runs; they differ in rate"),
        (slice(0, 4), ["--over", "kind"], "write one of them"),
        (slice(0, 4), ["--target", "http://127.0.0.1:1"], "takes runs that exist"),
        (slice(0, 0), [], "is missing: an axis of the grid"),
    ],
)
def test_runs_that_make_no_sweep_are_told_why(
    command: Command, kept_runs: list[Path], tmp_path: Path, which: slice, flags: list[str], says: str
) -> None:
    answer = command("sweep", SMOKE, *(flag for run in kept_runs[which] for flag in ("--from", run)), *flags, "--out", tmp_path / "s")
    assert answer.code == 2, answer.err
    assert says in answer.err
