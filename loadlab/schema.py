"""TOML tables to frozen dataclasses: the dataclass is the only declaration of its file format.

A TOML key is a field name. Its ending says the unit, so `timeout_s` takes 60 or "60s", `rate_per_s` 2.5 or "150/min",
`memory_bytes` "24GiB". Bounds stand in the annotation (`Annotated[float, Positive]`); a union is chosen by its member's
`kind`; a tuple is a TOML array, a `dict[str, X]` a table with keys of the author's. A class checks what spans fields in `__post_init__`
and raises ValueError("key = ... must ..."), whose first word joins the path. Every error becomes an `InputError` naming
file, key, value and what is allowed. What a file says reaches a message through `shown` only, and texts hold no control characters.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import functools
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from loadlab.errors import InputError
from loadlab.units import MAX_SHOWN_CHARS, parse_bytes, parse_count, parse_duration_s, parse_rate_per_s, parse_share, quoted

T = TypeVar("T")
MAX_FILE_BYTES = 4 * 2**20  # a scenario is written by a person; more than this is a mistake or an attack
MAX_DEPTH = 32  # tables within tables
MAX_ENTRIES = 100_000  # of an array
MAX_WHOLE = 2**53  # the largest whole number that every reader of JSON keeps
SORTS = {  # what loadlab/SORT/1 files are
    "scenario": "a scenario", "campaign": "a campaign", "cluster": "a cluster",
    "prices": "a price book", "hosting": "a hosting case", "tiers": "a routed mix", "decision": "a hosting decision",
    "gateway": "a gateway", "demand": "a demand curve",
}  # fmt: skip


@dataclasses.dataclass(frozen=True, slots=True)
class Bound:
    """A range that a number must lie in, with the words for it."""

    says: str
    holds: Callable[[float], bool]


@dataclasses.dataclass(frozen=True, slots=True)
class In:
    """How a field is read whose name does not end in its unit: as if it ended in `ending`, such as "_s"."""

    ending: str


Positive = Bound("> 0", lambda x: x > 0)
NonNegative = Bound(">= 0", lambda x: x >= 0)
Share = Bound("between 0 and 1", lambda x: 0 <= x <= 1)
PositiveShare = Bound("above 0 and at most 1", lambda x: 0 < x <= 1)

_UNITS: tuple[tuple[str, Callable[[str], float], str], ...] = (  # a key's ending, its reader, a unit that one might mean
    ("_per_s", parse_rate_per_s, "/s"),
    ("_s", parse_duration_s, "s"),
    ("_bytes", parse_bytes, "B"),
    ("share", parse_share, ""),
    ("", parse_count, ""),
)
# C0 and C1 but for tab and line feed, and what turns the direction of writing: a terminal would obey, not show them
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def has_control_characters(text: str) -> bool:
    """True if a terminal would obey some of the text instead of showing it."""
    return _CONTROL.search(text) is not None


def shown(value: Any) -> str:
    """A value from a file as a message may show it: as Python writes it, control characters escaped, at most 80 characters."""
    if isinstance(value, str):
        return quoted(value)
    try:
        text = repr(value)
    except ValueError:  # a whole number of more than 4,300 digits is not written out
        return "(a number of thousands of digits)"
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[: MAX_SHOWN_CHARS - 3]}..."


def shown_key(name: str) -> str:
    """A key from a file as a message may show it: as written where that is plain and short, otherwise as `shown`."""
    return name if name and name.isprintable() and len(name) <= MAX_SHOWN_CHARS else shown(name)


def shown_path(path: Path) -> str:
    """A path as a message may show it: whole, control characters escaped."""
    return str(path) if str(path).isprintable() else repr(str(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises InputError if it is absent, too large, not text, not TOML, or nested too deep."""
    source = shown_path(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        there = sorted(file.name for file in path.parent.glob("*.toml")) if path.parent.is_dir() else []
        raise InputError(f"does not exist{closest(path.name, there)}", source=source) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=source) from None
    if len(content) > MAX_FILE_BYTES:
        raise InputError(f"is larger than {MAX_FILE_BYTES // 2**20} MiB; is this a TOML file?", source=source)
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text; expected a TOML file", source=source) from None
    except ValueError as error:  # TOMLDecodeError, or a whole number of more than 4,300 digits
        words = str(error).encode("unicode_escape").decode()  # may quote the file
        raise InputError(f"is not valid TOML: {words[:200]}", source=source) from None
    except RecursionError:
        raise InputError(f"is nested deeper than {MAX_DEPTH} tables", source=source) from None
    _check_depth(table, source)
    return table


