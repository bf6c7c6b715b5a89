from __future__ import annotations

import itertools
import json
from array import array
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from loadlab.record.request import Cause, Outcome
from loadlab.wire.answer import Answer, AnswerReader, Ending, gap_quantiles_s
from loadlab.wire.bodies import MAX_DOCUMENT_BYTES, MAX_STREAM_BYTES
from tests.wire.captures import CAPTURES, WHY_SKIPPED, Capture
from tests.wire.test_sse import cut

SSE = [("Content-Type", "text/event-stream; charset=utf-8")]
JSON = [("content-type", "application/json")]
DONE = b"data: [DONE]\n\n"


def event(*choices: dict[str, Any], **fields: Any) -> bytes:
    return b"data: " + json.dumps({"choices": list(choices), **fields}).encode() + b"\n\n"


def delta(content: str | None = None, finish: str | None = None, **fields: Any) -> bytes:
    said = ({} if content is None else {"content": content}) | fields
    return event({"index": 0, "delta": said, "finish_reason": finish})


ROLE = delta("", role="assistant")
USAGE = event(usage={"prompt_tokens": 15, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 8}})
OOM = b'data: {"error": {"message": "CUDA out of memory. Tried to allocate 2.00 GiB", "type": "InternalServerError", "code": 500}}\n\n'


def answer(
    *pieces: bytes, how: Ending = Ending.COMPLETE, status: int = 200, headers: list[tuple[str, str]] = SSE, error: str | None = None
) -> Answer:
    """Reads pieces that come at 1, 2, 3 .. s; the head comes at 0.5 s and the end a second after the last piece."""
    reader = AnswerReader()
    reader.head(status, headers, 0.5)
    for i, piece in enumerate(pieces, 1):
        if reader.feed(piece, float(i)):
            break
    return reader.end(how, float(len(pieces) + 1), error)


# -- streams that succeed ------------------------------------------------------------------------------------------------------------


def test_a_stream_is_timed_from_its_first_content_and_counted_by_its_usage() -> None:
    found = answer(ROLE, delta("Hel"), delta("lo"), delta(finish="stop"), USAGE, DONE)
    assert (found.outcome, found.cause, found.error) == (Outcome.OK, None, None)
    assert (found.first_token_s, found.last_token_s) == (2.0, 3.0)
    assert (found.text, found.finish_reason) == ("Hello", "stop")
    assert (found.prompt_tokens, found.cached_prompt_tokens, found.output_tokens, found.tokens_estimated) == (15, 8, 2, False)
    assert found.itl_p50_s == 1.0


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (delta(reasoning_content="hm"), "reasoning of DeepSeek and llama.cpp"),
        (delta(reasoning="hm"), "reasoning of vLLM"),
        (delta(tool_calls=[{"index": 0, "function": {"name": "look", "arguments": ""}}]), "a tool call"),
        (delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]), "a tool call's arguments"),
        (delta(refusal="no"), "a refusal"),
        (event({"index": 0, "text": "a", "finish_reason": None}), "a completion"),
        (event({"index": 1, "delta": {"content": "a"}}), "another choice"),
        (event({"index": 0, "delta": {"content": [{"type": "text", "text": "a"}]}}), "content in parts"),
    ],
)
def test_the_first_token_is_whatever_is_generated_first(first: bytes, reason: str) -> None:
    empty = delta("", reasoning_content=None, reasoning="", tool_calls=[])
    assert answer(ROLE, empty, first, delta("x"), delta(finish="stop"), DONE).first_token_s == 3.0, reason


def test_reasoning_under_both_names_is_counted_once() -> None:
    both = answer(delta(reasoning="1234", reasoning_content="1234"), delta(finish="stop"), DONE)
    assert (both.output_tokens, both.tokens_estimated, both.text) == (1, True, "")


def test_without_usage_tokens_are_counted_from_all_text_and_flagged() -> None:
    found = answer(
        delta(reasoning="12345678"), delta("12345678"), event({"index": 1, "delta": {"content": "1234"}}), delta(finish="stop"), DONE
    )
    assert (found.output_tokens, found.tokens_estimated) == (5, True)


