"""What a failure is: a status, an error body or an error event becomes a cause. Every dialect, one rule."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from loadlab.record.request import Cause
from loadlab.wire.error_texts import ERROR_KINDS, PATTERNS

MAX_ERROR_BYTES = 2**16  # of an error body are looked at
MAX_WORDS_CHARS = 300  # of a server's words are kept
MALFORMED_BYTES = 200  # of what could not be read are kept
MAX_MATCHED_CHARS = 2**13  # of a message are compared with the table
MAX_EXCEPTION_NAMES = 5  # gateways put theirs before the server's
SERVER_SIDE_4XX = (424, 429)  # text-generation-inference says that generation failed, or that it is overloaded

_EXCEPTION_NAME = re.compile(r"[\w. ]{0,80}?(?:error|exception)\w{0,20} ?[:-]+\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerError:
    """What a server said: its words, and its `type` and `code` where it gave them."""

    message: str
    kind: str | None = None
    code: str | None = None

    @property
    def status(self) -> int | None:
        """The code as an HTTP status, if it is one: an error event inside a 200 answer has no other."""
        return int(self.code) if self.code is not None and self.code.isdecimal() and 300 <= int(self.code[:4]) <= 599 else None


def read_error(body: bytes) -> ServerError:
    """The error in a body, in whatever shape it comes; a body that is no JSON is its own message."""
    try:
        found = error_in(load_json(body))
    except ValueError:
        found = None
    return ServerError(message=body.decode("utf-8", "replace")) if found is None else found


def load_json(data: bytes) -> Any:
    """A JSON value, also with the lone surrogates and infinities that strict readers refuse and servers send. Raises ValueError."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise ValueError(str(error)) from None


def error_in(value: Any) -> ServerError | None:
    """The error that a JSON value is or holds; None if it is none.

    Shapes seen: {"error": {"message", "type", "code"}}, {"error": "words"}, {"message", "type", "code"}, {"object": "error", ..},
    {"detail": "words"}, {"detail": [{"msg", "loc"}]}, {"errors": [..]}.
    """
    if not isinstance(value, Mapping):
        return None
    error = value.get("error") or value.get("errors") or value.get("detail")
    if isinstance(error, Mapping):
        message = error.get("message") or error.get("msg") or error.get("error")
        return _error(message if message is not None else error, error)
    if error:
        return _error(error, value)
    if isinstance(value.get("message"), str) and "choices" not in value and ("code" in value or value.get("object") == "error"):
        return _error(value["message"], value)
    return None


def _error(message: Any, around: Mapping[str, Any]) -> ServerError:
    if isinstance(message, list):
        message = "; ".join(_item_words(item) for item in message[:4])
    words = message if isinstance(message, str) else json.dumps(message)[:MAX_ERROR_BYTES]
    kind, code = around.get("type", around.get("error_type")), around.get("code")
    return ServerError(message=words, kind=None if kind is None else str(kind), code=None if code is None else str(code))


def _item_words(item: Any) -> str:
    """One line of a validation error: where and what, without the input that it may echo."""
    if not isinstance(item, Mapping):
        return str(item)
    place = item.get("loc")
    where = ".".join(map(str, place)) if isinstance(place, list) else ""
    return f"{where}: {item.get('msg', item.get('message', ''))}" if where else str(item.get("msg", item.get("message", "")))


def cause_of(status: int, error: ServerError) -> Cause:
    """The cause of an answer with this status (of an error event: its own code, or 500) and these words."""
    for name in (error.kind, error.code):
        if name is not None and name in ERROR_KINDS:
            return ERROR_KINDS[name]
    message = error.message[:MAX_MATCHED_CHARS].strip()
    may_echo = 400 <= status < 500 and status not in SERVER_SIDE_4XX
    beginnings = _without_exception_names(message) if may_echo else []
    for pattern, cause in PATTERNS:
        if any(map(pattern.match, beginnings)) if may_echo else pattern.search(message):
            return cause
    return _cause_of_status(status)


def _without_exception_names(message: str) -> list[str]:
    """The message, and what is left of it as one exception's name after another is taken off its beginning."""
    beginnings = [message]
    while len(beginnings) <= MAX_EXCEPTION_NAMES and (name := _EXCEPTION_NAME.match(beginnings[-1])):
        beginnings.append(beginnings[-1][name.end() :])
    return beginnings


def _cause_of_status(status: int) -> Cause:
    match status:
        case 429:
            return Cause.RATE_LIMITED
        case 503 | 529:
            return Cause.QUEUE_FULL
        case 507:  # Insufficient Storage: what inference servers use for "no memory for this one"
            return Cause.OOM_REPORTED
    if status >= 500:
        return Cause.SERVER_ERROR
    if status >= 400:
        return Cause.CLIENT_ERROR
    return Cause.REDIRECTED if 300 <= status < 400 else Cause.PROTOCOL


def plain_words(text: str, chars: int = MAX_WORDS_CHARS) -> str:
    """A stranger's text on one line, at most `chars` long, without control, escape, bidi and invisible characters."""
    head = text[: 8 * chars]
    visible = "".join(" " if c.isspace() else c for c in head if c.isspace() or unicodedata.category(c)[0] != "C")
    words = " ".join(visible.split())
    return words if len(words) <= chars else words[: chars - 3] + "..."


def malformed(data: bytes) -> str:
    """The beginning of what could not be read, as a row may keep it."""
    return plain_words(data[:MALFORMED_BYTES].decode("utf-8", "replace"), MALFORMED_BYTES)
