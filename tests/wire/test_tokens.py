from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from loadlab.wire.tokens import BLOCK_TOKENS, ESTIMATE, estimate_tokens, text_pieces

texts = st.lists(st.text(max_size=200), max_size=5)


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("日本語です", 2)])
def test_four_characters_are_a_token_rounded_up(text: str, tokens: int) -> None:
    assert estimate_tokens(text) == tokens


@given(st.integers(0, 2**63), st.integers(0, 2**63 - 1), st.integers(0, 3000))
def test_written_text_has_the_asked_tokens_to_the_character(seed: int, content: int, tokens: int) -> None:
    text = ESTIMATE.write(seed, content, tokens)
    assert len(text) == 4 * tokens
    assert text.isascii()
    assert ESTIMATE.count(text) == tokens


def test_equal_arguments_write_equal_text_and_each_other_argument_writes_another() -> None:
    text = ESTIMATE.write(1, 2, 100)
    assert text == ESTIMATE.write(1, 2, 100)
    assert text not in (ESTIMATE.write(2, 2, 100), ESTIMATE.write(1, 3, 100))
    assert not ESTIMATE.write(1, 2, 101).startswith(text[:64]), "another length is another text, as in the simulator's cache"


def test_no_two_of_ten_thousand_texts_share_their_first_block() -> None:
    beginnings = {ESTIMATE.write(1, content, 100)[: 4 * BLOCK_TOKENS] for content in range(10_000)}
    assert len(beginnings) == 10_000


@given(texts)
def test_pieces_hold_exactly_the_estimated_tokens(texts: list[str]) -> None:
    pieces = text_pieces(texts)
    assert sum(tokens for _, tokens in pieces) == sum(map(estimate_tokens, texts))
    assert all(tokens == BLOCK_TOKENS for _, tokens in pieces[:-1])
    assert all(0 <= content < 2**63 for content, _ in pieces)


@given(st.integers(0, 9), st.integers(0, 9), st.text(min_size=1, max_size=300), st.text(min_size=1, max_size=300))
def test_equal_beginnings_are_equal_pieces_up_to_the_first_difference(same: int, seed: int, left: str, right: str) -> None:
    beginning = ESTIMATE.write(seed, 1, 16 * same)
    a, b = text_pieces([beginning, left]), text_pieces([beginning, right])
    assert a[:same] == b[:same]
    first = next((i for i, (x, y) in enumerate(zip(_blocks(left), _blocks(right), strict=False)) if x != y), None)
    if first is not None:
        assert all(x[0] != y[0] for x, y in zip(a[same + first :], b[same + first :], strict=False)), "all after a difference differs"


def _blocks(text: str) -> list[str]:
    padded = text + "\0" * (-len(text) % 4)
    return [padded[i : i + 64].ljust(64, "\0") for i in range(0, len(padded), 64)]


def test_the_same_blocks_in_another_order_are_other_pieces() -> None:
    a, b = ESTIMATE.write(1, 1, 16), ESTIMATE.write(1, 2, 16)
    (first, second), (third, fourth) = text_pieces([a, b]), text_pieces([b, a])
    assert len({first, second, third, fourth}) == 4


def test_pieces_are_the_same_on_every_machine() -> None:
    assert text_pieces([" the cat sat on the mat and that was all there is to say about it of note"]) == [
        (2953508814779704564, 16),
        (8056381130441678383, 3),
    ]
