"""One generating request under way: its sequences in the simulator, and whoever writes what they say to the client."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from loadlab.record.request import Cause
from loadlab.server.answers import Answer
from loadlab.server.errors import ApiError, of_cause
from loadlab.server.prompts import Prompt
from loadlab.server.question import Question
from loadlab.server.realtime import RealTime
from loadlab.simulator.sequence import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, as keys and headers say it."""

    name: str = ""
    traffic_class: str | None = None
    tier: str | None = None
    region: str | None = None
    session: int | None = None
    request_id: str | None = None  # the client's own
    trace: str | None = None  # W3C traceparent


class Writer(Protocol):
    """Sends the answers of one request."""

    def say(self, choice: Choice, first: int, last: int, finish_reason: str | None) -> None:
        """Tokens `first` to `last` (exclusive) of a choice came; with a finish reason they are its last."""

    def finish(self, exchange: Exchange) -> None:
        """Every choice is complete."""

    def fail(self, error: ApiError) -> None:
        """There will be no (more) answer."""


class Choice:
    """One answer of a request: a client of the real-time cluster."""

    __slots__ = ("_exchange", "answer", "index", "is_finished", "prompt", "sequence", "times_ps", "tokens", "told", "words")

    def __init__(self, exchange: Exchange, index: int, prompt: Prompt, answer: Answer, sequence: Sequence) -> None:
        self._exchange = exchange
        self.index = index
        self.prompt = prompt
        self.answer = answer
        self.sequence = sequence
        self.tokens = answer.tokens
        self.words = answer.words  # asked for with every token
        self.told = 0
        self.times_ps = array("q")  # of each token told
        self.is_finished = False  # its finish reason is told

    def on_tokens(self, sequence: Sequence, times_ps: list[int]) -> None:
        """See realtime.Client. The last tokens carry the finish reason, unless the end is still to come (post-processing)."""
        exchange, first = self._exchange, self.told
        self.told = last = first + len(times_ps)
        self.times_ps.extend(times_ps)
        ended_ps = sequence.ended_ps
        if exchange.is_over:
            return
        is_end = last == self.tokens and ended_ps is not None and ended_ps <= exchange.real_time.looked_ps
        exchange.writer.say(self, first, last, self.answer.finish_reason if is_end else None)
        self.is_finished = is_end

    def on_end(self, sequence: Sequence) -> None:
        """See realtime.Client."""
        self._exchange.on_end(self, sequence.cause)


@dataclass(slots=True)
class Exchange:
    """A request from its acceptance to its last byte. `on_done` is called once, whatever becomes of it."""

    question: Question
    asker: Asker
    real_time: RealTime
    writer: Writer
    id: str
    created_s: int  # wall time
    on_done: Callable[[Exchange], None]
    choices: list[Choice] = field(default_factory=list)
    cause: Cause | None = None
    error: ApiError | None = None
    left: int = 0  # choices that are not over
    is_over: bool = False
    injected: Cause | None = None  # what its client sees, though nothing went wrong: a fault on demand

    def begin(self) -> None:
        """Submits every choice; if one is refused at once, the request is."""
        self.left = len(self.choices)
        for choice in self.choices:
            if self.is_over:  # one before it was refused
                choice.sequence.close(self.cause, self.real_time.now_ps)
                self.on_end(choice, self.cause)
            elif not self.real_time.submit(choice.sequence, choice):
                self.on_end(choice, choice.sequence.cause)

    def on_end(self, choice: Choice, cause: Cause | None) -> None:
        """A choice is over."""
        self.left -= 1
        if cause is None:
            if not choice.is_finished and not self.is_over:
                self.writer.say(choice, choice.told, choice.told, choice.answer.finish_reason)
            if self.left == 0 and not self.is_over:
                self._close()
                self.writer.finish(self)
        elif not self.is_over:
            self._close(cause)
            self.error = of_cause(cause)
            self.writer.fail(self.error)
            self._give_up_others()
        if self.left == 0:
            self.on_done(self)

    def on_gone(self) -> None:
        """The client left."""
        self.abandon(Cause.CLIENT_LEFT)

    def abandon(self, cause: Cause) -> None:
        """Nobody waits for the answer any longer. Nothing is written."""
        if not self.is_over:
            self._close(cause)
            self._give_up_others()

    def _give_up_others(self) -> None:
        for choice in self.choices:
            if choice.sequence.order:  # it was submitted
                self.real_time.give_up(choice.sequence)

    def _close(self, cause: Cause | None = None) -> None:
        self.is_over, self.cause = True, cause

    def usage(self) -> dict[str, Any]:
        """Tokens of the whole request, as the answer states them."""
        prompts = {id(choice.prompt): choice for choice in self.choices}.values()
        prompt_tokens = sum([choice.prompt.tokens for choice in prompts])
        completion_tokens = sum([choice.told for choice in self.choices])
        reasoning = sum([choice.answer.reasoning_tokens for choice in self.choices])
        return {
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
            "prompt_tokens_details": {"cached_tokens": sum([choice.sequence.cached_tokens for choice in prompts])},
            "completion_tokens_details": {"reasoning_tokens": reasoning} if reasoning else None,
        }
