"""Calibrations whose truth is known: runs of one cluster file correct another; unfit runs are left out; what does not fit is refused."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w

from loadlab.campaign.calibrate import calibrate, calibrate_observed, save_cluster
from loadlab.campaign.imports.recording import Tool, import_file
from loadlab.campaign.kv_use import kv_use
from loadlab.campaign.observed import observe, plan_rows
from loadlab.campaign.trial import prepare, record
from loadlab.errors import InputError
from loadlab.record.run_dir import RunDir
from loadlab.scenario.build import build_plan
from loadlab.scenario.model import Scenario
from loadlab.simulator.files import load_cluster
from tests.cli.command import Command
from tests.planning.slo_cases import scenario
from tests.record.examples import HOST

TODAY = "2026-01-14"
FILE: dict[str, Any] = {
    "schema": "loadlab/cluster/1",
    "name": "truth",
    "pools": {
        "p": {
            "serves": ["m"],
            "hardware": {"kind": "constants", "step_s": 0.02, "per_decode_s": 0.35e-3, "per_prefill_token_s": 0.11e-3, "kv_tokens": 60_000},
            "engine": {"max_running": 64, "max_batched_tokens": 1024},
        }
    },
}


def cluster(path: Path, engine: dict[str, Any] | None = None, **hardware: Any) -> Path:
    pool = FILE["pools"]["p"]
    changed = pool | {"hardware": pool["hardware"] | hardware, "engine": pool["engine"] | (engine or {})}
    path.write_text(tomli_w.dumps(FILE | {"pools": {"p": changed}}))
    return path


def run(truth: Path, out: Path, rate_per_s: float, requests: int = 250, seed: int = 1, of: Scenario | None = None) -> Path:
    record(prepare(of or scenario(rate_per_s, requests), truth, seed), out, HOST, lambda *_: None)
    return out


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    truth = cluster(tmp_path / "truth.toml")
    return [run(truth, tmp_path / f"run{rate}", rate, seed=int(rate)) for rate in (2.0, 3.0)]


def test_wrong_constants_are_corrected_and_their_source_written(runs: list[Path], tmp_path: Path) -> None:
    wrong = cluster(tmp_path / "wrong.toml", step_s=0.012, per_decode_s=0.1e-3, per_prefill_token_s=0.05e-3)
    found = calibrate(runs, wrong, TODAY, lambda *_: None)
    assert not found.is_refused
    assert found.fit.values["step_s"] == pytest.approx(0.02, rel=0.1)
    assert found.fit.values["per_prefill_token_s"] == pytest.approx(0.11e-3, rel=0.1)
    assert max(abs(figure.difference) for figure in found.figures) < 0.05
    assert max(abs(f.before_s / (f.measured.value or 1) - 1) for f in found.figures) > 0.3
    save_cluster(found, out := tmp_path / "deep" / "fitted.toml")
    again = load_cluster(out)
    assert again == found.spec
    assert again.calibration is not None
    assert again.calibration.runs == tuple(RunDir.open(path).manifest.plan_digest for path in runs)
    assert again.calibration.requests == 500
    assert {"step_s"} <= set(again.calibration.fitted)
    assert not set(again.calibration.fitted) & set(again.calibration.kept)
    text = tomllib.loads(out.read_text())
    assert text["pools"]["p"]["hardware"]["step_s"] == pytest.approx(found.fit.values["step_s"], rel=1e-5)


def test_a_right_file_stays_as_it_is(runs: list[Path], tmp_path: Path) -> None:
    found = calibrate(runs, tmp_path / "truth.toml", TODAY, lambda *_: None)
    for figure in found.figures:
        assert figure.after_s == pytest.approx(figure.measured.value, rel=0.005)
    assert found.fit.values["step_s"] == pytest.approx(0.02, rel=0.01)
    assert found.fit.values["kv_blocks"] == pytest.approx(60_000 / 16, rel=0.01)


def test_kv_blocks_that_nothing_tells_are_kept(runs: list[Path], tmp_path: Path) -> None:
    """As from a run whose server gave no page of metrics: up to half load no latency knows of them."""
    used, left = observe(runs, ["m"])
    table = tomllib.loads((tmp_path / "truth.toml").read_text())
    found = calibrate_observed([replace(run_, kv_use=None) for run_ in used], left, table, "truth.toml", TODAY)
    assert "kv_blocks" in {f.constant.name for f in found.fit.constants if not f.is_told}
    assert found.kv == (None, None)


def test_a_later_run_names_the_calibration(runs: list[Path], tmp_path: Path) -> None:
    save_cluster(calibrate(runs, tmp_path / "truth.toml", TODAY, lambda *_: None), out := tmp_path / "fitted.toml")
    label = RunDir.open(run(out, tmp_path / "later", 2.0, 50)).manifest.conditions[0]["label"]
    assert f"calibrated on 2 runs ({RunDir.open(runs[0]).manifest.plan_digest[7:15]}" in label
    assert TODAY in label


def test_a_prediction_with_it_names_the_runs_and_carries_their_band(command: Command, runs: list[Path], tmp_path: Path) -> None:
    save_cluster(calibrate(runs, tmp_path / "truth.toml", TODAY, lambda *_: None), out := tmp_path / "fitted.toml")
    (tmp_path / "s.toml").write_text(
        """schema = "loadlab/scenario/1"
