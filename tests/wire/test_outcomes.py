from __future__ import annotations

import json

import pytest

from loadlab.record.request import OUTCOME_OF, Cause, Outcome
from loadlab.wire.error_texts import ERROR_TEXTS, ErrorText
from loadlab.wire.outcomes import MAX_WORDS_CHARS, ServerError, cause_of, plain_words, read_error

ids = [f"{text.cause.value}-{i}" for i, text in enumerate(ERROR_TEXTS)]


@pytest.mark.parametrize("text", ERROR_TEXTS, ids=ids)
def test_each_text_is_its_cause_wherever_a_server_says_it(text: ErrorText) -> None:
    for example in text.examples:
        assert cause_of(500, ServerError(message=example)) is text.cause
        assert cause_of(500, ServerError(message=f"Internal error: {example}")) is text.cause or example == "Loading model"


REFUSALS = [text for text in ERROR_TEXTS if OUTCOME_OF[text.cause] is Outcome.REJECTED and text.cause is not Cause.KV_EXHAUSTED]


@pytest.mark.parametrize("text", REFUSALS, ids=lambda text: text.cause)
def test_a_4xx_is_told_by_how_it_begins_names_of_exceptions_aside(text: ErrorText) -> None:
    for example in text.examples:
        for names in ("", "BadRequestError: ", "litellm.BadRequestError: OpenAIException - ", "Input validation error: ", "ValueError: "):
            assert cause_of(400, ServerError(message=names + example)) is text.cause
        assert cause_of(400, ServerError(message=f"you said: {example}")) is Cause.CLIENT_ERROR


def test_a_dead_engine_is_told_by_a_400_too() -> None:
    """vLLM wraps the exception of a stream as a bad request."""
    error = {"error": {"message": "EngineCore encountered an issue. See stack trace", "type": "BadRequestError", "code": 400}}
    assert cause_of(400, read_error(json.dumps(error).encode())) is Cause.ENGINE_DIED


@pytest.mark.parametrize("text", ERROR_TEXTS, ids=ids)
def test_each_texts_near_miss_is_something_else(text: ErrorText) -> None:
    for status in (400, 500):
        assert cause_of(status, ServerError(message=text.near_miss)) is not text.cause or text.cause is Cause.SERVER_ERROR
    assert cause_of(400, ServerError(message=text.near_miss)) is Cause.CLIENT_ERROR


def test_each_text_names_its_source() -> None:
    assert all(text.source and text.examples and text.near_miss not in text.examples for text in ERROR_TEXTS)


@pytest.mark.parametrize(
    "text", [t for t in ERROR_TEXTS if OUTCOME_OF[t.cause] is Outcome.OOM or t.cause is Cause.ENGINE_DIED], ids=lambda t: t.cause
)
def test_a_validation_error_that_echoes_the_request_is_no_crash(text: ErrorText) -> None:
    echo = {"error": {"message": f"1 validation error: {{'loc': 'body.messages', 'input': '{text.examples[0]}'}}", "code": 400}}
    assert cause_of(400, read_error(json.dumps(echo).encode())) is Cause.CLIENT_ERROR
    detail = {"detail": [{"loc": ["body", "messages"], "msg": "Input should be a valid list", "input": text.examples[0]}]}
    assert cause_of(422, read_error(json.dumps(detail).encode())) is Cause.CLIENT_ERROR


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (400, Cause.CLIENT_ERROR),
        (401, Cause.CLIENT_ERROR),
        (403, Cause.CLIENT_ERROR),
        (404, Cause.CLIENT_ERROR),
        (422, Cause.CLIENT_ERROR),
        (429, Cause.RATE_LIMITED),
        (500, Cause.SERVER_ERROR),
        (502, Cause.SERVER_ERROR),
        (503, Cause.QUEUE_FULL),
        (504, Cause.SERVER_ERROR),
        (507, Cause.OOM_REPORTED),
        (529, Cause.QUEUE_FULL),
        (301, Cause.REDIRECTED),
        (307, Cause.REDIRECTED),
    ],
)
def test_a_status_without_telling_words_is_its_class(status: int, cause: Cause) -> None:
    assert cause_of(status, ServerError(message="")) is cause
    assert cause_of(status, ServerError(message="Service says no")) is cause


@pytest.mark.parametrize(
    ("body", "message", "kind", "code"),
    [
        (b'{"error":{"message":"no","type":"T","param":null,"code":404}}', "no", "T", "404"),
        (b'{"error":"Unauthorized"}', "Unauthorized", None, None),
        (b'{"message":"Model not found","type":"Not Found","code":404}', "Model not found", "Not Found", "404"),
        (b'{"object":"error","message":"old vLLM","type":"BadRequestError","code":400}', "old vLLM", "BadRequestError", "400"),
        (b'{"detail":"Not Found"}', "Not Found", None, None),
        (b'{"detail":[{"loc":["body","model"],"msg":"Field required","input":{}}]}', "body.model: Field required", None, None),
        (b'{"error":"Model is overloaded","error_type":"overloaded"}', "Model is overloaded", "overloaded", None),
        (b'{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Quota"}}', "Quota", None, "429"),
        (b'{"errors":[{"message":"a"},{"message":"b"}]}', "a; b", None, None),
        (b"Internal Server Error", "Internal Server Error", None, None),
        (b"<html><h1>502 Bad Gateway</h1></html>", "<html><h1>502 Bad Gateway</h1></html>", None, None),
        (b"\xff\xfe", "\ufffd\ufffd", None, None),
        (b"[1, 2]", "[1, 2]", None, None),
        (b"", "", None, None),
    ],
)
def test_error_bodies_in_every_shape_give_up_their_words(body: bytes, message: str, kind: str | None, code: str | None) -> None:
    assert read_error(body) == ServerError(message=message, kind=kind, code=code)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        ("exceed_context_size_error", Cause.CONTEXT_LENGTH),
        ("context_length_exceeded", Cause.CONTEXT_LENGTH),
        ("content_filter", Cause.FILTERED),
        ("overloaded_error", Cause.QUEUE_FULL),
        ("queue_timeout", Cause.QUEUE_TIMEOUT),
        ("kv_exhausted", Cause.KV_EXHAUSTED),
        ("no_replica", Cause.NO_REPLICA),
        ("oom_reported", Cause.OOM_REPORTED),
        ("engine_died", Cause.ENGINE_DIED),
        ("deadline", Cause.SERVER_ERROR),  # a cause of ours that no server can know
    ],
)
def test_a_kind_that_says_it_all_decides(kind: str, cause: Cause) -> None:
    assert cause_of(500, ServerError(message="words", kind=kind)) is cause


def test_what_is_kept_of_a_servers_words_can_be_printed() -> None:
    assert plain_words("red \x1b[31malert\x1b[0m\r\n\u202etxt\u200b\x00 end\x07") == "red [31malert[0m txt end"
    assert plain_words("é" * 1000) == "é" * (MAX_WORDS_CHARS - 3) + "..."
    assert plain_words("lone \ud800 surrogate") == "lone surrogate"


def test_a_message_of_exception_names_alone_takes_no_time() -> None:
    assert cause_of(400, ServerError(message="Error" * 100_000)) is Cause.CLIENT_ERROR
    assert cause_of(400, ServerError(message="Error: " * 100_000)) is Cause.CLIENT_ERROR
    assert cause_of(500, ServerError(message=" (" * 100_000)) is Cause.SERVER_ERROR
