"""JSON answers validate against their schema, calls against their parameters; what cannot be met is refused in words."""

from __future__ import annotations

import json
import random
from typing import Any

import jsonschema
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.server.errors import ApiError
from loadlab.server.json_answer import answer_to, check_schema
from tests.server.running import Running, events_of

PERSON = {
    "$defs": {"address": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"]}},
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 3},
        "age": {"type": "integer", "minimum": 18, "exclusiveMaximum": 20},
        "kind": {"enum": ["a", "b"]},
        "score": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
        "born": {"type": "string", "format": "date"},
        "home": {"$ref": "#/$defs/address"},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 3, "uniqueItems": True},
        "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
    },
    "required": ["name", "age", "home", "tags"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {"type": "object", "properties": {"left": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}, "required": ["left"]}
    },
    "$ref": "#/$defs/node",
}

_leaves = st.one_of(
    st.builds(lambda a, b: {"type": "integer", "minimum": min(a, b), "maximum": max(a, b)}, st.integers(-50, 50), st.integers(-50, 50)),
    st.builds(lambda a, b: {"type": "number", "minimum": a, "maximum": a + b}, st.floats(-9, 9), st.floats(0.5, 9)),
    st.builds(lambda n, m: {"type": "string", "minLength": n, "maxLength": n + m}, st.integers(0, 30), st.integers(0, 9)),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"const": 5}, {"enum": ["x", 2]}, {"type": "integer", "multipleOf": 7}, {}]),
)
schemas = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.builds(
            lambda properties, optional: {
                "type": "object",
                "properties": properties,
                "required": [name for name in properties if name not in optional],
                "additionalProperties": False,
            },
            st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
            st.sets(st.sampled_from("abcd")),
        ),
        st.builds(lambda item, n: {"type": "array", "items": item, "minItems": n, "maxItems": n + 1}, inner, st.integers(0, 3)),
        st.builds(lambda options: {"anyOf": options}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"allOf": [one]}, inner),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(schemas, st.integers(0, 1000))
def test_an_answer_fits_its_schema(schema: dict[str, Any], seed: int) -> None:
    jsonschema.validate(json.loads(json.dumps(answer_to(schema, random.Random(seed)))), schema)


@pytest.mark.parametrize("schema", [PERSON, TREE])
def test_larger_schemas(schema: dict[str, Any]) -> None:
    for seed in range(20):
        jsonschema.validate(answer_to(schema, random.Random(seed)), schema)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "string", "pattern": "^a+$"}, "keyword 'pattern' is not served"),
        ({"not": {}}, "keyword 'not'"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no number lies between"),
        ({"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}, r"\$ref points nowhere"),
        ({"$ref": "#"}, "more than 16 levels"),
        ({"type": "array", "minItems": 5000}, "more than 16 levels, 2000 values"),
        ({"type": "string", "minLength": 200_000}, "131072 characters"),
        ({"type": "array", "items": {"const": 1}, "minItems": 2, "uniqueItems": True}, "uniqueItems"),
        ({"type": "object", "required": ["a"], "additionalProperties": False}, "not allowed"),
        ({"type": 7}, "type must be one of"),
        ({"enum": []}, "not empty"),
        ({"properties": 5, "type": "object"}, "must be an object"),
        ({"type": "object", "required": [{}]}, "malformed"),
        ({"type": "integer", "minimum": "a"}, "must be a number"),
        ({"type": "string", "format": "klingon"}, "format is one of"),
    ],
)
def test_a_schema_that_cannot_be_met_is_refused(schema: Any, words: str) -> None:
    with pytest.raises(ApiError, match=words) as refused:
        check_schema(schema, "response_format")
    assert (refused.value.status, refused.value.param) == (400, "response_format")


def test_json_mode_over_http(fast: Running) -> None:
    asked = {"messages": [{"role": "user", "content": "json"}], "response_format": {"type": "json_object"}}
    _, answer = fast.post("/v1/chat/completions", asked)
    content = answer["choices"][0]["message"]["content"]
    assert isinstance(json.loads(content), dict)
    assert answer["usage"]["completion_tokens"] == -(-len(content) // 4)
    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON}}
    _, stream = fast.post("/v1/chat/completions", asked | {"response_format": form, "stream": True})
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events_of(stream)[:-1])
    jsonschema.validate(json.loads(text), PERSON)
    _, short = fast.post("/v1/chat/completions", asked | {"response_format": form, "max_tokens": 2})
    assert short["choices"][0]["finish_reason"] == "length"


def test_a_tool_is_called_and_its_result_is_answered_in_words(fast: Running) -> None:
    parameters = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}},
        "required": ["city"],
    }
    tools = [{"type": "function", "function": {"name": "weather", "parameters": parameters}}]
    messages: list[Any] = [{"role": "user", "content": "how is the weather?"}]
    with openai.OpenAI(base_url=f"{fast.url}/v1", api_key="x") as client:
        first = client.chat.completions.create(model="m", messages=messages, tools=tools)
        choice = first.choices[0]
        assert choice.finish_reason == "tool_calls"
        (call,) = choice.message.tool_calls
        jsonschema.validate(json.loads(call.function.arguments), parameters)
        messages += [choice.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
        second = client.chat.completions.create(model="m", messages=messages, tools=tools)
        assert second.choices[0].finish_reason in ("stop", "length")
        assert second.choices[0].message.content
        pieces = [
            chunk.choices[0].delta.tool_calls
            for chunk in client.chat.completions.create(model="m", messages=messages[:1], tools=tools, stream=True)
        ]
        calls = [call for piece in pieces if piece for call in piece]
        assert calls[0].function.name == "weather"
        jsonschema.validate(json.loads("".join(call.function.arguments for call in calls)), parameters)
        plain = client.chat.completions.create(model="m", messages=messages[:1], tools=tools, tool_choice="none")
        assert plain.choices[0].message.tool_calls is None
