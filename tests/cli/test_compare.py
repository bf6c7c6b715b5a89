from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import CLUSTERS, SCENARIOS, Answer, Command

CLUSTER = CLUSTERS / "t4-14b.toml"


@pytest.fixture
def runs(tmp_path: Path, command: Command) -> Path:
    """Three seeds on a cluster and on one that is 5 % slower, in base/ and candidate/."""
    slow = tmp_path / "slow.toml"
    fault = '\n[[faults]]\nkind = "slow_gpu"\npool = "llm"\nreplica = 0\ngpu = 0\nspeed = 0.952\nat_s = 0\nfor_s = 100000\n'
    slow.write_text(CLUSTER.read_text() + fault)
    for side, cluster in (("base", CLUSTER), ("candidate", slow)):
        for seed in ("1", "2", "3"):
            arguments = ("run", SCENARIOS / "smoke.toml", "--target", f"sim:{cluster}", "--seed", seed, "--no-report", "-q")
            assert command(*arguments, "--out", tmp_path / side / seed).code == 0
    return tmp_path


def compared(answer: Answer) -> dict[str, object]:
    assert answer.code == 0, answer.err
    document = json.loads(answer.out)
    assert document["schema"] == "loadlab/compare/1"
    (comparison,) = document["comparisons"]
    return dict(comparison)


def test_folders_of_equal_plans_are_pairs_and_a_slow_gpu_is_worse(runs: Path, command: Command) -> None:
    found = compared(command("compare", runs / "base", runs / "candidate", "--metric", "tpot.p50", "--metric", "success_rate", "--json"))
    assert (found["design"], found["pairs"]) == ("pairs", 3)
    tpot, success = found["metrics"]  # type: ignore[misc]
    assert tpot["finding"] == "worse"
    assert 0.04 < tpot["effect"]["value"] < 0.07
    assert tpot["effect"]["low"] < tpot["effect"]["value"] < tpot["effect"]["high"]
    assert success["finding"] == "no difference shown"
    assert len(tpot["pairs"]) == 3


def test_one_pair_says_what_it_cannot_say(runs: Path, command: Command) -> None:
    answer = command("compare", runs / "base" / "1", runs / "candidate" / "1")
    assert "One pair" in answer.out
    assert "do not say how the targets differ" in " ".join(answer.out.split())


def test_other_seeds_are_strangers_and_that_is_said(runs: Path, command: Command) -> None:
    answer = command("compare", runs / "base" / "1", runs / "candidate" / "2", "--json")
    assert compared(answer)["design"] == "unpaired, one run a side"
    assert "Unpaired" in answer.err


def test_a_run_compared_with_itself_differs_by_nothing(runs: Path, command: Command) -> None:
    found = compared(command("compare", runs / "base", runs / "base", "--json", "-q"))
    assert {m["effect"]["value"] for m in found["metrics"]} == {0.0}  # type: ignore[attr-defined]


def test_what_cannot_be_compared_is_one_clear_error(runs: Path, command: Command) -> None:
    (runs / "empty").mkdir()
    shutil.copytree(runs / "base" / "1", runs / "torn")
    rows = (runs / "torn" / "requests.jsonl").read_text().splitlines(keepends=True)
    (runs / "torn" / "requests.jsonl").write_text("".join([*rows[:6], '{"seq": oops}\n', *rows[7:]]))
    for path, said in (
        (runs / "empty", "holds no run directory"),
        (runs / "absent", "does not exist"),
        (runs / "slow.toml", "is a file"),
        (runs / "torn", "requests.jsonl: line 7: is not JSON"),
    ):
        answer = command("compare", runs / "base", path)
        assert (answer.code, answer.out) == (2, "")
        assert answer.err.startswith("error: ")
        assert said in answer.err
        assert str(path) in answer.err
    assert "did you mean" in command("compare", runs / "base", runs / "base", "--metric", "tfft.p99").err


def test_folders_of_several_scenarios_are_compared_one_by_one(runs: Path, command: Command) -> None:
    other = runs / "other.toml"
    other.write_text((SCENARIOS / "smoke.toml").read_text().replace('name = "smoke"', 'name = "other"'))
    for side in ("base", "candidate"):
        target = f"sim:{CLUSTER if side == 'base' else runs / 'slow.toml'}"
        assert command("run", other, "--target", target, "--no-report", "-q", "--out", runs / side / "z").code == 0
    answer = command("compare", runs / "base", runs / "candidate", "--json", "-q", "--metric", "tpot.p50")
    found = json.loads(answer.out)["comparisons"]
    assert [(one["scenario"], one["design"]) for one in found] == [("smoke", "pairs"), ("other", "one pair")]
    (runs / "alone").mkdir()
    shutil.copytree(runs / "base" / "1", runs / "alone" / "1")
    assert json.loads(command("compare", runs / "alone", runs / "candidate", "--json", "-q").out)["comparisons"][0]["scenario"] == "smoke"


def test_simulated_pairs_that_share_their_noise_say_so(runs: Path, command: Command) -> None:
    assert "both sides with the same noise" in command("compare", runs / "base", runs / "candidate").out
