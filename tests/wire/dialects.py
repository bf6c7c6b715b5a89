"""One answer, " one two three" with a usage of 15 and 3 tokens, as each server streams it. Written after what was recorded from them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

WORDS = (" one", " two", " three")
USAGE = {"prompt_tokens": 15, "completion_tokens": 3, "total_tokens": 18}
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """Events in order; the first token is in event `first`; `tokens` is what the reader must say, estimated or not."""

    name: str
    events: tuple[bytes, ...]
    first: int
    tokens: int = 3
    is_estimated: bool = False
    cached: int | None = None

    @property
    def body(self) -> bytes:
        return b"".join(self.events)


def _event(choices: list[dict[str, Any]], **fields: Any) -> bytes:
    return b"data: " + json.dumps({"id": "x", "choices": choices, **fields}, separators=(",", ":")).encode() + b"\n\n"


def _chat(content: str | None = None, finish: str | None = None, said: dict[str, Any] | None = None, **fields: Any) -> bytes:
    delta = ({} if content is None else {"content": content}) | (said or {})
    return _event([{"index": 0, "delta": delta, "finish_reason": finish}], **fields)


_ROLE = {"role": "assistant"}
_CONTENT = tuple(_chat(word) for word in WORDS)
_USAGE = _event([], usage=USAGE)
_CACHED = USAGE | {"prompt_tokens_details": {"cached_tokens": 14}}

DIALECTS = (
    Dialect(
        name="vllm",
        events=(_chat("", said=_ROLE), *_CONTENT[:2], _chat(WORDS[2], "length"), _USAGE, DONE),
        first=1,
    ),
    Dialect(
        name="dynamo",
        events=(_chat(WORDS[0], said=_ROLE), *_CONTENT[1:], _chat(finish="length"), _event([], usage=_CACHED), DONE),
        first=0,
        cached=14,
    ),
    Dialect(
        name="llama.cpp",
        events=(
            b": ping\n\n",
            _chat(said=_ROLE | {"content": None}),
            *_CONTENT,
            _chat(finish="stop"),
            _event([], usage=_CACHED, timings={"cache_n": 14}),
            DONE,
        ),
        first=2,
        cached=14,
    ),
    Dialect(name="transformers", events=(_chat(said=_ROLE), *_CONTENT, _chat(finish="length", usage=USAGE)), first=1),
    Dialect(
        name="gateway",
        events=(
            *[_chat(piece, said=_ROLE if i == 0 else None) for i, piece in enumerate((" on", "e tw", "o th", "ree"))],
            _chat(finish="stop"),
            _event([{"index": 0, "delta": {}}], usage=USAGE),
            DONE,
        ),
        first=0,
    ),
    Dialect(
        name="usage never said",
        events=(*[_chat(word, usage=None) for word in WORDS], _chat(finish="stop", usage=None), DONE),
        first=0,
        tokens=4,  # 14 characters
        is_estimated=True,
    ),
    Dialect(
        name="tokens joined",
        events=(_chat("", said=_ROLE), _chat("".join(WORDS), "stop"), _USAGE, DONE),
        first=1,
    ),
    Dialect(
        name="reasoning first",
        events=(
            _chat("", said=_ROLE),
            _chat(said={"reasoning_content": "hm"}),
            _chat("".join(WORDS), "stop"),
            _event([], usage=USAGE),
            DONE,
        ),
        first=1,
    ),
    Dialect(
        name="completion",
        events=(
            *[_event([{"index": 0, "text": word}]) for word in WORDS],
            _event([{"text": "", "finish_reason": "stop"}], usage=USAGE),
            DONE,
        ),
        first=0,
    ),
    Dialect(
        name="CR LF and names",
        events=tuple(b"event: message\r\n" + e.replace(b"\n", b"\r\n") for e in (*_CONTENT, _chat(finish="stop", usage=USAGE), DONE)),
        first=0,
    ),
)
