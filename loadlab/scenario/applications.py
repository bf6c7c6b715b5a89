"""What an LLM application makes of one question: retrieval before it, a router in front, tools between, experts and arbiters behind.

Each table here belongs to a traffic class. What it adds is part of the plan, complete before the run: more pieces of prompt, delays
that are drawn beforehand ("stages"), or requests of their own ("steps"), labelled CLASS/STEP. Which is which: docs/decisions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from loadlab.scenario import delays, distribution, lengths
from loadlab.scenario.limits import MAX_CLASSES
from loadlab.schema import Bound, Share, shown

MAX_CHUNKS = 100  # of a prompt
TopK = Bound(f"from 1 to {MAX_CHUNKS}", lambda x: 1 <= x <= MAX_CHUNKS)


class Step(StrEnum):
    """A request that a class sends beside its main one. The order is that of the rows around a main request, MAIN between."""

    ROUTE = "route"
    EMBED = "embed"
    MAIN = ""
    CHECK = "check"
    ARBITER = "arbiter"
    EXPERT = "expert"


STEPS = tuple(Step)


def label_of(class_name: str, step: Step) -> str:
    """The traffic class that rows of a step carry, such as "support/expert"."""
    return f"{class_name}/{step}" if step else class_name


class ChunkOrder(StrEnum):
    """How a prompt's chunks stand in it."""

    RELEVANCE = "relevance"  # as they were found: any order, so that caches share little beyond the instructions
    STABLE = "stable"  # the most popular first, always: equal beginnings for the sake of prefix caches


@dataclass(frozen=True, slots=True, kw_only=True)
class Rag:
    """Retrieval before each prompt: shared instructions, `top_k` different chunks of a corpus, then the question (`prompt_tokens`).

    Chunk k is asked for in proportion to k^-popularity; its length is drawn once. Searching and reranking take the time of their laws
    before the prompt is sent; with `embed_model` the question is embedded first, by a request of its own.
    """

    top_k: Annotated[int, TopK]
    chunk_tokens: lengths.CountLaw
    corpus_chunks: Annotated[int, lengths.Ranks]
    instructions_tokens: Annotated[int, lengths.Count] = 0
    popularity: Annotated[float, lengths.Exponent] = 1.0
    order: ChunkOrder = ChunkOrder.RELEVANCE
    embed_model: str | None = None
    search_s: delays.DelayLaw = delays.NO_DELAY
    rerank_s: delays.DelayLaw = delays.NO_DELAY

    def __post_init__(self) -> None:
        if distribution.smallest(self.chunk_tokens) < 1:
            raise ValueError("chunk_tokens = 0 must not be possible: set its min, value or values to 1 or more")
        if self.corpus_chunks < self.top_k:
            raise ValueError(f"corpus_chunks = {self.corpus_chunks} must be at least top_k ({self.top_k})")
        _check_model(self.embed_model, "embed_model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A run of model calls with tools between them, the context growing by each call and its result.

    The first prompt is system_tokens, tool_schema_tokens and the task (`prompt_tokens`). Each of `tool_calls` answers is a call of
    call_tokens plus json_tokens for its wrapping; tool_s later its result of result_tokens is the next prompt. The last answer is
    `output_tokens`. With `max_context_tokens` the oldest calls leave the context.
    """

    tool_calls: lengths.CountLaw
    call_tokens: lengths.CountLaw
    result_tokens: lengths.CountLaw
    tool_s: delays.DelayLaw = delays.NO_DELAY
    system_tokens: Annotated[int, lengths.Count] = 0
    tool_schema_tokens: Annotated[int, lengths.Count] = 0
    json_tokens: Annotated[int, lengths.Count] = 0
    max_context_tokens: Annotated[int, lengths.AtLeastOne] | None = None

    def __post_init__(self) -> None:
        for key in ("call_tokens", "result_tokens"):
            if distribution.smallest(getattr(self, key)) < 1:
                raise ValueError(f"{key} = 0 must not be possible: set its min, value or values to 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A small model that reads each question first: instructions and question in, a short verdict out. What it decides is which class a
    request belongs to, so shares of classes are shares of verdicts."""

    model: str
    instructions_tokens: Annotated[int, lengths.AtLeastOne]
    output_tokens: lengths.CountLaw
    tier: str | None = None

    def __post_init__(self) -> None:
        _check_step(self.model, self.output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Escalation:
    """A share of the class is asked again of an expert, after the answer (of a session's or an agent's last turn) is there: the whole
    prompt, that answer, and a shared text of handover_tokens."""

    share: Annotated[float, Share]
    output_tokens: lengths.CountLaw
    model: str | None = None  # the class's own
    tier: str | None = None
    handover_tokens: Annotated[int, lengths.AtLeastOne] = 50

    def __post_init__(self) -> None:
        _check_step(self.model, self.output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arbiter:
    """Reads the question, all answers, and its instructions, once the last of them is there."""

    model: str
    instructions_tokens: Annotated[int, lengths.AtLeastOne]
    output_tokens: lengths.CountLaw
    tier: str | None = None

    def __post_init__(self) -> None:
        _check_step(self.model, self.output_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    """A share of the class is asked of other `models` too, at the same time, and an arbiter compares the answers. A class for each risk has
    a share for each risk."""

    share: Annotated[float, Share]
    models: tuple[str, ...]
    arbiter: Arbiter | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.models) <= MAX_CLASSES:
            raise ValueError(f"models = {len(self.models)} must be 1 to {MAX_CLASSES}: those asked beside the class's own")
        for model in self.models:
            _check_model(model, "models")


def _check_step(model: str | None, output_tokens: lengths.CountLaw) -> None:
    _check_model(model, "model")
    if distribution.smallest(output_tokens) < 1:
        raise ValueError("output_tokens = 0 must not be possible: set its min, value or values to 1 or more")


def _check_model(model: str | None, key: str) -> None:
    if model is not None and not (model.strip() and model.isprintable()):
        raise ValueError(f"{key} = {shown(model)} must be the name of a served model")
