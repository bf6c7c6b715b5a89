"""Our answers beside those recorded from vLLM 0.32: the same fields of the same kinds, in the same events; the same errors."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.running import Running, events_of, running

CAPTURES = Path(__file__).resolve().parents[3] / "shared" / "data" / "captures" / "vllm"
MESSAGES = [{"role": "user", "content": "hello"}]
CHAT = {"model": "m", "messages": MESSAGES, "max_tokens": 8}
# vLLM's own experiments, null in all captures, and permissions that OpenAI's interface gave up
LEFT_OUT = {
    "routed_experts", "prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params", "ec_transfer_params", "metrics",
    "token_ids", "stop_reason", "permission",
}  # fmt: skip
OURS = {"prompt_tokens_details", "completion_tokens_details"}  # vLLM says cached tokens if its operator asks for it

pytestmark = pytest.mark.skipif(not CAPTURES.is_dir(), reason="recorded answers lie beside the repository, in ../shared/data/captures")


@pytest.fixture(scope="module")
def slow() -> Iterator[Running]:
    """Its tokens come one by one."""
    with running() as server:
        yield server


def captured(name: str) -> tuple[int, str]:
    """Status and body."""
    head, _, body = (CAPTURES / f"{name}.txt").read_text().partition("\n\n")
    return int(head.split()[1]), body


def fields(value: Any, place: str = "") -> set[str]:
    """Every field with the kind of its value; of a list its first element."""
    if isinstance(value, dict):
        return set().union(*[fields(inner, f"{place}.{name}") for name, inner in value.items() if name not in LEFT_OUT | OURS])
    if isinstance(value, list):
        return fields(value[0], f"{place}[]") if value else {f"{place}:[]"}
    return {f"{place}:{type(value).__name__}"}


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("chat_stream", {}),
        ("chat_stream_usage", {"stream_options": {"include_usage": True}}),
        ("chat_stream_cont_usage", {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}),
        ("chat_stream_n2", {"n": 2}),
    ],
)
def test_the_events_of_a_stream(slow: Running, name: str, extra: dict[str, Any]) -> None:
    status, stream = slow.post("/v1/chat/completions", {**CHAT, "ignore_eos": True, "stream": True, **extra})
    ours, theirs = events_of(stream), events_of(captured(name)[1].encode())
    assert (status, ours[-1]) == (200, theirs[-1])
    for event in (0, -2):
        assert fields(ours[event]) == fields(theirs[event]), event
    assert fields(plain_event(ours)) == fields(plain_event(theirs))


def plain_event(events: list[Any]) -> Any:
    """The first that carries text and does not end its choice."""
    return next(
        event for event in events[:-1] for choice in event["choices"] if choice["delta"].get("content") and not choice["finish_reason"]
    )


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [
        ("chat_nonstream", "/v1/chat/completions", CHAT),
        ("content_parts", "/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}]}),
        ("tokenize", "/tokenize", {"model": "m", "prompt": "hello"}),
    ],
)
def test_whole_answers(fast: Running, name: str, path: str, body: dict[str, Any]) -> None:
    status, ours = fast.post(path, body)
    assert (status, fields(ours)) == (200, fields(json.loads(captured(name)[1])))


def test_the_list_of_models(fast: Running) -> None:
    assert fields(json.loads(fast.get("/v1/models")[1])) == fields(json.loads(captured("models")[1]))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("err_bad_json", b'{"model": "m", '),
        ("err_empty_body", b""),
        ("err_empty_messages", CHAT | {"messages": []}),
        ("err_max_tokens_huge", CHAT | {"max_tokens": 10**6}),
        ("err_missing_messages", {"model": "m"}),
        ("err_negative_max_tokens", CHAT | {"max_tokens": -5}),
        ("err_prompt_too_long", CHAT | {"messages": [{"role": "user", "content": "word " * 50_000}]}),
        ("err_temperature", CHAT | {"temperature": -3.0}),
        ("err_unknown_model", CHAT | {"model": "no-such-model"}),
        ("err_wrong_type", CHAT | {"max_tokens": "abc"}),
    ],
)
def test_errors(fast: Running, name: str, body: Any) -> None:
    status, ours = fast.post("/v1/chat/completions", body)
    expected, theirs = captured(name)[0], json.loads(captured(name)[1])
    assert (status, fields(ours)) == (expected, fields(theirs))
    assert ours["error"]["type"] == theirs["error"]["type"]
    assert place(ours) == place(theirs)


def place(answer: dict[str, Any]) -> str:
    """The field at fault, without where exactly in the body."""
    return re.sub(r"\d+", "N", str(answer["error"]["param"]))
