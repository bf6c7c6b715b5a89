"""What a generating request asks, read from its body: prompts, how many answers of which length and form, and how to send them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from loadlab.server import request_shapes
from loadlab.server.errors import ApiError, context_too_long, prompt_too_long, refused, unknown_model
from loadlab.server.images import ImageSize
from loadlab.server.json_answer import Schema, check_schema
from loadlab.server.limits import Limits
from loadlab.server.prompts import Prompt, chat_prompt, ids_prompt, text_prompt
from loadlab.server.shapes import check

MAX_EMBEDDED = 2048  # texts in one request, as OpenAI's
COMPLETION_TOKENS = 16  # of a completion that does not say, as in OpenAI's and vLLM's
REASONING_SHARES = {"minimal": 0.1, "low": 0.25, "medium": 0.5, "high": 0.75, "xhigh": 0.85}  # of an answer's tokens, our choice


class Kind(StrEnum):
    """Which endpoint."""

    CHAT = "chat"
    COMPLETION = "completion"
    EMBEDDING = "embedding"


class Catalogue(Protocol):
    """What is served."""

    @property
    def models(self) -> tuple[str, ...]:
        """Names that requests may ask for."""

    def window_tokens(self, model: str) -> int:
        """Prompt and answer of one request."""

    def image_tokens(self, model: str) -> Callable[[ImageSize], int]:
        """Prompt tokens of an image; the function raises ApiError where the model takes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call."""

    name: str
    parameters: Schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One generating request. `max_tokens` fits the window behind every prompt; None: as far as the window reaches."""

    kind: Kind
    model: str
    prompts: tuple[Prompt, ...]
    choices: int = 1  # answers to each prompt
    max_tokens: int | None = None
    min_tokens: int = 0
    ignore_eos: bool = False
    stops: tuple[str, ...] = ()
    is_streamed: bool = False
    includes_usage: bool = False
    has_continuous_usage: bool = False
    json_schema: Schema | None = None  # the answer is JSON that fits it
    tool: Tool | None = None  # the answer is a call of it
    reasoning_share: float = 0.0

    @property
    def mode(self) -> str | None:
        """As scenarios call it; None where the request does not say."""
        return "deliberative" if self.reasoning_share else None


def read_chat(body: dict[str, Any], served: Catalogue, limits: Limits) -> Question:
    """A chat completion. Raises ApiError."""
    check(body, request_shapes.CHAT)
    model = _model(body, served)
    _refuse_logprobs(body)
    tools = body.get("tools") or []
    prompt = chat_prompt(body["messages"], tools, served.image_tokens(model))
    asked = ("max_completion_tokens", "max_tokens")
    name = next((name for name in asked if body.get(name) is not None), "max_tokens")
    return _question(
        Kind.CHAT,
        body,
        model,
        (prompt,),
        served.window_tokens(model),
        limits,
        max_tokens_name=name,
        tool=_tool(body, tools),
        reasoning_share=REASONING_SHARES.get(body.get("reasoning_effort") or "", 0.0),
    )


def read_completion(body: dict[str, Any], served: Catalogue, limits: Limits) -> Question:
    """A text completion. Raises ApiError."""
    check(body, request_shapes.COMPLETION)
    model = _model(body, served)
    _refuse_logprobs(body)
    for name, plain in (("echo", False), ("suffix", ""), ("best_of", 1)):
        if body.get(name) not in (None, plain):
            raise refused(f"{name} is not served here; leave it out.", name, body[name])
    if body.get("max_tokens") is None and not body.get("ignore_eos"):
        body = body | {"max_tokens": COMPLETION_TOKENS}
    prompts = read_prompts(body["prompt"])
    return _question(Kind.COMPLETION, body, model, prompts, served.window_tokens(model), limits, max_tokens_name="max_tokens")


def read_embedding(body: dict[str, Any], served: Catalogue, limits: Limits) -> Question:
    """Texts to embed. Raises ApiError."""
    check(body, request_shapes.EMBEDDING)
    model = _model(body, served)
    return _question(
        Kind.EMBEDDING,
        {"max_tokens": None},
        model,
        read_prompts(body["input"]),
        served.window_tokens(model),
        limits,
        max_tokens_name="max_tokens",
    )


def read_prompts(prompt: str | list[Any]) -> tuple[Prompt, ...]:
    """One prompt, or several: texts or lists of token ids (1.0 is one too: JSON knows no integers)."""
    if isinstance(prompt, str):
        return (text_prompt(prompt),)
    if isinstance(prompt[0], str):
        return tuple([text_prompt(text) for text in prompt])
    return tuple([ids_prompt(list(map(int, ids))) for ids in (prompt if isinstance(prompt[0], list) else [prompt])])


