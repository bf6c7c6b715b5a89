"""What applications make of a question: rows, order, labels, prompts. Counts that a reader can do in the head."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.scenario import arrivals, delays, lengths
from loadlab.scenario.applications import Agent, Arbiter, ChunkOrder, Escalation, FanOut, Rag, Router
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import ClosedLoop, Load, OpenLoop
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.scenario.plan import Followers, PlannedRequest, RequestPlan
from loadlab.scenario.rag import found_chunks
from loadlab.scenario.sessions import Sessions

FIVE = lengths.Constant(value=5)
CHAT = TrafficClass(model="small", prompt_tokens=lengths.Uniform(min=10, max=20), output_tokens=lengths.Uniform(min=30, max=40))
RAG = Rag(
    top_k=3,
    chunk_tokens=lengths.Uniform(min=50, max=90),
    corpus_chunks=40,
    instructions_tokens=100,
    search_s=delays.Uniform(min_s=0.1, max_s=0.5),
    rerank_s=delays.Constant(value_s=0.2),
)
EMBEDDING_RAG = replace(RAG, embed_model="embedder")
AGENT = Agent(
    tool_calls=lengths.Uniform(min=0, max=4),
    call_tokens=lengths.Constant(value=20),
    result_tokens=lengths.Constant(value=200),
    tool_s=delays.Exponential(mean_s=2),
    system_tokens=300,
    tool_schema_tokens=700,
    json_tokens=7,
)
ROUTER = Router(model="router", instructions_tokens=60, output_tokens=FIVE)
EXPERT = Escalation(share=0.2, model="large", tier="expert", output_tokens=lengths.Constant(value=300), handover_tokens=25)
COUNCIL = FanOut(
    share=0.5, models=("other", "third"), arbiter=Arbiter(model="judge", instructions_tokens=80, output_tokens=lengths.Constant(value=50))
)
TALK = Sessions(turns=lengths.Uniform(min=1, max=4), think_s=delays.Exponential(mean_s=3), shared_prefix_tokens=64)

SHAPES: dict[str, TrafficClass] = {
    "plain": CHAT,
    "rag": replace(CHAT, rag=RAG),
    "rag with embedding": replace(CHAT, rag=EMBEDDING_RAG),
    "talk with rag": replace(CHAT, sessions=TALK, rag=EMBEDDING_RAG),
    "agent": replace(CHAT, agent=AGENT),
    "routed agent": replace(CHAT, agent=AGENT, router=ROUTER),
    "escalating talk": replace(CHAT, sessions=TALK, escalation=EXPERT),
    "council": replace(CHAT, fan_out=COUNCIL),
    "everything": replace(CHAT, rag=EMBEDDING_RAG, router=ROUTER, fan_out=COUNCIL, escalation=EXPERT),
}
OPEN = OpenLoop(arrivals=arrivals.Poisson(rate_per_s=2), requests=100)


def plan(load: Load = OPEN, seed: int = 1, **classes: TrafficClass) -> RequestPlan:
    return build_plan(Scenario(name="test", load=load, classes=classes, timeout_s=60), seed)


def rows(one: RequestPlan, label: str) -> list[PlannedRequest]:
    return [request for request in one.requests() if request.traffic_class == label]


@st.composite
def application_plans(draw: st.DrawFn) -> RequestPlan:
    names = draw(st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=3, unique=True))
    closed = draw(st.booleans()) and all(SHAPES[name].turns is None for name in names)
    n = draw(st.integers(1, 50))
    load: Load = ClosedLoop(users=draw(st.integers(1, 9)), requests=n, ramp_up_s=3) if closed else replace(OPEN, requests=n)
    return plan(load, draw(st.integers(0, 9)), **{f"c{i}": SHAPES[name] for i, name in enumerate(names)})


@given(application_plans())
@settings(deadline=None, max_examples=150)
def test_columns_agree_with_each_other(one: RequestPlan) -> None:
    first = ~np.isnan(one.arrival_s)
    assert np.array_equal(first, one.after_seq == -1)
    assert np.array_equal(first, one.after_count == 0)
    assert np.all(np.diff(one.arrival_s[first]) >= 0)
    assert np.all(one.after_seq < np.arange(len(one)))
    assert np.all(one.delay_after_s >= 0)
    assert np.all(one.delay_after_s + 1e-9 >= np.where(first, 0, one.stages_s))
    assert np.all(one.arrival_s[first] + 1e-9 >= one.stages_s[first])
    for request in one.requests():
        assert sum(segment.tokens for segment in request.segments) == request.prompt_tokens
        assert all(segment.tokens > 0 for segment in request.segments)
        assert (request.output_tokens > 0) == (request.kind != "embedding")
        if request.after_seq is not None:
            waits_for = range(request.after_seq - request.after_count + 1, request.after_seq + 1)
            assert {int(one.chain[seq]) for seq in waits_for} == {request.chain}


@given(application_plans(), st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_shards_partition_the_plan_and_never_split_a_chain(one: RequestPlan, n: int) -> None:
    shards = [one.shard(k, n) for k in range(n)]
    assert sorted(np.concatenate(shards).tolist()) == list(range(len(one)))
    for shard in shards:
        followers = Followers(one, shard)
        ended: list[int] = []
        due = [seq for seq in shard.tolist() if one.after_seq[seq] == -1]
        while due:  # whoever waits is released by its own shard alone
            ended.append(due.pop())
            due += followers.after(ended[-1])
        assert sorted(ended) == shard.tolist()


def test_requests_count_main_ones_and_steps_come_on_top() -> None:
    counts = Counter(request.traffic_class for request in plan(support=SHAPES["everything"]).requests())
    assert counts == {
        "support": 100,
        "support/route": 100,
        "support/embed": 100,
        "support/check": 2 * 50,
        "support/arbiter": 50,
        "support/expert": 20,
    }


def test_steps_run_on_their_own_models_kinds_and_tiers() -> None:
    by_class = {r.traffic_class: (r.model, str(r.kind), r.tier) for r in plan(a=replace(SHAPES["everything"], tier="front")).requests()}
    assert by_class["a"] == ("small", "chat", "front")
    assert by_class["a/route"] == ("router", "chat", None)
    assert by_class["a/embed"] == ("embedder", "embedding", None)
    assert by_class["a/arbiter"] == ("judge", "chat", None)
    assert by_class["a/expert"] == ("large", "chat", "expert")
    checks = Counter(r.model for r in rows(plan(a=SHAPES["everything"]), "a/check"))
    assert checks == {"other": 50, "third": 50}


def test_each_step_waits_for_the_one_before_it_checks_for_none_of_each_other_and_the_arbiter_for_all() -> None:
    one = plan(a=SHAPES["everything"])
    for request in one.requests():
        before = None if request.after_seq is None else one.request(request.after_seq)
        label = request.traffic_class.partition("/")[2]
        if label == "route":
            assert before is None
        else:
            assert before is not None
            expected = {"embed": {"route"}, "": {"embed"}, "check": {"embed"}, "arbiter": {"check"}, "expert": {"arbiter", ""}}
            assert before.traffic_class.partition("/")[2] in expected[label]
        assert request.after_count == (3 if label == "arbiter" else 0 if label == "route" else 1)


def test_the_prompt_of_each_step_is_made_of_its_main_requests_pieces() -> None:
    one = plan(a=SHAPES["everything"])
    requests = list(one.requests())
    for chain in range(100):
        mine = [request for request in requests if request.chain == chain]
        by_step = {r.traffic_class.partition("/")[2]: r for r in mine}
        main = by_step[""]
        question = main.segments[-1]
        assert len(main.segments) == 1 + 3 + 1
        assert by_step["route"].segments[0] == question
        assert by_step["route"].segments[1].tokens == 60
        assert by_step["embed"].segments == (question,)
        if "arbiter" in by_step:
            checks = [r for r in mine if r.traffic_class.endswith("check")]
            assert all(check.segments == main.segments for check in checks)
            answers = [(r.output_content, r.output_tokens) for r in (main, *checks)]
            judged = by_step["arbiter"].segments
            assert judged[0] == question
            assert [(s.content, s.tokens) for s in judged[1:4]] == answers
            assert judged[4].tokens == 80
            assert len(judged) == 5
        if "expert" in by_step:
            asked = by_step["expert"].segments
            assert asked[:-2] == main.segments
            assert (asked[-2].content, asked[-2].tokens) == (main.output_content, main.output_tokens)
            assert asked[-1].tokens == 25


def test_searching_and_reranking_delay_the_prompt_and_are_recorded() -> None:
    plain, searched = plan(a=CHAT), plan(a=SHAPES["rag"])
    assert np.all((searched.stages_s >= 0.3) & (searched.stages_s <= 0.7))
    np.testing.assert_allclose(np.sort(searched.arrival_s - searched.stages_s), plain.arrival_s)
    embedded = plan(a=SHAPES["rag with embedding"])
    answers = rows(embedded, "a")
    assert all(r.arrival_s is None and r.delay_after_s == r.stages_s >= 0.3 for r in answers)
    np.testing.assert_array_equal([r.arrival_s for r in rows(embedded, "a/embed")], plain.arrival_s)


def test_chunks_are_different_in_a_prompt_and_as_popular_as_the_law_says() -> None:
    ranks = found_chunks(replace(RAG, corpus_chunks=1000, top_k=1), 20_000, np.random.default_rng(1))
    weights = 1 / np.arange(1, 1001)
    expected = weights[:20] / weights.sum() * 20_000
    observed = np.bincount(ranks[:, 0], minlength=1000)[:20]
    assert np.all(np.abs(observed - expected) < 4.5 * np.sqrt(expected))
    for corpus, top_k, popularity in ((40, 3, 1.0), (6, 6, 1.0), (50, 10, 5.0)):
        many = found_chunks(replace(RAG, corpus_chunks=corpus, top_k=top_k, popularity=popularity), 300, np.random.default_rng(2))
        assert all(len(set(row)) == top_k for row in many.tolist())
        assert many.max() < corpus


def test_stable_chunks_stand_in_one_order_so_that_beginnings_are_shared() -> None:
    one = plan(a=replace(CHAT, rag=replace(RAG, order=ChunkOrder.STABLE)))
    position = {s: i for i, s in enumerate(dict.fromkeys(s for r in one.requests() for s in r.segments[1:4]))}
    prompts = [r.segments[1:4] for r in one.requests()]
    orders = {(a.content, b.content) for chunks in prompts for i, a in enumerate(chunks) for b in chunks[i + 1 :]}
    assert not any((b, a) in orders for a, b in orders)
    assert len(position) <= 40
    assert len({(s.content, s.tokens) for s in position}) == len({s.content for s in position})  # a chunk has one length


def test_an_agent_carries_its_calls_and_their_results_and_ends_with_its_answer() -> None:
    one = plan(a=SHAPES["agent"])
    for request in one.requests():
        turn = request.turn or 0
        assert request.segments[0].tokens == 1000
        assert len(request.segments) == 2 + 2 * turn
        if turn:
            before = one.request(request.after_seq or 0)
            call, result = request.segments[-2:]
            assert (call.content, call.tokens) == (before.output_content, before.output_tokens)
            assert (call.tokens, result.tokens) == (27, 200)
            assert request.delay_after_s == request.stages_s > 0
    last = [r for r in one.requests() if r.seq + 1 == len(one) or one.turn[r.seq + 1] == 0]
    assert all(30 <= r.output_tokens <= 40 for r in last)


def test_a_router_reads_the_first_question_of_a_run_only() -> None:
    one = plan(a=SHAPES["routed agent"])
    routed = rows(one, "a/route")
    assert len(routed) == len({r.chain for r in one.requests()}) < 100
    assert all(one.request(r.seq + 1).turn == 0 for r in routed)


def test_only_the_last_answer_of_a_session_is_escalated() -> None:
    one = plan(a=SHAPES["escalating talk"])
    experts = rows(one, "a/expert")
    sessions = len({r.session for r in one.requests()})
    assert len(experts) == round(0.2 * sessions)
    for expert in experts:
        assert expert.seq + 1 == len(one) or one.chain[expert.seq + 1] != expert.chain
        assert expert.after_seq == expert.seq - 1


def test_a_share_of_nothing_and_of_all_are_exact() -> None:
    for share, n in ((0, 0), (1, 100)):
        assert len(rows(plan(a=replace(CHAT, escalation=replace(EXPERT, share=share))), "a/expert")) == n


def test_in_closed_loop_the_next_question_of_a_lane_waits_for_the_last_step() -> None:
    one = plan(ClosedLoop(users=4, requests=40, think_s=delays.Constant(value_s=9)), a=SHAPES["everything"])
    routed = [r for r in rows(one, "a/route") if r.after_seq is not None]
    assert len(routed) == 36
    for r in routed:
        before = one.request(r.after_seq or 0)
        assert before.chain == r.chain
        assert before.seq + 1 == len(one) or one.traffic_class.at(before.seq + 1) == "a/route"  # it was its group's last
        assert r.delay_after_s == 9


def test_adding_steps_leaves_questions_answers_and_arrivals_alone() -> None:
    before, after = plan(a=CHAT), plan(a=replace(CHAT, router=ROUTER, escalation=EXPERT, fan_out=COUNCIL))
    main = [r for r in after.requests() if r.traffic_class == "a"]
    assert [r.segments for r in main] == [r.segments for r in before.requests()]
    assert [(r.output_content, r.output_tokens) for r in main] == [(r.output_content, r.output_tokens) for r in before.requests()]
    np.testing.assert_array_equal([r.arrival_s for r in rows(after, "a/route")], before.arrival_s)


def test_classes_with_arrivals_of_their_own_come_beside_the_others() -> None:
    batch = replace(CHAT, arrivals=arrivals.Constant(rate_per_s=1))
    load = OpenLoop(arrivals=arrivals.Poisson(rate_per_s=2), duration_s=50)
    alone, beside = plan(load, a=CHAT), plan(load, a=CHAT, batch=batch)
    np.testing.assert_array_equal([r.arrival_s for r in rows(beside, "a")], alone.arrival_s)
    np.testing.assert_array_equal([r.arrival_s for r in rows(beside, "batch")], np.arange(50))
    assert np.all(np.diff(beside.arrival_s) >= 0)
    only = plan(OpenLoop(duration_s=50), batch=batch, other=replace(CHAT, arrivals=arrivals.Poisson(rate_per_s=1)))
    assert len(rows(only, "batch")) == 50


GOLDEN = {
    "plain": "sha256:4ca53c598d8444ae909c75967b2382fd30d74cc04b32c401f9bf57d67478b1d6",
    "rag": "sha256:245ba75d427e65bedaf747aeb0550bacd584e3c8980de06243a37f104d0546ca",
    "agent": "sha256:8c7e199cf65c8533e555a26d4b64098f260b7aa71b1e35fa3b51ea65667fdaca",
    "everything": "sha256:f33d1817375b7f9e4a07092c600424b67ae28cee3d02114f046031863987be0c",
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_published_plan_stays_what_it_was(name: str) -> None:
    assert plan(a=SHAPES[name]).digest == GOLDEN[name]
