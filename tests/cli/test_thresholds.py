"""Thresholds on the command line: words checked before the run, verdicts on the screen, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import CLUSTERS, SCENARIOS, Command

SMOKE = ("run", SCENARIOS / "smoke.toml", "--target", f"sim:{CLUSTERS / 't4-14b.toml'}", "--no-report")


@pytest.mark.parametrize(
    ("flags", "code", "said"),
    [
        (["--threshold", "oom.count == 0"], 0, "PASSED"),
        (["--threshold", "e2e.p50 < 1ms"], 99, "FAILED"),
        (["--threshold", "ttft.p99 < 60s"], 0, "UNDECIDED"),
        (["--threshold", "ttft.p99 < 60s", "--undecided", "fail"], 99, "too short to claim"),
        (["--threshold", "attainment > 1%", "--slo", "e2e=50s"], 0, "SLO end to end <= 50.0 s: attained by"),
        (["--slo", "ttft=1ms", "--slo", "target=95%"], 0, "Error budget burns 20"),
    ],
)
def test_verdicts_and_exit_codes(tmp_path: Path, command: Command, flags: list[str], code: int, said: str) -> None:
    answer = command(*SMOKE, "--out", tmp_path / "out", *flags)
    assert answer.code == code
    assert said in answer.out
    again = command("report", tmp_path / "out", "--no-report")
    assert said in again.out, "the run directory remembers what it was held to"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--threshold", "tftt.p95 < 1s"], "error: --threshold = 'tftt' is not a metric; did you mean 'ttft'?"),
        (["--threshold", "goodput > 1/s"], "needs an SLO"),
        (["--threshold", "ttft.p95{class=nobody} < 1s"], "names class 'nobody', which no request has"),
        (["--slo", "ttft"], "error: --slo = 'ttft' must be KEY=LIMIT"),
    ],
)
def test_bad_words_stop_before_anything_is_written(tmp_path: Path, command: Command, flags: list[str], said: str) -> None:
    answer = command(*SMOKE, "--out", tmp_path / "out", *flags)
    assert answer.code == 2
    assert said in answer.err
    assert not (tmp_path / "out").exists()


def test_a_failing_threshold_leaves_the_json_whole_and_the_digest_alone(tmp_path: Path, command: Command) -> None:
    plain = json.loads(command(*SMOKE, "--out", tmp_path / "plain", "--json").out)
    failing = command(*SMOKE, "--out", tmp_path / "failing", "--json", "--threshold", "e2e.p50 < 1ms", "--slo", "ttft=1s")
    summary = json.loads(failing.out)
    assert failing.code == 99
    assert summary["thresholds"][0]["verdict"] == "failed"
    assert summary["scenario_digest"] == plain["scenario_digest"]
    assert summary["metrics"] == plain["metrics"]


def test_equal_runs_are_equal_bytes_with_thresholds_too(tmp_path: Path, command: Command) -> None:
    first, second = (json.loads(command(*SMOKE, "--out", tmp_path / name, "--json", "--slo", "ttft=1s").out) for name in ("a", "b"))
    first.pop("host")
    second.pop("host")
    assert first == second


def test_the_gate_refuses_a_misspelt_class_and_says_a_threshold_once(tmp_path: Path, command: Command) -> None:
    line = "e2e.p50 < 60s"
    assert command(*SMOKE, "--out", tmp_path / "out", "--threshold", line).code == 0
    answer = command("gate", tmp_path / "out", "--threshold", line, "--json", "-q")
    assert [check["threshold"] for check in json.loads(answer.out)["thresholds"]] == [line]
    answer = command("gate", tmp_path / "out", "--threshold", "tpot.p99{class=nobody} < 60ms")
    assert answer.code == 2
    assert "names class 'nobody', which no request of" in answer.err


def test_a_run_that_is_compared_with_itself_is_told(tmp_path: Path, command: Command) -> None:
    assert command(*SMOKE, "--out", tmp_path / "out").code == 0
    assert "is on both sides" in command("compare", tmp_path / "out", tmp_path / "out", "--json").err
