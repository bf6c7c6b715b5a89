from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from loadlab.scenario.build import build_plan
from loadlab.scenario.files import load_campaign, load_scenario
from loadlab.scenario.plan_bytes import dump_plan, load_plan

SCENARIOS = Path(__file__).parents[2] / "scenarios"


@pytest.mark.parametrize("name", ["smoke.toml", "support-desk.toml", "bursty/spike.toml"])
def test_a_plan_comes_back_as_it_was(name: str) -> None:
    plan = build_plan(load_scenario(SCENARIOS / name), 3)
    again = load_plan(dump_plan(plan))
    assert again.digest == plan.digest
    assert (again.scenario_name, again.seed, list(again.requests())) == (plan.scenario_name, plan.seed, list(plan.requests()))


def test_images_and_labels_come_back_too() -> None:
    plan = build_plan(load_campaign(SCENARIOS / "t4-study").experiments[17].scenario, 1)
    assert load_plan(dump_plan(plan)).digest == plan.digest


def test_nothing_that_could_run_is_read() -> None:
    archive = io.BytesIO()
    np.savez(archive, scenario_name=np.array([pickle.PickleError()], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        load_plan(archive.getvalue())