def _check_depth(table: dict[str, Any], source: str) -> None:
    """Without recursion, which is what it protects the rest from."""
    level: list[Any] = [table]
    for _ in range(MAX_DEPTH):
        level = [i for item in level for i in (item.values() if isinstance(item, dict) else item) if isinstance(i, dict | list)]
        if not level:
            return
    raise InputError(f"is nested deeper than {MAX_DEPTH} tables", source=source)


def check_schema(table: dict[str, Any], expected: str, source: str) -> None:
    """Takes the `schema` key off `table`. Raises InputError unless it is `expected`, such as "loadlab/scenario/1"."""
    found = table.pop("schema", None)
    if found is None:
        raise InputError(f'is missing: begin the file with schema = "{expected}"', source=source, key="schema")
    if found == expected:
        return
    sort, wanted = sort_of(found), sort_of(expected)
    if sort is not None and sort != wanted:
        raise InputError(f"= {shown(found)}: this file is {sort}, and {wanted} is needed here", source=source, key="schema")
    raise InputError(f"= {shown(found)} is not one that this version reads (it reads {expected!r})", source=source, key="schema")


def sort_of(schema: Any) -> str | None:
    """What a file with this `schema` is, in words: "a cluster" for "loadlab/cluster/1"; None if it is none of ours."""
    match = re.fullmatch(r"loadlab/([a-z]+)/\d+", schema) if isinstance(schema, str) else None
    return SORTS.get(match[1]) if match else None


def read_table(cls: type[T], table: Mapping[str, Any], source: str, path: str = "") -> T:
    """An instance of the dataclass `cls` from a TOML table. `path` is the table's own key, for messages.

    Raises InputError on an unknown or missing key, a wrong type, or a value out of range.
    """
    hints = _type_hints(typing.cast(type, cls))
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    kind = getattr(cls, "kind", None)  # a text where the class is a member of a union, not where `kind` is a field
    for name, value in table.items():
        if name not in fields and (name, value) != ("kind", kind):
            raise InputError(_unknown_key(name, list(fields)), source=source, key=_join(path, name))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _read_value(hints[name], table[name], source, _join(path, name), name)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"is missing ({_describe(hints[name], name)})", source=source, key=_join(path, name))
    try:
        return cls(**values)
    except ValueError as error:
        first, _, rest = str(error).partition(" ")
        if first.partition(".")[0] in fields:
            raise InputError(rest, source=source, key=f"{path}.{first}" if path else first) from None
        raise InputError(str(error), source=source, key=path or None) from None


@functools.cache
def _type_hints(cls: type) -> dict[str, Any]:
    """What typing says of a class: it evaluates every annotation, which takes longer than reading a table."""
    return typing.get_type_hints(cls, include_extras=True)


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
    return f"{path}.{shown_key(name)}" if path else shown_key(name)