def test_a_stream_needs_done_or_a_finish_reason() -> None:
    assert answer(delta("a"), delta(finish="length")).outcome is Outcome.OK
    assert answer(delta("a"), DONE).outcome is Outcome.OK
    cut_short = answer(delta("a"))
    assert (cut_short.outcome, cut_short.cause, cut_short.output_tokens) == (Outcome.TRUNCATED, Cause.CUT_SHORT, 1)


def test_done_without_an_answer_is_no_success() -> None:
    assert answer(ROLE, DONE).outcome is Outcome.OK, "zero tokens may be right: max_tokens may have been spent on nothing visible"
    assert answer(DONE).cause is Cause.PROTOCOL
    assert answer(b": ping\n\n", DONE).cause is Cause.PROTOCOL


def test_the_last_event_counts_though_its_blank_line_never_came() -> None:
    assert answer(delta("a"), delta(finish="stop").rstrip(b"\n")).outcome is Outcome.OK
    half = answer(delta("a"), delta(finish="stop")[:-9])
    assert (half.outcome, half.cause) == (Outcome.TRUNCATED, Cause.CUT_SHORT)


def test_usage_comes_from_wherever_it_was_last_said() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1}
    continuous = event({"index": 0, "delta": {"content": "a"}}, usage=usage)
    null = event({"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}, usage=None)
    found = answer(continuous, null)
    assert (found.output_tokens, found.tokens_estimated) == (1, False)
    assert answer(delta("a"), event({"index": 0, "delta": {}, "finish_reason": "stop"}, usage="much")).tokens_estimated


def test_a_zero_beside_a_text_is_no_count() -> None:
    empty = event(usage={"prompt_tokens": 0, "completion_tokens": 0})
    assert answer(delta("12345678"), delta(finish="stop"), empty, DONE).output_tokens == 2
    assert answer(delta("", finish="stop"), empty, DONE).output_tokens == 0


def test_lone_surrogates_and_infinite_logprobs_are_read() -> None:
    odd = b'data: {"choices": [{"index": 0, "delta": {"content": "\\ud83d"}, "logprobs": {"x": -Infinity}, "finish_reason": "stop"}]}\n\n'
    found = answer(odd, DONE)
    assert (found.outcome, found.text) == (Outcome.OK, "?")


# -- streams that fail ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "cause", "outcome"),
    [
        (Ending.RESET, Cause.RESET_MID_STREAM, Outcome.TRUNCATED),
        (Ending.SHORT_BODY, Cause.CUT_SHORT, Outcome.TRUNCATED),
        (Ending.STALL, Cause.STALL, Outcome.TIMEOUT),
        (Ending.DEADLINE, Cause.DEADLINE, Outcome.TIMEOUT),
        (Ending.BAD_HTTP, Cause.PROTOCOL, Outcome.HTTP_ERROR),
    ],
)
def test_a_stream_that_breaks_off_keeps_its_tokens(how: Ending, cause: Cause, outcome: Outcome) -> None:
    found = answer(ROLE, delta("four"), delta("more"), how=how)
    assert (found.cause, found.outcome) == (cause, outcome)
    assert (found.output_tokens, found.first_token_s, found.last_token_s, found.text) == (2, 2.0, 3.0, "fourmore")


@pytest.mark.parametrize("how", [Ending.RESET, Ending.SHORT_BODY, Ending.BAD_HTTP])
def test_a_connection_lost_after_the_finish_reason_does_no_harm(how: Ending) -> None:
    assert answer(delta("a"), delta(finish="stop"), how=how).outcome is Outcome.OK


@pytest.mark.parametrize("how", [Ending.STALL, Ending.DEADLINE])
def test_a_client_that_gave_up_waiting_for_the_end_has_given_up(how: Ending) -> None:
    assert answer(delta("a"), delta(finish="stop"), how=how).outcome is Outcome.TIMEOUT


def test_an_error_event_within_a_stream_is_what_it_says_and_tokens_are_kept() -> None:
    found = answer(ROLE, delta("a few words"), OOM, DONE)
    assert (found.outcome, found.cause, found.http_status) == (Outcome.OOM, Cause.OOM_REPORTED, 200)
    assert (found.output_tokens, found.first_token_s) == (3, 2.0)
    assert found.error == "CUDA out of memory. Tried to allocate 2.00 GiB"


def test_what_comes_after_an_error_event_does_not_undo_it() -> None:
    found = answer(delta("a"), OOM, USAGE, delta(finish="stop"), DONE)
    assert (found.cause, found.output_tokens) == (Cause.OOM_REPORTED, 2)


def test_an_error_event_counts_though_the_connection_broke_too() -> None:
    assert answer(delta("a"), OOM, how=Ending.RESET).cause is Cause.OOM_REPORTED


def test_generated_text_about_memory_is_no_error() -> None:
    found = answer(delta("CUDA out of memory. Tried to allocate 2.00 GiB"), delta(finish="stop"), DONE)
    assert (found.outcome, found.error) == (Outcome.OK, None)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"data: {not json\n\n", "no JSON"),
        (b"data: [1, 2]\n\n", "an array"),
        (b"data: null\n\n", "null"),
        (b'data: {"choices": "abc"}\n\n', "choices that are none"),
        (b'data: {"choices": [1]}\n\n', "a choice that is none"),
        (b'data: {"choices": [{"delta": "x"}]}\n\n', "a delta that is none"),
        (b'data: {"choices": [{"delta": {"tool_calls": 3}}]}\n\n', "tool calls that are none"),
        (b"data: " + b"[" * 5000 + b"\n\n", "nested beyond reason"),
        (b"data: " + b"x" * 2**21, "a line without end"),
    ],
)
def test_what_is_not_an_event_of_the_protocol_is_said_with_its_beginning(bad: bytes, reason: str) -> None:
    found = answer(delta("a"), bad, delta("b"), DONE)
    assert (found.outcome, found.cause) == (Outcome.HTTP_ERROR, Cause.PROTOCOL), reason
    assert found.output_tokens == 1, "what came before is kept"
    assert found.error is not None
    assert "event" in found.error
    assert len(found.error) <= 300


