"""One answer, read without I/O: whoever owns the socket hands in what came and when; at the end there is an `Answer`.

Stamps are taken by the caller before anything is parsed. `feed` reads what is complete and holds the rest, so memory stays bounded and no
long answer is parsed in one go while others wait. What counts as what: docs/http-load.md.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from loadlab.record.request import OUTCOME_OF, Cause, Outcome
from loadlab.wire.bodies import EVENT_STREAM, Body, Document, ErrorBody, Stream, read_openai
from loadlab.wire.outcomes import ServerError, cause_of, plain_words, read_error
from loadlab.wire.tally import FAILED, FILTERED, Tally
from loadlab.wire.template import HttpTemplate
from loadlab.wire.tokens import estimate_tokens

ITL_PERCENTS = (50, 95, 99, 100)
SUCCESS = range(200, 300)
IN_STREAM_STATUS = 500  # of an error event that names none


class Ending(Enum):
    """How an exchange ended, as the socket's owner saw it."""

    COMPLETE = "complete"  # the message ended as HTTP says it does
    RESET = "reset"
    SHORT_BODY = "short_body"  # closed in order, before the body's announced end
    DEADLINE = "deadline"
    STALL = "stall"
    REFUSED = "refused"
    DNS = "dns"
    TLS = "tls"
    STALE_CONNECTION = "stale_connection"
    BAD_HTTP = "bad_http"
    OUT_OF_SOCKETS = "out_of_sockets"
    STOPPED = "stopped"  # in flight, and given up because the run was stopped
    IN_FLIGHT_LIMIT = "in_flight_limit"


_CAUSE_OF_ENDING: Mapping[Ending, Cause] = {
    Ending.RESET: Cause.RESET_MID_STREAM,
    Ending.SHORT_BODY: Cause.CUT_SHORT,
    Ending.DEADLINE: Cause.DEADLINE,
    Ending.STALL: Cause.STALL,
    Ending.REFUSED: Cause.REFUSED,
    Ending.DNS: Cause.DNS,
    Ending.TLS: Cause.TLS,
    Ending.STALE_CONNECTION: Cause.STALE_CONNECTION,
    Ending.BAD_HTTP: Cause.PROTOCOL,
    Ending.OUT_OF_SOCKETS: Cause.OUT_OF_SOCKETS,
    Ending.STOPPED: Cause.GIVEN_UP,
    Ending.IN_FLIGHT_LIMIT: Cause.IN_FLIGHT_LIMIT,
}
_BEFORE_THE_HEAD: Mapping[Ending, Cause] = {Ending.RESET: Cause.RESET, Ending.SHORT_BODY: Cause.RESET, Ending.COMPLETE: Cause.PROTOCOL}
_LOST_CONNECTION = (Ending.RESET, Ending.SHORT_BODY, Ending.BAD_HTTP)  # after a complete answer it does no harm


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of one exchange. None where a thing did not happen or was not said; times are the caller's."""

    outcome: Outcome
    cause: Cause | None
    http_status: int | None
    error: str | None  # the server's words or what was wrong, on one line, safe to print
    first_token_s: float | None  # of a stream: the first content, reasoning or tool call that is not empty
    last_token_s: float | None
    ended_s: float
    prompt_tokens: int | None
    cached_prompt_tokens: int | None
    output_tokens: int | None
    tokens_estimated: bool  # output_tokens were counted from the text: the server did not say
    text: str  # of the first choice
    finish_reason: str | None
    itl_p50_s: float | None  # order statistics of the gaps between pieces with text; a piece may hold several tokens
    itl_p95_s: float | None
    itl_p99_s: float | None
    itl_max_s: float | None


