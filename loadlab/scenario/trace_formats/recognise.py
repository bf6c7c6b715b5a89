"""Which format a trace has, told by what it begins with, and its rows."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from loadlab.errors import InputError
from loadlab.scenario.trace_formats import csv_rows, own, servegen
from loadlab.scenario.trace_formats.json_rows import json_lines
from loadlab.scenario.trace_formats.lines import MAX_LINE_CHARS, numbered, opened, share_read
from loadlab.scenario.trace_formats.rows import Lines, OpenedTrace, TraceFormat
from loadlab.schema import shown_path

ONE_DOCUMENT = "begins one JSON document, and a JSON trace has one object a line: `jq -c '.[]'` makes such lines of a list"
NEW_OBJECTS = 100_000  # before the collector looks at them


@contextmanager
def open_trace(path: Path, expected: TraceFormat | None = None) -> Iterator[OpenedTrace]:
    """A trace to read row by row: a file, gzip or not, or a folder of ServeGen clients.

    Raises InputError if it is of no known format or not of the expected one, and while rows are read on anything that is no row,
    naming file and line.
    """
    with _rare_collections():
        yield from _opened(path, expected)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Python's collector looks at what is new every 700 objects, and rows come by the million, none in a cycle: a fifth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _opened(path: Path, expected: TraceFormat | None) -> Iterator[OpenedTrace]:
    if path.is_dir():
        if expected not in (None, TraceFormat.SERVEGEN):
            raise InputError("cannot be read: it is a folder", source=shown_path(path))
        yield servegen.servegen_folder(path)
        return
    if own.is_parquet(path):
        yield _as_expected(own.own_parquet(path), expected, shown_path(path))
        return
    source = shown_path(path)
    with opened(path) as text:
        lines = numbered(text, source)
        first = next(lines, None)
        if first is None:
            raise InputError("is empty; expected a trace with a header and rows", source=source)
        yield replace(_as_expected(_recognised(first, lines, path, source), expected, source), share=share_read(text))


def _recognised(first: tuple[int, str], lines: Lines, path: Path, source: str) -> OpenedTrace:
    line, text = first
    if text.startswith("{"):
        if text == "{" and path.name.endswith("-dataset.json"):
            raise InputError("holds the lengths of a ServeGen client: name the chunk-N-trace.csv beside it", source=source)
        if text == "{":
            raise InputError(ONE_DOCUMENT, source=source, key=f"line {line}")
        return json_lines(first, lines, source)
    if text.startswith("["):
        raise InputError(ONE_DOCUMENT, source=source, key=f"line {line}")
    written = csv_rows.columns_of(text) if len(text) < MAX_LINE_CHARS else []
    readers = (
        (csv_rows.AZURE, (csv_rows.AZURE_IMAGES,), csv_rows.azure),
        (csv_rows.BURSTGPT, (), csv_rows.burstgpt),
        (own.REQUIRED, own.OPTIONAL, own.own_csv),
        (csv_rows.VIDUR, (csv_rows.VIDUR_TIME,), csv_rows.vidur),
    )
    for required, optional, reader in readers:
        header = csv_rows.canonical(written, (*required, *optional))
        if all(name in header for name in required):
            return reader(lines, header, source)
    if line == 1 and servegen.looks_like_windows(text):
        return servegen.servegen_client(path)
    raise csv_rows.unknown_header(text, source)


def _as_expected(found: OpenedTrace, expected: TraceFormat | None, source: str) -> OpenedTrace:
    if expected not in (None, found.format):
        words = f"is the beginning of a trace of format {found.format.value}, and format = {expected} is asked for"
        raise InputError(words, source=source, key="line 1")
    return found