def test_a_stream_without_end_is_given_up() -> None:
    reader = AnswerReader()
    reader.head(200, SSE, 0.0)
    ping = b": " + b"p" * 2**16 + b"\n\n"
    fed = 0
    while not reader.feed(ping, 1.0):
        fed += len(ping)
        assert fed <= MAX_STREAM_BYTES
    assert reader.end(Ending.COMPLETE, 2.0).cause is Cause.PROTOCOL


@pytest.mark.parametrize(
    ("finish", "cause"),
    [
        ("content_filter", Cause.FILTERED),
        ("abort", Cause.SERVER_ERROR),
        ("error", Cause.SERVER_ERROR),
        ("tool_calls", None),
        ("length", None),
    ],
)
def test_a_finish_reason_may_be_a_failure(finish: str, cause: Cause | None) -> None:
    assert answer(delta("a"), delta(finish=finish), DONE).cause is cause


def test_the_reader_says_when_nothing_more_need_be_read() -> None:
    reader = AnswerReader()
    reader.head(200, SSE, 0.0)
    assert not reader.feed(delta("[DONE]") + delta("data: [DONE]"), 1.0)
    assert not reader.feed(b"data: [DO", 2.0)
    assert reader.feed(b"NE]\n\n", 3.0)
    assert reader.end(Ending.COMPLETE, 3.0).text == "[DONE]data: [DONE]"


# -- documents -----------------------------------------------------------------------------------------------------------------------


def document(value: Any, **kwargs: Any) -> Answer:
    return answer(json.dumps(value).encode(), headers=JSON, **kwargs)