name = "later"
load = { kind = "open_loop", requests = 60, arrivals = { kind = "poisson", rate_per_s = 3 } }
[classes.chat]
model = "m"
prompt_tokens = { kind = "constant", value = 200 }
output_tokens = { kind = "constant", value = 50 }
"""
    )
    answer = command("run", tmp_path / "s.toml", "--target", f"sim:{out}", "--out", tmp_path / "later", "--no-report")
    assert "Prediction, calibrated on 2 runs" in " ".join(answer.out.split())
    summary = json.loads((tmp_path / "later" / "summary.json").read_text())
    band, value = summary["prediction"]["tpot_s"]["p50"], summary["metrics"]["tpot_s"]["p50"]["value"]
    assert band["low"] < 0.995 * value
    assert band["high"] > 1.005 * value


def test_another_target_is_refused_and_says_where(runs: list[Path], tmp_path: Path) -> None:
    """Eight replicas were measured; one cannot do that, however fast it is made within what is plausible."""
    path = run(cluster(tmp_path / "slow.toml", step_s=0.5, per_decode_s=0.0, per_prefill_token_s=0.0), tmp_path / "x", 0.4, 100)
    found = calibrate([path], cluster(tmp_path / "fast.toml", step_s=0.002), TODAY, lambda *_: None)
    assert found.is_refused
    assert any(abs(figure.difference) > 0.1 for figure in found.too_far)


def test_unfit_runs_are_left_out_each_with_its_reason(runs: list[Path], tmp_path: Path) -> None:
    truth = tmp_path / "truth.toml"
    flood = run(truth, tmp_path / "flood", 40.0, 600)
    few = run(truth, tmp_path / "few", 2.0, 12)
    stopped = run(truth, tmp_path / "stopped", 2.0, 60)
    with RunDir.open(stopped) as directory:
        directory.finalise(60, interrupted=True)
    used, left = observe([*runs, flood, few, stopped, runs[0]], ["m"])
    assert [run_.name for run_ in used] == [str(path) for path in runs]
    reasons = {Path(run_.name).name: run_.why for run_ in left}
    assert "overloaded" in reasons["flood"]
    assert "12 requests that succeeded" in reasons["few"]
    assert "aborted" in reasons["stopped"]
    assert any("the same run" in run_.why for run_ in left)
    with pytest.raises(InputError, match=r"no run can be calibrated on.*overloaded"):
        calibrate([flood], truth, TODAY, lambda *_: None)


def test_an_imported_run_is_a_plan_of_its_rows(tmp_path: Path) -> None:
    """Rows of a simulated run, told as vLLM's benchmark tells them, calibrate as well as the run itself."""
    truth = cluster(tmp_path / "truth.toml")
    rows = list(RunDir.open(run(truth, tmp_path / "run", 3.0)).rows())
    tokens = np.array([r.output_tokens for r in rows])
    names = ("scheduled_s", "first_token_s", "last_token_s")
    due, first, last = (np.array([getattr(r, name) for r in rows], dtype=np.float64) for name in names)
    gaps = [[float(span) / (n - 1)] * (n - 1) if n > 1 else [] for span, n in zip(last - first, tokens.tolist(), strict=True)]
    table = {
        "date": "20260114-101500", "backend": "openai-chat", "model_id": "llama", "num_prompts": len(rows), "request_rate": "inf",
        "burstiness": 1.0, "max_concurrency": None, "duration": 99.0, "completed": len(rows), "request_throughput": 3.0,
        "input_lens": [r.prompt_tokens for r in rows], "output_lens": tokens.tolist(),
        "ttfts": (first - due).tolist(), "itls": gaps,
        "start_times": due.tolist(), "latencies": (last - due).tolist(),
        "queue_times": [0.0] * len(rows), "errors": [""] * len(rows),
    }  # fmt: skip
    (tmp_path / "vllm.json").write_text(json.dumps(table))
    ((_, directory),) = import_file(Tool.VLLM_BENCH, tmp_path / "vllm.json", tmp_path / "imported", HOST)
    wrong = cluster(tmp_path / "wrong.toml", step_s=0.014)
    found = calibrate([directory.path], wrong, TODAY, lambda *_: None)
    assert found.fit.values["step_s"] == pytest.approx(0.02, rel=0.1)
    assert not found.is_refused
    assert any("imported" in note for note in found.runs[0].notes)


