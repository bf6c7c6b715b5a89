"""The laws that every plan keeps, and the independence of its random streams."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.errors import InputError
from loadlab.scenario import arrivals, delays, lengths
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import ClosedLoop, Load, OpenLoop, Replay
from loadlab.scenario.model import Images, Scenario, TrafficClass
from loadlab.scenario.plan import RequestKind, RequestPlan
from loadlab.scenario.sessions import Sessions
from loadlab.scenario.streams import experiment_seed
from loadlab.scenario.traces import load_trace

CHAT = TrafficClass(
    model="llm",
    prompt_tokens=lengths.Lognormal(median=100, sigma=0.8, max=1000),
    output_tokens=lengths.Geometric(mean=50, max=400),
)
PICTURE = replace(CHAT, model="vlm", images=Images(count=lengths.Uniform(min=0, max=3), sizes_px=((448, 448), (1024, 768))))
TALK = replace(
    CHAT,
    sessions=Sessions(
        turns=lengths.Geometric(mean=3, max=6), think_s=delays.Lognormal(median_s=8, sigma=0.8), shared_prefix_tokens=64
    ),
)  # fmt: skip
POISSON = OpenLoop(arrivals=arrivals.Poisson(rate_per_s=2), requests=200)


def scenario(load: Load = POISSON, **classes: TrafficClass) -> Scenario:
    return Scenario(name="test", load=load, classes=classes or {"chat": CHAT}, timeout_s=60)


@st.composite
def plans(draw: st.DrawFn) -> RequestPlan:
    open_law = draw(st.sampled_from([
        arrivals.Constant(rate_per_s=3), arrivals.Poisson(rate_per_s=3), arrivals.Gamma(rate_per_s=3, cv=3),
        arrivals.OnOff(rates_per_s=(0, 9), dwell_s=(5, 2)),
    ]))  # fmt: skip
    n = draw(st.integers(1, 60))
    loads: list[Load] = [
        OpenLoop(arrivals=open_law, requests=n),
        OpenLoop(arrivals=open_law, requests=n, duration_s=20),
        ClosedLoop(users=draw(st.integers(1, 70)), requests=n, think_s=delays.Exponential(mean_s=2), ramp_up_s=9),
    ]
    load = draw(st.sampled_from(loads))
    sorts = [CHAT, PICTURE, TALK] if isinstance(load, OpenLoop) else [CHAT, PICTURE]
    classes = {
        name: replace(draw(st.sampled_from(sorts)), share=draw(st.sampled_from([0.2, 1, 5]))) for name in "abc"[: draw(st.integers(1, 3))]
    }
    try:
        return build_plan(scenario(load, **classes), draw(st.integers(0, 2**53)))
    except InputError as error:  # a short duration may hold no arrival
        assert "no arrival" in str(error)  # noqa: PT017
        return build_plan(scenario(), 1)


@given(plans())
@settings(deadline=None, max_examples=150)
def test_columns_agree_with_each_other(plan: RequestPlan) -> None:
    n = len(plan)
    first = ~np.isnan(plan.arrival_s)
    assert np.array_equal(first, plan.after_seq == -1)
    assert np.all(np.diff(plan.arrival_s[first]) >= 0)
    assert np.all(plan.arrival_s[first] >= 0)
    assert np.all(plan.after_seq < np.arange(n))
    assert np.all(plan.delay_after_s >= 0)
    follows = np.flatnonzero(~first)
    assert np.array_equal(plan.chain[follows], plan.chain[plan.after_seq[follows]])
    assert np.array_equal(plan.session >= 0, plan.turn >= 0)
    assert plan.segment_offsets[0] == plan.image_offsets[0] == 0
    assert (len(plan.segment_content), len(plan.image_content)) == (plan.segment_offsets[-1], plan.image_offsets[-1])


@given(plans())
@settings(deadline=None, max_examples=100)
def test_segments_sum_to_the_prompt_and_contents_are_not_negative(plan: RequestPlan) -> None:
    for request in plan.requests():
        assert sum(segment.tokens for segment in request.segments) == request.prompt_tokens
        assert all(segment.content >= 0 and segment.tokens > 0 for segment in request.segments)
        assert request.output_content >= 0
        assert request.output_tokens > 0
        assert all((image.width_px, image.height_px) in {(448, 448), (1024, 768)} for image in request.images)


@given(plans(), st.integers(1, 8))
@settings(deadline=None, max_examples=100)
def test_shards_partition_the_plan_and_never_split_a_chain(plan: RequestPlan, n: int) -> None:
    shards = [plan.shard(k, n) for k in range(n)]
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(plan)))
    chains = [set(plan.chain[shard].tolist()) for shard in shards]
    assert sum(map(len, chains)) == len(set(plan.chain.tolist()))


def test_the_later_turn_carries_the_earlier_texts_and_planned_answers() -> None:
    plan = build_plan(scenario(talk=TALK), 3)
    turns = [request for request in plan.requests() if request.turn]
    assert turns
    for later in turns:
        earlier = plan.request(later.after_seq or 0)
        assert later.segments[: len(earlier.segments)] == earlier.segments
        answer, own = later.segments[len(earlier.segments) :]
        assert (answer.content, answer.tokens) == (earlier.output_content, earlier.output_tokens)
        assert own.content not in {segment.content for segment in earlier.segments}


def test_all_sessions_of_a_class_share_one_prefix() -> None:
    plan = build_plan(scenario(talk=TALK), 3)
    assert len({request.segments[0] for request in plan.requests()}) == 1
    assert plan.request(0).segments[0].tokens == 64


def test_single_requests_have_texts_of_their_own() -> None:
    plan = build_plan(scenario(), 1)
    contents = np.concatenate((plan.segment_content, plan.output_content))
    assert len(set(contents.tolist())) == 400


def test_equal_seeds_give_equal_plans_and_other_seeds_others() -> None:
    both = scenario(chat=CHAT, talk=TALK, picture=PICTURE)
    assert build_plan(both, 1).digest == build_plan(both, 1).digest
    assert len({build_plan(both, seed).digest for seed in range(20)}) == 20


def test_the_order_of_classes_in_the_file_means_nothing() -> None:
    assert build_plan(scenario(a=CHAT, b=TALK), 1).digest == build_plan(scenario(b=TALK, a=CHAT), 1).digest


def test_a_new_prompt_law_leaves_arrivals_answers_and_texts_alone() -> None:
    before = build_plan(scenario(talk=TALK), 1)
    after = build_plan(scenario(talk=replace(TALK, prompt_tokens=lengths.Uniform(min=1, max=9))), 1)
    assert after.digest != before.digest
    for column in ("arrival_s", "delay_after_s", "chain", "turn", "output_tokens", "output_content", "segment_content"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))


def test_a_new_arrival_law_leaves_lengths_and_texts_alone() -> None:
    before = build_plan(scenario(talk=TALK), 1)
    after = build_plan(scenario(OpenLoop(arrivals=arrivals.Gamma(rate_per_s=2, cv=4), requests=200), talk=TALK), 1)
    assert after.arrival_s[0] != before.arrival_s[0]
    for column in ("delay_after_s", "prompt_tokens", "output_tokens", "segment_content", "segment_tokens"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))


def test_images_leave_lengths_and_arrivals_alone() -> None:
    plain, picture = build_plan(scenario(), 1), build_plan(scenario(chat=replace(PICTURE, model="llm")), 1)
    for column in ("arrival_s", "prompt_tokens", "output_tokens", "segment_content"):
        np.testing.assert_array_equal(getattr(plain, column), getattr(picture, column))
    assert plain.image_offsets[-1] == 0
    assert picture.image_offsets[-1] > 0


def test_a_class_beside_another_keeps_its_own_lengths_in_order() -> None:
    alone, beside = build_plan(scenario(chat=CHAT), 1), build_plan(scenario(chat=CHAT, picture=PICTURE), 1)
    chat = np.flatnonzero(beside.traffic_class.codes == beside.traffic_class.names.index("chat"))
    np.testing.assert_array_equal(beside.prompt_tokens[chat], alone.prompt_tokens[: len(chat)])


def test_more_requests_begin_with_the_fewer() -> None:
    few, more = build_plan(scenario(), 1), build_plan(scenario(replace(POISSON, requests=1000)), 1)
    for column in ("arrival_s", "prompt_tokens", "output_tokens", "segment_content"):
        np.testing.assert_array_equal(getattr(few, column), getattr(more, column)[:200])


def test_the_number_of_requests_is_exact_in_every_class() -> None:
    plan = build_plan(scenario(a=replace(CHAT, share=2), b=TALK, c=PICTURE), 5)
    assert np.bincount(plan.traffic_class.codes).tolist() == [100, 50, 50]


def test_labels_and_timeouts_come_from_the_class_before_the_scenario() -> None:
    expert = replace(CHAT, tier="expert", mode="deliberative", region="eu", kind=RequestKind.COMPLETION, timeout_s=5)
    plan = build_plan(scenario(chat=CHAT, expert=expert), 1)
    by_class = {request.traffic_class: request for request in plan.requests()}
    assert (by_class["chat"].tier, by_class["chat"].timeout_s, by_class["chat"].kind) == (None, 60, RequestKind.CHAT)
    one = by_class["expert"]
    assert (one.tier, one.mode, one.region, one.timeout_s, one.kind) == ("expert", "deliberative", "eu", 5, RequestKind.COMPLETION)
    assert build_plan(replace(scenario(), timeout_s=None), 1).request(0).timeout_s is None


def test_a_replay_takes_times_and_lengths_from_the_trace(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 00:00:00,30,3\n2023-11-16 00:00:02.5,40,4\n")
    classes = {name: TrafficClass(model=name) for name in ("left", "right")}
    plan = build_plan(scenario(Replay(), **classes), 1, load_trace(file))
    assert plan.arrival_s.tolist() == [0, 2.5]
    assert plan.prompt_tokens.tolist() == [30, 40]
    assert plan.output_tokens.tolist() == [3, 4]
    assert sorted(plan.model.codes.tolist()) == [0, 1]


@pytest.mark.parametrize(
    ("broken", "seed", "words"),
    [
        (scenario(), -1, "--seed = -1 must be >= 0"),
        (scenario(Replay(), chat=TrafficClass(model="m")), 1, "test: replays a trace, but none is given; name it with --trace FILE"),
        (scenario(OpenLoop(arrivals=arrivals.Poisson(rate_per_s=1e-9), duration_s=1)), 1, "test: has no arrival before its end"),
    ],
)
def test_what_cannot_become_a_plan_is_said_in_words(broken: Scenario, seed: int, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        build_plan(broken, seed)


def test_experiment_seeds_differ_by_seed_and_by_id_and_are_stable() -> None:
    seeds = {experiment_seed(seed, name) for seed in range(5) for name in ("E01", "E02", "e01")}
    assert len(seeds) == 15
    assert all(0 <= seed < 2**53 for seed in seeds)
    assert experiment_seed(1, "E01") == EXPECTED_E01


EXPECTED_E01 = 2957893216452295  # a published plan must stay what it was
