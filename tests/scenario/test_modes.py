"""Modes: exact counts, their own random stream, and what they do to answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.scenario import arrivals, lengths
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import ClosedLoop, Load, OpenLoop
from loadlab.scenario.model import Mode, Scenario, TrafficClass
from loadlab.scenario.plan import RequestKind, RequestPlan
from loadlab.scenario.sessions import Sessions
from loadlab.schema import as_table, read_table

POISSON = OpenLoop(arrivals=arrivals.Poisson(rate_per_s=2), requests=1000)
PLAIN = TrafficClass(model="m", prompt_tokens=lengths.Uniform(min=1, max=500), output_tokens=lengths.Lognormal(median=100, sigma=0.5))
MODES = {"fast": Mode(share=0.8), "deliberative": Mode(share=0.2, output_factor=6)}


def plan_of(load: Load = POISSON, **classes: TrafficClass) -> RequestPlan:
    return build_plan(Scenario(name="test", load=load, classes=classes), 1)


def counts(plan: RequestPlan) -> dict[str | None, int]:
    names = [plan.mode.at(i) for i in range(len(plan))]
    return {name: names.count(name) for name in set(names)}


def test_each_mode_gets_exactly_its_share_of_the_requests() -> None:
    assert counts(plan_of(chat=replace(PLAIN, modes=MODES))) == {"fast": 800, "deliberative": 200}
    assert counts(plan_of(replace(POISSON, requests=7), chat=replace(PLAIN, modes=MODES))) == {"fast": 6, "deliberative": 1}


def test_modes_come_in_random_order() -> None:
    is_fast = plan_of(chat=replace(PLAIN, modes=MODES)).mode.codes == 1
    assert 0 < np.sum(is_fast[:100]) < 100
    assert np.sum(is_fast[:500]) == pytest.approx(400, abs=4 * np.sqrt(1000 * 0.8 * 0.2) / 2)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.integers(1, 300))
@settings(deadline=None, max_examples=50)
def test_counts_stay_within_one_of_their_share(weights: list[int], requests: int) -> None:
    modes = {f"m{i}": Mode(share=weight / sum(weights)) for i, weight in enumerate(weights)}
    found = counts(plan_of(replace(POISSON, requests=requests), chat=replace(PLAIN, modes=modes)))
    assert sum(found.values()) == requests
    assert all(abs(found.get(name, 0) - mode.share * requests) < 1 + 1e-6 for name, mode in modes.items())


@pytest.mark.parametrize("load", [POISSON, ClosedLoop(users=4, requests=1000)], ids=lambda load: load.kind)
def test_adding_modes_leaves_arrivals_prompts_and_base_lengths_alone(load: Load) -> None:
    before, after = plan_of(load, chat=PLAIN), plan_of(load, chat=replace(PLAIN, modes=MODES))
    for column in ("arrival_s", "delay_after_s", "chain", "prompt_tokens", "segment_content", "segment_tokens", "output_content"):
        np.testing.assert_array_equal(getattr(after, column), getattr(before, column))
    slow = after.mode.codes == after.mode.names.index("deliberative")
    np.testing.assert_array_equal(after.output_tokens[~slow], before.output_tokens[~slow])
    np.testing.assert_array_equal(after.output_tokens[slow], 6 * before.output_tokens[slow])


def test_the_mean_answer_grows_by_the_mean_factor() -> None:
    before, after = plan_of(chat=PLAIN), plan_of(chat=replace(PLAIN, modes=MODES))
    # 0.8 * 1 + 0.2 * 6 = 2; the 200 slow ones are a sample of the lengths
    assert after.output_tokens.mean() / before.output_tokens.mean() == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("base", "mode", "kind", "tokens", "why"),
    [
        (10, Mode(share=1, output_factor=2.5), RequestKind.CHAT, 25, "the factor"),
        (10, Mode(share=1, extra_output_tokens=3), RequestKind.CHAT, 13, "the extra tokens alone"),
        (10, Mode(share=1, output_factor=0.26, extra_output_tokens=1), RequestKind.CHAT, 4, "rounded before the extra tokens"),
        (1, Mode(share=1, output_factor=0.1), RequestKind.CHAT, 1, "an answer has a token at least"),
        (0, Mode(share=1, output_factor=6), RequestKind.EMBEDDING, 0, "an embedding has none"),
        (10**9, Mode(share=1, output_factor=1000), RequestKind.CHAT, 10**9, "capped as every count"),
    ],
)
def test_an_answer_is_the_base_length_times_the_factor_plus_the_extra(
    base: int, mode: Mode, kind: RequestKind, tokens: int, why: str
) -> None:
    one = replace(PLAIN, kind=kind, output_tokens=lengths.Constant(value=base), modes={"only": mode})
    assert set(plan_of(chat=one).output_tokens.tolist()) == {tokens}, why


def test_plain_labels_and_modes_stand_side_by_side_in_other_classes() -> None:
    plan = plan_of(a=replace(PLAIN, modes=MODES), b=replace(PLAIN, mode="fast"), c=PLAIN, d=replace(PLAIN, mode="batch"))
    assert counts(plan) == {"fast": 200 + 250, "deliberative": 50, None: 250, "batch": 250}
    assert plan.mode.names == ("batch", "deliberative", "fast")


def test_the_order_of_modes_in_the_file_means_nothing() -> None:
    turned = dict(reversed(MODES.items()))
    assert plan_of(chat=replace(PLAIN, modes=turned)).digest == plan_of(chat=replace(PLAIN, modes=MODES)).digest


def test_later_turns_of_a_session_carry_the_longer_answers() -> None:
    talk = replace(PLAIN, sessions=Sessions(turns=lengths.Constant(value=2)), modes=MODES)
    plan = plan_of(talk=talk)
    second = plan.request(1)
    assert [segment.tokens for segment in second.segments][1] == plan.request(0).output_tokens


def test_modes_survive_the_way_through_a_manifest() -> None:
    scenario = Scenario(name="test", load=POISSON, classes={"chat": replace(PLAIN, modes=MODES), "plain": PLAIN})
    table = as_table(scenario)
    assert "modes" not in table["classes"]["plain"]
    assert read_table(Scenario, table, "manifest.json") == scenario
