"""The band of a simulated capacity: read from its conditions, put into money and fleets, and never twice."""

from __future__ import annotations

from typing import Any

import pytest

from loadlab.campaign.money import capacity_of_study
from loadlab.campaign.study_band import capacity_scales, step_band_of
from loadlab.catalog.bands import bands
from loadlab.errors import InputError
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster
from tests.cli.command import SCENARIOS


def study(*bands: str | None, target: str = "sim:c.toml", **more: Any) -> dict[str, Any]:
    pools = [{"replicas": 1} | ({} if band is None else {"step_time_band": band}) for band in bands]
    found = {"value": 10.0, "low": 9.0, "high": 12.0}
    return {
        "name": "x", "target": target, "conditions": pools, "capacity_per_s": found, "certified_per_s": 9.0, "tokens_per_arrival": 100.0,
        "sentence": "s", "requests": 5,
    } | more  # fmt: skip


def test_the_interval_of_a_simulated_capacity_is_widened_by_its_band() -> None:
    """9 / 1.25 to 12 / 0.8, as shares of the point."""
    found = capacity_of_study(study("band -20 to +25 %"), "c.json")
    assert (found.low_share, found.high_share) == (pytest.approx(0.72), pytest.approx(1.5))
    assert "band of step times" in found.source


@pytest.mark.parametrize(
    "one", [study(None, target="http://x"), study("band -20 to +25 %", hybrid={})], ids=["measured", "hybrid, whose interval has it"]
)
def test_what_needs_no_band_keeps_its_interval(one: dict[str, Any]) -> None:
    found = capacity_of_study(one, "c.json")
    assert (found.low_share, found.high_share) == (pytest.approx(0.9), pytest.approx(1.2))
    assert "band" not in found.source


def test_the_widest_of_several_pools_counts() -> None:
    assert step_band_of(study("band -20 to +5 %", "band -3 to +40 %")) == (pytest.approx(0.8), pytest.approx(1.4))


def test_a_band_on_one_side_of_the_prediction_still_has_the_prediction_in_it() -> None:
    assert capacity_scales(study("band +5 to +25 %")) == (pytest.approx(0.8), 1.0)


def test_the_words_are_those_that_a_cluster_says_of_itself() -> None:
    file = SCENARIOS / "clusters" / "h200-1p5t.toml"
    conditions = SimulatedCluster(load_cluster(file), str(file)).conditions()
    low, high = step_band_of(study() | {"conditions": conditions}) or (0, 0)
    band = bands()["h200-moe-serving"]
    assert (low, high) == (pytest.approx(band.low, abs=0.005), pytest.approx(band.high, abs=0.005))


@pytest.mark.parametrize(
    ("lacking", "says"),
    [({"tokens_per_arrival": None}, "how many tokens an arrival brings"), ({"conditions": []}, "how many replicas served it")],
)
def test_a_capacity_of_runs_that_does_not_say_enough_is_refused_with_what_is_missing(lacking: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        capacity_of_study(study(None) | lacking, "c.json")
