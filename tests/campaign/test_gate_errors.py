"""The gate's error rates, measured in little: docs/validation.md has the numbers in full, by `python -m tests.bench.gate_errors`."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadlab.analysis.gating import DEFAULT_MARGINS, parse_margin
from loadlab.scenario.files import load_scenario
from loadlab.simulator.files import load_cluster
from tests.bench.gate_errors import Gate, margins_of, run_gate, verdicts
from tests.cli.planted import cluster, scenario, slow_gpu

GATES = 60


def gates(folder: Path, speed: float | None) -> list[Gate]:
    """Five pairs of 400 requests each, medians that differ by 2 %; None is the target against itself."""
    traffic = load_scenario(scenario(folder, requests=400))
    base = load_cluster(cluster(folder, "base", noise_cv=0.14))
    candidate = base if speed is None else load_cluster(cluster(folder, "slower", noise_cv=0.14, fault=slow_gpu(speed)))
    return [run_gate(traffic, base, candidate, 1000 * k, 5) for k in range(GATES)]


@pytest.mark.slow
def test_a_target_against_itself_seldom_regresses_and_mostly_passes(tmp_path: Path) -> None:
    found = gates(tmp_path, None)
    assert verdicts(found, margins_of("0%"))["regressed"] <= 8 / GATES  # the 99.5th percentile of Binomial(60, 0.05)
    default = verdicts(found, [parse_margin(text) for text in DEFAULT_MARGINS])
    assert default["regressed"] <= 1 / GATES
    assert default["passed"] >= 0.7


@pytest.mark.slow
def test_a_gpu_five_percent_slower_is_found(tmp_path: Path) -> None:
    found = gates(tmp_path, 0.95)
    assert verdicts(found, margins_of("0%"))["regressed"] >= 40 / GATES  # the 1st percentile of Binomial(60, 0.8)
    assert verdicts(found, [parse_margin(text) for text in DEFAULT_MARGINS])["passed"] == 0
