"""Our own trace format, CSV or Parquet: arrival_s, prompt_tokens, output_tokens, and what else is known of a request. docs/traces.md."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import orjson

from loadlab.errors import InputError
from loadlab.scenario.trace_formats.csv_rows import Clock, fields, tokens
from loadlab.scenario.trace_formats.rows import (
    MAX_BLOCK_ID,
    MAX_TIME_NS,
    MAX_TOKENS,
    NS_PER_S,
    Lines,
    OpenedTrace,
    Row,
    Tally,
    TraceFormat,
    bad_value,
)  # fmt: skip
from loadlab.schema import shown, shown_path

REQUIRED = ("arrival_s", "prompt_tokens", "output_tokens")
OPTIONAL = ("class", "images", "block_tokens", "blocks")
COLUMNS = (*REQUIRED, *OPTIONAL)
_COUNTS = ("prompt_tokens", "output_tokens", "images", "block_tokens")
PARQUET_MAGIC = b"PAR1"
BATCH_ROWS, BATCH_BLOCKS = 10_000, 500_000  # written together, whichever comes first
READ_ROWS = 1_000  # turned into Python together: their blocks may be many
MAX_NAMED = 10  # columns
MAX_BLOCK_TOKENS = 1_000_000


def own_csv(lines: Lines, header: Sequence[str], source: str) -> OpenedTrace:
    """arrival_s,prompt_tokens,output_tokens[,class][,images][,block_tokens,blocks]; blocks are ids with spaces between them."""
    rows, tally = fields(lines, header, source), Tally()
    first = next(rows, None)
    block = 0
    if first is not None and "block_tokens" in header:
        block = _block_tokens(first[1][header.index("block_tokens")], first[0], source)
    found = _csv_rows(first, rows, header, source, block)
    return OpenedTrace(TraceFormat.LOADLAB, found, tally, block_tokens=block, notes=_unread(header))


def _unread(header: Sequence[str]) -> tuple[str, ...]:
    """What to know of columns that mean nothing here: one of them may be a known one with a slip in its name."""
    unknown = [name for name in header if name not in COLUMNS]
    if not unknown:
        return ()
    named = ", ".join(shown(name) for name in unknown[:MAX_NAMED]) + (" and more" if len(unknown) > MAX_NAMED else "")
    return (f"columns that are not read: {named}; known are {', '.join(COLUMNS)}",)


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


def _ids(text: str, line: int, source: str) -> Sequence[int]:
    """8 bytes an id."""
    if not text:
        return ()
    ids = _quick_ids(text)
    if ids is None:
        words = text.split()
        if not all(word.isascii() and word.isdigit() and len(word) <= 19 for word in words):
            raise bad_value(source, line, "blocks", text, "whole numbers with spaces between them")
        ids = [int(word) for word in words]
    if max(ids, default=0) > MAX_BLOCK_ID:
        raise bad_value(source, line, "blocks", max(ids), "at most 2^62")
    return array("q", ids)


def _quick_ids(text: str) -> list[int] | None:
    """Ids as `convert` writes them, six times as fast as by int(); None of others: blanks beside blanks, zeros in front, no ids."""
    if not (text.isascii() and text.replace(" ", "").isdigit()):
        return None
    try:
        ids: list[int] = orjson.loads(f"[{text.replace(' ', ',')}]")
    except orjson.JSONDecodeError:
        return None
    return ids


def _checked(ids: Sequence[int], prompt: int, block: int, line: int, source: str) -> Sequence[int]:
    if len(ids) and (block == 0 or len(ids) != -(-prompt // block)):
        wanted = f"{-(-prompt // block)} ids for {prompt:,} tokens in blocks of {block}" if block else "empty without block_tokens"
        raise bad_value(source, line, "blocks", f"{len(ids)} ids", wanted)
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
    found, count = (row for row, _ in _chain(first, rows)), max(1, file.metadata.num_rows)
    return OpenedTrace(TraceFormat.LOADLAB, found, Tally(), block_tokens=block, notes=_unread(names), share=lambda rows: rows / count)


def _chain(first: tuple[Row, int] | None, rows: Iterator[tuple[Row, int]]) -> Iterator[tuple[Row, int]]:
    if first is not None:
        yield first
        yield from rows


def _parquet_rows(file: Any, names: list[str], source: str, arrow: Any) -> Iterator[tuple[Row, int]]:
    """Rows, each with the tokens of its blocks."""
    line = 0
    try:
        for batch in file.iter_batches(READ_ROWS, columns=names):
            columns = [_values(batch.column(name), arrow) if name in names else [None] * len(batch) for name in COLUMNS]
            for line, values in enumerate(zip(*columns, strict=True), line + 1):  # noqa: B020
                yield _record(values, line, source), values[5] or 0
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:  # damaged pages are an OSError
        raise InputError(f"cannot be read on ({str(error).splitlines()[0][:200]})", source=source, key=f"line {line + 1}") from None


def _values(column: Any, arrow: Any) -> Sequence[Any]:
    """A column in Python. Lists of ids are cut from one array of all: Arrow would make an object of each number."""
    kinds, kind = arrow.types, column.type
    if not (kinds.is_list(kind) and kinds.is_int64(kind.value_type)) or column.flatten().null_count:
        return list(column.to_pylist())
    ids = column.flatten().to_numpy()
    if len(ids) and not (ids.min() >= 0 and ids.max() <= MAX_BLOCK_ID):
        return list(column.to_pylist())  # `_record` says which
    whole, ends = array("q", ids.tobytes()), np.cumsum(column.value_lengths().fill_null(0).to_numpy()).tolist()
    return [whole[start:end] for start, end in pairwise((0, *ends))]


def _record(values: tuple[Any, ...], line: int, source: str) -> Row:
    """A row of values in the order of COLUMNS; what is not there is None. Ids in an array were looked at."""
    time, prompt, output, label, images, block, blocks = values
    if type(time) not in (int, float) or not 0 <= time * NS_PER_S <= MAX_TIME_NS:
        raise bad_value(source, line, "arrival_s", time, "a time in seconds, 0 or more")
    images, block, blocks = images or 0, block or 0, blocks or ()
    for name, value in zip(_COUNTS, (prompt, output, images, block), strict=True):
        if type(value) is not int or not 0 <= value <= MAX_TOKENS:
            raise bad_value(source, line, name, value, f"a whole number, 0 to {MAX_TOKENS:,}")
    if type(blocks) is not array and not all(type(i) is int and 0 <= i <= MAX_BLOCK_ID for i in blocks):
        raise bad_value(source, line, "blocks", blocks, "whole numbers, 0 to 2^62")
    return Row(line, round(time * NS_PER_S), prompt, output, str(label or ""), images, _checked(blocks, prompt, block, line, source))


def _written(ids: Sequence[int]) -> str:
    """Ids with blanks between them, written by orjson: six times as fast as str()."""
    return orjson.dumps(list(ids)).decode()[1:-1].replace(",", " ") if len(ids) else ""


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
        writer.writerow((time, row.prompt_tokens, row.output_tokens, row.label, row.images, block_tokens or size, _written(row.blocks)))
        count += 1
    return count


class _Batch:
    """Columns of rows that are written together, in Parquet's order."""

    def __init__(self, arrow: Any, schema: Any, block_tokens: int) -> None:
        self.arrow, self.schema, self.block_tokens = arrow, schema, block_tokens
        self.times, self.counts = array("d"), tuple(array("q") for _ in range(3))
        self.labels: list[str] = []
        self.ids, self.ends = array("q"), array("i", [0])

    def add(self, row: Row) -> None:
        assert row.time_ns is not None, "a trace without times is refused before"
        prompt, output, images = self.counts
        self.times.append(row.time_ns / NS_PER_S)
        prompt.append(row.prompt_tokens)
        output.append(row.output_tokens)
        images.append(row.images)
        self.labels.append(row.label)
        self.ids.extend(row.blocks)
        self.ends.append(len(self.ids))

    @property
    def is_full(self) -> bool:
        return len(self.labels) == BATCH_ROWS or len(self.ids) >= BATCH_BLOCKS

    def table(self) -> Any:
        """As an Arrow table."""
        as_array = self.arrow.array
        times, prompt, output, images, ends, ids = map(np.asarray, (self.times, *self.counts, self.ends, self.ids))
        sizes = np.full(len(self.labels), self.block_tokens)
        blocks = self.arrow.ListArray.from_arrays(as_array(ends), as_array(ids))
        columns = (*map(as_array, (times, prompt, output, self.labels, images, sizes)), blocks)
        return self.arrow.Table.from_arrays(columns, schema=self.schema)


def write_parquet(rows: Iterator[Row], path: Path, block_tokens: int) -> int:
    """As `write_csv`. Raises InputError without pyarrow."""
    arrow = _pyarrow(shown_path(path))
    types = (arrow.float64(), arrow.int64(), arrow.int64(), arrow.string(), arrow.int64(), arrow.int64(), arrow.list_(arrow.int64()))
    schema = arrow.schema(list(zip(COLUMNS, types, strict=True)))
    count, batch = 0, _Batch(arrow, schema, block_tokens)
    with arrow.parquet.ParquetWriter(path, schema) as writer:
        for count, row in enumerate(rows, 1):  # noqa: B007
            batch.add(row)
            if batch.is_full:
                writer.write_table(batch.table())
                batch = _Batch(arrow, schema, block_tokens)
        if batch.labels:
            writer.write_table(batch.table())
    return count
