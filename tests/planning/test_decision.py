"""Gates before money, money before taste, and what would turn the verdict."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import pytest

from loadlab.campaign.money import judge
from loadlab.planning.decision import Needs, Option, Place, Question, Verdict, gates, load_question

FILE = Path(__file__).parents[2] / "scenarios" / "hosting" / "decision-support-desk.toml"
TODAY = datetime.date(2026, 11, 25)


@pytest.fixture(scope="module")
def question() -> Question:
    return load_question(FILE)


def verdict_of(question: Question) -> Verdict:
    return judge(question, FILE, None, TODAY, 1)


@pytest.mark.parametrize(
    ("needs", "option", "open_places"),
    [
        (Needs(), Option(), set(Place)),
        (Needs(air_gap=True), Option(), {Place.ON_PREMISES}),
        (Needs(data_residency=True), Option(), set(Place) - {Place.PUBLIC_API}),
        (Needs(data_residency=True), Option(resident=True), set(Place)),
        (Needs(ml_infra_fte=1.9), Option(nodes_per_replica=2), {Place.PUBLIC_API, Place.DEDICATED}),
        (Needs(ml_infra_fte=2.0), Option(nodes_per_replica=2), set(Place)),
        (Needs(ttft_p95_s=1.0), Option(ttft_p95_s=1.2), set()),
        (Needs(ttft_p95_s=1.0), Option(), set(Place)),  # not known, so not judged
    ],
)
def test_gates_bar_whatever_it_costs(needs: Needs, option: Option, open_places: set[Place]) -> None:
    assert {place for place in Place if not gates(place, option, needs)} == open_places


def test_volume_decides_and_the_nearest_turn_is_a_turn(question: Question) -> None:
    verdict = verdict_of(question)
    assert verdict.place is Place.ON_PREMISES
    assert verdict.binding.startswith("volume: 120.0M tokens a day is above")
    volume = next(flip for flip in verdict.flips if flip.what == "volume")
    assert verdict_of(replace(question, tokens_per_day=volume.at)).place is volume.to
    nearer = volume.at + 0.01 * (volume.now - volume.at)
    assert verdict_of(replace(question, tokens_per_day=nearer)).place is verdict.place


def test_a_small_volume_stays_with_the_api_and_says_what_would_change_it(question: Question) -> None:
    verdict = verdict_of(replace(question, tokens_per_day=10e6))
    assert verdict.place is Place.PUBLIC_API
    assert "is below the break-even's 75 % quantile" in verdict.binding
    assert {flip.what for flip in verdict.flips} >= {"volume", "API price"}
    assert all(flip.to is not Place.PUBLIC_API for flip in verdict.flips)


def test_an_api_below_the_marginal_cost_wins_at_any_volume(question: Question) -> None:
    verdict = verdict_of(replace(question, tokens_per_day=5e9, api="llama-3-3-70b-instruct-turbo"))
    assert verdict.place is Place.PUBLIC_API
    assert verdict.binding.startswith("marginal cost: ")


def test_an_air_gap_leaves_own_hardware_whatever_it_costs(question: Question) -> None:
    verdict = verdict_of(replace(question, tokens_per_day=1e6, needs=Needs(air_gap=True)))
    assert verdict.place is Place.ON_PREMISES
    assert verdict.binding == "the public API is out: an air gap allows own hardware only; no other place is open"


def test_when_every_place_is_barred_it_says_nowhere(question: Question) -> None:
    barred = {name: replace(option, ttft_p95_s=9.0) for name, option in question.options.items()}
    verdict = verdict_of(replace(question, options=barred, needs=Needs(ttft_p95_s=1.0)))
    assert verdict.place is None
    assert verdict.flips == ()
