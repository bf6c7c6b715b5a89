"""Sessions: turns to an exact total, and prompts made of prefix, history and own text."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng

from loadlab.scenario.lengths import Constant, Empirical, Geometric
from loadlab.scenario.sessions import NO_LIMIT, Sessions, Texts, segments, turns_for_requests


def one_session(*, prefix_tokens: int = 0, history: bool = True, limit: int = NO_LIMIT) -> Texts:
    """Three turns that say 10, 20 and 30 tokens and are answered with 1, 2 and 3; user texts 100, 101, 102, answers 200, 201, 202."""
    return Texts(
        own_tokens=np.array([10, 20, 30]),
        output_tokens=np.array([1, 2, 3]),
        contents=np.array([[100, 200], [101, 201], [102, 202]]),
        first_row=np.array([0, 0, 0]) if history else np.arange(3),
        prefix_tokens=np.full(3, prefix_tokens),
        prefix_content=np.full(3, 7),
        max_context_tokens=np.full(3, limit),
    )


def prompts(texts: Texts) -> list[list[tuple[int, int]]]:
    """For each turn its segments as (content, tokens)."""
    offsets, content, tokens = segments(texts)
    pairs = list(zip(content.tolist(), tokens.tolist(), strict=True))
    return [pairs[offsets[i] : offsets[i + 1]] for i in range(len(offsets) - 1)]


def test_a_turn_sends_all_earlier_texts_and_answers_before_its_own() -> None:
    assert prompts(one_session()) == [
        [(100, 10)],
        [(100, 10), (200, 1), (101, 20)],
        [(100, 10), (200, 1), (101, 20), (201, 2), (102, 30)],
    ]


def test_the_shared_prefix_comes_first_in_every_turn() -> None:
    assert [turn[0] for turn in prompts(one_session(prefix_tokens=5))] == [(7, 5)] * 3
    assert prompts(one_session(prefix_tokens=5))[1] == [(7, 5), (100, 10), (200, 1), (101, 20)]


def test_without_history_a_turn_sends_its_own_text_only() -> None:
    assert prompts(one_session(history=False)) == [[(100, 10)], [(101, 20)], [(102, 30)]]


@pytest.mark.parametrize(
    ("limit", "third_turn"),
    [
        (66, [(100, 10), (200, 1), (101, 20), (201, 2), (102, 30)]),  # 63 of prompt + 3 of answer fit exactly
        (65, [(101, 20), (201, 2), (102, 30)]),  # one token less: the first turn leaves whole
        (55, [(101, 20), (201, 2), (102, 30)]),  # 52 + 3
        (54, [(102, 30)]),
        (1, [(102, 30)]),  # the own text is never cut
    ],
)
def test_oldest_turns_leave_the_history_until_prompt_and_answer_fit(limit: int, third_turn: list[tuple[int, int]]) -> None:
    assert prompts(one_session(limit=limit))[2] == third_turn


def test_the_prefix_counts_towards_the_context_limit() -> None:
    assert prompts(one_session(prefix_tokens=5, limit=71))[2] == [(7, 5), (100, 10), (200, 1), (101, 20), (201, 2), (102, 30)]
    assert prompts(one_session(prefix_tokens=5, limit=70))[2] == [(7, 5), (101, 20), (201, 2), (102, 30)]


@pytest.mark.parametrize(("requests", "turns"), [(0, []), (1, [1]), (3, [3]), (4, [3, 1]), (9, [3, 3, 3])])
def test_the_last_session_is_cut_to_the_exact_total(requests: int, turns: list[int]) -> None:
    assert turns_for_requests(Constant(value=3), requests, default_rng(1)).tolist() == turns


def test_more_requests_leave_the_earlier_sessions_alone() -> None:
    law = Geometric(mean=4, max=12)
    short, long = turns_for_requests(law, 100, default_rng(2)), turns_for_requests(law, 1000, default_rng(2))
    assert short.sum() == 100
    assert long.sum() == 1000
    assert short[:-1].tolist() == long[: len(short) - 1].tolist()


def test_turns_that_could_be_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="turns = 0 must not be possible"):
        Sessions(turns=Empirical(values=(0, 3)))
