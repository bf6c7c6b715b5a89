"""Any HTTP endpoint that takes text and gives JSON (or anything at all), described in a few lines of a scenario's class."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

from loadlab.schema import Bound, shown
from loadlab.wire.outcomes import ServerError, load_json, malformed, plain_words
from loadlab.wire.requests import WireRequest
from loadlab.wire.tally import Tally

Status = Bound("from 200 to 599", lambda x: 200 <= x <= 599)
MAX_HEADERS = 50
_PLACEHOLDER = re.compile(r"\{([a-z][a-z_]*)\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2: a header's name
_PATH = re.compile(r"/[\x21-\x7e]*")
_SECRET = ("authorization", "proxy-authorization", "cookie", "x-api-key", "api-key")
_OURS = ("host", "content-length", "transfer-encoding", "connection", "content-type", "accept-encoding")


class Method(StrEnum):
    """Methods that a load test may need."""

    GET = "GET"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"
    HEAD = "HEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blanks:
    """What fills the placeholders of one request."""

    prompt: str
    model: str
    max_tokens: int
    seq: int
    messages: tuple[tuple[str, str], ...] = ()
    session: int | None = None
    turn: int | None = None

    def value(self, name: str) -> Any:
        """The value of a placeholder, as JSON would have it."""
        if name == "messages":
            return [{"role": role, "content": text} for role, text in self.messages]
        return getattr(self, name)


PLACEHOLDERS = tuple(Blanks.__slots__)
_SAMPLE = Blanks(prompt='a "b"', model="m", max_tokens=1, seq=0, messages=(("user", "a"),), session=0, turn=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpTemplate:
    """One request and what counts as success. Placeholders such as {prompt} are JSON-escaped in the body, percent-encoded in the path.

    `success_status` empty: 200 to 299. `success_field` and `size_field` are dotted paths into a JSON answer, such as "result.items.0.id";
    the size is a number, or the length of a text or array, and becomes the request's output_tokens.
    """

    method: Method = Method.POST
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    content_type: str = "application/json"
    success_status: Annotated[tuple[int, ...], Status] = ()
    success_field: str | None = None
    success_value: str | None = None
    size_field: str | None = None

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(_PLACEHOLDER.sub("x", self.path)):
            raise ValueError(f"path = {shown(self.path)} must begin with / and be printable ASCII without spaces")
        self._check_headers()
        for key in ("path", "body"):
            for name in _PLACEHOLDER.findall(getattr(self, key) or ""):
                if name not in PLACEHOLDERS:
                    raise ValueError(f"{key} has {{{name}}}; a placeholder must be one of {', '.join(f'{{{p}}}' for p in PLACEHOLDERS)}")
        if self.success_value is not None and self.success_field is None:
            raise ValueError(f"success_value = {shown(self.success_value)} must go with a success_field")
        if self.body is not None and "json" in self.content_type:
            try:
                json.loads(self._filled_body(_SAMPLE))
            except ValueError as error:
                raise ValueError(f"body must be JSON once its placeholders are filled: {error}") from None

    def _check_headers(self) -> None:
        if len(self.headers) > MAX_HEADERS:
            raise ValueError(f"headers = {len(self.headers)} must be at most {MAX_HEADERS}")
        for name, value in {**self.headers, "Content-Type": self.content_type}.items():
            if name.lower() in _SECRET:
                raise ValueError(f"headers.{name} must not stand in a file: give the key by --api-key-env or --api-key-file")
            if name.lower() in _OURS and name in self.headers:
                raise ValueError(f"headers.{name} must be left out: it is set for you")
            if not _TOKEN.fullmatch(name) or not (value.isascii() and value.isprintable()):
                raise ValueError(f"headers.{shown(name)} = {shown(value)} must be a header of printable ASCII")

    def request(self, blanks: Blanks) -> WireRequest:
        """The request with its placeholders filled."""
        path = _PLACEHOLDER.sub(lambda match: quote(_plain(blanks.value(match[1])), safe=""), self.path)
        headers = tuple(self.headers.items())
        if self.body is None:
            return WireRequest(method=self.method.value, path=path, headers=headers)
        headers = (("Content-Type", self.content_type), *headers)
        return WireRequest(method=self.method.value, path=path, headers=headers, body=self._filled_body(blanks).encode())

    def _filled_body(self, blanks: Blanks) -> str:
        """JSON-escaped where the body is JSON: texts without their quotes, which the template has; anything else as it is."""
        fill = _as_json if "json" in self.content_type else _plain
        return _PLACEHOLDER.sub(lambda match: fill(blanks.value(match[1])), self.body or "")

    def accepts(self, status: int) -> bool:
        """True if an answer with this status may be a success."""
        return status in self.success_status if self.success_status else 200 <= status < 300

    def read(self, body: bytes, tally: Tally) -> str | None:
        """Judges an answer of an accepted status: fills the tally's error or size; what is wrong with it, in words, or None."""
        if self.success_field is None and self.size_field is None:
            return None
        try:
            value = load_json(body)
        except ValueError:
            return f"an answer that is not JSON: {malformed(body)}"
        if self.success_field is not None:
            tally.error = self._failure(_at(value, self.success_field))
        if self.size_field is not None:
            size = _size(_at(value, self.size_field))
            if size is None and tally.error is None:
                return f"an answer without a size at {self.size_field}: {malformed(body)}"
            tally.usage = {"completion_tokens": size}
        return None

    def _failure(self, found: Any) -> ServerError | None:
        wanted = self.success_value
        if bool(found) if wanted is None else _plain(found) == wanted:
            return None
        said = plain_words(_plain(found))
        return ServerError(message=f"{self.success_field} = {said}" + ("" if wanted is None else f", expected {wanted}"))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _as_json(value: Any) -> str:
    text = json.dumps(value)
    return text[1:-1] if isinstance(value, str) else text


def _at(value: Any, path: str) -> Any:
    """What lies at a dotted path of a JSON value; None where it leads nowhere. Whole numbers index arrays."""
    for step in path.split("."):
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _size(found: Any) -> int | None:
    if isinstance(found, bool) or found is None:
        return None
    if isinstance(found, str | list | Mapping):
        return len(found)
    return round(found) if isinstance(found, int | float) and found >= 0 else None
