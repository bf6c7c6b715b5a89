"""One request as it goes over the wire. An API key is no part of it: whoever sends it adds the header."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRequest:
    """Method, path below the target's base, headers and body. `streams` is True where the answer is asked for as events."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...] = ()  # without Host, Content-Length and Authorization
    body: bytes = b""
    streams: bool = False
