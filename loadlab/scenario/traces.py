"""Trace files to columns: arrival times and lengths, exactly as recorded.

Read line by line, a window at a time: rows outside it cost nothing but their reading, and reading ends where the window does.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, assert_never

import numpy as np

from loadlab.errors import InputError
from loadlab.scenario.limits import MAX_REQUESTS, MAX_SPAN_S
from loadlab.scenario.plan import FloatArray, IntArray
from loadlab.schema import shown, shown_path
from loadlab.units import format_duration

MAX_LINE_CHARS = 4096
NS_PER_S = 10**9
SMALLER = "take a smaller window with load.start_s and load.for_s, or --window-start and --window"


class TraceFormat(StrEnum):
    """The trace files that can be read, each told by its header."""

    AZURE_2023 = "azure-2023"  # Azure/AzurePublicDataset, AzureLLMInferenceTrace_{code,conv}.csv: CRLF, 7-digit fractions


HEADERS = {"TIMESTAMP,ContextTokens,GeneratedTokens": TraceFormat.AZURE_2023}


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceColumns:
    """The rows of a trace inside a window, in the file's order; arrival_s is ascending, seconds since the window's start.

    A row without a token of prompt or of answer is a request that failed where the trace was recorded (its length is not known): it
    is left out of the columns, counted in `failed_rows`, and `warnings` says so in words. All token counts here are 1 or more.
    """

    arrival_s: FloatArray
    prompt_tokens: IntArray
    output_tokens: IntArray
    line: IntArray  # of the file, the header being line 1
    failed_rows: int = 0
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.line)


class _Row(NamedTuple):
    line: int
    time_ns: int  # since any fixed moment
    prompt_tokens: int
    output_tokens: int


def load_trace(path: Path, start_s: float = 0.0, for_s: float | None = None, trace_format: TraceFormat | None = None) -> TraceColumns:
    """The rows with start_s <= time < start_s + for_s, where the file's first row is time 0; to the end without `for_s`.

    Raises InputError naming file and line on anything that is not a row of the format, on more rows or days than a plan holds, and
    if no row that can be replayed lies in the window.
    """
    source = shown_path(path)
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = _lines(iter(lambda: file.readline(MAX_LINE_CHARS), ""), source)
            return _read_window(_rows(lines, source, trace_format), source, start_s, for_s)
    except UnicodeDecodeError:
        raise InputError("is not UTF-8 text; expected a CSV trace", source=source) from None
    except FileNotFoundError:
        raise InputError("does not exist", source=source) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=source) from None


def _lines(chunks: Iterator[str], source: str) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends; blank ones are skipped."""
    for number, chunk in enumerate(chunks, start=1):
        if len(chunk) >= MAX_LINE_CHARS:
            raise InputError(f"is longer than {MAX_LINE_CHARS} characters; is this a trace?", source=source, key=f"line {number}")
        if chunk.strip():
            yield number, chunk.strip()


def _rows(lines: Iterator[tuple[int, str]], source: str, expected: TraceFormat | None) -> Iterator[_Row]:
    _, header = next(lines, (0, None))
    if header is None:
        raise InputError("is empty; expected a trace with a header and rows", source=source)
    found = HEADERS.get(header)
    if found is None or found is not (expected or found):
        known = "; ".join(f"{name.value}: {text}" for text, name in HEADERS.items())
        wanted = f" of format {expected.value}" if expected else ""
        raise InputError(f"= {shown(header)} is not the header of a trace{wanted} (known: {known})", source=source, key="line 1")
    match found:
        case TraceFormat.AZURE_2023:
            return _azure_2023_rows(lines, source)
        case _:
            assert_never(found)


