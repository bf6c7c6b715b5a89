"""TOML tables to frozen dataclasses: the dataclass is the only declaration of its file format.

A TOML key is a field name. Its ending says the unit, so `timeout_s` takes 60 or "60s", `rate_per_s` 2.5 or "150/min",
`memory_bytes` "24GiB". Bounds stand in the annotation (`Annotated[float, Positive]`); a union is chosen by its member's
`kind`; a tuple is a TOML array, a `dict[str, X]` a table of tables. A class checks what spans fields in `__post_init__`
and raises ValueError("key = ... must ..."), whose first word joins the path. Every error becomes an `InputError` naming
file, key, value and what is allowed.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import math
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from loadlab.errors import InputError
from loadlab.units import parse_bytes, parse_count, parse_duration_s, parse_rate_per_s, parse_share

T = TypeVar("T")
MAX_FILE_BYTES = 4 * 2**20  # a scenario is written by a person; more than this is a mistake or an attack


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """A range that a number must lie in, with the words for it."""

    says: str
    holds: Callable[[float], bool]


Positive = Bound("> 0", lambda x: x > 0)
NonNegative = Bound(">= 0", lambda x: x >= 0)
Share = Bound("between 0 and 1", lambda x: 0 <= x <= 1)
PositiveShare = Bound("above 0 and at most 1", lambda x: 0 < x <= 1)

_UNITS: tuple[tuple[str, Callable[[str], float]], ...] = (
    ("_per_s", parse_rate_per_s),
    ("_s", parse_duration_s),
    ("_bytes", parse_bytes),
    ("share", parse_share),
    ("", parse_count),
)


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises InputError if it is absent, too large, not text or not TOML."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"is larger than {MAX_FILE_BYTES // 2**20} MiB; is this a TOML file?", source=str(path))
        text = path.read_bytes().decode("utf-8")
        return tomllib.loads(text)
    except FileNotFoundError:
        raise InputError("does not exist", source=str(path)) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=str(path)) from None
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text; expected a TOML file", source=str(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not valid TOML: {error}", source=str(path)) from None


def check_schema(table: dict[str, Any], expected: str, source: str) -> None:
    """Takes the `schema` key off `table`. Raises InputError unless it is `expected`, such as "loadlab/scenario/1"."""
    found = table.pop("schema", None)
    if found is None:
        raise InputError(f'is missing: begin the file with schema = "{expected}"', source=source, key="schema")
    if found != expected:
        raise InputError(f"= {found!r} is not one that this version reads (it reads {expected!r})", source=source, key="schema")


def read_table(cls: type[T], table: Mapping[str, Any], source: str, path: str = "") -> T:
    """An instance of the dataclass `cls` from a TOML table. `path` is the table's own key, for messages.

    Raises InputError on an unknown or missing key, a wrong type, or a value out of range.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    kind = getattr(cls, "kind", None)  # a text where the class is a member of a union, not where `kind` is a field
    for name, value in table.items():
        if name not in fields and (name, value) != ("kind", kind):
            raise InputError(_unknown_key(name, list(fields)), source=source, key=_join(path, name))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _read_value(hints[name], table[name], source, _join(path, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"is missing ({_describe(hints[name], name)})", source=source, key=_join(path, name))
    try:
        return cls(**values)
    except ValueError as error:
        first, _, rest = str(error).partition(" ")
        if first.partition(".")[0] in fields:
            raise InputError(rest, source=source, key=_join(path, first)) from None
        raise InputError(str(error), source=source, key=path or None) from None


def as_table(value: Any) -> Any:
    """The plain tables, arrays and numbers of a dataclass, as its TOML would say them: the inverse of `read_table`. Drops None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = getattr(type(value), "kind", None)
        table = {"kind": kind} if isinstance(kind, str) else {}
        items = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return table | {name: as_table(item) for name, item in items.items() if item is not None}
    if isinstance(value, Mapping):
        return {str(key): as_table(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [as_table(item) for item in value]
    if isinstance(value, enum.Enum):
        return value.value
    return value.as_posix() if isinstance(value, Path) else value


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _unknown_key(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"is not a known key; {hint}Allowed: {', '.join(sorted(allowed))}"


def _read_value(hint: Any, value: Any, source: str, key: str) -> Any:
    """One value against one type hint: dispatches on what kind of type it is."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        base, *bounds = typing.get_args(hint)
        return _within(_read_value(base, value, source, key), [b for b in bounds if isinstance(b, Bound)], value, source, key)
    if origin in (types.UnionType, typing.Union):
        return _read_union(typing.get_args(hint), value, source, key)
    if origin is tuple:
        return _read_array(typing.get_args(hint), value, source, key)
    if origin is dict:
        item = typing.get_args(hint)[1]
        return {k: _read_value(item, v, source, _join(key, k)) for k, v in _expect(value, dict, "a table", source, key).items()}
    if dataclasses.is_dataclass(hint):
        return read_table(typing.cast(type, hint), _expect(value, dict, "a table", source, key), source, key)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _read_enum(hint, value, source, key)
    if hint in (int, float):
        return _read_number(hint, value, source, key)
    if hint is bool:
        return _expect(value, bool, "true or false", source, key)
    text = _expect(value, str, "text in quotes", source, key)
    return Path(text) if hint is Path else text


def _expect(value: Any, kind: type, words: str, source: str, key: str) -> Any:
    if not isinstance(value, kind):
        raise InputError(f"= {value!r} must be {words}", source=source, key=key)
    return value


def _within(value: Any, bounds: list[Bound], written: Any, source: str, key: str) -> Any:
    """Checks bounds on a number, or on each number of a tuple."""
    for number in value if isinstance(value, tuple) else (value,):
        for bound in bounds:
            if number is not None and not bound.holds(number):
                raise InputError(f"= {written!r} must be {bound.says}", source=source, key=key)
    return value


def _read_number(kind: type, value: Any, source: str, key: str) -> float | int:
    name = key.rpartition(".")[2].partition("[")[0]
    if isinstance(value, str):
        parse = next(parse for ending, parse in _UNITS if name.endswith(ending))
        try:
            value = parse(value)
        except ValueError as error:
            raise InputError(f"= {error}", source=source, key=key) from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"= {value!r} must be {_describe(kind, name)}", source=source, key=key)
    if kind is int:
        if value != int(value):
            raise InputError(f"= {value!r} must be a whole number", source=source, key=key)
        return int(value)
    return float(value)


