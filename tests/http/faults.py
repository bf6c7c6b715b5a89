"""Every row of the fault table, and what a client must call it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from loadlab.record.request import Cause
from tests.http.fault_server import Fault, Peer, Received

TOKENS = 4
SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
GAP_S = 0.005  # between tokens


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def event(value: Any) -> bytes:
    """A server-sent event of JSON."""
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(content: str | None = None, finish: str | None = None) -> bytes:
    """A chunk of a chat completion, or of a completion."""
    said = {} if content is None else {"content": content}
    return event(
        {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": said, "text": content or "", "finish_reason": finish}]}
    )


def usage(request: Received) -> bytes:
    """The chunk that says how many tokens there were."""
    return event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(request.token_s)}})


def send_tokens(peer: Peer, request: Received, tokens: int = TOKENS, gap_s: float = GAP_S) -> None:
    """The head of a stream and its first tokens."""
    peer.send(SSE_HEAD + chunk(event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})))
    for _ in range(tokens):
        peer.pause(gap_s)
        peer.token(request, chunk(delta(" one")))


def send_json(peer: Peer, status: int, value: Any, headers: bytes = b"") -> None:
    """A whole answer."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    head = b"HTTP/1.1 %d Said\r\nContent-Type: application/json\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), headers)
    peer.send(head + body)


# -- answers -------------------------------------------------------------------------------------------------------------------------


def ok(peer: Peer, request: Received) -> None:
    """A complete answer, streamed where a stream was asked for; the connection stays open."""
    if not request.asks_for_stream:
        message = {"role": "assistant", "content": " one" * TOKENS}
        choice = {"index": 0, "message": message, "text": " one" * TOKENS, "finish_reason": "stop"}
        send_json(
            peer, 200, {"choices": [choice], "data": [{"embedding": [0.5]}], "usage": {"prompt_tokens": 7, "completion_tokens": TOKENS}}
        )
        return
    send_tokens(peer, request)
    peer.send(chunk(delta(finish="stop")) + chunk(usage(request)) + chunk(DONE) + LAST_CHUNK)


def without_done(peer: Peer, request: Received) -> None:
    """As some servers end: a finish reason and no [DONE]."""
    send_tokens(peer, request)
    peer.send(chunk(delta(finish="stop")) + LAST_CHUNK)


def slow(peer: Peer, request: Received) -> None:
    """A complete answer that takes 0.4 s."""
    send_tokens(peer, request, gap_s=0.1)
    peer.send(chunk(delta(finish="stop")) + chunk(usage(request)) + chunk(DONE) + LAST_CHUNK)