class _Window:
    """Rows inside the window, as they come."""

    def __init__(self, source: str, start_s: float, for_s: float | None) -> None:
        self.source = source
        self.start_ns = round(start_s * NS_PER_S)
        self.end_ns = None if for_s is None else round((start_s + for_s) * NS_PER_S)
        self.columns = array("q"), array("q"), array("q"), array("q")  # nanoseconds, prompt, output, line
        self.failed_rows, self.first_failed_line = 0, 0

    def ends_before(self, at_ns: int) -> bool:
        return self.end_ns is not None and at_ns >= self.end_ns

    def add(self, row: _Row, at_ns: int) -> None:
        """Raises InputError if the row is more than a plan can hold."""
        since_ns = at_ns - self.start_ns
        if since_ns < 0:
            return
        if since_ns > MAX_SPAN_S * NS_PER_S:
            days = f"lies {since_ns // (86400 * NS_PER_S):,} days after the window's first moment, and a plan spans {MAX_SPAN_S // 86400}"
            raise InputError(f"{days}: {SMALLER}", source=self.source, key=f"line {row.line}")
        if row.prompt_tokens == 0 or row.output_tokens == 0:
            self.failed_rows += 1
            self.first_failed_line = self.first_failed_line or row.line
            return
        if len(self.columns[0]) == MAX_REQUESTS:
            raise InputError(f"is one more than the {MAX_REQUESTS:,} rows of a plan: {SMALLER}", source=self.source, key=f"line {row.line}")
        for column, value in zip(self.columns, (since_ns, row.prompt_tokens, row.output_tokens, row.line), strict=True):
            column.append(value)

    def trace(self) -> TraceColumns:
        """What was added, as columns."""
        arrival_ns, prompt_tokens, output_tokens, line = (np.frombuffer(column, dtype=np.int64) for column in self.columns)
        return TraceColumns(
            arrival_s=arrival_ns / NS_PER_S,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            line=line,
            failed_rows=self.failed_rows,
            warnings=(f"{self.source}: {self.failures()}",) if self.failed_rows else (),
        )

    def failures(self) -> str:
        """How many rows are left out and why, in words."""
        rows = "1 row is" if self.failed_rows == 1 else f"{self.failed_rows:,} rows are"
        return f"{rows} left out, for zero tokens of prompt or answer mean a failed request; the first is line {self.first_failed_line}"


def _read_window(rows: Iterator[_Row], source: str, start_s: float, for_s: float | None) -> TraceColumns:
    window = _Window(source, start_s, for_s)
    first_ns = last_ns = None
    for row in rows:
        first_ns = row.time_ns if first_ns is None else first_ns
        if last_ns is not None and row.time_ns < last_ns:
            raise InputError("is earlier than the row before it; sort the trace by time", source=source, key=f"line {row.line}")
        last_ns = row.time_ns
        if window.ends_before(row.time_ns - first_ns):
            break
        window.add(row, row.time_ns - first_ns)
    trace = window.trace()
    if len(trace):
        return trace
    if trace.failed_rows:
        raise InputError(f"has nothing to replay in the window: {window.failures()}", source=source)
    raise _nothing(source, None if first_ns is None or last_ns is None else (last_ns - first_ns) / NS_PER_S, start_s, for_s)


def _nothing(source: str, seen_s: float | None, start_s: float, for_s: float | None) -> InputError:
    if seen_s is None:
        return InputError("is an empty trace: a header and no rows", source=source)
    window = f"from {format_duration(start_s)}" + ("" if for_s is None else f" for {format_duration(for_s)}")
    return InputError(f"has no rows in the window {window}; the rows read span {format_duration(seen_s)}", source=source)


_AZURE_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)(?:\.(\d{1,9}))?", re.ASCII)
_TOKENS = re.compile(r"\d{1,9}", re.ASCII)


def _azure_2023_rows(lines: Iterator[tuple[int, str]], source: str) -> Iterator[_Row]:
    """2023-11-16 18:17:03.9799600,4808,10. Nanoseconds as whole numbers: a float would lose the seventh digit."""
    names = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
    second_text, second_ns = "", 0
    for line, text in lines:
        columns = text.split(",")
        if len(columns) != len(names):
            raise InputError(f"has {len(columns)} columns, expected 3: {','.join(names)}", source=source, key=f"line {line}")
        time = _AZURE_TIME.fullmatch(columns[0])
        if time is None:
            raise _bad_column(source, line, names[0], columns[0], "a time such as 2023-11-16 18:17:03.9799600")
        if time[1] != second_text:
            second_text, second_ns = time[1], _seconds(time[1], source, line) * NS_PER_S
        for name, column in zip(names[1:], columns[1:], strict=True):
            if not _TOKENS.fullmatch(column):
                raise _bad_column(source, line, name, column, "a whole number of tokens, 0 to 999,999,999")
        yield _Row(line, second_ns + int((time[2] or "").ljust(9, "0")), int(columns[1]), int(columns[2]))


def _seconds(text: str, source: str, line: int) -> int:
    try:
        since = datetime.fromisoformat(text) - datetime(1970, 1, 1)  # the file names no zone; only differences count
    except ValueError:
        raise _bad_column(source, line, "TIMESTAMP", text, "a date and time that exist") from None
    return since.days * 86400 + since.seconds


def _bad_column(source: str, line: int, name: str, value: str, wanted: str) -> InputError:
    return InputError(f"{name} = {shown(value)} must be {wanted}", source=source, key=f"line {line}")