def _read_enum(hint: type[enum.Enum], value: Any, source: str, key: str) -> enum.Enum:
    allowed = [str(member.value) for member in hint]
    if value not in allowed:
        close = difflib.get_close_matches(str(value), allowed, n=1)
        hint_text = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"= {value!r} must be one of {', '.join(allowed)}{hint_text}", source=source, key=key)
    return hint(value)


def _read_array(args: tuple[Any, ...], value: Any, source: str, key: str) -> tuple[Any, ...]:
    values = _expect(value, list, "an array [..]", source, key)
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_read_value(args[0], v, source, f"{key}[{i}]") for i, v in enumerate(values))
    if len(values) != len(args):
        raise InputError(f"= {value!r} must have {len(args)} entries", source=source, key=key)
    return tuple(_read_value(a, v, source, f"{key}[{i}]") for i, (a, v) in enumerate(zip(args, values, strict=True)))


def _read_union(members: tuple[Any, ...], value: Any, source: str, key: str) -> Any:
    """`X | None` reads an X, or "none" (TOML has no null); a union of dataclasses is chosen by `kind`."""
    real = [m for m in members if m is not type(None)]
    if value == "none" and len(real) < len(members):
        return None
    if len(real) == 1:
        return _read_value(real[0], value, source, key)
    by_kind = {member.kind: member for member in real}
    table = _expect(value, dict, f"a table with kind = one of {', '.join(sorted(by_kind))}", source, key)
    kind = table.get("kind")
    if kind not in by_kind:
        close = difflib.get_close_matches(str(kind), by_kind, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"= {kind!r} must be one of {', '.join(sorted(by_kind))}{hint}", source=source, key=_join(key, "kind"))
    return read_table(by_kind[kind], table, source, key)


def _describe(hint: Any, name: str) -> str:
    """What a key takes, in words."""
    if typing.get_origin(hint) is typing.Annotated:
        base, *bounds = typing.get_args(hint)
        return " ".join([_describe(base, name), *(b.says for b in bounds if isinstance(b, Bound))])
    if typing.get_origin(hint) is tuple:
        return "an array [..]"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"one of {', '.join(str(member.value) for member in hint)}"
    if hint not in (int, float):
        return {str: "text in quotes", Path: "a path in quotes", bool: "true or false"}.get(hint, "a table")
    examples = {
        "_per_s": 'a rate such as 2.5 or "150/min"',
        "_s": 'seconds, or a duration such as "250ms"',
        "_bytes": 'a size such as "24GiB"',
    }
    return next((words for ending, words in examples.items() if name.endswith(ending)), "a whole number" if hint is int else "a number")
