"""Answers as vLLM writes them: bodies, and the bytes around each token of a stream."""

from __future__ import annotations

from typing import Any

import orjson

from loadlab.server.answers import Channel
from loadlab.server.question import Kind

FINGERPRINT = "loadlab-simulated"
_FINGERPRINT_FIELD = b',"system_fingerprint":"%s"' % FINGERPRINT.encode()
_MESSAGE_NULLS = {"refusal": None, "annotations": None, "audio": None, "function_call": None}


def chunk_frame(kind: Kind, answer_id: str, created_s: int, model: str, index: int, channel: Channel) -> tuple[bytes, bytes]:
    """What stands before and behind the text of a token in its event; behind come `chunk_tail`s."""
    head = _chunk_head(kind, answer_id, created_s, model)
    if kind is Kind.COMPLETION:
        return b'%s"choices":[{"index":%d,"text":"' % (head, index), b'"'
    if channel is Channel.TOOL:
        call = b'%s"choices":[{"index":%d,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"'
        return call % (head, index), b'"}}]}'
    name = b"content" if channel is Channel.CONTENT else b"reasoning"
    return b'%s"choices":[{"index":%d,"delta":{"%s":"' % (head, index, name), b'"}'


def chunk_tail(
    finish_reason: str | None, stop_reason: str | None = None, usage: dict[str, Any] | None = None, *, is_signed: bool = False
) -> bytes:
    """The end of an event of a choice. `is_signed`: with the fingerprint, which vLLM puts on a choice's last event if no usage follows."""
    if finish_reason is None:
        end = b',"logprobs":null,"finish_reason":null,"token_ids":null}]'
    else:
        end = b',"logprobs":null,"finish_reason":%s,"stop_reason":%s,"token_ids":null}]' % (_json(finish_reason), _json(stop_reason))
    if usage is not None:
        end += b',"usage":%s' % _json(usage)
    return end + (b"%s}\n\n" % _FINGERPRINT_FIELD if is_signed else b"}\n\n")


def role_chunk(kind: Kind, answer_id: str, created_s: int, model: str, index: int, usage: dict[str, Any] | None = None) -> bytes:
    """The first event of a chat's choice; completions have none. `usage`: where every event carries it."""
    if kind is Kind.COMPLETION:
        return b""
    head = _chunk_head(kind, answer_id, created_s, model)
    delta = b'"choices":[{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]' % index
    return head + delta + (b"}\n\n" if usage is None else b',"usage":%s}\n\n' % _json(usage))


def tool_chunk(answer_id: str, created_s: int, model: str, index: int, name: str) -> bytes:
    """The event that names the function called; its arguments follow."""
    head = _chunk_head(Kind.CHAT, answer_id, created_s, model)
    call = {"index": 0, "id": _call_id(answer_id), "type": "function", "function": {"name": name, "arguments": ""}}
    return b'%s"choices":[{"index":%d,"delta":{"tool_calls":[%s]}' % (head, index, _json(call)) + chunk_tail(None)


def usage_chunk(kind: Kind, answer_id: str, created_s: int, model: str, usage: dict[str, Any]) -> bytes:
    """The event behind the last choice's end, where the client asked for usage."""
    head = _chunk_head(kind, answer_id, created_s, model)
    return b'%s"choices":[],"usage":%s%s}\n\n' % (head, _json(usage), _FINGERPRINT_FIELD)


def event(value: Any) -> bytes:
    """Any JSON as an event."""
    return b"data: %s\n\n" % _json(value)


DONE = b"data: [DONE]\n\n"


def _chunk_head(kind: Kind, answer_id: str, created_s: int, model: str) -> bytes:
    name = b"text_completion" if kind is Kind.COMPLETION else b"chat.completion.chunk"
    return b'data: {"id":"%s","object":"%s","created":%d,"model":%s,' % (answer_id.encode(), name, created_s, _json(model))


def _json(value: Any) -> bytes:
    return orjson.dumps(value)


def _call_id(answer_id: str) -> str:
    return f"chatcmpl-tool-{answer_id.rpartition('-')[2]}"


def completion_body(kind: Kind, answer_id: str, created_s: int, model: str, choices: list[dict[str, Any]], usage: Any) -> dict[str, Any]:
    """The whole answer of a request that was not streamed."""
    return {
        "id": answer_id,
        "object": "text_completion" if kind is Kind.COMPLETION else "chat.completion",
        "created": created_s,
        "model": model,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": usage,
    }


def chat_choice(index: int, answer_id: str, finish_reason: str, stop_reason: str | None, texts: dict[Channel, str], tool: str) -> Any:
    """A choice of a chat completion. `tool`: the function that was called, "" for none; its arguments are the tool channel's text."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": texts[Channel.CONTENT],
        **_MESSAGE_NULLS,
        "reasoning": texts[Channel.REASONING] or None,
    }
    if tool:
        function = {"name": tool, "arguments": texts[Channel.TOOL]}
        message |= {"content": None, "tool_calls": [{"id": _call_id(answer_id), "type": "function", "function": function}]}
    return {"index": index, "message": message, "logprobs": None, "finish_reason": finish_reason, "stop_reason": stop_reason}


def text_choice(index: int, text: str, finish_reason: str, stop_reason: str | None) -> dict[str, Any]:
    """A choice of a completion."""
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason, "stop_reason": stop_reason}


def model_card(name: str, created_s: int, window_tokens: int) -> dict[str, Any]:
    """An entry of /v1/models."""
    return {
        "id": name,
        "object": "model",
        "created": created_s,
        "owned_by": "loadlab",
        "root": name,
        "parent": None,
        "max_model_len": window_tokens,
    }
