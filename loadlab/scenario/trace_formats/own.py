"""Our own trace format, CSV or Parquet: arrival_s, prompt_tokens, output_tokens, and what else is known of a request. docs/traces.md."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from loadlab.errors import InputError
from loadlab.scenario.trace_formats.csv_rows import Clock, fields, tokens
from loadlab.scenario.trace_formats.rows import (
    MAX_BLOCK_ID,
    MAX_TOKENS,
    NS_PER_S,
    Lines,
    OpenedTrace,
    Row,
    Tally,
    TraceFormat,
    bad_value,
)  # fmt: skip
from loadlab.schema import shown_path

REQUIRED = ("arrival_s", "prompt_tokens", "output_tokens")
OPTIONAL = ("class", "images", "block_tokens", "blocks")
COLUMNS = (*REQUIRED, *OPTIONAL)
PARQUET_MAGIC = b"PAR1"
BATCH_ROWS, BATCH_BLOCKS = 10_000, 500_000  # written together, whichever comes first
READ_ROWS = 1_000  # turned into Python together: their blocks may be many
MAX_BLOCK_TOKENS = 1_000_000


def own_csv(lines: Lines, header: Sequence[str], source: str) -> OpenedTrace:
    """arrival_s,prompt_tokens,output_tokens[,class][,images][,block_tokens,blocks]; blocks are ids with spaces between them."""
    unknown = [name for name in header if name not in COLUMNS]
    if unknown or len(set(header)) != len(header):
        raise bad_value(source, 1, "columns", ",".join(header), f"{', '.join(REQUIRED)}, and of {', '.join(OPTIONAL)} what is known")
    rows, tally = fields(lines, header, source), Tally()
    first = next(rows, None)
    block = 0
    if first is not None and "block_tokens" in header:
        block = _block_tokens(first[1][header.index("block_tokens")], first[0], source)
    return OpenedTrace(TraceFormat.LOADLAB, _csv_rows(first, rows, header, source, block), tally, block_tokens=block)


def _block_tokens(value: str, line: int, source: str) -> int:
    block = tokens(value, "block_tokens", line, source)
    if block > MAX_BLOCK_TOKENS:
        raise bad_value(source, line, "block_tokens", value, f"0 to {MAX_BLOCK_TOKENS:,}")
    return block


def _csv_rows(
    first: tuple[int, list[str]] | None, rows: Iterator[tuple[int, list[str]]], header: Sequence[str], source: str, block: int
) -> Iterator[Row]:
    at = {name: header.index(name) for name in header}
    time_at, prompt_at, output_at = (at[name] for name in REQUIRED)
    class_at, images_at, blocks_at = at.get("class"), at.get("images"), at.get("blocks")
    clock = Clock(REQUIRED[0], source)
    for line, values in chain(() if first is None else (first,), rows):
        prompt = tokens(values[prompt_at], REQUIRED[1], line, source)
        yield Row(
            line,
            clock.ns(values[time_at], line),
            prompt,
            tokens(values[output_at], REQUIRED[2], line, source),
            "" if class_at is None else values[class_at],
            0 if images_at is None else tokens(values[images_at], "images", line, source),
            () if blocks_at is None else _checked(_ids(values[blocks_at], line, source), prompt, block, line, source),
        )


def _ids(text: str, line: int, source: str) -> list[int]:
    words = text.split()
    if not all(word.isascii() and word.isdigit() and len(word) <= 19 for word in words):
        raise bad_value(source, line, "blocks", text, "whole numbers with spaces between them")
    return [int(word) for word in words]


def _checked(ids: list[int], prompt: int, block: int, line: int, source: str) -> list[int]:
    if ids and (block == 0 or len(ids) != -(-prompt // block)):
        wanted = f"{-(-prompt // block)} ids for {prompt:,} tokens in blocks of {block}" if block else "empty without block_tokens"
        raise bad_value(source, line, "blocks", f"{len(ids)} ids", wanted)
    if any(i > MAX_BLOCK_ID for i in ids):
        raise bad_value(source, line, "blocks", max(ids), "at most 2^62")
    return ids


def is_parquet(path: Path) -> bool:
    """True for a file that begins as Parquet does."""
    try:
        with path.open("rb") as file:
            return file.read(4) == PARQUET_MAGIC
    except OSError:
        return False  # whoever opens it next says why


def _pyarrow(source: str) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise InputError("is Parquet, which needs pyarrow: pip install 'loadlab[parquet]'", source=source) from None
    return pyarrow


def own_parquet(path: Path) -> OpenedTrace:
    """The columns of the CSV; `blocks` is a list of int64."""
    source = shown_path(path)
    arrow = _pyarrow(source)
    try:
        file = arrow.parquet.ParquetFile(path)
    except (arrow.ArrowException, OSError) as error:
        raise InputError(f"is not a whole Parquet file ({str(error).splitlines()[0][:200]})", source=source) from None
    names = file.schema_arrow.names
    missing = [name for name in REQUIRED if name not in names]
    if missing:
        raise InputError(f"must have the column {missing[0]}; it has {', '.join(names[:20])}", source=source)
    rows = _parquet_rows(file, [name for name in COLUMNS if name in names], source, arrow)
    first = next(rows, None)
    block = 0 if first is None else first[1]
    return OpenedTrace(TraceFormat.LOADLAB, (row for row, _ in _chain(first, rows)), Tally(), block_tokens=block)


def _chain(first: tuple[Row, int] | None, rows: Iterator[tuple[Row, int]]) -> Iterator[tuple[Row, int]]:
    if first is not None:
        yield first
        yield from rows


def _parquet_rows(file: Any, names: list[str], source: str, arrow: Any) -> Iterator[tuple[Row, int]]:
    """Rows, each with the tokens of its blocks."""
    line = 0
    try:
        for batch in file.iter_batches(READ_ROWS, columns=names):
            for record in batch.to_pylist():
                line += 1
                yield _record(record, line, source), record.get("block_tokens") or 0
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:  # damaged pages are an OSError
        raise InputError(f"cannot be read on ({str(error).splitlines()[0][:200]})", source=source, key=f"line {line + 1}") from None


def _record(record: dict[str, Any], line: int, source: str) -> Row:
    time = record["arrival_s"]
    if type(time) not in (int, float) or not 0 <= time <= 1e11:
        raise bad_value(source, line, "arrival_s", time, "a time in seconds, 0 or more")
    counts = []
    for name in ("prompt_tokens", "output_tokens", "images", "block_tokens"):
        value = record.get(name, 0)
        if type(value) is not int or not 0 <= value <= MAX_TOKENS:
            raise bad_value(source, line, name, value, f"a whole number, 0 to {MAX_TOKENS:,}")
        counts.append(value)
    prompt, output, images, block = counts
    blocks = record.get("blocks") or []
    if not all(type(i) is int and i >= 0 for i in blocks):
        raise bad_value(source, line, "blocks", blocks, "whole numbers, 0 or more")
    return Row(
        line, round(time * NS_PER_S), prompt, output, str(record.get("class") or ""), images, _checked(blocks, prompt, block, line, source)
    )


def write_csv(rows: Iterator[Row], file: TextIO, block_tokens: int) -> int:
    """Writes rows, whose times count from their own zero; returns how many."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    count = 0
    for row in rows:
        assert row.time_ns is not None, "a trace without times is refused before"
        whole, part = divmod(row.time_ns, NS_PER_S)
        time = f"{whole}.{part:09d}".rstrip("0").rstrip(".")
        size = block_tokens if len(row.blocks) else 0
        writer.writerow(
            (time, row.prompt_tokens, row.output_tokens, row.label, row.images, block_tokens or size, " ".join(map(str, row.blocks)))
        )
        count += 1
    return count


def write_parquet(rows: Iterator[Row], path: Path, block_tokens: int) -> int:
    """As `write_csv`. Raises InputError without pyarrow."""
    arrow = _pyarrow(shown_path(path))
    types = (arrow.float64(), arrow.int64(), arrow.int64(), arrow.string(), arrow.int64(), arrow.int64(), arrow.list_(arrow.int64()))
    schema = arrow.schema(list(zip(COLUMNS, types, strict=True)))
    count, blocks, batch = 0, 0, []
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for row in rows:
            assert row.time_ns is not None, "a trace without times is refused before"
            values = (row.time_ns / NS_PER_S, row.prompt_tokens, row.output_tokens, row.label, row.images, block_tokens, list(row.blocks))
            batch.append(dict(zip(COLUMNS, values, strict=True)))
            count, blocks = count + 1, blocks + len(row.blocks)
            if len(batch) == BATCH_ROWS or blocks >= BATCH_BLOCKS:
                writer.write_table(arrow.Table.from_pylist(batch, schema))
                batch, blocks = [], 0
        if batch:
            writer.write_table(arrow.Table.from_pylist(batch, schema))
    return count
