from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from loadlab.wire.openai import MaxTokensField, OpenAIOptions, chat, completion, embedding, without_refused_field
from loadlab.wire.requests import WireRequest

PLAIN = OpenAIOptions(stream=False, ignore_eos=False)

TOOL = {"type": "function", "function": {"name": "f"}}


def body(request: WireRequest) -> dict[str, Any]:
    loaded = json.loads(request.body)
    assert isinstance(loaded, dict)
    return loaded


def test_a_streamed_chat_asks_for_its_length_and_its_usage() -> None:
    request = chat("m", [("system", "be brief"), ("user", 'say "é"')], 7)
    assert (request.method, request.path, request.streams) == ("POST", "/v1/chat/completions", True)
    assert body(request) == {
        "model": "m",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": 'say "é"'}],
        "max_tokens": 7,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_nothing_is_sent_that_was_switched_off() -> None:
    assert body(chat("m", [("user", "a")], 7, options=PLAIN)) == {
        "model": "m",
        "messages": [{"role": "user", "content": "a"}],
        "max_tokens": 7,
    }


def test_images_go_before_the_last_text_as_data_urls() -> None:
    (message,) = body(chat("m", [("user", "what is this?")], 7, images=[b"png1", b"png2"]))["messages"]
    assert [part["type"] for part in message["content"]] == ["image_url", "image_url", "text"]
    head, _, data = message["content"][0]["image_url"]["url"].partition(",")
    assert (head, base64.b64decode(data)) == ("data:image/png;base64", b"png1")
    assert message["content"][2]["text"] == "what is this?"


@pytest.mark.parametrize(
    ("options", "key", "value"),
    [
        (OpenAIOptions(json_mode=True), "response_format", {"type": "json_object"}),
        (
            OpenAIOptions(tools=({"type": "function", "function": {"name": "f"}},)),
            "tools",
            [{"type": "function", "function": {"name": "f"}}],
        ),
        (OpenAIOptions(max_tokens_field=MaxTokensField.MAX_COMPLETION_TOKENS), "max_completion_tokens", 7),
        (OpenAIOptions(min_tokens=True), "min_tokens", 7),
        (OpenAIOptions(extra={"temperature": 0, "model": "other"}), "model", "other"),
    ],
)
def test_options_become_fields(options: OpenAIOptions, key: str, value: object) -> None:
    assert body(chat("m", [("user", "a")], 7, options=options))[key] == value


def test_a_completion_is_one_text_and_always_max_tokens() -> None:
    found = body(completion("m", "once", 7, OpenAIOptions(max_tokens_field=MaxTokensField.MAX_COMPLETION_TOKENS)))
    assert (found["prompt"], found["max_tokens"], found["stream"]) == ("once", 7, True)


def test_an_embedding_is_never_streamed() -> None:
    request = embedding("m", ["a", "b"])
    assert (request.path, request.streams, body(request)) == ("/v1/embeddings", False, {"model": "m", "input": ["a", "b"]})


def test_no_request_carries_a_key() -> None:
    assert not any("auth" in name.lower() for name, _ in chat("m", [("user", "a")], 1).headers)


@pytest.mark.parametrize(
    ("words", "without"),
    [
        ("Unexpected fields in the request: {'ignore_eos'}", OpenAIOptions(ignore_eos=False)),
        ("Unrecognized request argument supplied: ignore_eos", OpenAIOptions(ignore_eos=False)),
        ("stream_options is not allowed", OpenAIOptions(include_usage=False)),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            OpenAIOptions(max_tokens_field=MaxTokensField.MAX_COMPLETION_TOKENS),
        ),
        ("The model does not exist", None),
        ("max_tokens is too large", None),
    ],
)
def test_a_field_that_a_server_refuses_can_be_left_out(words: str, without: OpenAIOptions | None) -> None:
    assert without_refused_field(OpenAIOptions(), words) == without
