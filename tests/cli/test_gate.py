"""The gate from the command line to its exit code: planted regressions and an improvement on noisy simulated clusters."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from loadlab.record.manifest import Status, load_manifest, save_manifest
from tests.cli.command import SCENARIOS, Answer, Command
from tests.cli.planted import cluster, kv_cluster, scenario, slow_gpu

P50 = ("--margin", "tpot.p50=2%", "--margin", "ttft.p50=10%")


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with a scenario, a healthy noisy cluster, and what was planted in others."""
    scenario(tmp_path)
    cluster(tmp_path, "healthy")
    cluster(tmp_path, "five-percent-slower", fault=slow_gpu(0.95) + slow_gpu(0.95, gpu=1))
    cluster(tmp_path, "slow-shard", fault=slow_gpu(0.7, gpu=1))
    return tmp_path


def gate(
    command: Command, folder: Path, target: str, base: str, *arguments: str | Path, rate: float | None = None
) -> tuple[Answer, dict[str, Any]]:
    """Five pairs of the folder's scenario."""
    file = folder / "gated.toml" if rate is None else scenario(folder, rate=rate)
    where = ("--out", folder / "out", "--json", "-q")
    sides = ("--target", f"sim:{folder / target}.toml", "--baseline-target", f"sim:{folder / base}.toml")
    answer = command("gate", "--scenario", file, *sides, *arguments, *where)
    assert answer.out, answer.err
    document: dict[str, Any] = json.loads(answer.out)
    assert (document["schema"], document["exit_code"]) == ("loadlab/gate/1", answer.code)
    return answer, document


def checks_of(document: dict[str, Any]) -> dict[str, str]:
    return {check["metric"]: check["verdict"] for check in document["checks"]}


@pytest.mark.parametrize("seed", ["1", "50"])
def test_a_gpu_that_is_five_percent_slower_regresses(planted: Path, command: Command, seed: str) -> None:
    answer, document = gate(command, planted, "five-percent-slower", "healthy", *P50, "--seed", seed)
    assert (answer.code, document["verdict"]) == (99, "regressed")
    assert checks_of(document)["tpot.p50"] == "regressed"
    (tpot,) = (check for check in document["checks"] if check["metric"] == "tpot.p50")
    assert tpot["effect"]["low"] > 0.02
    assert document["comparison"]["pairs"] == 5


@pytest.mark.parametrize("seed", ["1", "50"])
def test_a_target_against_itself_passes(planted: Path, command: Command, seed: str) -> None:
    answer, document = gate(command, planted, "healthy", "healthy", *P50, "--seed", seed)
    assert (answer.code, document["verdict"]) == (0, "passed")
    assert any(x != 0 for check in document["checks"] for x in check["pairs"]), "two runs of a noisy cluster differ"


def test_one_slow_shard_regresses(planted: Path, command: Command) -> None:
    _, document = gate(command, planted, "slow-shard", "healthy")
    assert document["verdict"] == "regressed"
    assert {"tpot.p50", "e2e.p50"} <= {name for name, verdict in checks_of(document).items() if verdict == "regressed"}


def test_a_fifth_less_kv_regresses_where_kv_is_what_binds(planted: Path, command: Command) -> None:
    base, candidate = kv_cluster(planted, 6000).stem, kv_cluster(planted, 4800).stem
    _, document = gate(command, planted, candidate, base, rate=10)
    assert document["verdict"] == "regressed"
    assert checks_of(document)["ttft.p50"] == "regressed"
    assert checks_of(document)["tpot.p50"] == "passed"  # fewer run at once


def test_an_improvement_passes_and_is_called_better(planted: Path, command: Command) -> None:
    answer, document = gate(command, planted, "healthy", "five-percent-slower", *P50)
    assert (answer.code, document["verdict"]) == (0, "passed")
    (tpot,) = (metric for metric in document["comparison"]["metrics"] if metric["metric"] == "tpot.p50")
    assert tpot["finding"] == "better"


def test_a_margin_at_the_difference_is_inconclusive_and_the_flag_decides(planted: Path, command: Command) -> None:
    margin = ("--margin", "tpot.p50=5%")
    answer, document = gate(command, planted, "five-percent-slower", "healthy", *margin)
    assert (answer.code, document["verdict"]) == (99, "inconclusive")
    runs = planted / "out"
    passing = command("gate", runs / "candidate", "--baseline", runs / "base", *margin, "--inconclusive", "pass", "--json", "-q")
    assert (passing.code, json.loads(passing.out)["verdict"]) == (0, "inconclusive")
    assert json.loads(passing.out)["checks"][0]["effect"] == document["checks"][0]["effect"]


