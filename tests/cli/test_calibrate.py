"""`loadlab calibrate` as a person calls it: over HTTP, refused, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadlab.simulator.files import load_cluster
from tests.campaign.test_calibrate import cluster, run
from tests.cli.command import Command
from tests.server.running import plain_cluster, running

HTTP = """schema = "loadlab/scenario/1"
name = "small"
load = { kind = "open_loop", requests = 100, arrivals = { kind = "poisson", rate_per_s = 25 } }
[classes.chat]
model = "m"
prompt_tokens = { kind = "uniform", min = 20, max = 400 }
output_tokens = { kind = "uniform", min = 4, max = 24 }
"""


def test_a_run_over_http_calibrates_a_cluster(command: Command, tmp_path: Path) -> None:
    """The bundled server with a step of 20 ms, and a file that says 12."""
    (tmp_path / "s.toml").write_text(HTTP)
    with running(plain_cluster(step_s=0.02, per_prefill_token_s=1e-4)) as server:
        answer = command("run", tmp_path / "s.toml", "--target", server.url, "--model", "m", "--out", tmp_path / "run", "--no-report", "-q")
    assert answer.code in (0, 98), answer.err
    if answer.code == 98:
        pytest.skip("this machine was too busy to measure")
    wrong = cluster(tmp_path / "c.toml", step_s=0.012, per_decode_s=0.0, per_prefill_token_s=0.5e-4)
    out = tmp_path / "fitted.toml"
    answer = command("calibrate", tmp_path / "run", "--cluster", wrong, "--out", out, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["schema"] == "loadlab/calibration/1"
    after = {row["name"]: row["after"] for row in found["constants"]}
    assert after["step_s"] + 0.0 == pytest.approx(0.02, rel=0.15)
    assert found["runs"][0]["plan_digest"] in load_cluster(out).calibration.runs  # type: ignore[union-attr]
    assert out.with_suffix(".svg").read_text().startswith("<svg xmlns=")
    again = command("calibrate", tmp_path / "run", "--cluster", wrong, "--out", out)
    assert again.code == 2
    assert "--replace" in again.err


def test_a_refusal_writes_no_cluster_and_exits_99(command: Command, tmp_path: Path) -> None:
    slow = cluster(tmp_path / "slow.toml", step_s=0.5, per_decode_s=0.0, per_prefill_token_s=0.0)
    path = run(slow, tmp_path / "x", 0.4, 60)
    answer = command("calibrate", path, "--cluster", cluster(tmp_path / "fast.toml", step_s=0.002), "--out", tmp_path / "no.toml")
    assert answer.code == 99
    assert "REFUSED" in answer.out
    assert "No constants make this cluster do what the target did" in answer.out
    assert not (tmp_path / "no.toml").exists()