class AnswerReader:
    """Reads one answer. `template` None: an OpenAI endpoint. `count` counts tokens of a text where the server says nothing."""

    def __init__(self, template: HttpTemplate | None = None, count: Callable[[str], int] = estimate_tokens) -> None:
        self._template = template
        self._count = count
        self._status: int | None = None
        self._retry_after: str | None = None
        self._body: Body | None = None

    def head(self, status: int, headers: Iterable[tuple[str, str]], at_s: float) -> None:  # noqa: ARG002 - a head has no time of its own
        """The status line and headers, names in any case. Not for interim (1xx) answers."""
        fields = {name.lower(): value for name, value in headers}
        self._status = status
        self._retry_after = fields.get("retry-after")
        self._body = self._new_body(status, fields)

    def _new_body(self, status: int, fields: Mapping[str, str]) -> Body:
        if not (status in SUCCESS if self._template is None else self._template.accepts(status)):
            return ErrorBody()
        coding = fields.get("content-encoding", "identity").strip().lower()
        if coding not in ("identity", ""):  # never inflated: a bomb would be
            body = ErrorBody()
            body.problem = f"content-encoding {plain_words(coding, 20)}, though only identity was asked for"
            return body
        if self._template is not None:
            return Document(self._template.read)
        return Stream() if fields.get("content-type", "").strip().lower().startswith(EVENT_STREAM) else Document(read_openai)

    def feed(self, data: bytes, at_s: float) -> bool:
        """A piece of the body, stamped as it was received. True once the answer is known, so that nothing more need be read."""
        assert self._body is not None, "a body comes after its head"
        return self._body.feed(data, at_s)

    def end(self, how: Ending, at_s: float, error: str | None = None) -> Answer:
        """What became of it. `error` is the socket's owner's own explanation, where it has one."""
        body, tally = self._body, Tally()
        if body is not None:
            body.end()
            tally = body.tally
        cause, words = self._judge(how, body)
        streams = isinstance(body, Stream)
        output_tokens, is_estimated = self._output_tokens(tally)
        p50, p95, p99, longest = gap_quantiles_s(tally.stamps_s) if streams else (None,) * 4
        return Answer(
            outcome=Outcome.OK if cause is None else OUTCOME_OF[cause],
            cause=cause,
            http_status=self._status,
            error=None if cause is None else plain_words(words or error or "") or None,
            first_token_s=tally.stamps_s[0] if streams and tally.stamps_s else None,
            last_token_s=tally.stamps_s[-1] if streams and tally.stamps_s else None,
            ended_s=at_s,
            prompt_tokens=_whole(tally.usage, "prompt_tokens"),
            cached_prompt_tokens=_cached(tally.usage),
            output_tokens=output_tokens,
            tokens_estimated=is_estimated,
            text=_encodable("".join(tally.texts)),
            finish_reason=tally.finish_reason,
            itl_p50_s=p50,
            itl_p95_s=p95,
            itl_p99_s=p99,
            itl_max_s=longest,
        )

    def _judge(self, how: Ending, body: Body | None) -> tuple[Cause | None, str | None]:
        """(cause, words); (None, None) for success. What the server said weighs more than how the connection ended."""
        if body is None or self._status is None:
            return _BEFORE_THE_HEAD.get(how) or _CAUSE_OF_ENDING[how], None
        if isinstance(body, ErrorBody) and body.problem is None:
            return self._refused(self._status, read_error(body.text))
        tally = body.tally
        if tally.error is not None:
            status = tally.error.status or (IN_STREAM_STATUS if self._status in SUCCESS else self._status)
            return self._refused(status, tally.error)
        if how is Ending.COMPLETE or (how in _LOST_CONNECTION and body.is_complete and isinstance(body, Stream)):
            return self._judge_text(body)
        if body.problem is not None and isinstance(body, Stream):
            return Cause.PROTOCOL, body.problem
        return _CAUSE_OF_ENDING[how], None

    def _judge_text(self, body: Body) -> tuple[Cause | None, str | None]:
        """Of an answer that came to its end in order."""
        reason = body.tally.finish_reason
        if body.problem is not None:
            return Cause.PROTOCOL, body.problem
        if reason == FILTERED:
            return Cause.FILTERED, f"finish reason {reason}"
        if reason in FAILED:
            return Cause.SERVER_ERROR, f"finish reason {reason}"
        if body.is_complete:
            return None, None
        if isinstance(body, Stream) and body.is_done:
            return Cause.PROTOCOL, "a stream that ended with [DONE] and held no answer"
        return Cause.CUT_SHORT, "the stream ended without a finish reason or [DONE]"

    def _refused(self, status: int, error: ServerError) -> tuple[Cause, str]:
        cause = cause_of(status, error)
        words = plain_words(error.message)
        if self._retry_after is not None and OUTCOME_OF[cause] is Outcome.REJECTED:
            words = f"{words} (Retry-After: {plain_words(self._retry_after, 40)})"
        return cause, words

    def _output_tokens(self, tally: Tally) -> tuple[int | None, bool]:
        said = _whole(tally.usage, "completion_tokens")
        if said or (said == 0 and not tally.stamps_s):  # a zero beside a text is a field that nobody filled
            return said, False
        if not tally.has_choice:
            return (0, False) if tally.usage else (None, False)
        return self._count("".join(tally.texts)) + self._count("".join(tally.others)), True


def gap_quantiles_s(stamps_s: array[float]) -> tuple[float | None, ...]:
    """p50, p95, p99 and the longest of the gaps between stamps: order statistics ceil(p n); None with fewer than two stamps."""
    gaps = sorted(b - a for a, b in itertools.pairwise(stamps_s))
    if not gaps:
        return (None,) * len(ITL_PERCENTS)
    return tuple(gaps[-(-percent * len(gaps) // 100) - 1] for percent in ITL_PERCENTS)


def _whole(usage: Any, key: str) -> int | None:
    """A count that a server says; None if it says none, or nonsense."""
    value = usage.get(key) if isinstance(usage, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53 else None


def _cached(usage: Any) -> int | None:
    details = usage.get("prompt_tokens_details") if isinstance(usage, Mapping) else None
    found = _whole(details, "cached_tokens")
    return _whole(usage, "prompt_cache_hit_tokens") if found is None else found  # DeepSeek's name


def _encodable(text: str) -> str:
    """Text without lone surrogates, which JSON may hold and no file can."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