def test_outputs_are_written_and_the_runs_can_be_judged_again(planted: Path, command: Command) -> None:
    files = ("--junit", planted / "gate.xml", "--markdown", planted / "gate.md")
    gate(command, planted, "slow-shard", "healthy", "--pairs", "3", *files)
    assert "<failure" in (planted / "gate.xml").read_text()
    assert (planted / "gate.md").read_text().startswith("## loadlab gate, gated: regressed")
    again = command("gate", planted / "out" / "candidate", "--baseline", planted / "out" / "base")
    assert again.code == 99
    assert again.out.startswith("REGRESSED: ")
    assert command("compare", planted / "out" / "base", planted / "out" / "candidate", "-q").code == 0


def test_thresholds_judge_runs_without_a_base(planted: Path, command: Command) -> None:
    target = ("--target", f"sim:{planted / 'healthy.toml'}")
    assert command("run", planted / "gated.toml", *target, "--out", planted / "run", "--no-report", "-q").code == 0
    assert "has no thresholds" in command("gate", planted / "run").err
    keeps, breaks, open_ = "oom.count == 0", "ttft.p50 < 1ms", "e2e.p99 < 1h"
    passed = command("gate", planted / "run", "--threshold", keeps, "--threshold", "success_rate >= 50%", "--json", "-q")
    assert (passed.code, json.loads(passed.out)["verdict"]) == (0, "passed")
    failing = command("gate", planted / "run", "--threshold", keeps, "--threshold", breaks, "--junit", planted / "t.xml")
    assert failing.code == 99
    assert failing.out.startswith("FAILED: ttft.p50 < 1ms")
    assert (planted / "t.xml").read_text().count("<failure") == 1
    for arguments, code in (((), 99), (("--inconclusive", "pass"), 0)):
        undecided = command("gate", planted / "run", "--threshold", open_, *arguments, "--json", "-q")
        assert (undecided.code, json.loads(undecided.out)["verdict"]) == (code, "inconclusive")
        assert json.loads(undecided.out)["thresholds"][0]["suffices_n"] > 200


def test_thresholds_of_a_candidate_stand_beside_its_margins(planted: Path, command: Command) -> None:
    _, document = gate(command, planted, "healthy", "healthy", *P50, "--pairs", "2", "--threshold", "ttft.p50 < 1ms")
    assert document["verdict"] == "failed"
    assert [row["verdict"] for row in document["thresholds"]] == ["failed", "failed"]


def test_more_pairs_can_be_demanded_than_there_are(planted: Path, command: Command) -> None:
    gate(command, planted, "healthy", "healthy", "--pairs", "2", *P50)
    runs = ("gate", planted / "out" / "candidate", "--baseline", planted / "out" / "base", "--pairs", "5", "--json", "-q")
    document = json.loads(command(*runs).out)
    assert (document["verdict"], document["more_pairs"]) == ("inconclusive", 3)


def test_a_run_that_did_not_end_never_passes(planted: Path, command: Command) -> None:
    gate(command, planted, "healthy", "healthy", *P50)
    path = planted / "out" / "candidate" / "2"
    save_manifest(path, load_manifest(path).with_status(Status.ABORTED))
    for arguments in ((), ("--inconclusive", "pass")):
        answer = command("gate", planted / "out" / "candidate", "--baseline", planted / "out" / "base", *P50, *arguments)
        assert answer.code == 97
        assert answer.out.startswith("INCOMPLETE: ")


def test_the_self_test_prints_noise_and_what_could_be_detected(planted: Path, command: Command) -> None:
    target = f"sim:{planted / 'healthy'}.toml"
    answer = command("gate", "--scenario", planted / "gated.toml", "--target", target, "--self-test", "--out", planted / "out")
    assert answer.code == 0
    for words in ("noise", "detectable", "pairs to pass", "ttft.p99", "5 pairs"):
        assert words in answer.out
    assert "no noise at all" not in answer.out
    document = json.loads(
        command("gate", "--scenario", planted / "gated.toml", "--target", target, "--self-test", "--json", "-q", "--out", planted / "b").out
    )
    noise = {row["metric"]: row for row in document["noise"]}
    assert 0 < noise["tpot.p50"]["noise"] < 0.05
    assert noise["tpot.p50"]["detectable"] > 0


