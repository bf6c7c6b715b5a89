"""Both edges of a simulated capacity: what slower steps cost where TPOT binds and where the queue does, and who takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadlab.campaign.band_edges import check_band, with_band_edges
from loadlab.campaign.bracketing import bracket, holds
from loadlab.campaign.money import capacity_of_study
from loadlab.campaign.probing import Probing
from loadlab.campaign.study_band import capacity_scales
from loadlab.errors import InputError
from loadlab.planning.levels import Level
from loadlab.scenario.files import load_scenario
from loadlab.slo import Slo, Slos
from tests.cli.command import SCENARIOS
from tests.record.examples import HOST

T4 = SCENARIOS / "clusters" / "t4-14b.toml"
STUDY: dict[str, Any] = {
    "name": "x",
    "sentence": "s",
    "capacity_per_s": {"value": 2.0},
    "conditions": [{"step_time_band": "band -28 to +39 %"}],
}

COUNTED: dict[str, Any] = {
    "capacity_per_s": {"value": 2.0, "low": 1.9, "high": 2.1}, "certified_per_s": 1.9, "tokens_per_arrival": 100.0,
    "conditions": [{"step_time_band": "band -28 to +39 %", "replicas": 1}],
}  # fmt: skip


def probing(slo: Slo, cluster: Path = T4) -> Probing:
    scenario = load_scenario(SCENARIOS / "t4-chat-capacity.toml")
    return Probing(scenario=scenario, target=cluster, slos=Slos(default=slo, by_class={}), seed=1, host=HOST, keep_rows_in=None)


def edges(slo: Slo) -> dict[str, Any]:
    return with_band_edges(STUDY, probing(slo), lambda *_: None, requests=400)


def test_where_tpot_binds_a_slow_step_costs_more_than_its_share() -> None:
    """c / k would be 2 / 1.39 = 1.44; steps that are short enough to spare do not bind, so the fast edge gains more as well."""
    found = edges(Slo(tpot=0.12, target=0.95))
    assert found["slow_edge_per_s"] < 0.85 * 2.0 / 1.39
    assert found["fast_edge_per_s"] > 2.0
    assert found["band_edges"]["requests_each"] == 400
    assert capacity_scales(found) == (pytest.approx(found["slow_edge_per_s"] / 2), pytest.approx(found["fast_edge_per_s"] / 2))


def test_an_edge_at_which_no_rate_holds_is_told() -> None:
    """A step that decodes one request alone is longer than the limit there."""
    found = edges(Slo(tpot=0.035, target=0.95))
    assert any("not one rate held at the slow edge" in note for note in found["band_edges"]["notes"])
    assert "not one rate held" in capacity_of_study(found | {"target": "sim:c.toml", "requests": 5} | COUNTED, "c.json").source


def test_what_has_no_band_is_refused_before_anything_is_simulated(tmp_path: Path) -> None:
    plain = tmp_path / "c.toml"
    plain.write_text(
        'schema = "loadlab/cluster/1"\nname = "c"\n[pools.llm]\nserves = ["llm-14b"]\n'
        '[pools.llm.hardware]\nkind = "constants"\nstep_s = 0.08\nper_prefill_token_s = 0.0001\nkv_tokens = 100000\n'
    )
    with pytest.raises(InputError, match="nothing else has a band"):
        check_band(plain)


def test_without_a_point_there_are_no_edges_and_the_study_is_kept() -> None:
    found = with_band_edges(STUDY | {"capacity_per_s": {"value": None}}, probing(Slo(ttft=5.0)), lambda *_: None)
    assert found["slow_edge_per_s"] is None
    assert "no capacity" in found["band_edges"]["notes"][0]
    assert found["name"] == "x"


def test_a_bracket_ends_with_two_rates_near_to_each_other() -> None:
    def level(rate: float) -> Level:
        return Level(rate_per_s=rate, n=100, bad=100 if rate > 3.3 else 0, tau=1.0)

    found = bracket(level, 1.0, 0.01, close=1.05, widen=1.25)
    held = max(one.rate_per_s for one in found if holds(one, 0.01))
    broken = min(one.rate_per_s for one in found if not holds(one, 0.01))
    assert held <= 3.3 < broken <= 1.05 * held
