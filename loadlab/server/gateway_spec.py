"""A gateway file: who may use the server and how much, what the safety filter refuses, how long records are kept."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from loadlab.schema import Positive, check_schema, read_table, read_toml

GATEWAY_SCHEMA = "loadlab/gateway/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpec:
    """One key: its secret stands in an environment variable, or only its hash stands here. Rates are of simulated time."""

    key_env: str | None = None
    key_sha256: str | None = None  # of the key, in hex
    models: tuple[str, ...] = ()  # that it may use; none named: all
    requests_per_s: Annotated[float, Positive] | None = None
    burst_requests: Annotated[int, Positive] | None = None  # at once, after a pause; default: those of one second, at least one
    tokens_per_s: Annotated[float, Positive] | None = None  # prompt and the most that may be answered, counted when a request comes
    burst_tokens: Annotated[int, Positive] | None = None  # default: those of a minute
    traffic_class: str | None = None
    tier: str | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        if (self.key_env is None) == (self.key_sha256 is None):
            raise ValueError("key_env or key_sha256 must be given, and only one of them: a key itself never stands in a file")
        if self.key_sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", self.key_sha256):
            raise ValueError("key_sha256 must be 64 hexadecimal digits: printf %s KEY | sha256sum")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSpec:
    """The safety filter: what it finds in a prompt it refuses (`filtered`)."""

    max_prompt_tokens: Annotated[int, Positive] | None = None
    patterns: tuple[str, ...] = ()  # regular expressions, case ignored

    def __post_init__(self) -> None:
        for i, pattern in enumerate(self.patterns):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"patterns[{i}] must be a regular expression: {error}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class LakeSpec:
    """What records of requests say of themselves."""

    retention_s: Annotated[float, Positive] = 30 * 86400.0
    residency: str = "unspecified"  # where they may lie, such as "eu"


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySpec:
    """Without keys everybody may use everything."""

    keys: dict[str, KeySpec] = field(default_factory=dict)
    filter: FilterSpec = field(default_factory=FilterSpec)
    lake: LakeSpec = field(default_factory=LakeSpec)


def load_gateway(path: Path) -> GatewaySpec:
    """The gateway that a file describes. Raises InputError naming file, key and value."""
    table = read_toml(path)
    check_schema(table, GATEWAY_SCHEMA, str(path))
    return read_table(GatewaySpec, table, str(path))
