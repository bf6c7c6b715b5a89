"""JSON lines of `requests.jsonl` and `server.jsonl`: records to bytes and back, in chunks, so that size does not matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import orjson

from loadlab.errors import InputError
from loadlab.record.request import COLUMNS, Cause, Outcome, RequestRecord

T = TypeVar("T")
Row = dict[str, Any]
Columns = Mapping[str, Sequence[Any]]  # by the row's names for them, of equal length; None where a row has none
CHUNK_ROWS = 256  # their values stay in the processor's cache: half the time of 2,048
MAX_SEQ = 2**53  # beyond it a JSON reader elsewhere would round

_OPTION = orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
_NONE: type = type(None)
_TYPES_OF_HINT: Mapping[str, frozenset[type]] = {
    "int": frozenset({int}),
    "int | None": frozenset({int, _NONE}),
    "float | None": frozenset({float, int, _NONE}),
    "str | None": frozenset({str, _NONE}),
    "bool": frozenset({bool}),
    "Outcome": frozenset({str}),
    "Cause | None": frozenset({str, _NONE}),
}
_column_of = {name: column for column, name in COLUMNS.items()}
_REQUEST_TYPES = {_column_of[f.name]: _TYPES_OF_HINT[str(f.type)] for f in fields(RequestRecord)}
_OUTCOMES, _CAUSES = frozenset(map(str, Outcome)), frozenset(map(str, Cause)) | {None}

_NUMBER, _NUMBER_OR_NONE = frozenset({float, int}), frozenset({float, int, _NONE})
TIMELINE_TYPES: Mapping[str, frozenset[type]] = {
    "t_s": _NUMBER,  # start of the bin
    "dt_s": _NUMBER,  # its width
    "replica": frozenset({str}),
    "running": _NUMBER_OR_NONE,  # time means
    "waiting": _NUMBER_OR_NONE,
    "kv_usage": _NUMBER_OR_NONE,  # 0 .. 1, time mean
    "kv_usage_max": _NUMBER_OR_NONE,
    "gpu_busy": _NUMBER_OR_NONE,  # share of the bin
    "prefill_tokens": _NUMBER_OR_NONE,  # a step that spans bins is split, so these need not be whole
    "decode_tokens": _NUMBER_OR_NONE,
    "preemptions": frozenset({int, _NONE}),
    "ooms": frozenset({int, _NONE}),
    "cached_tokens": frozenset({int, _NONE}),
    "evicted_blocks": frozenset({int, _NONE}),
}


def encode_row(row: Mapping[str, Any]) -> bytes:
    """The line of a row, newline included."""
    return orjson.dumps(row if type(row) is dict else dict(row), option=_OPTION)


class _UnsoundError(Exception):
    """What is wrong with a row, in words."""


def read_request_chunks(path: Path) -> Iterator[list[Row]]:
    """Rows of `requests.jsonl`, some hundreds at a time, types, outcome and cause checked; columns may be absent.

    A last line without its newline was torn by a kill and is left out. Raises InputError naming file and line.
    """
    return _read_chunks(path, _sound_requests)


def read_request_columns(path: Path) -> Iterator[Columns]:
    """The same rows, checked alike, as columns: the fast way to arrays."""
    return _read_chunks(path, _sound_request_columns)


def read_timeline_chunks(path: Path) -> Iterator[list[Row]]:
    """Rows of `server.jsonl`, some hundreds at a time, every known column there (None where the file has none)."""
    return _read_chunks(path, _sound_timeline)


def columns_of(rows: Sequence[Row], names: Sequence[str] = tuple(COLUMNS)) -> Columns:
    """Two names or more of every row, as columns; absent ones read as None."""
    try:
        return dict(zip(names, zip(*map(itemgetter(*names), rows), strict=True), strict=True))
    except (KeyError, ValueError):  # a file of an earlier version, or of another tool; or no rows
        return {name: [row.get(name) for row in rows] for name in names}


def _read_chunks(path: Path, sound: Callable[[list[Any]], T]) -> Iterator[T]:
    try:
        with path.open("rb") as file:
            yield from _decode_chunks(file, path, sound)
    except FileNotFoundError:
        return  # killed before the first row, or not recorded
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=str(path)) from None


def _decode_chunks(file: BinaryIO, path: Path, sound: Callable[[list[Any]], T]) -> Iterator[T]:
    first_line = 1
    while lines := list(islice(file, CHUNK_ROWS)):
        if not lines[-1].endswith(b"\n"):
            lines.pop()
        try:
            rows = orjson.loads(b"[" + b",".join(lines) + b"]")
            if len(rows) != len(lines):  # a line that holds a comma at top level would be two rows
                raise _UnsoundError
            found = sound(rows)
        except (orjson.JSONDecodeError, _UnsoundError):
            raise _find_fault(lines, first_line, path, sound) from None
        yield found
        first_line += len(lines)


def _find_fault(lines: Iterable[bytes], first_line: int, path: Path, sound: Callable[[list[Any]], object]) -> InputError:
    for number, line in enumerate(lines, first_line):
        try:
            sound([orjson.loads(line)])
        except orjson.JSONDecodeError as error:
            return InputError(f"line {number}: is not JSON ({error.msg}, column {error.colno})", source=str(path))
        except _UnsoundError as error:
            return InputError(f"line {number}: {error}", source=str(path))
    raise AssertionError("a chunk was refused, but none of its lines")


def _sound_columns(rows: Sequence[Any], types: Mapping[str, frozenset[type]]) -> Columns:
    """The columns of rows that are JSON objects of these types. Looks at columns, not rows: some 1.5 us a row."""
    if not set(map(type, rows)) <= {dict}:
        raise _UnsoundError("is not a JSON object")
    columns = columns_of(rows, tuple(types))
    for name, allowed in types.items():
        found = set(map(type, columns[name]))
        if not found <= allowed and not (name == "tokens_estimated" and found <= {bool, _NONE}):
            wrong = next(value for value in columns[name] if type(value) not in allowed)
            wanted = " or ".join(sorted("null" if t is _NONE else t.__name__ for t in allowed))
            raise _UnsoundError(f"{name} = {wrong!r} must be {wanted}; is this a file of loadlab?")
    return columns


def _sound_request_columns(rows: Sequence[Any]) -> Columns:
    columns = _sound_columns(rows, _REQUEST_TYPES)
    if unknown := set(columns["outcome"]) - _OUTCOMES:
        raise _UnsoundError(f"outcome = {unknown.pop()!r} must be one of {', '.join(Outcome)}")
    if unknown := set(columns["cause"]) - _CAUSES:
        raise _UnsoundError(f"cause = {unknown.pop()!r} is not one that this version knows")
    outside = [seq for seq in columns["seq"] if not 0 <= seq < MAX_SEQ]
    if outside:
        raise _UnsoundError(f"seq = {outside[0]} must be >= 0 and below 2^53")
    return columns


def _sound_requests(rows: list[Row]) -> list[Row]:
    _sound_request_columns(rows)
    return rows


def _sound_timeline(rows: list[Row]) -> list[Row]:
    columns = _sound_columns(rows, TIMELINE_TYPES)
    if rows and min(columns["dt_s"]) <= 0:
        raise _UnsoundError("dt_s must be > 0")
    return rows