def test_a_target_without_noise_says_that_it_shows_nothing(planted: Path, command: Command) -> None:
    text = (planted / "healthy.toml").read_text()
    quiet = planted / "quiet.toml"
    quiet.write_text(re.sub(r"step_noise_cv = [0-9.]+", "step_noise_cv = 0", text))
    assert quiet.read_text() != text
    answer = command("gate", "--scenario", planted / "gated.toml", "--target", f"sim:{quiet}", "--self-test", "--out", planted / "out")
    assert "no noise at all" in answer.out


def test_another_scenario_is_no_base(planted: Path, command: Command) -> None:
    for name, file in (("a", SCENARIOS / "smoke.toml"), ("b", planted / "gated.toml")):
        command("run", file, "--target", f"sim:{planted / 'healthy.toml'}", "--out", planted / name, "--no-report", "-q")
    answer = command("gate", planted / "b", "--baseline", planted / "a")
    assert answer.code == 2
    assert "another scenario" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "CANDIDATE is missing"),
        (("runs/a",), "runs/a: does not exist"),
        (("runs/a", "--margin", "ttft.p50=5%"), "--margin needs --baseline"),
        (("runs/a", "--threshold", "ttft.p95 < fast"), "--threshold = 'ttft.p95 < fast'"),
        (("runs/a", "--baseline", "runs/a"), "runs/a: does not exist"),
        (("runs/a", "--baseline", "runs/b", "--margin", "ttft.p99"), "--margin = 'ttft.p99' is not a margin"),
        (("runs/a", "--baseline", "runs/b", "--target", "sim:x"), "--target needs --scenario"),
        (("--scenario", "gated.toml", "--target", "sim:healthy.toml"), "needs one of --baseline-target"),
        (("--scenario", "gated.toml", "--target", "healthy.toml", "--self-test"), "--target = 'healthy.toml' must be sim:"),
        (("--scenario", "gated.toml", "--target", "sim:absent.toml", "--self-test"), "absent.toml"),
    ],
)
def test_bad_usage_is_one_clear_error(
    planted: Path, command: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(planted)
    answer = command("gate", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("error: ")
    assert said in answer.err
    assert not (planted / "runs").exists()


def test_an_interrupt_keeps_whole_pairs(planted: Path) -> None:
    scenario(planted, requests=1000)
    sides = [f"sim:{planted / 'healthy.toml'}"] * 2
    arguments = ["gate", "--scenario", str(planted / "gated.toml"), "--target", sides[0], "--baseline-target", sides[1], "--pairs", "50"]
    process = subprocess.Popen(
        [sys.executable, "-m", "loadlab.cli.app", *arguments, "--out", str(planted / "out")], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (planted / "out" / "base" / "2").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted: whole pairs are kept" in err
    assert (planted / "out" / "base" / "1" / "summary.json").exists()


@pytest.mark.slow
def test_two_endpoints_over_http_are_gated_in_turn(tmp_path: Path, command: Command) -> None:
    """Real sockets: the bundled server with a step of 20 ms, and with one of 30."""
    from loadlab.simulator.files import load_cluster
    from tests.server.running import running

    file = scenario(tmp_path, requests=40, rate=20)
    base = kv_cluster(tmp_path, 60000)
    slower = tmp_path / "slower.toml"
    slower.write_text(base.read_text().replace("step_s = 0.02", "step_s = 0.03"))
    with running(load_cluster(base)) as one, running(load_cluster(slower)) as other:
        targets = ("--target", f"http://127.0.0.1:{other.port}", "--baseline-target", f"http://127.0.0.1:{one.port}", "--model", "llm-14b")
        arguments = ("--pairs", "3", "--margin", "tpot.p50=10%", "--out", tmp_path / "out", "--json", "-q")
        answer = command("gate", "--scenario", file, *targets, *arguments)
    document = json.loads(answer.out)
    assert (answer.code, document["verdict"]) in ((99, "regressed"), (98, "invalid")), "invalid: this machine was too busy to send in time"
    assert document["comparison"]["design"] == "pairs"
    (tpot,) = (check for check in document["checks"] if check["metric"] == "tpot.p50")
    assert tpot["effect"]["low"] > 0.1
    assert load_manifest(tmp_path / "out" / "base" / "1").engine == "locust"


def test_pairs_of_shipped_scenarios_and_clusters_are_found_by_name(command: Command, tmp_path: Path) -> None:
    flags = ("--scenario", "smoke", "--target", "sim:t4-14b", "--baseline-target", "sim:t4-14b", "--pairs", 5)
    answer = command("gate", *flags, "--margin", "tpot.p50=5%", "--out", tmp_path / "pairs")
    assert answer.code == 0, answer.err
