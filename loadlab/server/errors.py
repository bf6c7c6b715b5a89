"""What goes wrong, in vLLM's words and shapes (seen on the wire of vLLM 0.32), and as which status."""

from __future__ import annotations

import math
from typing import Any

from loadlab.record.request import Cause

BUSY = "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."


class ApiError(Exception):
    """A request that gets no answer: its status, and the `error` object of its body."""

    def __init__(
        self, status: int, message: str, *, kind: str = "BadRequestError", param: str | None = None, cause: Cause = Cause.CLIENT_ERROR
    ) -> None:
        """`kind` is the object's `type`, `param` the field at fault; `cause` is how the row of the request says it."""
        super().__init__(message)
        self.status, self.message, self.kind, self.param, self.cause = status, message, kind, param, cause

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the answer; inside a stream, of its error event."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.status}}

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """Beside the body."""
        return ()


class UnauthorisedError(ApiError):
    """No key, or a wrong one: vLLM's `error` is a text here."""

    def __init__(self) -> None:
        super().__init__(401, "Unauthorized")

    @property
    def body(self) -> dict[str, Any]:
        """See ApiError."""
        return {"error": self.message}

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """See ApiError."""
        return ((b"www-authenticate", b"Bearer"),)


class RateLimitedError(ApiError):
    """A quota is used up; OpenAI's shape, since vLLM has no quotas."""

    def __init__(self, message: str, retry_after_s: float) -> None:
        super().__init__(429, message, kind="rate_limit_exceeded", cause=Cause.RATE_LIMITED)
        self._retry_after_s = retry_after_s

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """See ApiError."""
        if not math.isfinite(self._retry_after_s):  # more than the quota ever holds: waiting does not help
            return ()
        return ((b"retry-after", b"%d" % max(1, math.ceil(self._retry_after_s))),)


def refused(message: str, param: str, value: Any) -> ApiError:
    """A field whose value cannot be served: vLLM appends it to the message."""
    return ApiError(400, f"{message} (parameter={param}, value={value!r})", param=param)


def unknown_model(model: str, known: tuple[str, ...]) -> ApiError:
    """The model is not served here."""
    words = f"The model `{model[:200]}` does not exist. Valid aliases: {', '.join(known)}."
    return ApiError(404, words, kind="NotFoundError", param="model")


def prompt_too_long(window: int, prompt_tokens: int) -> ApiError:
    """The prompt alone exceeds the model's window."""
    words = (
        f"This model's maximum context length is {window} tokens. However, your prompt contains at least {prompt_tokens} input tokens, "
        "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
    )
    return _too_long(words, prompt_tokens)


def context_too_long(window: int, prompt_tokens: int, max_tokens: int) -> ApiError:
    """Prompt and answer together exceed the model's window."""
    words = (
        f"This model's maximum context length is {window} tokens. However, you requested {max_tokens} output tokens and your prompt "
        f"contains at least {prompt_tokens} input tokens, for a total of at least {prompt_tokens + max_tokens} tokens. "
        "Please reduce the length of the input prompt or the number of requested output tokens."
    )
    return _too_long(words, prompt_tokens)


def _too_long(words: str, prompt_tokens: int) -> ApiError:
    error = refused(words, "input_tokens", prompt_tokens)
    error.cause = Cause.CONTEXT_LENGTH
    return error


def of_cause(cause: Cause) -> ApiError:
    """What a client is told of a request that the simulator refused or lost."""
    match cause:
        case Cause.QUEUE_FULL:
            return ApiError(503, BUSY, kind="Service Unavailable", cause=cause)
        case Cause.QUEUE_TIMEOUT:
            return _named(503, "the request waited longer than the server allows", cause)
        case Cause.KV_EXHAUSTED:
            return _named(503, "no replica has as much KV cache free as the server keeps free", cause)
        case Cause.NO_REPLICA:
            return _named(503, "no replica of the model is up", cause)
        case Cause.CONTEXT_LENGTH:
            return _named(400, "prompt and answer together exceed the model's maximum context length", cause)
        case Cause.KV_TOO_SMALL:
            return _named(400, "the request needs more KV cache than a replica has", cause)
        case Cause.FILTERED:
            return ApiError(400, "the safety filter refuses the request", kind="content_filter", cause=cause)
        case Cause.OOM_REPORTED:
            return _named(500, "CUDA out of memory.", cause)
        case Cause.ENGINE_DIED:
            return _named(500, "EngineCore encountered an issue.", cause)
        case _:
            return ApiError(500, "the request was given up", kind="InternalServerError", cause=cause)


def _named(status: int, words: str, cause: Cause) -> ApiError:
    """What no other server tells apart: the error's type is the cause, which clients of ours read."""
    return ApiError(status, words, kind=cause.value, cause=cause)
