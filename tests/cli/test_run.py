from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import CLUSTERS, SCENARIOS, Command

SMOKE = ("run", SCENARIOS / "smoke.toml", "--target", f"sim:{CLUSTERS / 't4-14b.toml'}")
OUTCOMES = ("ok", "rejected", "oom", "timeout", "http_error", "connection_error", "truncated", "not_sent", "unknown")


def assert_estimate(value: dict[str, Any]) -> None:
    assert set(value) >= {"value", "low", "high", "note"}


def test_json_on_stdout_equals_the_summary_file_and_keeps_the_contract(tmp_path: Path, command: Command) -> None:
    answer = command(*SMOKE, "--out", tmp_path / "out", "--json", "--no-report")
    assert answer.code == 0
    assert answer.out.encode() == (tmp_path / "out" / "summary.json").read_bytes()
    summary = json.loads(answer.out)
    assert summary["schema"] == "loadlab/run/1"
    assert summary["status"] == "complete"
    totals = summary["totals"]
    assert totals["planned"] == 50 == sum(totals[outcome] for outcome in OUTCOMES)
    assert_estimate(totals["success_rate"])
    assert totals["success_rate"]["low"] < 1.0
    for metric in ("ttft_s", "tpot_s", "e2e_s"):
        assert summary["metrics"][metric]["n"] == totals["ok"]
        for percentile in ("p50", "p95", "p99"):
            assert_estimate(summary["metrics"][metric][percentile])
    rows = [json.loads(line) for line in (tmp_path / "out" / "requests.jsonl").read_text().splitlines()]
    ttft = sorted(row["first_token_s"] - row["scheduled_s"] for row in rows if row["outcome"] == "ok")
    assert summary["metrics"]["ttft_s"]["p95"]["value"] == pytest.approx(ttft[-(-95 * len(ttft) // 100) - 1], rel=1e-12)


def test_tables_go_to_stdout_unless_json_takes_it(tmp_path: Path, command: Command) -> None:
    plain = command(*SMOKE, "--out", tmp_path / "plain", "--no-report")
    assert plain.out.startswith("smoke, seed 1, simulated backend, loadlab ")
    assert "TTFT" in plain.out
    assert "rows and summary:" in plain.out
    assert plain.err == ""
    taken = command(*SMOKE, "--out", tmp_path / "taken", "--no-report", "--json")
    assert json.loads(taken.out)["name"] == "smoke"
    assert taken.err.replace("taken", "plain") == plain.out
    assert "TTFT" in command("report", tmp_path / "plain", "--no-report").out


def test_a_reader_that_leaves_does_not_stop_the_run(tmp_path: Path) -> None:
    process = start(*SMOKE, "--out", tmp_path / "out")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert (tmp_path / "out" / "report.html").exists()


def test_equal_seeds_give_equal_bytes_and_other_seeds_others(tmp_path: Path, command: Command) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert command(*SMOKE, "--out", tmp_path / name, "--seed", str(seed), "--no-report", "-q").code == 0

    def rows(name: str) -> bytes:
        return (tmp_path / name / "requests.jsonl").read_bytes()

    def summary(name: str) -> dict[str, Any]:
        return {k: v for k, v in json.loads((tmp_path / name / "summary.json").read_bytes()).items() if k != "host"}

    assert rows("a") == rows("b") != rows("c")
    assert summary("a") == summary("b") != summary("c")


def test_a_trace_is_replayed_with_its_exact_times_and_lengths(tmp_path: Path, command: Command) -> None:
    """Four rows, one of them beyond the model's window of 4,096 tokens: refused, counted, and the reason given."""
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens", *(f"2023-11-16 18:17:{s},{c},{g}" for s, c, g in ROWS)]
    (tmp_path / "trace.csv").write_bytes("\r\n".join(lines).encode())
    arguments = ("run", SCENARIOS / "replay.toml", "--trace", tmp_path / "trace.csv", *SMOKE[2:], "--no-report", "-q")
    assert command(*arguments, "--out", tmp_path / "all").code == 0
    rows = [json.loads(line) for line in (tmp_path / "all" / "requests.jsonl").read_text().splitlines()]
    assert [row["scheduled_s"] for row in rows] == pytest.approx([0.0, 0.5200001, 3.0, 10.25])
    assert [row["prompt_tokens"] for row in rows] == [480, 4808, 110, 34]
    assert [(row["outcome"], row["cause"]) for row in rows] == [("ok", None), ("rejected", "context_length"), ("ok", None), ("ok", None)]
    assert [row["output_tokens"] for row in rows] == [10, 0, 27, 12]
    assert json.loads((tmp_path / "all" / "summary.json").read_bytes())["causes"] == {"context_length": 1}
    assert command(*arguments, "--window-start", "2s", "--window", "5s", "--out", tmp_path / "part").code == 0
    (only,) = (tmp_path / "part" / "requests.jsonl").read_text().splitlines()
    assert json.loads(only)["scheduled_s"] == pytest.approx(1.0)


ROWS = [("03.9799600", 480, 10), ("04.4999601", 4808, 10), ("06.9799600", 110, 27), ("14.2299600", 34, 12)]

AZURE = Path(__file__).parents[3] / "shared" / "data" / "traces" / "azure" / "AzureLLMInferenceTrace_conv.csv"


@pytest.mark.skipif(not AZURE.exists(), reason="the Azure slices are not beside this checkout")
def test_a_window_of_a_real_trace_is_replayed_whole(tmp_path: Path, command: Command) -> None:
    arguments = ("run", SCENARIOS / "replay.toml", "--trace", AZURE, "--window", "120s", *SMOKE[2:], "--no-report", "-q", "--json")
    summary = json.loads(command(*arguments, "--out", tmp_path / "out").out)
    assert summary["totals"]["planned"] == sum(summary["totals"][outcome] for outcome in OUTCOMES) > 100


def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "loadlab.cli.app", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def wait_for(path: Path, process: subprocess.Popen[bytes], min_bytes: int = 0) -> None:
    """Until another process has made `path`, and written so much there; a minute at most."""
    deadline = time.monotonic() + 60
    while not (path.exists() and path.stat().st_size >= min_bytes) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    assert path.exists()


def test_a_campaign_killed_in_the_middle_resumes_to_the_rows_of_an_undisturbed_one(tmp_path: Path, command: Command) -> None:
    campaign = SCENARIOS / "t4-study"
    process = start("run", campaign, "--seed", "3", "--out", tmp_path / "killed", "--no-report", "-q")
    wait_for(tmp_path / "killed" / "E07" / "requests.jsonl", process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / "summary.json").exists()
    assert command("run", campaign, "--seed", "3", "--resume", tmp_path / "killed", "--no-report", "-q").code == 0
    assert command("run", campaign, "--seed", "3", "--out", tmp_path / "whole", "--no-report", "-q").code == 0
    for path in sorted((tmp_path / "whole").rglob("*.jsonl")):
        assert (tmp_path / "killed" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_keeps_what_was_recorded_and_exits_130(tmp_path: Path, number: signal.Signals) -> None:
    process = start("run", SCENARIOS / "t4-study", "--out", tmp_path / "out", "--no-report", "-q")
    wait_for(tmp_path / "out" / "E05" / "requests.jsonl", process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.startswith(b"interrupted: what was recorded is kept in ")
    assert b"--resume" in err
    assert b"error" not in err
    assert b"Traceback" not in err
    summary = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["status"] == "aborted"
    assert summary["totals"]["planned"] == 7310 == sum(summary["totals"][outcome] for outcome in OUTCOMES)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, loadlab.cli.app; print([m for m in ('numpy', 'matplotlib', 'rich', 'jinja2', 'orjson') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_an_interrupted_single_run_has_a_summary_and_prints_it(tmp_path: Path) -> None:
    """A slow enough run: a hundred thousand requests."""
    text = (SCENARIOS / "smoke.toml").read_text().replace("requests = 50", "requests = 200000")
    (tmp_path / "long.toml").write_text(text)
    process = start("run", tmp_path / "long.toml", *SMOKE[2:], "--out", tmp_path / "out", "--no-report", "-q", "--json")
    wait_for(tmp_path / "out" / "requests.jsonl", process, min_bytes=1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in err
    assert out == (tmp_path / "out" / "summary.json").read_bytes()
    totals = json.loads(out)["totals"]
    assert totals["planned"] == 200_000 == sum(totals[outcome] for outcome in OUTCOMES)
    assert totals["not_sent"] > 0


def test_a_full_stdout_is_said_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "loadlab.cli.app", "--version"]
        answer = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr


def test_failed_rows_of_a_trace_are_left_out_with_a_warning(tmp_path: Path, command: Command) -> None:
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:17:03.9799600,480,10", "2023-11-16 18:17:04.9799600,0,5"]
    (tmp_path / "trace.csv").write_bytes("\r\n".join(lines).encode())
    arguments = ("run", SCENARIOS / "replay.toml", "--trace", tmp_path / "trace.csv", *SMOKE[2:], "--no-report")
    answer = command(*arguments, "--out", tmp_path / "out", "--json")
    assert "warning: " in answer.err
    assert json.loads(answer.out)["totals"]["planned"] == 1