def _model(body: dict[str, Any], served: Catalogue) -> str:
    """The model asked for; the first one served where the body names none, as in vLLM."""
    model: str = body.get("model") or served.models[0]
    if model not in served.models:
        raise unknown_model(model, served.models)
    return model


def _refuse_logprobs(body: dict[str, Any]) -> None:
    for name in ("logprobs", "top_logprobs", "prompt_logprobs"):
        if body.get(name) not in (None, False, 0):
            words = f"{name} is not served: the text of this simulated model is made up, and its probabilities would be too."
            raise refused(words, name, body[name])


def _question(
    kind: Kind,
    body: dict[str, Any],
    model: str,
    prompts: tuple[Prompt, ...],
    window: int,
    limits: Limits,
    *,
    max_tokens_name: str,
    tool: Tool | None = None,
    reasoning_share: float = 0.0,
) -> Question:
    max_tokens, choices = body.get(max_tokens_name), body.get("n") or 1
    max_tokens = None if max_tokens is None else int(max_tokens)
    most = MAX_EMBEDDED if kind is Kind.EMBEDDING else limits.max_choices
    if choices * len(prompts) > most:
        name = "n" if choices > 1 else "input" if kind is Kind.EMBEDDING else "prompt"
        raise refused(f"at most {most} answers are given to one request.", name, choices * len(prompts))
    _check_window(window, prompts, max_tokens, max_tokens_name, limits, least=0 if kind is Kind.EMBEDDING else 1)
    min_tokens = int(body.get("min_tokens") or 0)
    if max_tokens is not None and min_tokens > max_tokens:
        raise refused(f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}.", "min_tokens", min_tokens)
    stop, options = body.get("stop") or (), body.get("stream_options") or {}
    if options and not body.get("stream"):
        raise refused("Stream options can only be defined when `stream=True`.", "stream_options", options)
    return Question(
        kind=kind,
        model=model,
        prompts=prompts,
        choices=int(choices),
        max_tokens=max_tokens,
        min_tokens=min_tokens,
        ignore_eos=bool(body.get("ignore_eos")),
        stops=(stop,) if isinstance(stop, str) else tuple(stop),
        is_streamed=bool(body.get("stream")),
        includes_usage=bool(options.get("include_usage")),
        has_continuous_usage=bool(options.get("include_usage") and options.get("continuous_usage_stats")),
        json_schema=_json_schema(body),
        tool=tool,
        reasoning_share=reasoning_share,
    )


def _check_window(window: int, prompts: tuple[Prompt, ...], max_tokens: int | None, name: str, limits: Limits, least: int) -> None:
    """Raises ApiError unless every prompt and its answer fit the model's window."""
    if max_tokens is not None and max_tokens > window:
        words = f"{name}={max_tokens} cannot be greater than max_model_len={window}. Please request fewer output tokens."
        raise refused(words, name, max_tokens)
    if max_tokens is not None and max_tokens > limits.max_tokens:
        raise refused(f"{name} must be at most {limits.max_tokens} on this server.", name, max_tokens)
    for prompt in prompts:
        if prompt.tokens + least > window:
            raise prompt_too_long(window, prompt.tokens)
        if max_tokens is not None and prompt.tokens + max_tokens > window:
            raise context_too_long(window, prompt.tokens, max_tokens)


def _json_schema(body: dict[str, Any]) -> Schema | None:
    """What a JSON answer must fit; None where it need not be JSON."""
    form = body.get("response_format") or {}
    match form.get("type"):
        case "json_object":
            return {"type": "object", "additionalProperties": {"type": "string"}}
        case "json_schema":
            schema = (form.get("json_schema") or {}).get("schema")
            if schema is None:
                raise ApiError(400, "response_format json_schema needs json_schema.schema.", param="response_format")
            check_schema(schema, "response_format.json_schema.schema")
            return schema  # type: ignore[no-any-return]
        case _:
            return None


def _tool(body: dict[str, Any], tools: list[dict[str, Any]]) -> Tool | None:
    """The tool that is called: the one named; else, if one must be or a user has just spoken, the first. After its result: none."""
    choice = body.get("tool_choice") or ("auto" if tools else "none")
    by_name = {tool["function"]["name"]: tool["function"] for tool in tools}
    if choice == "none":
        return None
    if not tools:
        raise ApiError(400, "tool_choice needs tools.", param="tool_choice")
    if isinstance(choice, dict):
        name = choice["function"]["name"]
        if name not in by_name:
            raise refused("tool_choice names no tool of tools.", "tool_choice", name[:80])
    elif choice == "auto" and body["messages"][-1]["role"] != "user":
        return None
    else:
        name = next(iter(by_name))
    parameters = by_name[name].get("parameters") or {"type": "object", "properties": {}}
    check_schema(parameters, f"tools.{name}.parameters")
    return Tool(name=name, parameters=parameters)
