"""Traffic at another rate: every law scales, and nothing else of it changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadlab.errors import InputError
from loadlab.scenario import arrivals
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import load_scenario
from loadlab.scenario.rates import mean_rate_per_s, scaled, with_rate

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.mark.parametrize("file", ["smoke.toml", "bursty/gamma.toml", "bursty/onoff.toml", "bursty/spike.toml", "support-desk.toml"])
def test_a_scenario_offers_the_rate_that_it_is_given(file: str) -> None:
    scenario = load_scenario(SCENARIOS / file)
    before = mean_rate_per_s(scenario)
    assert mean_rate_per_s(with_rate(scenario, 3 * before)) == pytest.approx(3 * before, rel=0.02)
    plan = build_plan(with_rate(scenario, 3 * before, 2000), 1)
    assert len(plan) >= 2000
    assert plan.traffic_class.names == build_plan(scenario, 1).traffic_class.names


def test_bursts_keep_their_seconds_and_their_factor() -> None:
    law = arrivals.OnOff(rates_per_s=(0.5, 4.0), dwell_s=(90.0, 30.0), dwell=arrivals.Dwell.FIXED)
    assert scaled(law, 2.0) == arrivals.OnOff(rates_per_s=(1.0, 8.0), dwell_s=(90.0, 30.0), dwell=arrivals.Dwell.FIXED)


def test_laws_within_laws_scale() -> None:
    parts = arrivals.Superposition(of=(arrivals.Poisson(rate_per_s=1.0), arrivals.Constant(rate_per_s=2.0)))
    assert scaled(parts, 0.5) == arrivals.Superposition(of=(arrivals.Poisson(rate_per_s=0.5), arrivals.Constant(rate_per_s=1.0)))


def test_a_longer_run_begins_with_the_shorter_one() -> None:
    scenario = load_scenario(SCENARIOS / "smoke.toml")
    short, long = (build_plan(with_rate(scenario, 2.0, n), 7) for n in (500, 2000))
    assert np.array_equal(short.arrival_s, long.arrival_s[:500])


def test_a_replay_has_no_rate() -> None:
    with pytest.raises(InputError, match="offers no rate"):
        mean_rate_per_s(load_scenario(SCENARIOS / "replay.toml"))
