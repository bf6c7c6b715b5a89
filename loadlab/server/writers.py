"""How answers are sent: token by token as events, or whole. Nothing here waits: bytes go to the transport, which joins and sends them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson

from loadlab.server import dialect
from loadlab.server.answers import Channel, Part
from loadlab.server.connection import Connection, framed
from loadlab.server.errors import ApiError
from loadlab.server.exchange import Choice, Exchange
from loadlab.server.question import Kind, Question

Headers = tuple[tuple[bytes, bytes], ...]
_TAIL = dialect.chunk_tail(None)


class StreamWriter:
    """Events. Status and headers go with the first token, so that what fails before it still has a status of its own."""

    def __init__(self, connection: Connection, question: Question, answer_id: str, created_s: int, headers: Headers) -> None:
        self._connection = connection
        self._question = question
        self._id, self._created_s, self._headers = answer_id, created_s, headers
        self._has_begun = False
        self._is_single = len(question.prompts) * question.choices == 1
        self._held = b""  # the last event of the only choice goes with the end of the stream: one packet, not two
        self._plain: dict[int, tuple[bytes, bytes]] = {}  # by choice: all that stands around one token of plain text, framed
        self._usage: Callable[[], Any] = dict  # of the request so far

    def watch(self, exchange: Exchange) -> None:
        """Whose tokens these are: for clients that ask for usage with every event."""
        self._usage = exchange.usage

    def say(self, choice: Choice, first: int, last: int, finish_reason: str | None) -> None:
        """See exchange.Writer. A token is an event; tokens that come in one pass share one, as vLLM's do when it lags."""
        if self._connection.is_closed:
            return
        if not self._has_begun:
            self._connection.transport.write(self._beginning(choice) + self._events(choice, first, last, finish_reason))
            return
        plain = self._plain.get(choice.index)
        words = choice.answer.words
        if plain is not None and finish_reason is None and last == first + 1 and words is not None:
            piece = words.piece(first, last)
            if len(piece) == 4:
                self._connection.transport.write(plain[0] + piece + plain[1])
                return
        events = self._events(choice, first, last, finish_reason)
        if finish_reason is not None and self._is_single:
            self._held = events
        else:
            self._connection.transport.write(events)

    def _beginning(self, choice: Choice) -> bytes:
        """Headers and the roles of all choices; makes ready what stands around every token."""
        self._has_begun = True
        question = self._question
        usage = self._usage() | {"completion_tokens": 0} if question.has_continuous_usage else None
        if usage is not None:
            usage["total_tokens"] = usage["prompt_tokens"]
        roles = [
            dialect.role_chunk(question.kind, self._id, self._created_s, question.model, index, usage)
            for index in range(len(question.prompts) * question.choices)
        ]
        if not question.has_continuous_usage and choice.answer.words is not None:
            for index in range(len(roles)):
                before, behind = self._frame(index, Channel.CONTENT)
                size = len(before) + 4 + len(behind) + len(_TAIL)
                self._plain[index] = (b"%x\r\n%s" % (size, before), behind + _TAIL + b"\r\n")
        head = self._connection.stream_head(self._headers)
        return head + framed(b"".join(roles)) if question.kind is Kind.CHAT else head

    def _frame(self, index: int, channel: Channel) -> tuple[bytes, bytes]:
        question = self._question
        return dialect.chunk_frame(question.kind, self._id, self._created_s, question.model, index, channel)

    def _events(self, choice: Choice, first: int, last: int, finish_reason: str | None) -> bytes:
        """The events of tokens that may lie in several parts; the last one carries the finish reason."""
        events, start = [], 0
        parts = choice.answer.parts
        for i, part in enumerate(parts):
            end = start + part.body.tokens
            is_last = i == len(parts) - 1
            if start < last and first < end:
                reason = finish_reason if last == end and is_last else None
                events += self._part_events(choice, part, max(first, start) - start, min(last, end) - start, reason)
            start = end
        if finish_reason is not None and first == last:
            before, behind = self._frame(choice.index, Channel.CONTENT)
            events.append(before + behind + self._tail(choice, finish_reason))
        return b"".join([framed(event) for event in events])

    def _part_events(self, choice: Choice, part: Part, first: int, last: int, finish_reason: str | None) -> list[bytes]:
        before, behind = self._frame(choice.index, part.channel)
        tail = self._tail(choice, finish_reason)
        if part.channel is not Channel.TOOL:
            return [before + part.body.piece(first, last) + behind + tail]
        name_chars = len(part.name)
        text = part.body.text()[max(name_chars, 4 * first) : 4 * last]
        events = []
        if first == 0:
            events.append(dialect.tool_chunk(self._id, self._created_s, self._question.model, choice.index, part.name))
        if text or finish_reason is not None:
            events.append(before + orjson.dumps(text)[1:-1] + behind + tail)
        return events

    def _tail(self, choice: Choice, finish_reason: str | None) -> bytes:
        usage = self._usage() if self._question.has_continuous_usage else None
        is_signed = finish_reason is not None and not self._question.includes_usage
        return dialect.chunk_tail(finish_reason, choice.answer.stop_reason, usage, is_signed=is_signed)

    def finish(self, exchange: Exchange) -> None:
        """See exchange.Writer."""
        question, end = self._question, dialect.DONE
        if question.includes_usage:
            end = dialect.usage_chunk(question.kind, self._id, self._created_s, question.model, exchange.usage()) + end
        self._connection.end_stream(self._held + framed(end))

    def fail(self, error: ApiError) -> None:
        """See exchange.Writer. In mid-stream an event says it, as in vLLM."""
        if not self._has_begun:
            self._connection.respond(error.status, orjson.dumps(error.body), headers=(*self._headers, *error.headers))
            return
        self._connection.end_stream(framed(dialect.event(error.body) + dialect.DONE))


