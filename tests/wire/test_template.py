from __future__ import annotations

import json
from typing import Any

import pytest

from loadlab.errors import InputError
from loadlab.record.request import Cause, Outcome
from loadlab.schema import read_table
from loadlab.wire.answer import Answer, AnswerReader, Ending
from loadlab.wire.template import Blanks, HttpTemplate

BLANKS = Blanks(prompt='say "hi"\n/é', model="m", max_tokens=7, seq=3, messages=(("user", "a"),))


def template(**table: Any) -> HttpTemplate:
    return read_table(HttpTemplate, {"path": "/x"} | table, "s.toml", "classes.web.http")


def answer(of: HttpTemplate, status: int = 200, body: bytes = b"", headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    reader = AnswerReader(template=of)
    reader.head(status, headers, 0.0)
    reader.feed(body, 1.0)
    return reader.end(Ending.COMPLETE, 2.0)


def test_placeholders_are_escaped_for_where_they_stand() -> None:
    request = template(
        path="/v2/{model}/find?q={prompt}&n={seq}", body='{"q": "{prompt}", "n": {max_tokens}, "m": {messages}, "s": {session}, "e": {}}'
    ).request(BLANKS)
    assert request.path == "/v2/m/find?q=say%20%22hi%22%0A%2F%C3%A9&n=3"
    assert json.loads(request.body) == {"q": BLANKS.prompt, "n": 7, "m": [{"role": "user", "content": "a"}], "s": None, "e": {}}
    assert request.headers == (("Content-Type", "application/json"),)
    assert not request.streams


def test_a_get_has_no_body_and_no_content_type() -> None:
    request = template(method="GET", headers={"X-Tenant": "a"}).request(BLANKS)
    assert (request.method, request.body, request.headers) == ("GET", b"", (("X-Tenant", "a"),))


def test_a_body_that_is_not_json_is_filled_as_it_is() -> None:
    assert template(body="q={prompt}", content_type="text/plain").request(BLANKS).body == f"q={BLANKS.prompt}".encode()


def test_a_prompt_that_looks_like_a_placeholder_is_left_alone() -> None:
    blanks = Blanks(prompt="{model}", model="m", max_tokens=1, seq=0)
    assert json.loads(template(body='{"q": "{prompt}"}').request(blanks).body) == {"q": "{model}"}


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ({"path": "x"}, "path", "must begin with /"),
        ({"path": "/a b"}, "path", "without spaces"),
        ({"path": "/a\u00e9"}, "path", "printable ASCII"),
        ({"path": "/{promt}"}, "path", "{promt}"),
        ({"body": '{"a": "{text}"}'}, "body", "{prompt}"),
        ({"body": '{"a": {prompt}}'}, "body", "must be JSON"),
        ({"body": "not json"}, "body", "must be JSON"),
        ({"headers": {"Authorization": "Bearer x"}}, "headers.Authorization", "--api-key-env"),
        ({"headers": {"x-api-key": "k"}}, "headers.x-api-key", "--api-key-env"),
        ({"headers": {"Host": "h"}}, "headers.Host", "left out"),
        ({"headers": {"X Y": "h"}}, "headers", "printable ASCII"),
        ({"headers": {"X": "a\nb"}}, "headers", "printable ASCII"),
        ({"success_status": [99]}, "success_status", "from 200 to 599"),
        ({"success_value": "ok"}, "success_value", "success_field"),
        ({"method": "get"}, "method", "one of GET"),
        ({"methods": "GET"}, "methods", "did you mean 'method'"),
    ],
)
def test_a_bad_template_is_refused_by_key_and_remedy(table: dict[str, Any], key: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        template(**table)
    assert f"classes.web.http.{key}" in str(error.value)
    assert says in str(error.value)


def test_without_conditions_a_2xx_is_a_success_of_no_size() -> None:
    found = answer(template(), 204)
    assert (found.outcome, found.output_tokens, found.first_token_s, found.tokens_estimated) == (Outcome.OK, None, None, False)
    assert answer(template(), 200, b"<html>").outcome is Outcome.OK


def test_success_may_need_a_status() -> None:
    accepted = template(success_status=[201, 302])
    assert answer(accepted, 302).outcome is Outcome.OK
    assert answer(accepted, 200).cause is Cause.PROTOCOL
    assert answer(template(), 302).cause is Cause.REDIRECTED
    assert answer(template(), 429).cause is Cause.RATE_LIMITED
    assert answer(template(), 500, b'{"error": "CUDA out of memory. Tried to allocate"}').cause is Cause.OOM_REPORTED


@pytest.mark.parametrize(
    ("field", "value", "body", "is_ok"),
    [
        ("status", "ok", {"status": "ok"}, True),
        ("status", "ok", {"status": "failed"}, False),
        ("status", "ok", {}, False),
        ("done", "true", {"done": True}, True),
        ("n", "3", {"n": 3}, True),
        ("result.items.0.id", None, {"result": {"items": [{"id": "a"}]}}, True),
        ("result.items.1.id", None, {"result": {"items": [{"id": "a"}]}}, False),
        ("items", None, {"items": []}, False),
    ],
)
def test_success_may_need_a_field(field: str, value: str | None, body: dict[str, Any], is_ok: bool) -> None:
    wanted = {"success_field": field} | ({} if value is None else {"success_value": value})
    found = answer(template(**wanted), body=json.dumps(body).encode())
    assert (found.outcome is Outcome.OK) == is_ok
    assert is_ok or (found.cause is Cause.SERVER_ERROR and field in (found.error or ""))


@pytest.mark.parametrize(("size", "tokens"), [(7, 7), ([1, 2, 3], 3), ("four", 4), (2.6, 3)])
def test_the_answers_size_is_a_number_or_a_length(size: object, tokens: int) -> None:
    found = answer(template(size_field="out.size"), body=json.dumps({"out": {"size": size}}).encode())
    assert (found.outcome, found.output_tokens, found.tokens_estimated) == (Outcome.OK, tokens, False)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"out": {"size": null}}', b'{"out": {"size": -1}}', b"plain"])
def test_an_answer_without_the_size_it_should_have_is_a_protocol_error(body: bytes) -> None:
    assert answer(template(size_field="out.size"), body=body).cause is Cause.PROTOCOL