def _unknown_key(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"is not a known key; {hint}Allowed: {', '.join(sorted(allowed))}"


def _read_value(hint: Any, value: Any, source: str, key: str, name: str) -> Any:
    """One value against one type hint: dispatches on what kind of type it is. `name`: of the field, whose ending says the unit."""
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        base, *bounds = typing.get_args(hint)
        name = next((b.ending for b in bounds if isinstance(b, In)), name)
        return _within(_read_value(base, value, source, key, name), [b for b in bounds if isinstance(b, Bound)], value, source, key)
    if origin in (types.UnionType, typing.Union):
        return _read_union(typing.get_args(hint), value, source, key, name)
    if origin is tuple:
        return _read_array(typing.get_args(hint), value, source, key, name)
    if origin is dict:
        item = typing.get_args(hint)[1]
        return _read_named(item, _expect(value, dict, "a table", source, key), source, key, name)
    if dataclasses.is_dataclass(hint):
        return read_table(typing.cast(type, hint), _expect(value, dict, "a table", source, key), source, key)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _read_enum(hint, value, source, key)
    if hint in (int, float):
        return _read_number(hint, value, source, key, name)
    if hint is bool:
        return _expect(value, bool, "true or false", source, key)
    text = _expect(value, str, "text in quotes", source, key)
    if has_control_characters(text):
        raise InputError(f"= {shown(text)} must be text without control characters", source=source, key=key)
    return Path(text) if hint is Path else text


def _read_named(item: Any, table: dict[str, Any], source: str, key: str, name: str) -> dict[str, Any]:
    """A table whose keys are names that the file's author chose."""
    for label in table:
        if has_control_characters(label):
            raise InputError("is a name with control characters", source=source, key=_join(key, label))
    return {label: _read_value(item, value, source, _join(key, label), name) for label, value in table.items()}


def _expect(value: Any, kind: type, words: str, source: str, key: str) -> Any:
    if not isinstance(value, kind):
        raise InputError(f"= {shown(value)} must be {words}", source=source, key=key)
    return value


def _within(value: Any, bounds: list[Bound], written: Any, source: str, key: str) -> Any:
    """Checks bounds on a number, or on each number of a tuple."""
    for number in value if isinstance(value, tuple) else (value,):
        for bound in bounds:
            if number is not None and not bound.holds(number):
                raise InputError(f"= {shown(written)} must be {bound.says}", source=source, key=key)
    return value


def _read_number(kind: type, value: Any, source: str, key: str, name: str) -> float | int:
    number = _parse_number(value, name, source, key) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not _is_finite(number):
        raise InputError(f"= {shown(value)} must be {_describe(kind, name)}", source=source, key=key)
    if kind is int:
        if number != int(number):
            raise InputError(f"= {shown(value)} must be a whole number", source=source, key=key)
        if abs(number) > MAX_WHOLE:
            raise InputError(f"= {shown(value)} must be a whole number of at most 2^53", source=source, key=key)
        return int(number)
    return float(number)


def _parse_number(text: str, name: str, source: str, key: str) -> float:
    parse, unit = next((parse, unit) for ending, parse, unit in _UNITS if name.endswith(ending))
    try:
        return parse(text)
    except ValueError as error:
        plain = re.fullmatch(r"[-+]?[0-9.]{1,20}", text.strip())
        hint = f'; write {text.strip()} without quotes, or "{text.strip()}{unit}"' if plain and unit else ""
        raise InputError(f"= {error}{hint}", source=source, key=key) from None


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond float64
        return False


def _read_enum(hint: type[enum.Enum], value: Any, source: str, key: str) -> enum.Enum:
    allowed = [str(member.value) for member in hint]
    if value not in allowed:
        raise InputError(f"= {shown(value)} must be one of {', '.join(allowed)}{closest(value, allowed)}", source=source, key=key)
    return hint(value)


def _read_array(args: tuple[Any, ...], value: Any, source: str, key: str, name: str) -> tuple[Any, ...]:
    values = _expect(value, list, "an array [..]", source, key)
    if len(values) > MAX_ENTRIES:
        raise InputError(f"has {len(values):,} entries; at most {MAX_ENTRIES:,} are read", source=source, key=key)
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_read_value(args[0], v, source, f"{key}[{i}]", name) for i, v in enumerate(values))
    if len(values) != len(args):
        raise InputError(f"= {shown(value)} must have {len(args)} entries", source=source, key=key)
    return tuple(_read_value(a, v, source, f"{key}[{i}]", name) for i, (a, v) in enumerate(zip(args, values, strict=True)))


def _read_union(members: tuple[Any, ...], value: Any, source: str, key: str, name: str) -> Any:
    """`X | None` reads an X, or "none" (TOML has no null); a union of dataclasses is chosen by `kind`."""
    real = [m for m in members if m is not type(None)]
    if value == "none" and len(real) < len(members):
        return None
    if len(real) == 1:
        return _read_value(real[0], value, source, key, name)
    by_kind = {member.kind: member for member in real}
    table = _expect(value, dict, f"a table with kind = one of {', '.join(sorted(by_kind))}", source, key)
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in by_kind:
        words = f"must be one of {', '.join(sorted(by_kind))}{closest(kind, list(by_kind))}"
        raise InputError("is missing: it " + words if kind is None else f"= {shown(kind)} {words}", source=source, key=_join(key, "kind"))
    return read_table(by_kind[kind], table, source, key)


def closest(value: Any, allowed: list[str]) -> str:
    """The words "; did you mean ..?" where one of `allowed` is close, else nothing."""
    close = difflib.get_close_matches(value, allowed, n=1) if isinstance(value, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


def _describe(hint: Any, name: str) -> str:
    """What a key takes, in words."""
    if typing.get_origin(hint) is typing.Annotated:
        base, *bounds = typing.get_args(hint)
        name = next((b.ending for b in bounds if isinstance(b, In)), name)
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
