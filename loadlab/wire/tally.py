"""What an OpenAI answer said, added up event by event or read from one document."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

from loadlab.wire.outcomes import ServerError, error_in

FILTERED = "content_filter"  # a finish reason of OpenAI and Azure
FAILED = ("error", "abort")  # finish reasons of vLLM and SGLang


class Tally:
    """Text, stamps, usage and end of one answer. `texts` are those of the first choice; what else was generated is in `others`."""

    __slots__ = ("error", "finish_reason", "has_choice", "others", "stamps_s", "texts", "usage")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.others: list[str] = []  # reasoning, tool calls, further choices: generated too
        self.stamps_s = array("d")  # of every piece that holds text
        self.usage: Mapping[str, Any] | None = None
        self.finish_reason: str | None = None
        self.error: ServerError | None = None
        self.has_choice = False

    def add(self, chunk: Any, at_s: float) -> None:
        """One event of a stream, or a whole answer. Raises AttributeError, TypeError or KeyError if it is neither OpenAI's nor an error."""
        choices = chunk.get("choices")
        if choices:
            for choice in choices:
                self._add_choice(choice, at_s)
        if (not choices or chunk.get("error")) and self.error is None:  # what comes after an error does not undo it
            self.error = error_in(chunk)
        usage = chunk.get("usage")
        if usage:
            self.usage = usage

    def _add_choice(self, choice: Mapping[str, Any], at_s: float) -> None:
        self.has_choice = True
        said = choice.get("delta") or choice.get("message")
        text = (_text(said.get("content")) if said else choice.get("text")) or ""
        other = _other_text(said) if said and (len(said) > 1 or not text) else ""
        if text or other:
            self.stamps_s.append(at_s)
            if other:
                self.others.append(other)
            if text:
                (self.others if choice.get("index") else self.texts).append(text)
        reason = choice.get("finish_reason")
        if reason:
            self.finish_reason = reason if isinstance(reason, str) else str(reason)


def _text(content: Any) -> str:
    """The text of a message's content: a string, or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part.get("text", part.get("thinking"))) for part in content)
    return ""


def _other_text(said: Mapping[str, Any]) -> str:
    """What a message says besides its content: reasoning under either name, a refusal, tool calls."""
    reasoning = _text(said.get("reasoning_content") or said.get("reasoning"))  # vLLM sends both, with the same text
    calls: Sequence[Mapping[str, Any]] = said.get("tool_calls") or ()
    if said.get("function_call"):
        calls = ({"function": said["function_call"]},)
    if not calls:
        return reasoning + _text(said.get("refusal"))
    parts = [call.get("function") or {} for call in calls]
    return reasoning + "".join((part.get("name") or "") + (part.get("arguments") or "") for part in parts)
