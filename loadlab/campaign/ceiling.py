"""What this machine's load generator can do at most, as `loadlab doctor` last measured it: kept in the user's cache."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import orjson

from loadlab import __version__
from loadlab.record.atomic_file import save_bytes

CEILING_SCHEMA = "loadlab/ceiling/1"
_FILE = "ceiling.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """Highest loads at which dispatch lag p99 stayed below `lag_limit_s`, one process, against the null server on this machine."""

    requests_per_s: float
    tokens_per_s: float
    connections: int
    lag_limit_s: float
    measured: str  # UTC, ISO 8601
    cpus: int
    version: str = __version__


def cache_dir() -> Path:
    """Where loadlab keeps what it can make again: $XDG_CACHE_HOME/loadlab, else ~/.cache/loadlab."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "loadlab"


def save_ceiling(ceiling: Ceiling) -> Path:
    """Keeps the measurement for later runs. Raises InputError where the cache cannot be written."""
    path = cache_dir() / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    table = {"schema": CEILING_SCHEMA, "host": platform.node(), **asdict(ceiling)}
    save_bytes(path, orjson.dumps(table, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return path


def load_ceiling() -> Mapping[str, Any] | None:
    """The last measurement of this very machine, by this version; None where there is none. A damaged file counts as none."""
    try:
        table = orjson.loads((cache_dir() / _FILE).read_bytes())
    except (OSError, RuntimeError, orjson.JSONDecodeError):
        return None
    names = [field.name for field in fields(Ceiling)]
    if not isinstance(table, dict) or table.get("schema") != CEILING_SCHEMA or not all(name in table for name in names):
        return None
    is_ours = (table.get("host"), table["cpus"], table["version"]) == (platform.node(), os.cpu_count(), __version__)
    return {name: table[name] for name in names} if is_ours else None
