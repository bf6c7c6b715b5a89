"""The band of a simulated run: two more replays, kept beside its rows, shown wherever its figures are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from loadlab.catalog.bands import Phase, band_of, bands
from loadlab.catalog.specs import gpus
from loadlab.errors import InputError
from loadlab.report.prediction import BAND_FILE, prediction_block, prediction_lines
from tests.cli.command import CLUSTERS, SCENARIOS, Command


def test_a_single_run_carries_its_band(command: Command, tmp_path: Path) -> None:
    """Each figure lies in its band, and the band of a GPU that nobody measured is called uncalibrated."""
    out = tmp_path / "run"
    answer = command("run", SCENARIOS / "smoke.toml", "--target", f"sim:{CLUSTERS / 't4-14b.toml'}", "--out", out, "--no-report")
    assert "Prediction, uncalibrated" in answer.out
    summary = json.loads((out / "summary.json").read_text())
    band = summary["prediction"]
    for latency in ("ttft_s", "tpot_s", "e2e_s"):
        for key in ("p50", "p95", "p99"):
            assert band[latency][key]["low"] < summary["metrics"][latency][key]["value"] < band[latency][key]["high"]
    assert band["pools"]["llm"]["calibration"] == "uncalibrated"
    rows = (out / "requests.jsonl").read_bytes()
    assert command("report", out).code == 0
    assert (out / "requests.jsonl").read_bytes() == rows
    assert "8 in 10 measured values lay within" in (out / "report.html").read_text()


def test_without_a_band_nothing_is_said(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "run"
    answer = command(
        "run", SCENARIOS / "smoke.toml", "--target", f"sim:{CLUSTERS / 't4-14b.toml'}", "--out", out, "--no-report", "--no-band"
    )  # fmt: skip
    assert "Prediction," not in answer.out
    assert not (out / BAND_FILE).exists()
    assert "prediction" not in json.loads((out / "summary.json").read_text())


def test_a_damaged_band_is_named(tmp_path: Path) -> None:
    (tmp_path / BAND_FILE).write_text("{")
    with pytest.raises(InputError, match=r"band\.json: is damaged"):
        prediction_block(tmp_path, {})
    assert prediction_lines(None) == []


def test_every_gpu_has_a_band_of_every_phase() -> None:
    for gpu in gpus().values():
        for kind in ("dense", "moe"):
            for phase in Phase:
                band = band_of(gpu, kind, phase)
                assert band.low < 1 < band.high


def test_what_was_not_measured_has_a_wider_band() -> None:
    shipped = bands()
    for phase in ("decode", "serving"):
        wide, narrow = shipped[f"datasheet-{phase}"], shipped[f"h100-dense-{phase}"]
        assert wide.high / wide.low > narrow.high / narrow.low
