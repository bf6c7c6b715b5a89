"""What a file format has, taken from the dataclasses that it becomes: so that a page about it cannot go stale."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable


def tables_in(modules: Iterable[str]) -> list[type]:
    """Every public dataclass that is defined in one of the modules."""
    found = [value for name in modules for value in vars(importlib.import_module(name)).values() if _is_table(value, name)]
    return sorted(found, key=lambda table: table.__name__)


def keys_of(table: type) -> list[str]:
    """The keys of the table: fields that its file can set."""
    return [field.name for field in dataclasses.fields(table) if field.init]  # type: ignore[arg-type]


def _is_table(value: object, module: str) -> bool:
    return isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == module and not value.__name__.startswith("_")
