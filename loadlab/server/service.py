"""What the server serves: the models of one cluster in real time, and the requests under way."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from loadlab.errors import InputError
from loadlab.record.request import Cause
from loadlab.server.answer_law import AnswerLaw, plan_answer
from loadlab.server.connection import Connection
from loadlab.server.errors import ApiError, of_cause
from loadlab.server.exchange import Asker, Choice, Exchange, Writer
from loadlab.server.images import ImageSize
from loadlab.server.limits import Limits
from loadlab.server.prompts import answer_piece
from loadlab.server.question import Kind, Question
from loadlab.server.realtime import RealTime
from loadlab.server.response_faults import FaultyWriter, Refuse, ResponseFaults, refusal
from loadlab.server.writers import EmbeddingWriter, Headers, StreamWriter, WholeWriter
from loadlab.simulator.sequence import Sequence

OnDone = Callable[[Exchange], None]
ID_PREFIX = {Kind.CHAT: "chatcmpl", Kind.COMPLETION: "cmpl", Kind.EMBEDDING: "embd"}


class Service:
    """Answers questions. `watchers` hear of every request that is over: metrics, the log."""

    def __init__(self, real_time: RealTime, limits: Limits, law: AnswerLaw, seed: int) -> None:
        self.real_time = real_time
        self.limits = limits
        self.started_s = int(time.time())
        self.watchers: list[OnDone] = []
        self.faults = ResponseFaults()
        self.done = 0  # requests that are over
        self.exchanges: dict[str, Exchange] = {}  # under way, by id
        self._cluster = real_time.cluster
        self._law = law
        self._seed = seed
        self._number = 0  # of sequences so far
        self._is_closing = False
        self._windows = {model: self._cluster.context_tokens(model) for model in self._cluster.serves}

    # What is served: question.Catalogue

    @property
    def models(self) -> tuple[str, ...]:
        """See question.Catalogue."""
        return self._cluster.serves

    def window_tokens(self, model: str) -> int:
        """See question.Catalogue."""
        return self._windows[model]

    def image_tokens(self, model: str) -> Callable[[ImageSize], int]:
        """See question.Catalogue."""

        def tokens(size: ImageSize) -> int:
            try:
                return self._cluster.image_tokens(model, size.width_px, size.height_px)
            except InputError:
                raise ApiError(400, f"{model} is not a multimodal model: it takes no images.", param="messages") from None

        return tokens

    # Answering

    def close(self) -> None:
        """No new request is taken."""
        self._is_closing = True

    def ask(self, question: Question, asker: Asker, connection: Connection, *, is_filtered: bool = False) -> None:
        """Sends a question on its way; its answer goes to the connection, now or later. Raises ApiError where it is refused here.

        `is_filtered`: the safety filter will refuse it, once it has passed the stages before that.
        """
        if question.is_streamed and not connection.can_stream:
            raise ApiError(400, "a stream needs HTTP/1.1: HTTP/1.0 has no chunks.", param="stream")
        answer_id, created_s = self._new_id(question), int(time.time())
        headers: Headers = () if asker.request_id is None else ((b"x-request-id", asker.request_id.encode("latin-1", "replace")),)
        fault = self.faults.take(question)
        if isinstance(fault, Refuse):
            raise refusal(fault)
        kind = StreamWriter if question.is_streamed else WholeWriter
        writer: Writer = kind(connection, question, answer_id, created_s, headers)
        exchange = Exchange(question, asker, self.real_time, writer, answer_id, created_s, self._on_done)
        if isinstance(writer, StreamWriter):
            writer.watch(exchange)
        if fault is not None:
            exchange.writer = faulty = FaultyWriter(writer, fault, connection, is_streamed=question.is_streamed)
            faulty.watch(exchange)
        self._begin(exchange, connection, is_filtered=is_filtered)

    def embed(
        self, question: Question, asker: Asker, connection: Connection, dimensions: int, encoding: str, *, is_filtered: bool = False
    ) -> None:
        """Sends texts to be embedded; see `ask`."""
        writer = EmbeddingWriter(connection, dimensions, encoding)
        exchange = Exchange(question, asker, self.real_time, writer, self._new_id(question), int(time.time()), self._on_done)
        self._begin(exchange, connection, is_filtered=is_filtered)

    def _new_id(self, question: Question) -> str:
        if self._is_closing:
            raise ApiError(503, "the server is shutting down", kind="Service Unavailable")
        return f"{ID_PREFIX[question.kind]}-{secrets.token_hex(8)}"

    def _begin(self, exchange: Exchange, connection: Connection, *, is_filtered: bool) -> None:
        if is_filtered and self._cluster.spec.pipeline is None:
            raise of_cause(Cause.FILTERED)
        question = exchange.question
        exchange.choices += [self._choice(exchange, index) for index in range(len(question.prompts) * question.choices)]
        for choice in exchange.choices:
            choice.sequence.is_filtered = is_filtered
        self.exchanges[exchange.id] = exchange
        connection.on_gone = exchange.on_gone
        exchange.begin()

    def _choice(self, exchange: Exchange, index: int) -> Choice:
        question, asker = exchange.question, exchange.asker
        prompt = question.prompts[index // question.choices]
        room = question.max_tokens or min(self._windows[question.model] - prompt.tokens, self.limits.max_tokens)
        number, self._number = self._number, self._number + 1
        answer = plan_answer(question, room, self._law, self._seed, number)
        said = answer.as_prompt if question.kind is Kind.CHAT else None
        sequence = Sequence(
            seq=number,
            model=question.model,
            prompt_tokens=prompt.tokens,
            output_tokens=answer.tokens,
            image_tokens=prompt.image_tokens,
            prefix=prompt.pieces,
            answer=answer_piece(said) if said else None,
            traffic_class=asker.traffic_class,
            tier=asker.tier,
            region=asker.region,
        )
        return Choice(exchange, index, prompt, answer, sequence)

    def _on_done(self, exchange: Exchange) -> None:
        del self.exchanges[exchange.id]
        self.done += 1
        for watch in self.watchers:
            watch(exchange)
