"""What is answered: text whose tokens the common rule counts exactly, cheap to make and to cut into pieces.

Plain answers are one byte a token (an index into the rule's words), so a thousand long streams cost a megabyte. Answers that must be
read by a machine (JSON, arguments of a tool) are text, four characters a token.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import IntEnum

import orjson

from loadlab.wire.tokens import CHARS_PER_TOKEN, ESTIMATE, estimate_tokens

_WORDS = [word.encode() for word in ESTIMATE.words]  # letters and spaces: JSON writes them as they are


class Channel(IntEnum):
    """Which part of a message a token belongs to."""

    CONTENT = 0
    REASONING = 1
    TOOL = 2


class Words:
    """Plain text of `tokens` tokens that no other `content` has."""

    __slots__ = ("_bits", "tokens")

    def __init__(self, seed: int, content: int, tokens: int) -> None:
        self.tokens = tokens
        self._bits = hashlib.shake_128(b"answer/%d/%d" % (seed, content)).digest(tokens)

    def piece(self, first: int, last: int) -> bytes:
        """Tokens `first` to `last` (exclusive) as they stand inside a JSON string."""
        if last == first + 1:
            return _WORDS[self._bits[first]]
        return b"".join([_WORDS[bits] for bits in self._bits[first:last]])

    def text(self) -> str:
        """All of it."""
        return self.piece(0, self.tokens).decode()


class Text:
    """A given text, which may be shorter than its tokens (the rest says nothing: a stop sequence was cut off)."""

    __slots__ = ("_text", "tokens")

    def __init__(self, text: str, tokens: int | None = None) -> None:
        self._text = text
        self.tokens = estimate_tokens(text) if tokens is None else tokens

    def piece(self, first: int, last: int) -> bytes:
        """See Words."""
        return orjson.dumps(self._text[first * CHARS_PER_TOKEN : last * CHARS_PER_TOKEN])[1:-1]

    def text(self) -> str:
        """All of it, as far as `tokens` reach."""
        return self._text[: self.tokens * CHARS_PER_TOKEN]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Consecutive tokens of one channel. A tool's text is its name and then its arguments; `name` says where they part."""

    channel: Channel
    body: Words | Text
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One choice: its parts in order, and why it ends."""

    parts: tuple[Part, ...]
    finish_reason: str  # stop, length, tool_calls
    stop_reason: str | None = None  # the stop sequence that was met

    @property
    def tokens(self) -> int:
        """Of all parts."""
        return sum([part.body.tokens for part in self.parts])

    @property
    def reasoning_tokens(self) -> int:
        """Of those, not part of the answer proper."""
        return sum([part.body.tokens for part in self.parts if part.channel is Channel.REASONING])

    @property
    def words(self) -> Words | Text | None:
        """The body of an answer that is nothing but content."""
        return self.parts[0].body if len(self.parts) == 1 and self.parts[0].channel is Channel.CONTENT else None

    def text_of(self, channel: Channel) -> str:
        """Everything said on a channel."""
        return "".join([part.body.text() for part in self.parts if part.channel is channel])

    @property
    def as_prompt(self) -> str | None:
        """How it reads in the prompt of a later turn; None if no prompt carries it whole: reasoning is not sent back."""
        if self.reasoning_tokens:
            return None
        return "".join([part.body.text() for part in self.parts])


def cut(parts: tuple[Part, ...], max_tokens: int, finish_reason: str) -> Answer:
    """The answer of these parts, or its first `max_tokens` tokens (finish reason "length")."""
    kept, left = [], max_tokens
    for part in parts:
        if part.body.tokens > left:
            if left:
                body = Text(part.body.text()[: left * CHARS_PER_TOKEN], left)
                kept.append(Part(channel=part.channel, body=body, name=part.name))
            return Answer(parts=tuple(kept), finish_reason="length")
        kept.append(part)
        left -= part.body.tokens
    return Answer(parts=parts, finish_reason=finish_reason)


def stopped(answer: Answer, stops: tuple[str, ...], min_tokens: int) -> Answer:
    """The answer up to the first of `stops` that its content says after `min_tokens` tokens; itself if it says none."""
    words = answer.words
    if not stops or words is None:
        return answer
    text = words.text()
    found = [(at, stop) for stop in stops if stop and (at := text.find(stop, min_tokens * CHARS_PER_TOKEN)) >= 0]
    if not found:
        return answer
    at, stop = min(found)
    body = Text(text[:at], estimate_tokens(text[: at + len(stop)]))
    return Answer(parts=(Part(channel=Channel.CONTENT, body=body),), finish_reason="stop", stop_reason=stop)
