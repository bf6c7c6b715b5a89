"""How long an answer is and what it says, where the request leaves it to the model."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from statistics import NormalDist
from typing import Annotated

import orjson

from loadlab.schema import NonNegative, Positive
from loadlab.server.answers import Answer, Channel, Part, Text, Words, cut, stopped
from loadlab.server.json_answer import answer_to
from loadlab.server.question import Kind, Question

NOTHING = Answer(parts=(), finish_reason="stop")  # of an embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLaw:
    """Where the model ends by itself: log-normal around `median_tokens`. `ignore_eos` goes on to the limit, as in vLLM.

    The shape is our choice: chat answers in traces have a long right tail; sigma 0.7 puts 5 % beyond three times the median.
    """

    median_tokens: Annotated[float, Positive] = 200.0
    sigma: Annotated[float, NonNegative] = 0.7

    def tokens(self, rng: random.Random) -> int:
        """Of one answer, at least one."""
        quantile = NormalDist().inv_cdf(min(max(rng.random(), 1e-9), 1 - 1e-9))
        return max(1, round(self.median_tokens * math.exp(self.sigma * quantile)))


def plan_answer(question: Question, room_tokens: int, law: AnswerLaw, seed: int, number: int) -> Answer:
    """The answer to one prompt of a question; `number` tells it from every other answer. At most `room_tokens` >= 1 tokens."""
    if question.kind is Kind.EMBEDDING:
        return NOTHING
    if question.tool is not None:
        arguments = orjson.dumps(answer_to(question.tool.parameters, _rng(seed, number))).decode()
        body = Text(question.tool.name + arguments)
        return cut((Part(channel=Channel.TOOL, body=body, name=question.tool.name),), room_tokens, "tool_calls")
    if question.json_schema is not None:
        body = Text(orjson.dumps(answer_to(question.json_schema, _rng(seed, number))).decode())
        return cut((Part(channel=Channel.CONTENT, body=body),), room_tokens, "stop")
    natural = room_tokens if question.ignore_eos else max(question.min_tokens, law.tokens(_rng(seed, number)))
    tokens = min(room_tokens, natural)
    finish_reason = "length" if natural >= room_tokens else "stop"
    thought = min(tokens - 1, round(tokens * question.reasoning_share))
    parts: tuple[Part, ...] = (Part(channel=Channel.CONTENT, body=Words(seed, number, tokens - thought)),)
    if thought:
        parts = (Part(channel=Channel.REASONING, body=Words(seed, -number - 1, thought)), *parts)
    return stopped(Answer(parts=parts, finish_reason=finish_reason), question.stops, question.min_tokens)


def _rng(seed: int, number: int) -> random.Random:
    return random.Random(f"{seed}/{number}")  # noqa: S311  no secret
