"""The shipped T4 study: its totals, its parameters, and what is published kept apart from what we chose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadlab.scenario import arrivals, lengths
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import load_campaign
from loadlab.scenario.load import ClosedLoop, OpenLoop
from loadlab.scenario.model import Campaign, Experiment, TrafficClass
from loadlab.scenario.streams import experiment_seed

REPOSITORY = Path(__file__).parents[2]
REFERENCE = REPOSITORY.parent / "shared" / "data" / "t4_study.json"
REQUESTS = [60, 200, 320, 480, 640, 300, 480, 600, 180, 450, 540, 400, 360, 400, 300, 380, 420, 350, 450]
SHOWS_BURSTS = "25 s bursts of image requests every 100 s: does the queue drain before the next burst?"  # the reference's is for insiders


@pytest.fixture(scope="module")
def study() -> Campaign:
    return load_campaign(REPOSITORY / "scenarios" / "t4-study")


@pytest.fixture(scope="module")
def reference() -> dict[str, Any]:
    if not REFERENCE.exists():
        pytest.skip("needs t4_study.json beside the repository")
    return dict(json.loads(REFERENCE.read_text()))


def test_the_study_has_19_experiments_and_plans_7310_requests(study: Campaign) -> None:
    assert [e.id for e in study.experiments] == [f"E{i:02}" for i in range(1, 20)]
    planned = [len(build_plan(e.scenario, experiment_seed(1, e.id))) for e in study.experiments]
    assert planned == REQUESTS
    assert sum(planned) == 7310


def test_the_mixed_day_is_exactly_two_thirds_chat(study: Campaign) -> None:
    plan = build_plan(study.experiments[18].scenario, 1)
    assert plan.traffic_class.names == ("chat", "image")
    assert np.bincount(plan.traffic_class.codes).tolist() == [300, 150]
    assert {request.model for request in plan.requests()} == {"llm-14b", "vlm-7b"}


def test_the_sessions_experiment_shares_its_prefix_and_follows_turns(study: Campaign) -> None:
    plan = build_plan(study.experiments[12].scenario, 1)
    first = [request.segments[0] for request in plan.requests()]
    assert {(segment.content, segment.tokens) for segment in first} == {(first[0].content, 512)}
    assert 2.5 < len(plan) / len(set(plan.session.tolist())) < 5.5


def test_clusters_and_their_naive_twins(study: Campaign) -> None:
    by_id = {e.id: e.cluster.stem for e in study.experiments}
    assert {by_id[f"E{i:02}"] for i in (*range(1, 9), *range(10, 14))} == {"t4-14b"}
    assert (by_id["E09"], by_id["E14"], by_id["E19"]) == ("t4-14b-one-gpu", "t4-7b-vlm", "t4-mixed")
    assert study.variant("naive").experiments[8].cluster.name == "t4-14b-one-gpu-naive.toml"


def test_the_timeout_is_60_s_and_is_varied_from_30_to_120(study: Campaign) -> None:
    assert {e.scenario.timeout_s for e in study.experiments} == {60}
    assert study.sensitivity is not None
    assert (study.sensitivity.key, study.sensitivity.values) == ("timeout_s", (30, 45, 60, 90, 120))


def test_published_facts_stand_apart_from_design_choices(study: Campaign, reference: dict[str, Any]) -> None:
    facts, published = reference["facts_published"], study.published
    assert published is not None
    assert study.design_choices is not None
    assert (published.requests, published.experiments, published.oom) == (facts["requests"], facts["experiments"], facts["oom"])
    assert published.success_rate == facts["success_rate"]
    assert (published.gpu, published.setup) == (facts["gpu"], facts["setup"])
    assert [list(published.models), list(published.workloads), list(published.varied), list(published.reported)] == [
        facts[key] for key in ("models", "workloads", "vary", "report")
    ]


def test_every_parameter_is_that_of_the_reference(study: Campaign, reference: dict[str, Any]) -> None:
    for experiment, expected in zip(study.experiments, reference["experiments"], strict=True):
        assert (experiment.id, experiment.name) == (expected["id"], expected["name"])
        assert experiment.shows == (SHOWS_BURSTS if experiment.id == "E17" else expected["shows"])
        assert_load(experiment, expected)
        sorts = expected["lengths"].get("classes", [expected])
        assert len(sorts) == len(experiment.scenario.classes)
        for traffic_class, sort in zip(experiment.scenario.classes.values(), sorts, strict=True):
            assert_class(traffic_class, sort)


def assert_load(experiment: Experiment, expected: dict[str, Any]) -> None:
    load, arrival = experiment.scenario.load, expected["arrival"]
    assert isinstance(load, OpenLoop | ClosedLoop)
    assert load.requests == expected["requests"]
    if isinstance(load, ClosedLoop):
        assert (arrival["process"], load.users) == ("closed_loop", arrival["users"])
        assert load.think_s.kind == arrival["think_time"]["dist"] == "constant"
        return
    match load.arrivals:
        case arrivals.Poisson(rate_per_s=rate):
            assert rate == arrival.get("session_arrival", arrival)["rate"]
        case arrivals.Gamma() as law:
            assert (law.rate_per_s, law.cv) == (arrival["rate"], arrival["cv"])
        case arrivals.OnOff() as law:
            assert [list(law.rates_per_s), list(law.dwell_s), law.dwell] == [arrival["rates"], arrival["dwell_s"], arrival["dwell"]]
        case arrivals.Spike() as law:
            assert [law.base_per_s, law.peak_per_s, list(law.at_s), law.for_s] == [
                arrival[key] for key in ("base_rate", "spike_rate", "spike_at_s", "spike_s")
            ]
        case arrivals.Diurnal() as law:
            assert [law.mean_per_s, law.amplitude, law.period_s] == [arrival[key] for key in ("mean_rate", "amplitude", "period_s")]
        case law:
            pytest.fail(f"{experiment.id} has an unexpected law {law}")


def assert_class(traffic_class: TrafficClass, expected: dict[str, Any]) -> None:
    assert traffic_class.model == expected["model"]
    for law, drawn in ((traffic_class.prompt_tokens, "input"), (traffic_class.output_tokens, "output")):
        assert isinstance(law, lengths.Lognormal)
        assert [law.median, law.sigma, law.min, law.max] == [expected["lengths"][drawn][key] for key in ("median", "sigma", "min", "max")]
    images = expected.get("images")
    assert (traffic_class.images is None) == (images is None)
    if traffic_class.images is not None and images is not None:
        assert_images(traffic_class, images)
    if traffic_class.sessions is not None:
        turns, think, asked = traffic_class.sessions.turns, traffic_class.sessions.think_s, expected["arrival"]
        assert isinstance(turns, lengths.Geometric)
        assert [turns.mean, turns.min, turns.max] == [asked["turns"][key] for key in ("mean", "min", "max")]
        assert think.kind == asked["think_time"]["dist"]
        assert traffic_class.sessions.shared_prefix_tokens == expected["prefix"]["shared_system_tokens"]


def assert_images(traffic_class: TrafficClass, expected: dict[str, Any]) -> None:
    assert traffic_class.images is not None
    count, sizes = traffic_class.images.count, [list(size) for size in traffic_class.images.sizes_px]
    if isinstance(count, lengths.Constant):
        assert (count.value, sizes) == (expected["count"]["value"], [expected["size_px"]["value"]])
    else:
        assert isinstance(count, lengths.Empirical)
        assert [list(count.values), list(count.weights)] == [expected["count"]["values"], expected["count"]["p"]]
        assert [sizes, list(traffic_class.images.weights)] == [expected["size_px"]["values"], expected["size_px"]["p"]]
