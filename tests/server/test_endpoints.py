"""Every path answers as clients of vLLM expect."""

from __future__ import annotations

import base64
import json
import struct

import openai
import pytest

from tests.server.running import Running, events_of

MESSAGES = [{"role": "user", "content": "hi"}]


def test_health_version_and_unknown_paths(fast: Running) -> None:
    assert fast.get("/health") == (200, b"")
    assert json.loads(fast.get("/version")[1])["version"].startswith("loadlab ")
    assert fast.get("/nothing") == (404, b'{"detail":"Not Found"}')
    assert fast.get("/v1/chat/completions") == (405, b'{"detail":"Method Not Allowed"}')
    assert fast.get("/v1/models/other")[0] == 404


@pytest.mark.parametrize("path", ["/metrics", "/health", "/v1/models", "/openapi.json"])
def test_head_is_get_without_its_body(fast: Running, path: str) -> None:
    assert fast.get(path, method="HEAD") == (200, b"")


def test_embeddings_have_length_one_and_depend_on_the_text(fast: Running) -> None:
    with openai.OpenAI(base_url=f"{fast.url}/v1", api_key="x") as client:
        found = client.embeddings.create(model="m", input=["one", "two", "one"], dimensions=8)
    vectors = [item.embedding for item in found.data]
    assert vectors[0] == vectors[2] != vectors[1]
    assert sum(x * x for x in vectors[0]) == pytest.approx(1, abs=1e-5)
    assert found.usage.prompt_tokens == 3
    status, plain = fast.post("/v1/embeddings", {"input": "one", "dimensions": 8, "encoding_format": "base64"})
    assert status == 200
    assert struct.unpack("<8f", base64.b64decode(plain["data"][0]["embedding"])) == pytest.approx(vectors[0])
    assert fast.post("/v1/embeddings", {"input": "x" * 20_000})[0] == 400


def test_tokenize_counts_as_usage_does(fast: Running) -> None:
    status, answer = fast.post("/tokenize", {"prompt": "hello there", "return_token_strs": True})
    assert (status, answer["count"], answer["token_strs"]) == (200, 3, ["hell", "o th", "ere"])
    assert len(answer["tokens"]) == 3
    assert fast.post("/tokenize", {"messages": MESSAGES})[1]["count"] == 1
    assert fast.post("/tokenize", {})[0] == 400


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        (b"{not json", 400, "body.1", "JSON decode error"),
        (b"", 400, "body", "Field required"),
        (b"[1]", 400, "body", "valid dictionary"),
        ({"model": "m"}, 400, "body.messages", "Field required"),
        ({"messages": []}, 400, None, "empty conversation"),
        ({"messages": MESSAGES, "max_tokens": "abc"}, 400, "body.max_tokens", "valid integer"),
        ({"messages": MESSAGES, "max_tokens": -5}, 400, "max_tokens", "max_tokens must be at least 1, got -5."),
        ({"messages": MESSAGES, "max_tokens": 5000}, 400, "max_tokens", "cannot be greater than max_model_len=4096"),
        ({"messages": MESSAGES, "temperature": -3}, 400, "temperature", "must be at least 0"),
        ({"messages": [{"role": "user", "content": "x" * 16_000}], "max_tokens": 200}, 400, "input_tokens", "200 output tokens"),
        ({"messages": [{"role": "alien", "content": "x"}]}, 400, "body.messages.0.role", "Input should be"),
        ({"messages": MESSAGES, "n": 17}, 400, "n", "at most 16 answers"),
        ({"messages": MESSAGES, "logprobs": True}, 400, "logprobs", "made up"),
        ({"messages": MESSAGES, "stream_options": {"include_usage": True}}, 400, "stream_options", "only be defined"),
        ({"messages": MESSAGES, "min_tokens": 9, "max_tokens": 3}, 400, "min_tokens", "less than or equal"),
        ({"messages": MESSAGES, "tool_choice": "required"}, 400, "tool_choice", "needs tools"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, 400, "messages.0.content.0.type", "audio"),
        ({"model": "m2", "messages": MESSAGES}, 404, "model", "does not exist"),
    ],
)
def test_a_bad_request_is_told_what_is_wrong(fast: Running, body: object, status: int, param: str | None, words: str) -> None:
    """In vLLM's shape: {"error": {"message", "type", "param", "code"}}."""
    found, answer = fast.post("/v1/chat/completions", body)
    assert (found, answer["error"]["param"], answer["error"]["code"]) == (status, param, status)
    assert words in answer["error"]["message"]


