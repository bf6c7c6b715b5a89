from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import Command
from tests.cli.planted import cluster, scenario, slow_gpu


@pytest.fixture
def runs(tmp_path: Path, command: Command) -> Path:
    """base/1 .. 3 on a healthy cluster, slower/1 .. 3 on one that is a tenth slower; the same seeds."""
    file = scenario(tmp_path, requests=60)
    cluster(tmp_path, "healthy")
    cluster(tmp_path, "slower", fault=slow_gpu(0.9))
    for side, name in (("base", "healthy"), ("slower", "slower")):
        for seed in ("1", "2", "3"):
            target = f"sim:{tmp_path / name}.toml"
            assert command("run", file, "--target", target, "--seed", seed, "--no-report", "-q", "--out", tmp_path / side / seed).code == 0
    return tmp_path


@pytest.fixture
def saved(runs: Path, command: Command) -> Path:
    assert command("baseline", "save", runs / "base", runs / "b.json").code == 0
    return runs / "b.json"


def test_a_saved_baseline_is_small_and_shows_what_it_holds(runs: Path, saved: Path, command: Command) -> None:
    assert saved.stat().st_size < 10_000
    shown = command("baseline", "show", saved)
    assert shown.code == 0
    for words in ("gated", "healthy.toml", "seeds 1, 2, 3", "ttft.p99", "180 requests planned"):
        assert words in shown.out
    assert "3 runs know little" in shown.err
    again = command("baseline", "save", runs / "base", saved)
    assert (again.code, "exists" in again.err) == (2, True)


def test_what_is_saved_and_what_an_update_changed_are_json_too(runs: Path, command: Command) -> None:
    file = runs / "json.json"
    answer = command("baseline", "save", runs / "base", file, "--json")
    assert (answer.code, answer.out) == (0, file.read_text())
    changed = json.loads(command("baseline", "update", runs / "slower", file, "--json").out)
    (told,) = changed["comparisons"]
    assert (told["design"], told["pairs"]) == ("pairs", 3)
    assert {"ttft.p99", "tpot.p50"} <= {metric["metric"] for metric in told["metrics"]}
    assert command("baseline", "show", file, "--json").out != answer.out


def test_runs_of_the_same_seeds_are_paired_with_it(runs: Path, saved: Path, command: Command) -> None:
    answer = command("gate", runs / "slower", "--baseline", saved, "--margin", "tpot.p50=3%", "--json", "-q")
    document = json.loads(answer.out)
    assert (answer.code, document["verdict"]) == (99, "regressed")
    assert (document["comparison"]["design"], document["comparison"]["pairs"]) == ("pairs", 3)
    same = json.loads(command("gate", runs / "base", "--baseline", saved, "--json", "-q").out)
    assert same["verdict"] == "passed"
    assert {metric["effect"]["value"] for metric in same["comparison"]["metrics"]} <= {0.0} | {
        value for metric in same["comparison"]["metrics"] if (value := metric["effect"]["value"]) is not None and abs(value) < 1e-8
    }


def test_the_gate_can_run_the_candidates_of_a_baseline_itself(runs: Path, saved: Path, command: Command) -> None:
    arguments = ("gate", "--scenario", runs / "gated.toml", "--target", f"sim:{runs / 'slower.toml'}", "--baseline", saved, "--pairs", "3")
    document = json.loads(command(*arguments, "--margin", "tpot.p50=3%", "--out", runs / "out", "--json", "-q").out)
    assert document["verdict"] == "regressed"
    assert [run["seed"] for run in document["comparison"]["candidate"]] == [1, 2, 3]


