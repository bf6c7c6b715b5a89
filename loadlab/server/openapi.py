"""The OpenAPI document: the shapes that bodies are checked against, and what is answered."""

from __future__ import annotations

from typing import Any

from loadlab import __version__
from loadlab.server import request_shapes

_JSON = "application/json"
_ERROR = {"type": "object", "properties": {"error": {"type": ["object", "string"]}}}
_DETAIL = {"type": "object", "properties": {"detail": {"type": "string"}}}
_USAGE = {
    "type": "object",
    "properties": {name: {"type": "integer"} for name in ("prompt_tokens", "total_tokens", "completion_tokens")},
    "required": ["prompt_tokens", "total_tokens"],
}


def _object(required: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": required, "required": list(required)}


_CHOICES = {"type": "array", "items": _object({"index": {"type": "integer"}, "finish_reason": {"type": ["string", "null"]}})}
_COMPLETED = _object(
    {
        "id": {"type": "string"},
        "object": {"type": "string"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": _CHOICES,
        "usage": _USAGE,
    }
)
_EMBEDDED = _object({"object": {"enum": ["list"]}, "data": {"type": "array"}, "model": {"type": "string"}, "usage": _USAGE})
_MODEL = _object({"id": {"type": "string"}, "object": {"enum": ["model"]}, "max_model_len": {"type": "integer"}})
_MODELS = _object({"object": {"enum": ["list"]}, "data": {"type": "array", "items": _MODEL}})
_TOKENS = _object({"count": {"type": "integer"}, "max_model_len": {"type": "integer"}, "tokens": {"type": "array"}})


def _answers(shape: dict[str, Any] | None, *, streams: bool = False, refuses: bool = True) -> dict[str, Any]:
    """The responses of an operation."""
    content: dict[str, Any] = {} if shape is None else {_JSON: {"schema": shape}}
    if streams:
        content["text/event-stream"] = {"schema": {"type": "object", "properties": {"data": {"type": "string"}}}}  # of each event
    found: dict[str, Any] = {"200": {"description": "as asked", **({"content": content} if content else {})}}
    if refuses:
        for status, words in _REFUSALS.items():
            found[status] = {"description": words, "content": {_JSON: {"schema": _ERROR}}}
    return found


_REFUSALS = {
    "400": "the request cannot be served; the message says why",
    "401": "no key, or a wrong one",
    "403": "the key may not use this model",
    "404": "no such model",
    "408": "the request took too long to come",
    "413": "the body is too large",
    "415": "the body is not JSON",
    "429": "a quota is used up",
    "431": "the headers are too large",
    "503": "busy, or no replica is up",
}


def _post(summary: str, body: dict[str, Any], answer: dict[str, Any], *, streams: bool = False) -> dict[str, Any]:
    request = {"required": True, "content": {_JSON: {"schema": body}}}
    return {"post": {"summary": summary, "requestBody": request, "responses": _answers(answer, streams=streams)}}


def _get(summary: str, answer: dict[str, Any] | None) -> dict[str, Any]:
    return {"get": {"summary": summary, "responses": _answers(answer, refuses=False)}}


def document(models: tuple[str, ...]) -> dict[str, Any]:
    """The document of a server of these models."""
    model_path = _get("one model", _MODEL)
    model_path["get"]["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    model_path["get"]["responses"]["404"] = {"description": "no such model", "content": {_JSON: {"schema": {"anyOf": [_ERROR, _DETAIL]}}}}
    metrics = {"200": {"description": "Prometheus text", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"loadlab, simulating {', '.join(models)}", "version": __version__},
        "paths": {
            "/health": _get("200 while it serves", None),
            "/version": _get("the program's version", _object({"version": {"type": "string"}})),
            "/metrics": {"get": {"summary": "counters and gauges", "responses": metrics}},
            "/v1/models": _get("what is served", _MODELS),
            "/v1/models/{model}": model_path,
            "/v1/chat/completions": _post("an answer to a conversation", request_shapes.CHAT, _COMPLETED, streams=True),
            "/v1/completions": _post("a continuation of a text", request_shapes.COMPLETION, _COMPLETED, streams=True),
            "/v1/embeddings": _post("vectors of texts", request_shapes.EMBEDDING, _EMBEDDED),
            "/tokenize": _post("tokens of a text or conversation", request_shapes.TOKENIZE, _TOKENS),
        },
    }
