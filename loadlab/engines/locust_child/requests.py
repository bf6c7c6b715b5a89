"""Planned requests as bytes on the wire, made shortly before they are due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from loadlab.engines.messages import Job
from loadlab.scenario.plan import PlannedRequest, RequestKind, RequestPlan
from loadlab.scenario.prompts import PromptWriter
from loadlab.wire import openai
from loadlab.wire.answer import AnswerReader
from loadlab.wire.requests import WireRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyRequest:
    """A request whose bytes are made, and the reader for its answer."""

    data: bytes
    reader: AnswerReader


class RequestMaker:
    """Turns rows of the plan into bytes for one endpoint. `options` may be changed by a preflight that was refused a field."""

    def __init__(self, job: Job, plan: RequestPlan) -> None:
        self._job, self._plan, self._prompts = job, plan, PromptWriter(plan)
        self._head = _common_head(job)
        self.options = openai.OpenAIOptions()

    def make(self, seq: int, answers: Mapping[int, str]) -> ReadyRequest:
        """Request `seq` of the plan; `answers` as `PromptWriter.messages` takes them."""
        return self._encode(self._wire(self._plan.request(seq), answers), str(seq))

    def _wire(self, request: PlannedRequest, answers: Mapping[int, str]) -> WireRequest:
        model, prompts = self._job.models[request.model], self._prompts
        match request.kind:
            case RequestKind.CHAT:
                images = prompts.images(request) if request.images else ()
                return openai.chat(model, prompts.messages(request, answers), request.output_tokens, images, self.options)
            case RequestKind.COMPLETION:
                return openai.completion(model, prompts.text(request, answers), request.output_tokens, self.options)
            case RequestKind.EMBEDDING:
                return openai.embedding(model, prompts.text(request, answers), self.options)
            case RequestKind.HTTP:
                raise NotImplementedError
            case _:
                assert_never(request.kind)

    def trial(self, model: str, kind: RequestKind) -> ReadyRequest:
        """The smallest request that proves address, key and model."""
        match kind:
            case RequestKind.CHAT:
                wire = openai.chat(self._job.models[model], (("user", "ping"),), 1, (), self.options)
            case RequestKind.COMPLETION:
                wire = openai.completion(self._job.models[model], "ping", 1, self.options)
            case RequestKind.EMBEDDING:
                wire = openai.embedding(self._job.models[model], "ping", self.options)
            case RequestKind.HTTP:
                raise NotImplementedError
            case _:
                assert_never(kind)
        return self._encode(wire, "preflight")

    def _encode(self, wire: WireRequest, name: str) -> ReadyRequest:
        """The HTTP message. Its X-Request-ID is <run>-<name>, so that it can be found in the server's log."""
        lines = [f"{wire.method} {self._job.base_path}{wire.path} HTTP/1.1\r\n", self._head]
        lines.extend(f"{key}: {value}\r\n" for key, value in wire.headers)
        lines.append(f"X-Request-ID: {self._job.run_id}-{name}\r\nContent-Length: {len(wire.body)}\r\n\r\n")
        return ReadyRequest(data="".join(lines).encode("latin-1") + wire.body, reader=AnswerReader())


def _common_head(job: Job) -> str:
    headers = {"Host": job.authority, "User-Agent": "loadlab", "Accept-Encoding": "identity"}
    if job.api_key is not None:
        headers["Authorization"] = f"Bearer {job.api_key}"
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())
