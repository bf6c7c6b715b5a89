"""A grid over keys of a scenario and a cluster: what `--over` says, which tables a point changes, in which order points come."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadlab.errors import InputError
from loadlab.schema import closest, shown

MAX_POINTS = 10_000
RATE = "rate"
TIERS = "tiers.shares."  # of a cluster: what a router sends to each tier
ALIASES: Mapping[str, str] = {  # short names of what is swept most
    "tp": "cluster:pools.*.hardware.tensor_parallel",
    "pp": "cluster:pools.*.hardware.pipeline_parallel",
    "ep": "cluster:pools.*.hardware.expert_parallel",
    "gpu": "cluster:pools.*.hardware.gpu",
    "quantisation": "cluster:pools.*.hardware.quantisation",
    "replicas": "cluster:pools.*.replicas",
    "router": "cluster:pools.*.router",
    "max_running": "cluster:pools.*.engine.max_running",
    "max_batched_tokens": "cluster:pools.*.engine.max_batched_tokens",
    "threads": "cluster:pipeline.threads",
    "prompt.median": "scenario:classes.*.prompt_tokens.median",
    "prompt.value": "scenario:classes.*.prompt_tokens.value",
    "output.median": "scenario:classes.*.output_tokens.median",
    "output.value": "scenario:classes.*.output_tokens.value",
    "users": "scenario:load.users",
    "escalation": "scenario:classes.*.escalation.share",
}
_RANGE = re.compile(r"(\d+)\.\.(\d+)(?::(\d+))?")
Value = float | int | str


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One `--over`: its name as written, the key that it sets ("rate", or scenario: or cluster: and a dotted key), and the values."""

    name: str
    key: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One cell of the grid, and one seed of it."""

    number: int
    values: Mapping[str, Value]  # by the axis's name
    seed: int


def parse_axis(text: str) -> Axis:
    """The axis that `NAME=VALUES` says. VALUES: "1,2,4", "512,4k,32k", "1..8" (whole numbers), "1..8:2" (in twos); "/s" at their end.

    Raises InputError naming --over.
    """
    name, equals, values = text.partition("=")
    name = name.strip()
    if not equals or not name or not values.strip():
        raise InputError(f"= {shown(text)} must be KEY=VALUES, such as rate=1..8/s or tp=1,2,4", key="--over")
    key = RATE if name == RATE else f"cluster:{name}" if name.startswith(TIERS) else ALIASES.get(name, name)
    if key != RATE and not key.startswith(("scenario:", "cluster:")):
        short = ", ".join([RATE, *ALIASES])
        problem = f"= {shown(name)} must be a key such as scenario:classes.chat.prompt_tokens.median or cluster:pools.p.replicas"
        raise InputError(f"{problem}, or one of the short names {short}{closest(name, [RATE, *ALIASES])}", key="--over")
    return Axis(name=name, key=key, values=_values(values.strip()))


def _values(text: str) -> tuple[Value, ...]:
    body, slash, unit = text.partition("/")
    match = _RANGE.fullmatch(body.strip())
    if match is not None:
        first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
        if last < first or step < 1:
            raise InputError(f"= {shown(text)} must go upwards, such as 1..8", key="--over")
        parts = [str(x) for x in range(first, last + 1, step)]
    else:
        parts = [part.strip() for part in body.split(",") if part.strip()]
    values = tuple(_value(f"{part}{slash}{unit}") for part in parts)
    if len(set(values)) != len(values) or not values:
        raise InputError(f"= {shown(text)} must be values that differ from each other", key="--over")
    return values


def _value(text: str) -> Value:
    """A number where it is a plain one, else the text: the schema reads units."""
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            return text


def points(axes: Sequence[Axis], seeds: int, seed: int) -> list[Point]:
    """Every cell, the last axis fastest, and in each cell `seeds` seeds from `seed` on. Raises InputError above 10,000."""
    names = [axis.name for axis in axes]
    if len(set(names)) < len(names):
        raise InputError(f"names {', '.join(sorted({n for n in names if names.count(n) > 1}))} twice", key="--over")
    cells = list(itertools.product(*(axis.values for axis in axes)))
    if len(cells) * seeds > MAX_POINTS:
        raise InputError(f"means {len(cells) * seeds:,} runs; at most {MAX_POINTS:,}", key="--over")
    numbered = enumerate(itertools.product(cells, range(seeds)))
    return [Point(number=i, values=dict(zip(names, cell, strict=True)), seed=seed + k) for i, (cell, k) in numbered]


def set_key(table: dict[str, Any], key: str, value: Value, name: str) -> int:
    """Sets a dotted key in nested tables; "*" is every table there. Returns how many were set; InputError if there is none.

    Where it is one of a router's shares, the others share what is left as they did before.
    """
    *parents, last = key.split(".")
    places = list(_tables(table, parents))
    if not places:
        raise InputError(f"= {shown(name)}: there is no {shown('.'.join(parents))} to set {shown(last)} in", key="--over")
    for place in places:
        if parents[-2:] == ["tiers", "shares"]:
            _set_share(place, last, value, name)
        else:
            place[last] = value
    return len(places)


def _set_share(shares: dict[str, Any], tier: str, share: Value, name: str) -> None:
    """One tier's share; the others keep their ratios, or are equal where all were 0."""
    if tier not in shares or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise InputError(f"= {shown(name)}: must be a share from 0 to 1 of one of {', '.join(shares)}", key="--over")
    others = [other for other in shares if other != tier]
    before = sum(shares[other] for other in others)
    if not others and share != 1:
        raise InputError(f"= {shown(name)}: there is no other tier to take the rest", key="--over")
    for other in others:
        part = shares[other] / before if before else 1 / len(others)
        shares[other] = (1 - share) * part
    shares[tier] = share


def _tables(table: dict[str, Any], path: Sequence[str]) -> Iterator[dict[str, Any]]:
    if not path:
        yield table
        return
    first, rest = path[0], path[1:]
    for name in list(table) if first == "*" else [first]:
        if isinstance(table.get(name), dict):
            yield from _tables(table[name], rest)