class EmbeddingWriter:
    """Vectors of length one that depend on the text alone: equal texts, equal vectors. They mean nothing."""

    def __init__(self, connection: Connection, dimensions: int, encoding: str) -> None:
        """`encoding`: float or base64 (of little-endian float32)."""
        self._connection, self._dimensions, self._encoding = connection, dimensions, encoding

    def say(self, choice: Choice, first: int, last: int, finish_reason: str | None) -> None:
        """See exchange.Writer: an embedding has no tokens."""

    def finish(self, exchange: Exchange) -> None:
        """See exchange.Writer."""
        data = [{"object": "embedding", "index": choice.index, "embedding": self._vector(choice)} for choice in exchange.choices]
        usage = exchange.usage()
        body = {
            "id": exchange.id,
            "object": "list",
            "created": exchange.created_s,
            "model": exchange.question.model,
            "data": data,
            "usage": {name: usage[name] for name in ("prompt_tokens", "total_tokens")},
        }
        self._connection.respond(200, orjson.dumps(body))

    def _vector(self, choice: Choice) -> list[float] | str:
        content, tokens = choice.prompt.pieces[-1]
        values = np.frombuffer(hashlib.shake_128(b"vector/%d/%d" % (content, tokens)).digest(self._dimensions), dtype=np.uint8) - 127.5
        vector = (values / np.linalg.norm(values)).astype("<f4")
        return base64.b64encode(vector.tobytes()).decode() if self._encoding == "base64" else vector.tolist()

    def fail(self, error: ApiError) -> None:
        """See exchange.Writer."""
        self._connection.respond(error.status, orjson.dumps(error.body), headers=error.headers)


class WholeWriter:
    """One body when everything is there."""

    def __init__(self, connection: Connection, question: Question, answer_id: str, created_s: int, headers: Headers) -> None:
        self._connection = connection
        self._question = question
        self._id, self._created_s, self._headers = answer_id, created_s, headers

    def say(self, choice: Choice, first: int, last: int, finish_reason: str | None) -> None:
        """See exchange.Writer: nothing is sent yet."""

    def finish(self, exchange: Exchange) -> None:
        """See exchange.Writer."""
        question = self._question
        choices = [self._choice(choice) for choice in exchange.choices]
        body = dialect.completion_body(question.kind, self._id, self._created_s, question.model, choices, exchange.usage())
        self._connection.respond(200, orjson.dumps(body), headers=self._headers)

    def _choice(self, choice: Choice) -> dict[str, Any]:
        answer = choice.answer
        if self._question.kind is Kind.COMPLETION:
            return dialect.text_choice(choice.index, answer.text_of(Channel.CONTENT), answer.finish_reason, answer.stop_reason)
        texts = {channel: answer.text_of(channel) for channel in Channel}
        tool = next((part.name for part in answer.parts if part.channel is Channel.TOOL), "")
        texts[Channel.TOOL] = texts[Channel.TOOL][len(tool) :]
        made: dict[str, Any] = dialect.chat_choice(choice.index, self._id, answer.finish_reason, answer.stop_reason, texts, tool)
        return made

    def fail(self, error: ApiError) -> None:
        """See exchange.Writer."""
        self._connection.respond(error.status, orjson.dumps(error.body), headers=(*self._headers, *error.headers))
