"""The keys of a file format, from the dataclasses that it becomes: annotations, defaults, docstrings, and what is said beside them."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import io
import re
import tokenize
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from loadlab.schema import Bound, In

_UNITS = (  # a key's ending, and what may be written there; as loadlab.schema reads it
    ("_per_s", 'rate, such as 2.5 or "150/min"'),
    ("_s", 'duration, such as 60 or "60s"'),
    ("_bytes", 'bytes, such as "24GiB"'),
    ("share", 'share, such as 0.9 or "90%"'),
)
_PLAIN = {str: "text", bool: "true or false", int: "whole number", float: "number", Path: "path, from the folder of the file", Any: "any"}


@dataclasses.dataclass(frozen=True)
class Place:
    """A table of a file: where it stands there, and what it becomes."""

    path: str  # "classes.NAME.reuse"; "" is the file itself
    table: type

    @property
    def kind(self) -> str | None:
        """What its key `kind` must say; None where there is no choice."""
        kind = vars(self.table).get("kind")
        return kind if isinstance(kind, str) else None

    @property
    def title(self) -> str:
        """The heading of its section."""
        name = f"`[{self.path}]`" if self.path else "The file"
        return f'{name}, `kind = "{self.kind}"`' if self.kind else name


def page(title: str, words: str, schema: str, root: type) -> str:
    """A page of every table of a format, that of the file first."""
    head = f'# {title}\n\n{words}\n\nThe file begins with `schema = "{schema}"`. Made from the code that reads it.\n'
    return "\n".join([head, *(_section(place, others) for place, others in _places(root))])


def _places(root: type) -> list[tuple[Place, list[str]]]:
    """Each table once, where it stands first, with its other places; a table before those in it."""
    found: dict[type, tuple[Place, list[str]]] = {}
    waiting = [Place("", root)]
    while waiting:
        place = waiting.pop(0)
        if place.table in found:
            found[place.table][1].append(place.path)
            continue
        found[place.table] = (place, [])
        for name, hint in _fields(place.table):
            inside = f"{place.path}.{name}" if place.path else name
            waiting += [Place(inside + ".NAME" * is_named, table) for table, is_named in _tables_in(hint)]
    return list(found.values())


def _fields(table: type) -> Iterator[tuple[str, Any]]:
    hints = typing.get_type_hints(table, include_extras=True)
    return ((field.name, hints[field.name]) for field in dataclasses.fields(table) if field.init)


def _tables_in(hint: Any, is_named: bool = False) -> Iterator[tuple[type, bool]]:
    """The dataclasses of an annotation; whether a name of the author's stands between."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        yield hint, is_named
        return
    named = is_named or typing.get_origin(hint) is dict
    for part in typing.get_args(hint):
        yield from _tables_in(part, named)


def _section(place: Place, others: list[str]) -> str:
    lines = [f"## {place.title}", ""]
    if others:
        lines += [f"Also at {', '.join(f'`{path}`' for path in dict.fromkeys(others))}.", ""]
    lines += [escaped(paragraph) + "\n" for paragraph in inspect.cleandoc(place.table.__doc__ or "").split("\n\n")]
    comments, hints = field_comments(place.table), dict(_fields(place.table))
    fields = [field for field in dataclasses.fields(place.table) if field.init]
    if fields:
        lines += ["| key | takes | default | |", "|---|---|---|---|"]
    for field in fields:
        lines.append(
            f"| `{field.name}` | {takes(field.name, hints[field.name])} | {_default(field)} | {escaped(comments.get(field.name, ''))} |"
        )
    return "\n".join(lines) + "\n"


def takes(name: str, hint: Any) -> str:
    """What may be written for a key, in words; cells of a table, so without a bar."""
    match typing.get_origin(hint):
        case typing.Annotated:
            return _annotated(name, hint)
        case types.UnionType | typing.Union:
            return _choice(name, [part for part in typing.get_args(hint) if part is not type(None)])
        case origin if origin is tuple:
            return f"array of {takes(name, typing.get_args(hint)[0])}"
        case origin if origin is dict:
            return f"table by name, each: {takes(name, typing.get_args(hint)[1])}"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return ", ".join(f'`"{member.value}"`' for member in hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return "table"
    return _unit(name) if hint in (float, int) and _unit(name) else _PLAIN.get(hint, f"`{hint}`")


def _annotated(name: str, hint: Any) -> str:
    base, *marks = typing.get_args(hint)
    ending = next((mark.ending for mark in marks if isinstance(mark, In)), name)
    bounds = [mark.says for mark in marks if isinstance(mark, Bound)]
    return ", ".join([takes(ending, base), *map(escaped, bounds)])


def _choice(name: str, parts: list[Any]) -> str:
    tables = [part for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part)]
    kinds = [f'`"{vars(table)["kind"]}"`' for table in tables if "kind" in vars(table)]
    words = [f"table of kind {', '.join(kinds)}"] if kinds else ["table"] * bool(tables)
    return " or ".join([*words, *(takes(name, part) for part in parts if part not in tables)])


def _unit(name: str) -> str:
    return next((words for ending, words in _UNITS if name.endswith(ending)), "")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default_factory is not dataclasses.MISSING:
        return "empty"
    match field.default:
        case dataclasses.MISSING:
            return "**needed**"
        case None:
            return ""
        case bool() as value:
            return f"`{str(value).lower()}`"
        case enum.Enum() as value:
            return f'`"{value.value}"`'
        case str() as value:
            return f'`"{value}"`'
        case tuple() as value:
            return f"`{list(value)}`" if value else "empty"
        case int() | float() as value:
            return f"`{value:,}`" if isinstance(value, int) else f"`{value:g}`"
        case value:
            return f"a `{type(value).__name__}`"


def field_comments(table: type) -> dict[str, str]:
    """What is said beside each field, in the source of the class."""
    found: dict[str, str] = {}
    name = None
    for token in tokenize.generate_tokens(io.StringIO(inspect.getsource(table)).readline):
        if (
            token.type == tokenize.NAME
            and re.match(rf"\s+{token.string}\s*:", token.line)
            and token.line.split(":")[0].strip() == token.string
        ):
            name = token.string
        elif token.type == tokenize.NEWLINE:
            name = None
        elif token.type == tokenize.COMMENT and name is not None:
            found[name] = token.string.lstrip("# ")
    return found


def escaped(text: str) -> str:
    """Plain words as Markdown: what stands in backticks is left, what else would be a mark is not one."""
    parts = text.split("`")
    for i in range(0, len(parts), 2):
        parts[i] = _plain(parts[i])
    return "`".join(parts).replace("\n", " ") if len(parts) % 2 else _plain(text).replace("`", "\\`").replace("\n", " ")


def _plain(text: str) -> str:
    return re.sub(r"([*_\[\]|])", r"\\\1", text).replace("<", "&lt;")
