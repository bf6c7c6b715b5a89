"""Prompts that begin as earlier ones: pieces add up, equal pieces are equal texts, and more prompts begin with the fewer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.scenario.arrivals import Poisson
from loadlab.scenario.build import build_plan
from loadlab.scenario.lengths import Uniform
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario, TrafficClass
from loadlab.scenario.reuse import Reuse, draw_pieces
from loadlab.scenario.sessions import Sessions

LAW = Reuse(new_share=0.3, recent=20, shares=(0.2, 0.9), piece_tokens=16, shared_tokens=32)


def scenario(law: Reuse) -> Scenario:
    def sort(reuse: Reuse | None) -> TrafficClass:
        return TrafficClass(model="m", prompt_tokens=Uniform(min=1, max=400), output_tokens=Uniform(min=1, max=9), reuse=reuse)

    return Scenario(name="r", load=OpenLoop(arrivals=Poisson(rate_per_s=1), requests=100), classes={"a": sort(law), "b": sort(None)})


@settings(max_examples=100, deadline=None)
@given(
    law=st.builds(
        Reuse,
        new_share=st.floats(0, 1),
        recent=st.integers(1, 50),
        shares=st.lists(st.floats(0, 1), min_size=1, max_size=4).map(tuple),
        piece_tokens=st.integers(1, 64),
        shared_tokens=st.integers(0, 200),
    )
)
def test_pieces_add_up_to_the_prompt_and_equal_texts_are_equal_from_the_start(law: Reuse) -> None:
    plan = build_plan(scenario(law), 1)
    sums = np.add.reduceat(plan.segment_tokens, plan.segment_offsets[:-1])
    assert np.array_equal(sums, plan.prompt_tokens)
    assert plan.segment_tokens.min() >= 1
    before: dict[int, tuple[int, ...]] = {}
    for request in plan.requests():
        contents = tuple(segment.content for segment in request.segments)
        for k, content in enumerate(contents):
            assert before.setdefault(content, contents[:k]) == contents[:k]


def test_as_much_is_repeated_as_is_asked_and_more_prompts_begin_with_the_fewer() -> None:
    law = Reuse(new_share=0.25, recent=20, shares=(0.5,), piece_tokens=16)
    prompts = np.full(20_000, 161)
    pieces, ids = draw_pieces(law, prompts, np.random.default_rng(1))
    assert set(pieces.tolist()) == {10}
    assert 1 - len(np.unique(ids)) / len(ids) == pytest.approx(0.75 * 0.5, abs=0.01)
    _, fewer = draw_pieces(law, prompts[:500], np.random.default_rng(1))
    assert np.array_equal(ids[: len(fewer)], fewer)
    _, everybody = draw_pieces(LAW, prompts, np.random.default_rng(1))
    assert np.all(everybody.reshape(-1, 10)[:, :2] == [0, 1])


def test_reuse_stands_alone() -> None:
    with pytest.raises(ValueError, match="reuse must not stand beside sessions"):
        TrafficClass(
            model="m", prompt_tokens=Uniform(min=1, max=4), output_tokens=Uniform(min=1, max=9), reuse=LAW,
            sessions=Sessions(turns=Uniform(min=1, max=3)),
        )  # fmt: skip
    with pytest.raises(ValueError, match="shares = 0 entries"):
        Reuse(new_share=0.1, recent=3, shares=(), piece_tokens=16)
