"""Any trace to our own format, row by row, sorted by time, and with the ticks of a coarse clock spread where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from loadlab.errors import InputError
from loadlab.scenario.limits import MAX_REQUESTS
from loadlab.scenario.trace_formats.own import write_csv, write_parquet
from loadlab.scenario.trace_formats.recognise import open_trace
from loadlab.scenario.trace_formats.rows import NS_PER_S, OpenedTrace, Progress, Row, TraceFormat, counted
from loadlab.schema import shown_path

ENDINGS = (".csv", ".parquet")
LATE = "are earlier than the row before, and are sorted"
ON_TICK = 0.01  # of a tick: clocks that wander by a millisecond are meant, others are not


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """What was written."""

    rows: int
    format: TraceFormat
    words: tuple[str, ...]


class _LateError(Exception):
    """A row is earlier than the one before."""


def convert(
    source: Path, target: Path, expected: TraceFormat | None = None, *, tick_s: float | None = None, seed: int = 1,
    progress: Progress | None = None,
) -> Converted:  # fmt: skip
    """Writes a trace as CSV or Parquet, by the ending of `target`; times count from the first row, failed rows stay.

    A trace out of order is sorted in memory, if it has no more rows than a plan. With `tick_s` each row is put anywhere in its tick.
    `target` appears when it is whole. Raises InputError as `open_trace` does, without times, and off the ticks.
    """
    if target.suffix not in ENDINGS:
        raise InputError(f"= {shown_path(target)} must end in {' or '.join(ENDINGS)}", key="--out")
    if target.resolve() == source.resolve():
        raise InputError("must not be the trace itself", key="--out")
    part = target.with_name(target.name + ".part")
    try:
        try:
            done = _write(source, part, target.suffix, expected, tick_s, seed, progress, is_sorted=True)
        except _LateError:
            done = _write(source, part, target.suffix, expected, tick_s, seed, progress, is_sorted=False)
        part.replace(target)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=shown_path(target)) from None
    finally:
        part.unlink(missing_ok=True)
    return done


def _write(
    source: Path, part: Path, ending: str, expected: TraceFormat | None, tick_s: float | None, seed: int,
    progress: Progress | None, *, is_sorted: bool,
) -> Converted:  # fmt: skip
    name = shown_path(source)
    with open_trace(source, expected) as trace:
        if not trace.has_times:
            raise InputError(
                "has no times, and a trace of ours must: `loadlab trace fit --rate` makes a scenario of its lengths", source=name
            )
        rows = _in_order(trace) if is_sorted else _sorted(trace, name)
        rows = _from_zero(rows)
        rows = rows if tick_s is None else dequantized(rows, tick_s, np.random.default_rng(seed), name)
        rows = rows if progress is None else counted(rows, trace, progress)
        if ending == ".parquet":
            count = write_parquet(rows, part, trace.block_tokens)
        else:
            with part.open("w", encoding="utf-8", newline="") as file:
                count = write_csv(rows, file, trace.block_tokens)
        if not count:
            raise InputError("is an empty trace: a header and no rows", source=name)
        return Converted(rows=count, format=trace.format, words=(*trace.notes, *trace.tally.words()))


def _in_order(trace: OpenedTrace) -> Iterator[Row]:
    before = None
    for row in trace.rows:
        assert row.time_ns is not None, "a trace with times has them in every row"
        if before is not None and row.time_ns < before:
            raise _LateError
        before = row.time_ns
        yield row


def _sorted(trace: OpenedTrace, source: str) -> Iterator[Row]:
    rows: list[Row] = []
    before = None
    for row in trace.rows:
        if len(rows) == MAX_REQUESTS:
            problem = f"is out of order and has more than {MAX_REQUESTS:,} rows, too many to sort: sort it by time first"
            raise InputError(problem, source=source, key=f"line {row.line}")
        if before is not None and (row.time_ns or 0) < before:
            trace.tally.count(LATE, row.line)
        before = row.time_ns
        rows.append(row)
    return iter(sorted(rows, key=lambda row: row.time_ns or 0))


def _from_zero(rows: Iterator[Row]) -> Iterator[Row]:
    first = None
    for row in rows:
        assert row.time_ns is not None, "a trace with times has them in every row"
        first = row.time_ns if first is None else first
        yield Row(row.line, row.time_ns - first, *row[2:])


def dequantized(rows: Iterator[Row], tick_s: float, rng: np.random.Generator, source: str) -> Iterator[Row]:
    """Each row anywhere in its tick; rows keep their order. Raises InputError at a row that lies on no tick."""

    def tick(row: Row) -> int:
        ticks = (row.time_ns or 0) / (tick_s * NS_PER_S)
        if abs(ticks - round(ticks)) > ON_TICK:
            problem = f"lies {ticks:.6g} ticks of {tick_s:g} s after the first row: that is not the tick of its clock"
            raise InputError(problem, source=source, key=f"line {row.line}")
        return round(ticks)

    for number, together in groupby(rows, tick):
        members = list(together)
        for row, place in zip(members, np.sort(rng.random(len(members))).tolist(), strict=True):
            yield row._replace(time_ns=round((number + place) * tick_s * NS_PER_S))