def test_rows_without_tokens_cannot_be_simulated(tmp_path: Path) -> None:
    lines = ["metric_name,timestamp,metric_value,status", *(f"http_req_duration,{1768385700 + i},{100 + i},200" for i in range(60))]
    (tmp_path / "k6.csv").write_text("\n".join(lines) + "\n")
    ((_, directory),) = import_file(Tool.K6, tmp_path / "k6.csv", tmp_path / "imported", HOST)
    with pytest.raises(InputError, match="tokens"):
        calibrate([directory.path], cluster(tmp_path / "c.toml"), TODAY, lambda *_: None)


def test_pools_of_different_hardware_need_a_name(runs: list[Path], tmp_path: Path) -> None:
    table = FILE | {"pools": {"p": FILE["pools"]["p"], "q": {"serves": ["other"], "hardware": FILE["pools"]["p"]["hardware"]}}}
    (tmp_path / "two.toml").write_text(tomli_w.dumps(table))
    with pytest.raises(InputError, match="--pool NAME"):
        calibrate(runs, tmp_path / "two.toml", TODAY, lambda *_: None)
    used, left = observe(runs, ["m"])
    with pytest.raises(InputError, match="is not a pool"):
        calibrate_observed(used, left, table, "two.toml", TODAY, pool="r")


def test_rows_of_a_plan_keep_their_prompts() -> None:
    plan = build_plan(scenario(3.0, 40), 5)
    some = np.array([30, 2, 17])
    found = plan_rows(plan, some)
    for place, seq in enumerate(some):
        assert replace(found.request(place), seq=0, chain=0, session=None) == replace(plan.request(int(seq)), seq=0, chain=0, session=None)


def test_kv_blocks_are_told_by_how_full_the_server_was(tmp_path: Path) -> None:
    """At a load at which KV memory never runs out, so that no latency knows of it."""
    truth = cluster(tmp_path / "truth.toml")
    paths = [run(truth, tmp_path / f"run{rate}", rate, 150, seed=int(rate)) for rate in (2.0, 3.0)]
    wrong = cluster(tmp_path / "wrong.toml", kv_tokens=90_000)
    found = calibrate(paths, wrong, TODAY, lambda *_: None)
    blocks = next(f for f in found.fit.constants if f.constant.name == "kv_blocks")
    assert blocks.is_told
    assert blocks.value == pytest.approx(60_000 / 16, rel=0.02)
    assert blocks.low is not None
    assert blocks.high is not None
    assert blocks.low <= 60_000 / 16 <= blocks.high
    for kv in found.kv:
        assert kv is not None
        assert kv.before == pytest.approx(kv.measured / 1.5, rel=0.01)
        assert kv.after == pytest.approx(kv.measured, rel=0.02)


def test_a_share_of_something_else_moves_no_kv_blocks(tmp_path: Path) -> None:
    """A server that counts what it caches as used is as full at 1/s as at 4/s: no number of blocks does that."""
    truth = cluster(tmp_path / "truth.toml")
    used, left = observe([run(truth, tmp_path / f"run{rate}", rate, 40, seed=int(rate)) for rate in (1.0, 4.0)], ["m"])
    same = [replace(run_, kv_use=0.5) for run_ in used]
    found = calibrate_observed(same, left, tomllib.loads((tmp_path / "truth.toml").read_text()), "truth.toml", TODAY)
    assert "kv_blocks" in {f.constant.name for f in found.fit.constants if not f.is_told}
    assert found.kv == (None, None)
    assert all("may count something else" in " ".join(run_.notes) for run_ in found.runs)


def test_kv_use_is_a_mean_over_the_time_in_which_requests_came() -> None:
    rows = [{"t_s": float(t), "dt_s": 1.0, "kv_usage": 0.1 if t < 10 else 0.3} for t in range(40)]
    assert kv_use(rows, 0.0, 20.0) == pytest.approx(0.2)
    assert kv_use(rows, 9.5, 30.0) == pytest.approx((0.5 * 0.1 + 20 * 0.3) / 20.5)
    assert kv_use(rows, 0.0, 19.0) is None  # too few
    assert kv_use([row | {"kv_usage": None} for row in rows], 0.0, 40.0) is None
    assert kv_use([row | {"kv_usage": 0.001} for row in rows], 0.0, 40.0) is None
