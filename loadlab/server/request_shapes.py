"""The bodies that we read, as JSON Schema. Fields that are not named here are let through unread, as vLLM does."""

from __future__ import annotations

from typing import Any

MAX_INT = 2**53
MAX_TOKEN_ID = 2**31 - 1


def _maybe(kind: str, **bounds: Any) -> dict[str, Any]:
    """A field that may be null."""
    return {"type": [kind, "null"], **bounds}


_TOKEN_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": MAX_TOKEN_ID}, "minItems": 1}
_STOP = {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": {"type": "string"}, "maxItems": 16}]}
_STREAM_OPTIONS = _maybe("object", properties={"include_usage": _maybe("boolean"), "continuous_usage_stats": _maybe("boolean")})
_JSON_SCHEMA = {
    "type": "object",
    "properties": {"name": _maybe("string"), "schema": _maybe("object"), "strict": _maybe("boolean")},
}
_RESPONSE_FORMAT = _maybe(
    "object",
    properties={"type": {"type": "string", "enum": ["text", "json_object", "json_schema"]}, "json_schema": _JSON_SCHEMA},
    required=["type"],
)
_PART = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "text": {"type": "string"},
        "image_url": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"url": {"type": "string"}}, "required": ["url"]}]},
    },
    "required": ["type"],
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"type": "string", "enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": {"anyOf": [{"type": ["string", "null"]}, {"type": "array", "items": _PART}]},
        "name": _maybe("string"),
        "tool_calls": _maybe("array", items={"type": "object"}),
        "tool_call_id": _maybe("string"),
    },
    "required": ["role"],
}
_FUNCTION = {
    "type": "object",
    "properties": {"name": {"type": "string", "minLength": 1}, "description": _maybe("string"), "parameters": _maybe("object")},
    "required": ["name"],
}
_TOOL = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": ["function"]}, "function": _FUNCTION},
    "required": ["type", "function"],
}
_NAMED_TOOL = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["function"]},
        "function": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    },
    "required": ["type", "function"],
}
_SAMPLING = {
    "model": {"type": "string"},
    "max_tokens": _maybe("integer", minimum=1, maximum=MAX_INT),
    "min_tokens": _maybe("integer", minimum=0, maximum=MAX_INT),
    "ignore_eos": _maybe("boolean"),
    "n": _maybe("integer", minimum=1, maximum=MAX_INT),
    "stop": _STOP,
    "stream": _maybe("boolean"),
    "stream_options": _STREAM_OPTIONS,
    "temperature": _maybe("number", minimum=0, maximum=1e9),
    "top_p": _maybe("number", minimum=0, maximum=1),
    "seed": _maybe("integer", minimum=-MAX_INT, maximum=MAX_INT),
    "response_format": _RESPONSE_FORMAT,
    "user": _maybe("string"),
}

CHAT: dict[str, Any] = {
    "type": "object",
    "properties": _SAMPLING
    | {
        "messages": {"type": "array", "items": _MESSAGE, "maxItems": 100_000},
        "max_completion_tokens": _maybe("integer", minimum=1, maximum=MAX_INT),
        "tools": _maybe("array", items=_TOOL, maxItems=128),
        "tool_choice": {"anyOf": [{"type": ["string", "null"], "enum": ["none", "auto", "required", None]}, _NAMED_TOOL]},
        "reasoning_effort": _maybe("string", enum=["none", "minimal", "low", "medium", "high", "xhigh", None]),
        "logprobs": _maybe("boolean"),
        "top_logprobs": _maybe("integer"),
    },
    "required": ["messages"],
}
COMPLETION: dict[str, Any] = {
    "type": "object",
    "properties": _SAMPLING
    | {
        "prompt": {
            "anyOf": [
                {"type": "string"},
                _TOKEN_IDS,
                {"type": "array", "items": {"type": "string"}, "minItems": 1},
                {"type": "array", "items": _TOKEN_IDS, "minItems": 1},
            ]
        },
        "logprobs": _maybe("integer"),
        "echo": _maybe("boolean"),
        "suffix": _maybe("string"),
        "best_of": _maybe("integer"),
    },
    "required": ["prompt"],
}
EMBEDDING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model": {"type": "string"},
        "input": COMPLETION["properties"]["prompt"],
        "dimensions": _maybe("integer", minimum=1, maximum=8192),
        "encoding_format": _maybe("string", enum=["float", "base64", None]),
        "user": _maybe("string"),
    },
    "required": ["input"],
}
TOKENIZE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "model": _maybe("string"),
        "prompt": {"type": "string"},
        "messages": {"type": "array", "items": _MESSAGE},
        "return_token_strs": _maybe("boolean"),
    },
}
