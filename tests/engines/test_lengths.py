from __future__ import annotations

from dataclasses import replace

import pytest

from loadlab.engines.lengths import LengthCheck
from loadlab.record.request import Cause, Outcome
from loadlab.scenario.build import build_plan
from tests.engines.null_target import equal_requests
from tests.record.examples import failed, ok


def notes(prompt: int, output: int, *, estimated: bool = False) -> str:
    """Of ten answers to a plan of 20 tokens asked and 40 answered."""
    check = LengthCheck(build_plan(equal_requests(10, 10, tokens=40), 1))
    for seq in range(9):
        check.add(replace(ok(seq), prompt_tokens=prompt, output_tokens=output, tokens_estimated=estimated))
    check.add(failed(9, Cause.RATE_LIMITED, Outcome.REJECTED))
    return " ".join(check.notes())


@pytest.mark.parametrize(("prompt", "output"), [(20, 40), (32, 40), (20, 33)])
def test_what_is_near_the_plan_is_not_mentioned(prompt: int, output: int) -> None:
    assert notes(prompt, output) == ""


def test_prompts_that_another_tokenizer_counts_otherwise_are_said_with_the_remedy() -> None:
    said = notes(87, 40)
    assert "87 prompt tokens a request where 20 were planned" in said
    assert "--tokenizer" in said


def test_answers_of_another_length_than_asked_are_said() -> None:
    assert "answers had 12.0 tokens where 40.0 were planned" in notes(20, 12)
    assert "answers had 60.0 tokens (estimated from their text) where 40.0" in notes(20, 60, estimated=True)


def test_a_run_of_failures_has_nothing_to_compare() -> None:
    check = LengthCheck(build_plan(equal_requests(10, 10), 1))
    check.add(failed(0, Cause.RATE_LIMITED, Outcome.REJECTED))
    assert check.notes() == ()