def test_an_answer_in_one_piece_has_tokens_and_no_first_token_time() -> None:
    message = {"role": "assistant", "content": "Hello", "reasoning": None}
    found = document(
        {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    )
    assert (found.outcome, found.text, found.output_tokens, found.prompt_tokens) == (Outcome.OK, "Hello", 2, 3)
    assert (found.first_token_s, found.last_token_s, found.itl_p50_s) == (None, None, None)


def test_an_embedding_is_an_answer_of_no_tokens() -> None:
    found = document({"data": [{"index": 0, "embedding": [0.5]}], "usage": {"prompt_tokens": 3, "total_tokens": 3}})
    assert (found.outcome, found.output_tokens, found.tokens_estimated, found.prompt_tokens) == (Outcome.OK, 0, False, 3)


@pytest.mark.parametrize("value", [{}, {"data": []}, {"choices": []}, {"ok": True}, [], "words", 7, None])
def test_a_200_without_an_answer_is_no_success(value: Any) -> None:
    assert document(value).cause is Cause.PROTOCOL


@pytest.mark.parametrize("body", [b"", b"<html>It works</html>", b'{"choices": ['])
def test_a_200_that_is_no_json_is_a_protocol_error_with_its_beginning(body: bytes) -> None:
    found = answer(body, headers=JSON)
    assert (found.cause, found.http_status) == (Cause.PROTOCOL, 200)
    assert body.decode()[:20] in (found.error or "")


def test_an_error_in_a_200_document_is_an_error() -> None:
    assert document({"error": {"message": "The request queue is full.", "code": 503}}).cause is Cause.QUEUE_FULL
    assert document({"message": "Model not found", "type": "Not Found", "code": 404}).cause is Cause.CLIENT_ERROR


def test_half_a_document_is_truncated_not_malformed() -> None:
    assert answer(b'{"choices": [', headers=JSON, how=Ending.SHORT_BODY).cause is Cause.CUT_SHORT
    assert answer(b'{"choices": [', headers=JSON, how=Ending.RESET).cause is Cause.RESET_MID_STREAM


def test_a_compressed_answer_is_never_inflated() -> None:
    bomb = answer(b"\x1f\x8b" + b"\0" * 1000, headers=[*JSON, ("Content-Encoding", "gzip")])
    assert bomb.cause is Cause.PROTOCOL
    assert "gzip" in (bomb.error or "")
    assert answer(delta("a"), DONE, headers=[*SSE, ("content-encoding", "identity")]).outcome is Outcome.OK


def test_a_document_without_end_is_given_up() -> None:
    reader = AnswerReader()
    reader.head(200, JSON, 0.0)
    piece = b"x" * 2**22
    assert [reader.feed(piece, 1.0) for _ in range(MAX_DOCUMENT_BYTES // len(piece) + 1)][-1]
    assert reader.end(Ending.COMPLETE, 2.0).cause is Cause.PROTOCOL


# -- refusals, and exchanges without an answer ---------------------------------------------------------------------------------------


def test_a_refusal_keeps_the_servers_words_and_what_it_said_about_coming_back() -> None:
    found = answer(b'{"error": {"message": "slow\\u001b[31m down"}}', status=429, headers=[*JSON, ("Retry-After", "7")])
    assert (found.outcome, found.cause, found.http_status) == (Outcome.REJECTED, Cause.RATE_LIMITED, 429)
    assert found.error == "slow[31m down (Retry-After: 7)"
    assert found.output_tokens is None


def test_a_refusal_is_one_though_its_body_was_cut() -> None:
    assert answer(b'{"err', status=500, headers=JSON, how=Ending.SHORT_BODY).cause is Cause.SERVER_ERROR
    assert answer(b"", status=302, headers=[("location", "/x")]).cause is Cause.REDIRECTED


def test_an_endless_error_body_is_kept_in_part() -> None:
    assert answer(*[b"x" * 2**16] * 100, status=500).error == "x" * 297 + "..."


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        (Ending.REFUSED, Cause.REFUSED),
        (Ending.RESET, Cause.RESET),
        (Ending.SHORT_BODY, Cause.RESET),
        (Ending.STALE_CONNECTION, Cause.STALE_CONNECTION),
        (Ending.DNS, Cause.DNS),
        (Ending.TLS, Cause.TLS),
        (Ending.DEADLINE, Cause.DEADLINE),
        (Ending.STALL, Cause.STALL),
        (Ending.BAD_HTTP, Cause.PROTOCOL),
        (Ending.OUT_OF_SOCKETS, Cause.OUT_OF_SOCKETS),
        (Ending.STOPPED, Cause.GIVEN_UP),
        (Ending.IN_FLIGHT_LIMIT, Cause.IN_FLIGHT_LIMIT),
    ],
)
def test_without_an_answer_the_ending_is_the_cause(how: Ending, cause: Cause) -> None:
    found = AnswerReader().end(how, 3.0, "why \x1b[0m")
    assert (found.cause, found.http_status, found.output_tokens, found.error, found.ended_s) == (cause, None, None, "why [0m", 3.0)


def test_every_ending_has_a_cause_before_and_after_the_head() -> None:
    for how in Ending:
        assert AnswerReader().end(how, 1.0).cause is not None
        assert answer(how=how, status=200).cause is not None


# -- laws ----------------------------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 100), min_size=2, max_size=50))
def test_gap_quantiles_are_gaps_that_occurred_in_order(stamps: list[float]) -> None:
    ordered = sorted(stamps)
    quantiles = gap_quantiles_s(array("d", ordered))
    gaps = [b - a for a, b in itertools.pairwise(ordered)]
    assert all(q in gaps for q in quantiles)
    assert list(quantiles) == sorted(q for q in quantiles if q is not None)
    assert quantiles[-1] == max(gaps)


@given(st.binary(max_size=400), st.sampled_from([SSE, JSON]), st.sampled_from([200, 404, 503]), st.sampled_from(list(Ending)))
def test_no_body_of_any_bytes_makes_the_reader_fail(body: bytes, headers: list[tuple[str, str]], status: int, how: Ending) -> None:
    found = answer(body, status=status, headers=headers, how=how)
    assert found.outcome is not Outcome.OK


KEYS = (
    "choices", "delta", "message", "content", "text", "reasoning", "tool_calls", "function", "arguments", "name", "refusal",
    "index", "finish_reason", "usage", "completion_tokens", "prompt_tokens_details", "cached_tokens",
    "error", "errors", "detail", "code", "type", "data",
)  # fmt: skip
leaves = st.none() | st.booleans() | st.integers(-5, 600) | st.floats(allow_nan=False) | st.text(max_size=5)
keys = st.sampled_from(KEYS)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4), max_leaves=20)