def interim(peer: Peer, request: Received) -> None:
    """100 and 103 first, each in a packet of its own."""
    for line in (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"):
        peer.send(line)
        peer.pause(0.01)
    ok(peer, request)


def byte_by_byte(peer: Peer, request: Received) -> None:
    """A complete answer, dribbled."""
    body = chunk(delta(" é€😀")) + chunk(delta(finish="stop")) + chunk(DONE) + LAST_CHUNK
    for i in range(len(body)):
        if i == 0:
            peer.send(SSE_HEAD)
        peer.send(body[i : i + 1])
    request.token_s.append(0.0)


def stale(peer: Peer, request: Received) -> None:
    """Answers the first request of a connection, and closes it as the second arrives."""
    ok(peer, request) if request.nth == 0 else peer.reset()


# -- connections that break ----------------------------------------------------------------------------------------------------------


def reset_at_once(peer: Peer, request: Received) -> None:
    """Lost before the first byte."""
    peer.reset()


def closed_at_once(peer: Peer, request: Received) -> None:
    """Closed in order before the first byte."""
    peer.close()


def reset_mid_stream(peer: Peer, request: Received) -> None:
    """Lost after some tokens."""
    send_tokens(peer, request)
    peer.pause(0.05)  # so that they are read before the reset throws them away
    peer.reset()


def fin_mid_chunk(peer: Peer, request: Received) -> None:
    """Closed in order within a chunk."""
    send_tokens(peer, request)
    peer.send(b"ff\r\ndata: {")
    peer.close()


def short_body(peer: Peer, request: Received) -> None:
    """Fewer bytes than announced."""
    peer.send(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"choices": [')
    peer.close()


def truncated(peer: Peer, request: Received) -> None:
    """HTTP ends in order, the answer does not."""
    send_tokens(peer, request)
    peer.send(LAST_CHUNK)


def stall(peer: Peer, request: Received) -> None:
    """Some tokens, then nothing."""
    send_tokens(peer, request)
    peer.wait_until_client_leaves()


def silence(peer: Peer, request: Received) -> None:
    """Nothing at all."""
    peer.wait_until_client_leaves()


def slow_headers(peer: Peer, request: Received) -> None:
    """A header every now and then, for ever."""
    peer.send(b"HTTP/1.1 200 OK\r\n")
    while peer.pause(0.05):
        peer.send(b"X-Wait: yes\r\n")


def endless_headers(peer: Peer, request: Received) -> None:
    """Headers as fast as they go, for ever."""
    peer.send(b"HTTP/1.1 200 OK\r\n")
    while peer.pause(0):
        peer.send(b"X-More: " + b"x" * 1000 + b"\r\n")


# -- answers that cannot be read -----------------------------------------------------------------------------------------------------


def not_http(peer: Peer, request: Received) -> None:
    """Another protocol altogether."""
    peer.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    peer.close()


def bad_chunk_size(peer: Peer, request: Received) -> None:
    """A chunk that is not announced in hexadecimal."""
    send_tokens(peer, request)
    peer.send(b"zz\r\nhello\r\n")
    peer.close()


def malformed_sse(peer: Peer, request: Received) -> None:
    """An event that is no JSON."""
    send_tokens(peer, request)
    peer.send(chunk(b"data: {'choices': oops\n\n") + chunk(DONE) + LAST_CHUNK)


def html(peer: Peer, request: Received) -> None:
    """A page of some proxy, as a success."""
    body = b"<html><body>Welcome to nginx!</body></html>"
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def huge_line(peer: Peer, request: Received) -> None:
    """One line of 8 MiB."""
    peer.send(SSE_HEAD)
    for _ in range(128):
        peer.send(chunk(b"x" * 2**16))
    peer.send(LAST_CHUNK)


def gzip_bomb(peer: Peer, request: Received) -> None:
    """10 MB in 10 kB, though only identity was accepted."""
    send_json(peer, 200, _bomb(), b"Content-Encoding: gzip\r\n")


@cache
def _bomb() -> bytes:
    return gzip.compress(b"\0" * 10**7)


# -- refusals and failures in words --------------------------------------------------------------------------------------------------


def says(status: int, value: Any, headers: bytes = b"") -> Fault:
    """A status with a body."""

    def answer(peer: Peer, request: Received) -> None:
        send_json(peer, status, value, headers)

    return answer


def says_in_stream(value: Any, tokens: int = TOKENS) -> Fault:
    """An error event within a 200 stream, and [DONE]."""

    def answer(peer: Peer, request: Received) -> None:
        send_tokens(peer, request, tokens)
        peer.send(chunk(event(value)) + chunk(DONE) + LAST_CHUNK)

    return answer


def openai_error(message: str, kind: str = "error", code: int = 500) -> dict[str, Any]:
    """An error as OpenAI and vLLM say it."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


CUDA_OOM = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 14.56 GiB of which 1.00 GiB is free."
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."
BUSY = "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
VLLM_CONTEXT = "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input tokens."
LLAMA_CONTEXT = openai_error("request (24013 tokens) exceeds the available context size (2048 tokens)", "exceed_context_size_error", 400)
LITELLM_CONTEXT = openai_error("litellm.ContextWindowExceededError: litellm.BadRequestError: too long", "invalid_request_error", 400)
TGI_CONTEXT = {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.", "error_type": "validation"}
NO_EMBEDDINGS = openai_error("This server does not support embeddings. Start it with `--embeddings`", "not_supported_error", 501)
UNKNOWN_MODEL = openai_error("The model `x` does not exist.", "NotFoundError", 404)
RETRY = b"Retry-After: 7\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the fault table. `cause` None: success. `tokens` are those that arrive and must be kept; None where none can."""

    does: Fault
    cause: Cause | None
    status: int | None = 200
    tokens: int | None = None
    needs_idle: bool = False  # the client must limit the silence between two pieces
    needs_deadline: bool = False  # the client must limit the whole answer


def _ok(does: Fault, tokens: int = TOKENS) -> Row:
    return Row(does=does, cause=None, tokens=tokens)


def _says(status: int, cause: Cause, value: Any, headers: bytes = b"") -> Row:
    return Row(does=says(status, value, headers), cause=cause, status=status)


def _in_stream(cause: Cause, value: Any, tokens: int = TOKENS) -> Row:
    return Row(does=says_in_stream(value, tokens), cause=cause, tokens=tokens or None)


_kept: Callable[..., Row] = partial(Row, tokens=TOKENS)
_headless: Callable[..., Row] = partial(Row, status=None)

TABLE: dict[str, Row] = {
    "ok": _ok(ok),
    "without_done": _ok(without_done),
    "interim": _ok(interim),
    "byte_by_byte": _ok(byte_by_byte, tokens=1),
    "reset_at_once": _headless(does=reset_at_once, cause=Cause.RESET),
    "closed_at_once": _headless(does=closed_at_once, cause=Cause.RESET),
    "reset_mid_stream": _kept(does=reset_mid_stream, cause=Cause.RESET_MID_STREAM),
    "fin_mid_chunk": _kept(does=fin_mid_chunk, cause=Cause.CUT_SHORT),
    "short_body": Row(does=short_body, cause=Cause.CUT_SHORT),
    "truncated": _kept(does=truncated, cause=Cause.CUT_SHORT),
    "stall": _kept(does=stall, cause=Cause.STALL, needs_idle=True),
    "silence": _headless(does=silence, cause=Cause.DEADLINE, needs_deadline=True),
    "slow_headers": _headless(does=slow_headers, cause=Cause.DEADLINE, needs_deadline=True),
    "endless_headers": _headless(does=endless_headers, cause=Cause.PROTOCOL),
    "not_http": _headless(does=not_http, cause=Cause.PROTOCOL),
    "bad_chunk_size": _kept(does=bad_chunk_size, cause=Cause.PROTOCOL),
    "malformed_sse": _kept(does=malformed_sse, cause=Cause.PROTOCOL),
    "malformed_json": _says(200, Cause.PROTOCOL, b'{"choices": ['),
    "html": Row(does=html, cause=Cause.PROTOCOL),
    "huge_line": Row(does=huge_line, cause=Cause.PROTOCOL),
    "gzip_bomb": Row(does=gzip_bomb, cause=Cause.PROTOCOL),
    "redirect": _says(302, Cause.REDIRECTED, b"", b"Location: /v1/trap\r\n"),
    "wrong_key": _says(401, Cause.CLIENT_ERROR, {"error": "Unauthorized"}),
    "forbidden": _says(403, Cause.CLIENT_ERROR, {"detail": "Forbidden"}),
    "unknown_model": _says(404, Cause.CLIENT_ERROR, UNKNOWN_MODEL),
    "unknown_field": _says(422, Cause.CLIENT_ERROR, {"detail": [{"loc": ["body", "x"], "msg": "Extra inputs are not permitted"}]}),
    "rate_limited": _says(429, Cause.RATE_LIMITED, openai_error("Rate limit reached", "requests", 429), RETRY),
    "overloaded_tgi": _says(429, Cause.QUEUE_FULL, {"error": "Model is overloaded", "error_type": "overloaded"}),
    "server_error": _says(500, Cause.SERVER_ERROR, b"Internal Server Error"),
    "not_implemented": _says(501, Cause.SERVER_ERROR, NO_EMBEDDINGS),
    "bad_gateway": _says(502, Cause.SERVER_ERROR, b"<html><h1>502 Bad Gateway</h1></html>"),
    "queue_full": _says(503, Cause.QUEUE_FULL, openai_error(BUSY, "Service Unavailable", 503), RETRY),
    "no_upstream": _says(503, Cause.NO_REPLICA, b"no healthy upstream"),
    "oom": _says(500, Cause.OOM_REPORTED, openai_error(CUDA_OOM, "InternalServerError")),
    "engine_died": _says(500, Cause.ENGINE_DIED, openai_error(DEAD, "InternalServerError")),
    "context_vllm": _says(400, Cause.CONTEXT_LENGTH, openai_error(VLLM_CONTEXT, "BadRequestError", 400)),
    "context_llama": _says(400, Cause.CONTEXT_LENGTH, LLAMA_CONTEXT),
    "context_litellm": _says(400, Cause.CONTEXT_LENGTH, LITELLM_CONTEXT),
    "context_tgi": _says(422, Cause.CONTEXT_LENGTH, TGI_CONTEXT),
    "filtered": _says(400, Cause.FILTERED, openai_error("no", "content_filter", 400)),
    "oom_in_stream": _in_stream(Cause.OOM_REPORTED, openai_error(CUDA_OOM)),
    "died_in_stream": _in_stream(Cause.ENGINE_DIED, openai_error(DEAD, "BadRequestError", 400)),
    "queue_full_in_stream": _in_stream(Cause.QUEUE_FULL, openai_error(BUSY, "Service Unavailable", 503), tokens=0),
    "error_in_stream": _in_stream(Cause.SERVER_ERROR, openai_error("Internal server error"), tokens=0),
    "text_about_oom": _ok(lambda peer, request: _tells_of_oom(peer, request), tokens=1),
}
FAULTS: dict[str, Fault] = {name: row.does for name, row in TABLE.items()} | {
    "stale": stale,
    "trap": ok,
    "slow": slow,
}


def _tells_of_oom(peer: Peer, request: Received) -> None:
    """A complete answer whose text is about memory."""
    peer.send(SSE_HEAD)
    peer.token(request, chunk(delta(CUDA_OOM)))
    peer.send(chunk(delta(finish="stop")) + chunk(usage(request)) + chunk(DONE) + LAST_CHUNK)
