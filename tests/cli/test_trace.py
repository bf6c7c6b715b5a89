"""`loadlab trace` as a person runs it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from loadlab.cli.app import app
from loadlab.cli.trace import _left
from loadlab.errors import ExitCode
from loadlab.scenario.arrivals import Mmpp, arrival_times_s
from loadlab.scenario.files import load_scenario


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    times = arrival_times_s(Mmpp(rates_per_s=(0.2, 20.0), dwell_s=(40.0, 8.0)), np.random.default_rng(1), duration_s=900)
    path = tmp_path / "trace.csv"
    rows = "".join(f"{t:.6f},{50 + k % 300},{5 + k % 40}\n" for k, t in enumerate(times))
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n" + rows)
    return path


def test_inspect_tells_and_draws(trace: Path, tmp_path: Path) -> None:
    picture = tmp_path / "trace.png"
    result = CliRunner().invoke(app, ["trace", "inspect", str(trace), "--out", str(picture)])
    assert result.exit_code == 0, result.output
    assert "dispersion" in result.stdout
    assert picture.read_bytes()[:4] == b"\x89PNG"
    told = orjson.loads(CliRunner().invoke(app, ["trace", "inspect", str(trace), "--json"]).stdout)
    assert told["format"] == "vidur"
    assert [b["window_s"] for b in told["bursts"]] == [1, 10]


def test_fit_writes_a_scenario_and_a_bad_one_exits_99(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "fitted.toml"
    good = CliRunner().invoke(app, ["trace", "fit", str(trace), "--out", str(out), "--figure", str(tmp_path / "fit.svg")])
    assert good.exit_code == 0, good.output
    assert "GOOD FIT" in good.stdout
    assert load_scenario(out).name == "fitted"
    bad = CliRunner().invoke(app, ["trace", "fit", str(trace), "--out", str(out), "--arrivals", "poisson", "--json"])
    assert bad.exit_code == ExitCode.THRESHOLD_FAILED
    assert orjson.loads(bad.stdout)["is_good"] is False
    assert "NOT A GOOD FIT" in out.read_text()


def test_a_trace_without_times_takes_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "timeless.csv"
    path.write_text("num_prefill_tokens,num_decode_tokens\n" + "".join(f"{k % 90 + 1},{k % 7 + 1}\n" for k in range(500)))
    refused = CliRunner().invoke(app, ["trace", "fit", str(path), "--out", str(tmp_path / "x.toml")])
    assert refused.exit_code != 0
    assert "no times" in str(refused.exception)
    fitted = CliRunner().invoke(app, ["trace", "fit", str(path), "--out", str(tmp_path / "x.toml"), "--rate", "2/s"])
    assert fitted.exit_code == 0, fitted.output
    assert "arrivals are assumed" in fitted.stdout


def test_convert_writes_what_inspect_reads(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "ours.parquet"
    result = CliRunner().invoke(app, ["trace", "convert", str(trace), "--out", str(out)])
    assert result.exit_code == 0, result.output
    told = [orjson.loads(CliRunner().invoke(app, ["trace", "inspect", str(p), "--json"]).stdout) for p in (trace, out)]
    assert told[0]["rows"] == told[1]["rows"]
    assert told[0]["bursts"] == told[1]["bursts"]


def test_what_is_left_is_told_once_it_is_no_guess() -> None:
    assert _left(0.25, 3.0) == ", 25%, 9 s left"
    assert _left(0.01, 3.0) == ", 1%, 4 min left"
    assert _left(0.5, 1.0) == _left(None, 9.0) == _left(1.0, 9.0) == _left(0.0, 9.0) == ""


@pytest.fixture
def log_without_failures(tmp_path: Path) -> Path:
    """One of the formats that leave failed requests out, of which a sentence warns that is longer than a terminal is wide."""
    path = tmp_path / "log.csv"
    rows = "".join(f"2023-11-16 18:17:{k:02d}.9799600,{50 + k},{5 + k}\n" for k in range(40))
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + rows)
    return path


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_sentences_wrap_between_words_and_elsewhere_they_are_whole(log_without_failures: Path, width: int) -> None:
    words = ["trace", "inspect", str(log_without_failures)]
    warnings = orjson.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)["warnings"]
    assert max(map(len, warnings)) > width
    shown = CliRunner().invoke(app, words, env={"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width)}).stdout
    assert max(map(len, shown.splitlines())) <= width
    piped = CliRunner().invoke(app, words).stdout
    assert [line == "" for line in map(str.strip, shown.splitlines())].count(True) == piped.splitlines().count("")
    for warning in warnings:
        assert f"beware: {warning}" in piped.splitlines()
        assert f"beware: {warning}" in " ".join(shown.split())  # no word was cut


def test_quiet_says_nothing_and_json_is_alone_on_stdout(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "own.csv"
    quiet = CliRunner().invoke(app, ["trace", "convert", str(trace), "--out", str(out), "-q"])
    assert (quiet.exit_code, quiet.output) == (0, "")
    told = orjson.loads(CliRunner().invoke(app, ["trace", "convert", str(trace), "--out", str(out), "--json"]).stdout)
    assert (told["file"], told["format"], told["rows"]) == (str(out), "vidur", len(trace.read_text().splitlines()) - 1)
    fitted = CliRunner().invoke(app, ["trace", "fit", str(trace), "--out", str(tmp_path / "f.toml"), "--arrivals", "poisson", "-q"])
    assert (fitted.output, (tmp_path / "f.toml").exists()) == ("", True)
