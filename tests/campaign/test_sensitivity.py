"""Variants that differ in deadlines alone: what an earlier replay tells is what another replay would."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import loadlab.campaign.sensitivity as sensitivity
from loadlab.campaign.sensitivity import Ends, ends_of_replay, vary
from loadlab.campaign.trial import Trial, prepare
from loadlab.engines.base import Progress
from loadlab.scenario.files import load_campaign
from loadlab.scenario.model import Scenario, Sensitivity

SCENARIOS = Path(__file__).parents[2] / "scenarios"
TIMEOUTS_S = (2.0, 15.0, 30.0, 60.0, 90.0, 120.0, None)


def quiet(done: int, planned: int) -> None:
    pass


@pytest.fixture(scope="module")
def trials() -> dict[float | None, Trial]:
    """The bursts of the T4 study, at each timeout: some are met, some by nobody."""
    (bursty,) = (e for e in load_campaign(SCENARIOS / "t4-study").experiments if e.scenario.name == "llm-bursty-onoff")
    assert bursty.cluster is not None

    def at(timeout_s: float | None) -> Scenario:
        return replace(bursty.scenario, timeout_s=timeout_s)

    return {timeout_s: prepare(at(timeout_s), bursty.cluster, 3) for timeout_s in TIMEOUTS_S}


@pytest.fixture(scope="module")
def ends(trials: dict[float | None, Trial]) -> dict[float | None, Ends]:
    return {timeout_s: ends_of_replay(trial, quiet) for timeout_s, trial in trials.items()}


def test_what_holds_for_another_deadline_is_what_a_replay_with_it_finds(
    trials: dict[float | None, Trial], ends: dict[float | None, Ends]
) -> None:
    held = Counter[bool]()
    for told in ends.values():
        for timeout_s, trial in trials.items():
            holds = told.hold_for(trial.plan)
            held[holds] += 1
            if holds:
                assert told.totals == ends[timeout_s].totals
                np.testing.assert_array_equal(told.lasted_s, ends[timeout_s].lasted_s)
    assert min(held[True], held[False]) >= 8


def test_a_met_deadline_holds_for_no_other_plan_and_neither_does_other_traffic(
    trials: dict[float | None, Trial], ends: dict[float | None, Ends]
) -> None:
    assert ends[2.0].totals.timeout > 0
    assert not any(ends[2.0].hold_for(trial.plan) for trial in trials.values())
    free = trials[None].plan
    assert ends[None].hold_for(free)
    assert not ends[None].hold_for(replace(free, prompt_tokens=free.prompt_tokens + 1))


def test_the_table_is_that_of_replaying_everything_in_fewer_replays(
    trials: dict[float | None, Trial], ends: dict[float | None, Ends], monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = []

    def noted(trial: Trial, progress: Progress) -> Ends:
        replayed.append(trial)
        return ends_of_replay(trial, progress)

    monkeypatch.setattr(sensitivity, "ends_of_replay", noted)
    varied = {timeout_s: {"A": trial} for timeout_s, trial in trials.items() if timeout_s is not None}
    spec = Sensitivity(key="timeout_s", values=tuple(varied))
    found = vary(spec, varied, {"A": ends[60.0]}, lambda *_: None)
    assert [row["totals"]["ok"] for row in found["rows"]] == [ends[value].totals.ok for value in varied]
    assert 1 <= len(replayed) < len(varied) - 1
