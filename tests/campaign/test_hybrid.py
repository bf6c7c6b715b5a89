"""Hybrid capacities whose truth is known: a wrong cluster file, four light levels of the right one, and what follows."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from loadlab.campaign.hybrid import SHARES, find_hybrid, saturation_per_s
from loadlab.campaign.probing import Probing
from loadlab.errors import InputError
from loadlab.planning.search import Answer
from loadlab.simulator.files import load_cluster
from loadlab.slo import Slo, Slos
from tests.campaign.test_calibrate import TODAY, cluster
from tests.cli.command import Command
from tests.planning.slo_cases import REPLICA, scenario
from tests.record.examples import HOST

SLOS = Slos(default=Slo(ttft=2.0, target=0.95), by_class={})


def test_saturation_is_what_an_overloaded_cluster_serves() -> None:
    """The replica of the SLO cases saturates at 6.0 requests a second (planning of the capacity searches)."""
    assert saturation_per_s(REPLICA, scenario(3.0, 100), 1) == pytest.approx(6.02, rel=0.05)
    two = replace(REPLICA, pools={"p": replace(REPLICA.pools["p"], replicas=2)})
    assert saturation_per_s(two, scenario(3.0, 100), 1) == pytest.approx(12.04, rel=0.06)


def test_a_wrong_file_and_light_levels_find_the_capacity(tmp_path: Path) -> None:
    truth, wrong = cluster(tmp_path / "truth.toml"), cluster(tmp_path / "wrong.toml", step_s=0.015, per_prefill_token_s=0.09e-3)
    probing = Probing(scenario=scenario(3.0, 100), target=truth, slos=SLOS, seed=1, host=HOST, keep_rows_in=None)
    found = find_hybrid(probing, wrong, 250, tmp_path / "out", TODAY, lambda *_: None, simulated=1000)
    assert found.result is not None
    assert found.result.answer is not Answer.CERTIFIED
    assert found.result.certified_per_s is None
    assert found.result.curve is not None
    assert found.result.curve.rate_per_s == pytest.approx(5.6, rel=0.08)  # 95 % of TTFT within 2 s, by 120,000 requests a rate
    assert max(measured.rate_per_s for measured, _ in found.pairs) < 0.8 * found.saturation_per_s
    assert len(found.runs) == len(SHARES)
    assert load_cluster(tmp_path / "out" / "calibrated.toml") == found.calibrated.spec
    if found.low_per_s is not None and found.high_per_s is not None:
        assert found.low_per_s <= found.result.curve.rate_per_s <= found.high_per_s


def test_a_target_that_the_file_cannot_be_is_refused(command: Command, tmp_path: Path) -> None:
    """A server that takes half a second a step, and a file whose step may at most be five times its 2 ms."""
    slow = cluster(tmp_path / "slow.toml", step_s=0.5, per_decode_s=0.0, per_prefill_token_s=0.0)
    fast = cluster(tmp_path / "fast.toml", step_s=0.08, per_decode_s=0.0, per_prefill_token_s=0.0)
    path = tmp_path / "s.toml"
    path.write_text(
        """schema = "loadlab/scenario/1"
name = "small"
slo = { ttft = "2s", target = "90%" }
load = { kind = "open_loop", requests = 20, arrivals = { kind = "poisson", rate_per_s = 2 } }
[classes.chat]
model = "m"
prompt_tokens = { kind = "constant", value = 20 }
output_tokens = { kind = "uniform", min = 4, max = 24 }
"""
    )
    answer = command(
        "capacity", path, "--target", f"sim:{slow}", "--hybrid", "--cluster", fast, "--requests", "100", "--out", tmp_path / "o"
    )  # fmt: skip
    assert answer.code in (2, 99), answer.out
    assert "REFUSED" in answer.out or "no run can be calibrated on" in answer.err
    assert not (tmp_path / "o" / "capacity.json").exists()


def test_flags_that_contradict_it_are_refused(command: Command, tmp_path: Path) -> None:
    truth = cluster(tmp_path / "truth.toml")
    smoke = ["capacity", "smoke", "--target", f"sim:{truth}", "--slo", "ttft=2s"]
    assert "--hybrid" in command(*smoke, "--hybrid", "--rates", "1,2/s").err
    assert "goes with --hybrid" in command(*smoke, "--cluster", truth).err


def test_a_study_cut_short_goes_on_with_the_levels_it_has(tmp_path: Path) -> None:
    """The last level is torn out: the others are not measured again, and the answer is the same."""
    truth, wrong = cluster(tmp_path / "truth.toml"), cluster(tmp_path / "wrong.toml", step_s=0.017)
    probing = Probing(scenario=scenario(3.0, 100), target=truth, slos=SLOS, seed=1, host=HOST, keep_rows_in=None)
    found = find_hybrid(probing, wrong, 100, tmp_path / "out", TODAY, lambda *_: None, simulated=200)
    with pytest.raises(InputError, match="--resume"):
        find_hybrid(probing, wrong, 100, tmp_path / "out", TODAY, lambda *_: None, simulated=200)
    shutil.rmtree(found.runs[-1])
    before = {path: (path / "requests.jsonl").stat().st_mtime_ns for path in found.runs[:-1]}
    again = find_hybrid(probing, wrong, 100, tmp_path / "out", TODAY, lambda *_: None, simulated=200, is_resumed=True)
    assert {path: (path / "requests.jsonl").stat().st_mtime_ns for path in again.runs[:-1]} == before
    assert again.runs == found.runs
    assert again.calibrated.table == found.calibrated.table
    assert again.result is not None
    assert found.result is not None
    assert again.result.curve is not None
    assert found.result.curve is not None
    assert again.result.curve.rate_per_s == found.result.curve.rate_per_s
