"""JSON lines of `requests.jsonl` and `server.jsonl`: records to bytes and back, in chunks, so that size does not matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from loadlab.errors import InputError
from loadlab.record.request import COLUMNS, Cause, Outcome, RequestRecord

Row = dict[str, Any]
CHUNK_ROWS = 2048
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


def read_request_chunks(path: Path) -> Iterator[list[Row]]:
    """Rows of `requests.jsonl`, some thousands at a time, types, outcome and cause checked; columns may be absent.

    A last line without its newline was torn by a kill and is left out. Raises InputError naming file and line.
    """
    return _read_chunks(path, _check_requests)


def read_timeline_chunks(path: Path) -> Iterator[list[Row]]:
    """Rows of `server.jsonl`, some thousands at a time, every known column there (None where the file has none)."""
    return _read_chunks(path, _check_timeline)


def _read_chunks(path: Path, check: Callable[[Sequence[Any]], str | None]) -> Iterator[list[Row]]:
    try:
        with path.open("rb") as file:
            yield from _decode_chunks(file, path, check)
    except FileNotFoundError:
        return  # killed before the first row, or not recorded
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=str(path)) from None


def _decode_chunks(file: BinaryIO, path: Path, check: Callable[[Sequence[Any]], str | None]) -> Iterator[list[Row]]:
    first_line = 1
    while lines := list(islice(file, CHUNK_ROWS)):
        if not lines[-1].endswith(b"\n"):
            lines.pop()
        try:
            rows = orjson.loads(b"[" + b",".join(lines) + b"]")
            # a line that holds a comma at top level would be two rows
            sound = len(rows) == len(lines) and check(rows) is None
        except orjson.JSONDecodeError:
            sound = False
        if not sound:
            raise _find_fault(lines, first_line, path, check)
        yield rows
        first_line += len(lines)


def _find_fault(lines: Iterable[bytes], first_line: int, path: Path, check: Callable[[Sequence[Any]], str | None]) -> InputError:
    for number, line in enumerate(lines, first_line):
        try:
            problem = check([orjson.loads(line)])
        except orjson.JSONDecodeError as error:
            problem = f"is not JSON ({error.msg}, column {error.colno})"
        if problem is not None:
            return InputError(f"line {number}: {problem}", source=str(path))
    raise AssertionError("a chunk was refused, but none of its lines")


def _check_types(rows: Sequence[Any], types: Mapping[str, frozenset[type]]) -> str | None:
    """What is wrong with the rows, or None. Looks at columns, not rows: some 2 us a row."""
    if not {type(row) for row in rows} <= {dict}:
        return "is not a JSON object"
    for column, allowed in types.items():
        found = set(map(type, [row.get(column) for row in rows]))
        if not found <= allowed and not (column == "tokens_estimated" and found <= {bool, _NONE}):
            wrong = next(row.get(column) for row in rows if type(row.get(column)) not in allowed)
            wanted = " or ".join(sorted("null" if t is _NONE else t.__name__ for t in allowed))
            return f"{column} = {wrong!r} must be {wanted}; is this a file of loadlab?"
    return None


def _check_requests(rows: Sequence[Any]) -> str | None:
    problem = _check_types(rows, _REQUEST_TYPES)
    if problem is not None:
        return problem
    for row in rows:
        if row["outcome"] not in _OUTCOMES:
            return f"outcome = {row['outcome']!r} must be one of {', '.join(Outcome)}"
        if row.get("cause") not in _CAUSES:
            return f"cause = {row['cause']!r} is not one that this version knows"
        if not 0 <= row["seq"] < MAX_SEQ:
            return f"seq = {row['seq']} must be >= 0"
    return None


def _check_timeline(rows: Sequence[Any]) -> str | None:
    problem = _check_types(rows, TIMELINE_TYPES)
    if problem is None and any(row["dt_s"] <= 0 for row in rows):
        return "dt_s must be > 0"
    return problem
