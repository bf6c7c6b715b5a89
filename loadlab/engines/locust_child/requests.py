"""Planned requests as bytes on the wire, made shortly before they are due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from loadlab.engines.messages import Job, read_class_table
from loadlab.scenario.plan import PlannedRequest, RequestKind, RequestPlan
from loadlab.scenario.prompts import PromptWriter
from loadlab.scenario.tokenizer_file import load_tokenizer
from loadlab.wire import openai
from loadlab.wire.answer import AnswerReader
from loadlab.wire.openai import RequestTable
from loadlab.wire.requests import WireRequest
from loadlab.wire.template import Blanks, HttpTemplate

PREFLIGHT = "preflight"  # last part of the X-Request-ID of requests before the run


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyRequest:
    """A request whose bytes are made, and the reader for its answer."""

    data: bytes
    reader: AnswerReader


class RequestMaker:
    """Turns rows of the plan into bytes for one endpoint. `options` may be changed by a preflight that was refused a field.

    `job` may be replaced by one with another run id or share, before the first request is made.
    """

    def __init__(self, job: Job, plan: RequestPlan) -> None:
        self.job, self._plan = job, plan
        self._prompts = PromptWriter(plan, None if job.tokenizer is None else load_tokenizer(Path(job.tokenizer)))
        self._head = _common_head(job)
        self._askings = {name: read_class_table(table) for name, table in job.classes.items()}
        self.options = openai.OpenAIOptions()

    def make(self, seq: int, answers: Mapping[int, str]) -> ReadyRequest:
        """Request `seq` of the plan; `answers` as `PromptWriter.messages` takes them."""
        request = self._plan.request(seq)
        model, asking = self.job.models[request.model], self._askings[request.traffic_class]
        match asking:
            case RequestTable():
                return self._encode(self._ask(request, model, asking.options(self.options), answers), str(seq), None)
            case HttpTemplate():
                blanks = Blanks(
                    prompt=self._prompts.text(request, answers),
                    model=model,
                    max_tokens=request.output_tokens,
                    seq=seq,
                    messages=self._prompts.messages(request, answers),
                    session=request.session,
                    turn=request.turn,
                )
                return self._encode(asking.request(blanks), str(seq), asking)
            case _:
                assert_never(asking)

    def _ask(self, request: PlannedRequest, model: str, options: openai.OpenAIOptions, answers: Mapping[int, str]) -> WireRequest:
        prompts = self._prompts
        match request.kind:
            case RequestKind.CHAT:
                images = prompts.images(request) if request.images else ()
                return openai.chat(model, prompts.messages(request, answers), request.output_tokens, images, options)
            case RequestKind.COMPLETION:
                return openai.completion(model, prompts.text(request, answers), request.output_tokens, options)
            case RequestKind.EMBEDDING:
                return openai.embedding(model, prompts.text(request, answers), options)
            case RequestKind.HTTP:
                raise AssertionError("a class of kind http has a template")
            case _:
                assert_never(request.kind)

    def trial(self, traffic_class: str, model: str, kind: RequestKind) -> ReadyRequest | None:
        """The smallest request that proves address, key, model and fields; None for a template: what it does is not ours to repeat."""
        asking, name = self._askings[traffic_class], self.job.models[model]
        if isinstance(asking, HttpTemplate):
            return None
        options = asking.options(self.options)
        match kind:
            case RequestKind.CHAT:
                return self._encode(openai.chat(name, (("user", "ping"),), 1, (), options), PREFLIGHT, None)
            case RequestKind.COMPLETION:
                return self._encode(openai.completion(name, "ping", 1, options), PREFLIGHT, None)
            case _:
                return self._encode(openai.embedding(name, "ping", options), PREFLIGHT, None)

    def _encode(self, wire: WireRequest, name: str, template: HttpTemplate | None) -> ReadyRequest:
        """The HTTP message. Its X-Request-ID is <run>-<name>, so that it can be found in the server's log."""
        lines = [f"{wire.method} {self.job.base_path}{wire.path} HTTP/1.1\r\n", self._head]
        lines.extend(f"{key}: {value}\r\n" for key, value in wire.headers)
        lines.append(f"X-Request-ID: {self.job.run_id}-{name}\r\nContent-Length: {len(wire.body)}\r\n\r\n")
        return ReadyRequest(data="".join(lines).encode("latin-1") + wire.body, reader=AnswerReader(template, self._prompts.rule.count))


def _common_head(job: Job) -> str:
    headers = {"Host": job.authority, "User-Agent": "loadlab", "Accept-Encoding": "identity"}
    if job.api_key is not None:
        headers["Authorization"] = f"Bearer {job.api_key}"
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
