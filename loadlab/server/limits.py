"""How much of a client the server bears: every figure is a bound on memory or time that one stranger can take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from loadlab.schema import Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Defaults bear a load test of some thousand streams with prompts of a few hundred thousand tokens, and images."""

    max_connections: Annotated[int, Positive] = 4096
    max_header_bytes: Annotated[int, Positive] = 32 * 2**10  # request line and headers
    max_body_bytes: Annotated[int, Positive] = 16 * 2**20
    max_tokens: Annotated[int, Positive] = 131_072  # of one answer, and never more than the model's window
    max_choices: Annotated[int, Positive] = 16  # `n`
    request_timeout_s: Annotated[float, Positive] = 30.0  # from a request's first byte to its last
    idle_timeout_s: Annotated[float, Positive] = 75.0  # between requests of a kept connection
    unread_timeout_s: Annotated[float, Positive] = 30.0  # a client that takes nothing for so long is cut off
    max_unread_bytes: Annotated[int, Positive] = 2 * 2**20  # nor does more than this wait for it
    shutdown_timeout_s: Annotated[float, Positive] = 30.0  # streams under way have so long to finish
