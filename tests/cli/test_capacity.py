"""`loadlab capacity` on the simulated backend: searched, measured, from runs, interrupted and resumed; and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from loadlab.campaign.capacity import from_levels
from loadlab.planning.levels import Level
from loadlab.planning.search import Answer
from tests.cli.command import SCENARIOS, Command
from tests.server.running import plain_cluster, running

SMOKE, CLUSTER = SCENARIOS / "smoke.toml", SCENARIOS / "clusters" / "t4-14b.toml"
SLO = ["--slo", "ttft=2s", "--slo", "target=90%"]
TARGET = ["--target", f"sim:{CLUSTER}"]


@pytest.fixture
def measured(command: Command, tmp_path: Path) -> Path:
    out = tmp_path / "levels"
    answer = command("capacity", SMOKE, *TARGET, *SLO, "--rates", "0.3,1,3,6/s", "--requests", "400", "--out", out, "-q")
    assert answer.code == 0, answer.err
    return out


def test_levels_bracket_a_capacity_and_leave_json_and_a_figure(measured: Path) -> None:
    found = json.loads((measured / "capacity.json").read_bytes())
    assert found["schema"] == "loadlab/capacity/1"
    assert [level["rate_per_s"] for level in found["levels"]] == [0.3, 1, 3, 6]
    shares = [level["bad_share"] for level in found["levels"]]
    assert shares[0] < 0.1 < shares[-1]
    assert 0.3 < found["capacity_per_s"]["value"] < 6
    assert all(level["digest"].startswith("sha256:") for level in found["levels"])
    assert found["levels"][-1]["burn"] == pytest.approx(shares[-1] / 0.1)
    assert (measured / "capacity.svg").read_text().startswith("<svg xmlns=")


def test_a_search_certifies_and_says_what_it_rests_on(command: Command) -> None:
    answer = command("capacity", SMOKE, *TARGET, *SLO, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["answer"] == "certified"
    assert found["certified_per_s"] <= found["capacity_per_s"]["value"] * 1.1
    assert found["certificate"]["n"] <= found["requests"]
    assert "holds" in answer.err
    assert "for 90 % of planned requests" in answer.err


def test_a_study_that_was_cut_short_ends_with_the_same_answer(command: Command, tmp_path: Path) -> None:
    arguments = ["capacity", SMOKE, *TARGET, *SLO, "--json", "-q"]
    whole = json.loads(command(*arguments, "--out", tmp_path / "a").out)
    lines = (tmp_path / "a" / "probes.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "probes.jsonl").write_bytes(b"".join(lines[:3]) + lines[3][:20])  # killed while it wrote
    resumed = json.loads(command(*arguments, "--resume", tmp_path / "b").out)
    assert {**resumed, "command": None} == {**whole, "command": None}
    assert (tmp_path / "b" / "probes.jsonl").read_bytes() == b"".join(lines)


def test_runs_that_exist_are_levels(command: Command, tmp_path: Path) -> None:
    flags = []
    for name in ("random-low", "random-high"):
        text = SMOKE.read_text().replace("requests = 50", "requests = 300")
        assert "requests = 300" in text
        (tmp_path / f"{name}.toml").write_text(text)
        run = command("run", tmp_path / f"{name}.toml", *TARGET, "--seed", len(name), "--out", tmp_path / name, "-q", "--no-report")
        assert run.code == 0, run.err
        flags += ["--from", tmp_path / name]
    answer = command("capacity", SMOKE, *SLO, *flags, "--json")
    found = json.loads(answer.out)
    assert answer.code == 0
    assert sum(level["n"] for level in found["levels"]) > 500
    assert found["answer"] == "always holds"
    assert "measure higher rates" in found["note"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([SMOKE, *TARGET], "has no SLO: write [slo]"),
        ([SMOKE, *SLO], "--target is missing"),
        ([SMOKE, *TARGET, "--slo", "ttft=fast"], "--slo"),
        ([SMOKE, *TARGET, *SLO, "--rates", "1,two/s"], "--rates"),
        ([SMOKE, *TARGET, *SLO, "--rates", "0/s"], "must be above 0"),
        ([SMOKE, *TARGET, *SLO, "--from", SMOKE], "leave --target and --rates out"),
        ([SMOKE, *TARGET, *SLO, "--out", "a", "--resume", "b"], "cannot be given together"),
        ([SMOKE, *TARGET, *SLO, "--resume", "nowhere"], "there is nothing to resume"),
        ([SCENARIOS / "replay.toml", *TARGET, *SLO], "offers no rate"),
    ],
)
def test_what_cannot_be_done_is_told(command: Command, arguments: list[str | Path], says: str) -> None:
    answer = command("capacity", *arguments)
    assert answer.code == 2, answer.out
    assert says in answer.err


def test_another_study_is_not_resumed(command: Command, measured: Path) -> None:
    answer = command("capacity", SMOKE, *TARGET, "--slo", "ttft=3s", "--rates", "0.3,1,3,6/s", "--requests", "400", "--resume", measured)
    assert answer.code == 2
    assert "line 1: was begun with another scenario, target, SLO, seed or search" in answer.err


def test_an_endpoint_is_measured_and_its_runs_are_levels_again(command: Command, tmp_path: Path) -> None:
    scenario = tmp_path / "s.toml"
    scenario.write_text(
        """schema = "loadlab/scenario/1"
name = "small"
timeout_s = 20
slo = { ttft = "150ms", target = "90%" }
load = { kind = "open_loop", requests = 20, arrivals = { kind = "constant", rate_per_s = 40 } }
classes.chat = { model = "m", prompt_tokens = { kind = "constant", value = 20 }, output_tokens = { kind = "constant", value = 4 } }
"""
    )
    with running(plain_cluster(limits={"max_running": 4})) as server:  # 4 at a time, 5 steps of 10 ms: some 80 requests a second
        flags = ["--target", server.url, "--model", "m", "--rates", "30,160/s", "--requests", "150", "--out", tmp_path / "o", "--json"]
        answer = command("capacity", scenario, *flags)
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["levels"][0]["bad_share"] < 0.1 < found["levels"][1]["bad_share"]
    assert 30 < found["capacity_per_s"]["value"] < 160
    runs = sorted((tmp_path / "o" / "runs").iterdir())
    again = command("capacity", scenario, "--from", runs[0], "--from", runs[1], "--json")
    assert again.code == 0, again.err
    levels = json.loads(again.out)["levels"]
    assert sorted(level["digest"] for level in levels) == sorted(level["digest"] for level in found["levels"])
    assert [level["bad"] for level in levels] == [level["bad"] for level in found["levels"]]


def test_a_target_of_which_nothing_succeeds_any_more_is_no_capacity() -> None:
    fine = Level(rate_per_s=1.0, n=5000, bad=5, tau=1.0, served_per_s=1.0)
    dead = Level(rate_per_s=2.0, n=5000, bad=5000, tau=1.0, served_per_s=0.0)
    slow = replace(dead, served_per_s=0.9)
    assert from_levels([fine, dead], 0.01).answer is Answer.TARGET_FAILED
    assert "from 2/s on not one request succeeded" in from_levels([fine, dead], 0.01).note
    assert from_levels([fine, slow], 0.01).answer is Answer.CERTIFIED


def test_band_goes_with_a_simulated_target_only(command: Command) -> None:
    answer = command("capacity", SMOKE, "--target", "http://127.0.0.1:9", *SLO, "--band")
    assert answer.code == 2
    assert "--band" in answer.err