def test_a_changed_scenario_refuses_to_compare_until_it_is_meant(runs: Path, saved: Path, command: Command) -> None:
    file = scenario(runs, requests=61)
    target = ("--target", f"sim:{runs / 'healthy.toml'}")
    refused = command("gate", "--scenario", file, *target, "--baseline", saved, "--out", runs / "out")
    assert (refused.code, "another scenario" in refused.err) == (2, True)
    assert "load.requests was 60 and is 61." in refused.err, "the one key that was changed"
    assert not (runs / "out").exists(), "nothing ran"
    for seed in ("1", "2"):
        command("run", file, *target, "--seed", seed, "--no-report", "-q", "--out", runs / "new" / seed)
    assert "another scenario" in command("gate", runs / "new", "--baseline", saved).err
    assert command("baseline", "update", runs / "new", saved).code == 2
    assert command("baseline", "update", runs / "new", saved, "--new-scenario").code == 0
    assert command("gate", runs / "new", "--baseline", saved).code == 0


def test_a_baseline_without_its_scenario_says_that_it_cannot_name_the_keys(runs: Path, saved: Path, command: Command) -> None:
    table = json.loads(saved.read_text())
    assert "thresholds" not in table.pop("scenario")
    saved.write_text(json.dumps(table))
    assert command("gate", runs / "base", "--baseline", saved).code == 0, "files from before still do"
    file = scenario(runs, requests=61)
    refused = command("gate", "--scenario", file, "--target", f"sim:{runs / 'healthy.toml'}", "--baseline", saved, "--out", runs / "out")
    assert "which keys differ is not known" in refused.err


def test_runs_come_before_the_file_in_every_order_of_verbs(runs: Path, saved: Path, command: Command) -> None:
    answer = command("baseline", "update", saved, runs / "slower")
    assert (answer.code, "runs come first" in answer.err) == (2, True)


def test_an_update_prints_what_changed(runs: Path, saved: Path, command: Command) -> None:
    answer = command("baseline", "update", runs / "slower", saved)
    assert answer.code == 0
    assert "WORSE" in answer.out
    assert command("gate", runs / "slower", "--baseline", saved).code == 0


def test_metrics_of_ones_own_are_kept_and_others_are_refused(runs: Path, saved: Path, command: Command) -> None:
    margin = ("--margin", "tpot.p99{class=chat}=50%")
    refused = command("gate", runs / "base", "--baseline", saved, *margin)
    assert refused.code == 2
    assert "was saved without tpot.p99{class=chat}" in refused.err
    assert command("baseline", "save", runs / "base", runs / "c.json", "--metric", "tpot.p99{class=chat}").code == 0
    assert command("gate", runs / "base", "--baseline", runs / "c.json", *margin).code == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: is not JSON"),
        ('{\n"schema": "loadlab/baseline/1",\n oops}', "line 3: is not JSON"),
        ("[]", "schema = None must be 'loadlab/baseline/1'"),
        ('{"schema": "loadlab/baseline/2"}', "schema = 'loadlab/baseline/2' must be"),
        ('{"schema": "loadlab/baseline/1"}', "name = None must be str"),
    ],
)
def test_a_broken_baseline_is_one_clear_error(tmp_path: Path, command: Command, text: str, said: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    answer = command("baseline", "show", path)
    assert (answer.code, answer.out) == (2, "")
    assert f"error: {path}: " in answer.err
    assert said in answer.err


def test_damage_inside_a_baseline_is_named(saved: Path, command: Command) -> None:
    table = json.loads(saved.read_text())
    for damage, said in (
        (lambda t: t["runs"][1].update(seed="x"), "runs[1].seed = 'x' must be int"),
        (lambda t: t["runs"][0]["metrics"].update({"ttft.p50": 3}), "runs[0].metrics.ttft.p50 must be {value, smoothed}"),
        (lambda t: t["runs"][2]["metrics"].pop("ttft.p50"), "do not all have the same metrics"),
        (lambda t: t.update(runs=[]), "must have at least one run"),
    ):
        broken = json.loads(json.dumps(table))
        damage(broken)
        saved.write_text(json.dumps(broken))
        assert said in command("baseline", "show", saved).err
