"""The official client, unmodified, gets what it expects."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from loadlab.wire.tokens import estimate_tokens
from tests.server.running import Running, plain_cluster, running


@pytest.fixture(scope="module")
def client(fast: Running) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{fast.url}/v1", api_key="none", max_retries=0) as made:
        yield made


HELLO = [{"role": "user", "content": "say something"}]  # 13 characters: 4 tokens


def test_models_are_listed_with_their_windows(client: openai.OpenAI) -> None:
    assert [(model.id, model.max_model_len) for model in client.models.list()] == [("m", 4096)]
    assert client.models.retrieve("m").id == "m"


def test_a_chat_has_as_many_tokens_as_asked(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=HELLO, max_tokens=12, extra_body={"ignore_eos": True})
    choice = answer.choices[0]
    assert choice.finish_reason == "length"
    assert estimate_tokens(choice.message.content) == 12
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (4, 12, 16)


def test_a_stream_says_the_same_token_by_token_and_then_usage(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="m",
        messages=HELLO,
        max_completion_tokens=9,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    )
    chunks = list(stream)
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert estimate_tokens(text) == 9
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason] == ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 9
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_without_usage_ends_with_the_finish_reason(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="m", messages=HELLO, max_tokens=3, stream=True, extra_body={"ignore_eos": True}))
    assert chunks[-1].choices[0].finish_reason == "length"
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_so_far_comes_with_every_event_if_asked(client: openai.OpenAI) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    asked = {"ignore_eos": True, "stream_options": options}
    chunks = list(client.chat.completions.create(model="m", messages=HELLO, max_tokens=5, stream=True, extra_body=asked))
    counts = [chunk.usage.completion_tokens for chunk in chunks if chunk.usage]
    assert counts == sorted(counts)
    assert counts[-1] == 5


def test_several_choices_differ_and_are_counted_together(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m", messages=HELLO, n=3, max_tokens=8, extra_body={"ignore_eos": True})
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (4, 24)
    stream = client.chat.completions.create(model="m", messages=HELLO, n=2, max_tokens=6, stream=True, extra_body={"ignore_eos": True})
    texts = {0: "", 1: ""}
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert [estimate_tokens(text) for text in texts.values()] == [6, 6]


def test_an_answer_stops_before_a_stop_sequence(client: openai.OpenAI) -> None:
    asked = {"model": "m", "messages": HELLO, "max_tokens": 200, "extra_body": {"ignore_eos": True}}
    answer = client.chat.completions.create(**asked, stop=["e"])
    choice = answer.choices[0]
    assert choice.finish_reason == "stop"
    assert "e" not in choice.message.content
    assert choice.stop_reason == "e"
    assert answer.usage.completion_tokens == estimate_tokens(choice.message.content + "e")
    pieces = [chunk.choices[0].delta.content for chunk in client.chat.completions.create(**asked, stop="e", stream=True) if chunk.choices]
    assert "e" not in "".join(piece for piece in pieces if piece)


def test_an_answer_ends_by_itself_around_the_median() -> None:
    with running(speed=500, answer_tokens=40) as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="x") as client:
        lengths = [client.chat.completions.create(model="m", messages=HELLO).usage.completion_tokens for _ in range(41)]
        assert 25 < sorted(lengths)[20] < 64
        least = client.chat.completions.create(model="m", messages=HELLO, extra_body={"min_tokens": 300})
        assert least.usage.completion_tokens >= 300


def test_a_completion_of_texts_and_of_token_ids(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="m", prompt=["one two", "three"], max_tokens=4, extra_body={"ignore_eos": True})
    assert [estimate_tokens(choice.text) for choice in answer.choices] == [4, 4]
    assert answer.usage.prompt_tokens == 4
    ids = client.completions.create(model="m", prompt=[7, 8, 9], extra_body={"ignore_eos": True}, max_tokens=2)
    assert ids.usage.prompt_tokens == 3
    stream = client.completions.create(model="m", prompt="one", max_tokens=5, stream=True, extra_body={"ignore_eos": True})
    assert estimate_tokens("".join(chunk.choices[0].text for chunk in stream)) == 5


def test_errors_are_the_clients_own_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-9", messages=HELLO)
    assert unknown.value.body["message"] == "The model `gpt-9` does not exist. Valid aliases: m."
    with pytest.raises(openai.BadRequestError, match="maximum context length is 4096 tokens"):
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x" * 20_000}])
    with pytest.raises(openai.BadRequestError, match="logprobs is not served") as refused:
        client.chat.completions.create(model="m", messages=HELLO, logprobs=True)
    assert refused.value.param == "logprobs"


def test_a_full_queue_is_busy() -> None:
    spec = plain_cluster(pool={"queue_limit": 0}, limits={"max_running": 1})
    with running(spec, speed=5) as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(model="m", messages=HELLO, max_tokens=400, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        with pytest.raises(openai.InternalServerError, match="currently busy") as busy:
            client.chat.completions.create(model="m", messages=HELLO)
        assert busy.value.status_code == 503
        stream.close()