@given(st.lists(values, max_size=4), st.sampled_from(list(Ending)))
def test_no_json_under_the_names_of_the_protocol_makes_the_reader_fail(chunks: list[Any], how: Ending) -> None:
    streamed = answer(*[b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks], how=how)
    whole = answer(*[json.dumps(chunk).encode() for chunk in chunks[:1]], headers=JSON, how=how)
    refused = answer(*[json.dumps(chunk).encode() for chunk in chunks[:1]], headers=JSON, status=500, how=how)
    for found in (streamed, whole, refused):
        assert (found.cause is None) == (found.outcome is Outcome.OK)
        assert found.output_tokens is None or found.output_tokens >= 0
        assert found.error is None or (len(found.error) <= 300 and found.error.isprintable())
        found.text.encode()
    assert refused.outcome is not Outcome.OK


# -- recorded answers ----------------------------------------------------------------------------------------------------------------


def read(capture: Capture, pieces: list[bytes], stamp: float | None = None) -> Answer:
    reader = AnswerReader()
    reader.head(capture.status, capture.headers, 0.0)
    for i, piece in enumerate(pieces, 1):
        reader.feed(piece, float(i) if stamp is None else stamp)
    return reader.end(Ending.COMPLETE, 1.0)


@pytest.mark.skipif(not CAPTURES, reason=WHY_SKIPPED)
@given(st.data())
def test_any_cut_of_a_recorded_answer_gives_the_same_answer(data: st.DataObject) -> None:
    capture = data.draw(st.sampled_from(CAPTURES))
    places = data.draw(st.lists(st.integers(0, len(capture.body)), max_size=40))
    assert read(capture, cut(capture.body, places), stamp=1.0) == read(capture, [capture.body], stamp=1.0)