def test_other_content_than_json_is_refused(fast: Running) -> None:
    assert fast.post("/v1/chat/completions", b"a=1", **{"Content-Type": "application/x-www-form-urlencoded"})[0] == 415


def test_fields_that_nobody_knows_are_let_through(fast: Running) -> None:
    body = {"messages": MESSAGES, "max_tokens": 2, "frobnicate": {"x": 1}, "seed": 7, "temperature": 0.7, "top_k": 5, "user": "me"}
    assert fast.post("/v1/chat/completions", body)[0] == 200


def test_content_may_be_a_list_of_parts(fast: Running) -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two "}]
    _, answer = fast.post("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}], "max_tokens": 1})
    assert answer["usage"]["prompt_tokens"] == 2


def test_the_next_turn_finds_the_whole_turn_before_in_the_cache(fast: Running) -> None:
    """Prompt 64 tokens, answer 32: both are whole blocks of 16, so all 96 less what must be computed are found."""
    asked = [{"role": "user", "content": "abcd" * 64}]
    _, first = fast.post("/v1/chat/completions", {"messages": asked, "max_tokens": 32, "ignore_eos": True})
    said = first["choices"][0]["message"]
    asked += [{"role": "assistant", "content": said["content"]}, {"role": "user", "content": "efgh" * 32}]
    _, second = fast.post("/v1/chat/completions", {"messages": asked, "max_tokens": 2})
    assert second["usage"]["prompt_tokens"] == 64 + 32 + 32
    assert second["usage"]["prompt_tokens_details"]["cached_tokens"] in (80, 96)  # the KV of an answer's last token is never written
    changed = [{"role": "user", "content": "zbcd" + "abcd" * 63}, *asked[1:]]
    _, other = fast.post("/v1/chat/completions", {"messages": changed, "max_tokens": 2})
    assert other["usage"]["prompt_tokens_details"]["cached_tokens"] == 0


def test_deliberate_answers_begin_with_reasoning(fast: Running) -> None:
    body = {"messages": MESSAGES, "max_tokens": 40, "ignore_eos": True, "reasoning_effort": "medium"}
    _, answer = fast.post("/v1/chat/completions", body)
    message, usage = answer["choices"][0]["message"], answer["usage"]
    assert (len(message["reasoning"]), len(message["content"])) == (80, 80)
    assert (usage["completion_tokens"], usage["completion_tokens_details"]) == (40, {"reasoning_tokens": 20})
    _, stream = fast.post("/v1/chat/completions", body | {"stream": True})
    deltas = [event["choices"][0]["delta"] for event in events_of(stream)[:-1]]
    assert len("".join(delta.get("reasoning", "") for delta in deltas)) == 80
    assert len("".join(delta.get("content", "") for delta in deltas)) == 80


def test_metrics_count_what_was_served(fast: Running) -> None:
    def value(name: str) -> float:
        lines = fast.get("/metrics")[1].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition("{")[0].partition(" ")[0] == name)

    names = ("vllm:generation_tokens_total", "vllm:prompt_tokens_total", "vllm:e2e_request_latency_seconds_count")
    before = [value(name) for name in names]
    fast.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "12345678"}], "max_tokens": 7, "ignore_eos": True})
    assert [value(name) - old for name, old in zip(names, before, strict=True)] == [7, 2, 1]
    gaps = value("vllm:inter_token_latency_seconds_count")
    assert gaps <= value("vllm:generation_tokens_total")
    assert value("vllm:kv_cache_usage_perc") == 0
    assert value("loadlab:speed") == 50
