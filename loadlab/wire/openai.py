"""Bodies of OpenAI requests: chat completions, completions and embeddings."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from loadlab.wire.requests import WireRequest

CHAT_PATH = "/v1/chat/completions"
COMPLETIONS_PATH = "/v1/completions"
EMBEDDINGS_PATH = "/v1/embeddings"
JSON_HEADERS = (("Content-Type", "application/json"),)
STREAM_HEADERS = (*JSON_HEADERS, ("Accept", "text/event-stream"))
Message = tuple[str, str]  # (role, text)


class MaxTokensField(StrEnum):
    """How the limit on the answer is called: OpenAI's reasoning models refuse the first, older servers the second."""

    MAX_TOKENS = "max_tokens"
    MAX_COMPLETION_TOKENS = "max_completion_tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAIOptions:
    """What is asked besides model, prompt and length. Some servers refuse fields that they do not know, with 400 or 422.

    `ignore_eos` and `min_tokens` ask for answers of exactly the planned length; vLLM, SGLang and llama.cpp know the first.
    """

    stream: bool = True
    include_usage: bool = True  # in a stream: token counts in a last chunk
    max_tokens_field: MaxTokensField = MaxTokensField.MAX_TOKENS
    ignore_eos: bool = True
    min_tokens: bool = False
    json_mode: bool = False
    tools: tuple[Mapping[str, Any], ...] = ()  # schemas as the API wants them: {"type": "function", "function": {..}}
    extra: Mapping[str, Any] | None = None  # fields of the body, over ours


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTable:
    """How a traffic class asks an OpenAI endpoint, as a scenario says it. Means nothing to a simulated target: it draws lengths only."""

    stream: bool = True
    ignore_eos: bool = True
    min_tokens: bool = False
    max_tokens_field: MaxTokensField = MaxTokensField.MAX_TOKENS
    json_mode: bool = False
    tools: str | None = None  # a JSON array of tools, as the API takes them
    extra: str | None = None  # a JSON object of further fields, such as '{"temperature": 0}'

    def __post_init__(self) -> None:
        _from_json("tools", self.tools, list)
        fields: dict[str, Any] = _from_json("extra", self.extra, dict) or {}
        for name in _OURS.intersection(fields):
            raise ValueError(f"extra must not set {name}: it is set for you")

    def options(self, base: OpenAIOptions) -> OpenAIOptions:
        """These wishes on top of what holds for every class of the run, which a preflight may have cut down."""
        is_usual = self.max_tokens_field is MaxTokensField.MAX_TOKENS
        return replace(
            base,
            stream=self.stream and base.stream,
            ignore_eos=self.ignore_eos and base.ignore_eos,
            min_tokens=self.min_tokens or base.min_tokens,
            max_tokens_field=base.max_tokens_field if is_usual else self.max_tokens_field,
            json_mode=self.json_mode,
            tools=tuple(_from_json("tools", self.tools, list) or ()),
            extra={**(base.extra or {}), **(_from_json("extra", self.extra, dict) or {})},
        )


_OURS = frozenset({"model", "messages", "prompt", "input", "stream", "stream_options", "tools", "response_format"})


def _from_json(key: str, text: str | None, kind: type) -> Any:
    """What a JSON text of a scenario holds; None where there is none. Raises ValueError unless it is of that kind."""
    if text is None:
        return None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{key} must be JSON: {error}") from None
    if not isinstance(value, kind) or (isinstance(value, list) and not all(isinstance(item, dict) for item in value)):
        raise ValueError(f"{key} must be a JSON {'array of objects' if kind is list else 'object'}")
    return value


def chat(
    model: str, messages: Sequence[Message], output_tokens: int, images: Sequence[bytes] = (), options: OpenAIOptions | None = None
) -> WireRequest:
    """A chat completion. Images (PNG) go with the last message, as data URLs before its text."""
    given = OpenAIOptions() if options is None else options
    said: list[dict[str, Any]] = [{"role": role, "content": text} for role, text in messages]
    if images:
        pictures = [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images]
        said[-1]["content"] = [*pictures, {"type": "text", "text": said[-1]["content"]}]
    body: dict[str, Any] = {"model": model, "messages": said, **_generation(given, output_tokens)}
    if given.json_mode:
        body["response_format"] = {"type": "json_object"}
    if given.tools:
        body["tools"] = list(given.tools)
    return _request(CHAT_PATH, body, given)


def completion(model: str, prompt: str, output_tokens: int, options: OpenAIOptions | None = None) -> WireRequest:
    """A completion of one text."""
    given = OpenAIOptions() if options is None else options
    if given.max_tokens_field is not MaxTokensField.MAX_TOKENS:
        given = replace(given, max_tokens_field=MaxTokensField.MAX_TOKENS)  # this endpoint never had the other name
    return _request(COMPLETIONS_PATH, {"model": model, "prompt": prompt, **_generation(given, output_tokens)}, given)


def embedding(model: str, texts: str | Sequence[str], options: OpenAIOptions | None = None) -> WireRequest:
    """The embedding of one text, or of several. Never streamed."""
    given = replace(OpenAIOptions() if options is None else options, stream=False)
    return _request(EMBEDDINGS_PATH, {"model": model, "input": texts if isinstance(texts, str) else list(texts)}, given)


def _generation(options: OpenAIOptions, output_tokens: int) -> dict[str, Any]:
    body: dict[str, Any] = {options.max_tokens_field.value: output_tokens}
    if options.ignore_eos:
        body["ignore_eos"] = True
    if options.min_tokens:
        body["min_tokens"] = output_tokens
    if options.stream:
        body["stream"] = True
        if options.include_usage:
            body["stream_options"] = {"include_usage": True}
    return body


def _request(path: str, body: dict[str, Any], options: OpenAIOptions) -> WireRequest:
    if options.extra:
        body = body | dict(options.extra)
    headers = STREAM_HEADERS if options.stream else JSON_HEADERS
    return WireRequest(method="POST", path=path, headers=headers, body=orjson.dumps(body), streams=options.stream)


def _data_url(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


def without_refused_field(options: OpenAIOptions, words: str) -> OpenAIOptions | None:
    """The options without the optional field that a 400 or 422 names; None if it names none of them.

    For a preflight: a server that refuses `ignore_eos` is loaded without it, and the report says that answers may end early.
    """
    if options.ignore_eos and "ignore_eos" in words:
        return replace(options, ignore_eos=False)
    if options.min_tokens and "min_tokens" in words:
        return replace(options, min_tokens=False)
    if options.stream and options.include_usage and "stream_options" in words:
        return replace(options, include_usage=False)
    if options.max_tokens_field is MaxTokensField.MAX_TOKENS and "max_tokens" in words and "max_completion_tokens" in words:
        return replace(options, max_tokens_field=MaxTokensField.MAX_COMPLETION_TOKENS)
    return None
