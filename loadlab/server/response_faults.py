"""Faults of answers on demand: for those who test clients, gateways and load testers. Each strikes a counted number of requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, assert_never

from loadlab.record.request import Cause
from loadlab.schema import NonNegative, Positive
from loadlab.server.connection import Connection, framed
from loadlab.server.errors import ApiError, RateLimitedError, of_cause
from loadlab.server.exchange import Choice, Exchange, Writer
from loadlab.server.question import Question

MAX_STRUCK = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Refused with a status before anything runs: 429, 500, 503 and so on."""

    kind: ClassVar[str] = "refuse"
    requests: Annotated[int, Positive] = 1
    model: str | None = None
    status: int = 429
    retry_after_s: Annotated[float, NonNegative] = 1.0

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"status = {self.status} must be from 400 to 599")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The connection is reset after so many tokens."""

    kind: ClassVar[str] = "cut"
    requests: Annotated[int, Positive] = 1
    model: str | None = None
    after_tokens: Annotated[int, NonNegative] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class EndEarly:
    """The stream ends in order after so many tokens, without finish reason, usage and [DONE]."""

    kind: ClassVar[str] = "end_early"
    requests: Annotated[int, Positive] = 1
    model: str | None = None
    after_tokens: Annotated[int, NonNegative] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """Nothing more comes after so many tokens; the connection stays open."""

    kind: ClassVar[str] = "stall"
    requests: Annotated[int, Positive] = 1
    model: str | None = None
    after_tokens: Annotated[int, NonNegative] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Malformed:
    """After so many tokens an event comes that is no JSON; the stream goes on."""

    kind: ClassVar[str] = "malformed"
    requests: Annotated[int, Positive] = 1
    model: str | None = None
    after_tokens: Annotated[int, NonNegative] = 1


ResponseFault = Refuse | Cut | EndEarly | Stall | Malformed


class ResponseFaults:
    """Which faults wait for requests. The oldest that suits a request strikes it."""

    def __init__(self) -> None:
        self._waiting: list[tuple[ResponseFault, int]] = []  # with how many requests are left to strike
        self.struck = 0

    def add(self, fault: ResponseFault) -> None:
        """Strikes the next `fault.requests` requests that suit it."""
        self._waiting.append((fault, min(fault.requests, MAX_STRUCK)))

    def clear(self) -> None:
        """Nothing waits any longer."""
        self._waiting.clear()

    def waiting(self) -> list[tuple[ResponseFault, int]]:
        """What waits, and for how many requests."""
        return list(self._waiting)

    def take(self, question: Question) -> ResponseFault | None:
        """The fault that strikes this request, if one does."""
        for i, (fault, left) in enumerate(self._waiting):
            if fault.model in (None, question.model):
                self.struck += 1
                if left == 1:
                    del self._waiting[i]
                else:
                    self._waiting[i] = (fault, left - 1)
                return fault
        return None


def refusal(fault: Refuse) -> ApiError:
    """The error that a refusing fault gives."""
    match fault.status:
        case 429:
            return RateLimitedError("Rate limit reached (injected). Please try again later.", fault.retry_after_s)
        case 503:
            return of_cause(Cause.QUEUE_FULL)
        case status:
            cause = Cause.SERVER_ERROR if status >= 500 else Cause.CLIENT_ERROR
            return ApiError(status, "an injected error", kind="InjectedError", cause=cause)


class FaultyWriter:
    """A writer that does harm after some tokens."""

    def __init__(self, inner: Writer, fault: Cut | EndEarly | Stall | Malformed, connection: Connection, *, is_streamed: bool) -> None:
        self._inner = inner
        self._fault = fault
        self._connection = connection
        self._is_streamed = is_streamed
        self._after = max(fault.after_tokens, 0 if isinstance(fault, Cut | Stall) else 1)
        self._has_struck = False
        self._exchange: Exchange

    def watch(self, exchange: Exchange) -> None:
        """Whose answer is harmed."""
        self._exchange = exchange

    def say(self, choice: Choice, first: int, last: int, finish_reason: str | None) -> None:
        """See exchange.Writer. An answer that ends before its time is struck at its end."""
        after = self._after
        if not self._is_streamed:
            return
        if self._has_struck:
            if isinstance(self._fault, Malformed):
                self._inner.say(choice, first, last, finish_reason)
        elif last < after and finish_reason is None:
            self._inner.say(choice, first, last, None)
        else:
            upto = min(last, after)
            if first < upto:
                self._inner.say(choice, first, upto, None)
            self._strike(choice, max(first, upto), last, finish_reason)

    def _strike(self, choice: Choice, first: int, last: int, finish_reason: str | None) -> None:
        self._has_struck = True
        match self._fault:
            case Cut():
                self._exchange.abandon(Cause.RESET_MID_STREAM)
                self._connection.cut()
            case EndEarly():
                self._exchange.abandon(Cause.CUT_SHORT)
                self._connection.end_stream(b"")
            case Stall():
                self._exchange.injected = Cause.STALL
            case Malformed():
                self._exchange.injected = Cause.PROTOCOL
                self._connection.transport.write(framed(b'data: {"id": "malformed", "choices": [{\n\n'))
                if last > first or finish_reason is not None:
                    self._inner.say(choice, first, last, finish_reason)
            case _:
                assert_never(self._fault)

    def finish(self, exchange: Exchange) -> None:
        """See exchange.Writer. An answer that is not streamed is harmed here."""
        if self._is_streamed:
            if not isinstance(self._fault, Stall):
                self._inner.finish(exchange)
            return
        match self._fault:
            case Cut():
                self._exchange.injected = Cause.RESET
                self._connection.cut()
            case Stall():
                self._exchange.injected = Cause.STALL
            case EndEarly() | Malformed():
                self._exchange.injected = Cause.PROTOCOL
                self._connection.respond(200, b'{"id": "malformed", "choices": [{')
            case _:
                assert_never(self._fault)

    def fail(self, error: ApiError) -> None:
        """See exchange.Writer: what fails anyway needs no help."""
        self._inner.fail(error)
