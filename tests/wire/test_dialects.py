"""The same answer in every dialect is the same answer; and what was read from each recorded one stays what it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from loadlab.record.request import Outcome
from loadlab.wire.answer import Answer, AnswerReader, Ending
from tests.wire.captures import CAPTURES, WHY_SKIPPED, Capture
from tests.wire.dialects import DIALECTS, WORDS, Dialect
from tests.wire.test_sse import cut

SSE = [("content-type", "text/event-stream")]
GOLDEN = Path(__file__).parents[1] / "golden" / "wire" / "captures.json"
HOW_MANY = 166  # recorded answers that the golden file knows


def read(status: int, headers: Any, pieces: list[bytes]) -> Answer:
    """The answer whose pieces come at 0, 1, 2 .. s."""
    reader = AnswerReader()
    reader.head(status, headers, 0.0)
    for i, piece in enumerate(pieces):
        reader.feed(piece, float(i))
    return reader.end(Ending.COMPLETE, float(len(pieces)))


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_an_answer_is_the_same_in_every_dialect(dialect: Dialect) -> None:
    found = read(200, SSE, list(dialect.events))
    assert (found.outcome, found.text) == (Outcome.OK, "".join(WORDS))
    assert found.first_token_s == dialect.first
    assert (found.output_tokens, found.tokens_estimated) == (dialect.tokens, dialect.is_estimated)
    assert found.prompt_tokens == (None if dialect.is_estimated else 15)
    assert found.cached_prompt_tokens == dialect.cached


@given(st.data())
def test_any_cut_of_any_dialect_gives_the_same_answer(data: st.DataObject) -> None:
    dialect = data.draw(st.sampled_from(DIALECTS))
    pieces = cut(dialect.body, data.draw(st.lists(st.integers(0, len(dialect.body)), max_size=40)))
    whole, found = read(200, SSE, [dialect.body]), read(200, SSE, pieces)
    for name in ("outcome", "cause", "text", "output_tokens", "tokens_estimated", "prompt_tokens", "finish_reason", "error"):
        assert getattr(found, name) == getattr(whole, name)


@given(st.data())
def test_any_dialect_broken_off_before_its_end_is_truncated_and_keeps_what_came(data: st.DataObject) -> None:
    dialect = data.draw(st.sampled_from([dialect for dialect in DIALECTS if dialect.name != "CR LF and names"]))
    keep = data.draw(st.integers(0, 2))
    found = read(200, SSE, list(dialect.events[:keep]))
    expected = (Outcome.OK,) if any(b'"stop"' in event for event in dialect.events[:keep]) else (Outcome.TRUNCATED,)
    assert found.outcome in expected
    assert "".join(WORDS).startswith(found.text)


def facts(capture: Capture) -> dict[str, Any]:
    """What a reader must find in a recorded answer; `first` is the number of the event with the first token."""
    pieces = [block + b"\n\n" for block in capture.body.split(b"\n\n")] if capture.streams else [capture.body]
    found = read(capture.status, capture.headers, pieces)
    return {
        "outcome": found.outcome.value,
        "cause": None if found.cause is None else found.cause.value,
        "tokens": found.output_tokens,
        "is_estimated": found.tokens_estimated,
        "prompt_tokens": found.prompt_tokens,
        "cached": found.cached_prompt_tokens,
        "finish": found.finish_reason,
        "first": None if found.first_token_s is None else int(found.first_token_s),
    }


@pytest.mark.skipif(not CAPTURES, reason=WHY_SKIPPED)
def test_every_recorded_answer_is_read_as_before(update_golden: bool) -> None:
    found = {capture.name: facts(capture) for capture in CAPTURES}
    if update_golden:
        lines = ",\n".join(f" {json.dumps(name)}: {json.dumps(fact)}" for name, fact in found.items())
        GOLDEN.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert len(golden) == HOW_MANY
    assert {name: fact for name, fact in found.items() if name in golden} == {name: golden[name] for name in found if name in golden}
