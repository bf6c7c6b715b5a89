"""Traces to columns: arrival times, lengths and shared blocks, exactly as recorded.

Read row by row, a window at a time: rows outside it cost nothing but their reading, and reading ends where the window does. The formats
stand in `trace_formats`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from loadlab.errors import InputError
from loadlab.scenario.limits import MAX_REQUESTS, MAX_SEGMENTS, MAX_SPAN_S
from loadlab.scenario.plan import FloatArray, IntArray
from loadlab.scenario.trace_formats.recognise import open_trace
from loadlab.scenario.trace_formats.rows import MAX_LABELS, NS_PER_S, OTHER, OpenedTrace, Progress, Row, Tally, counted
from loadlab.scenario.trace_formats.rows import TraceFormat as TraceFormat
from loadlab.schema import shown_path
from loadlab.units import format_duration

SMALLER = "take a smaller window with load.start_s and load.for_s, or --window-start and --window"


def _none() -> IntArray:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The blocks of each row's prompt: row i owns ids[offsets[i]:offsets[i + 1]], each of `tokens` tokens but for its last one.

    A row without ids shares nothing. Equal ids are equal text, up to there.
    """

    tokens: int
    offsets: IntArray
    ids: IntArray

    def of_rows(self, rows: IntArray, copy: IntArray) -> Blocks:
        """The blocks of some rows; those of copy k > 0 are other texts than those of copy 0, and equal among themselves."""
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate(([0], np.cumsum(counts)))
        places = np.repeat(self.offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        beyond = int(self.ids.max(initial=0)) + 1
        return Blocks(tokens=self.tokens, offsets=offsets, ids=self.ids[places] + np.repeat(copy * beyond, counts))


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
    blocks: Blocks | None = None  # None where the trace has no ids
    images: IntArray = field(default_factory=_none)  # of each row; empty where no row has one
    labels: tuple[str, ...] = ()  # sorts of requests; empty where the trace tells none
    label: IntArray = field(default_factory=_none)  # of each row, into `labels`
    failed_rows: int = 0
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.line)

    def of_rows(self, rows: IntArray, arrival_s: FloatArray, copy: IntArray | None = None) -> TraceColumns:
        """Some rows at other times. `copy` numbers repetitions of a row: only copy 0 shares text with the original."""
        return replace(
            self,
            arrival_s=arrival_s,
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            line=self.line[rows],
            blocks=None if self.blocks is None else self.blocks.of_rows(rows, np.zeros_like(rows) if copy is None else copy),
            images=self.images[rows] if len(self.images) else self.images,
            label=self.label[rows] if self.labels else self.label,
        )


def load_trace(
    path: Path,
    start_s: float = 0.0,
    for_s: float | None = None,
    trace_format: TraceFormat | None = None,
    rate_per_s: float | None = None,
    progress: Progress | None = None,
) -> TraceColumns:
    """The rows with start_s <= time < start_s + for_s, where the file's first row is time 0; to the end without `for_s`.

    A trace without times gets Poisson arrivals at `rate_per_s`, always the same ones, and a warning that they are an assumption.
    `progress` is told the rows read so far, and the share of the file.
    Raises InputError naming file and line on anything that is not a row of the format, on more rows or days than a plan holds, and
    if no row that can be replayed lies in the window.
    """
    with open_trace(path, trace_format) as trace:
        if rate_per_s is not None:
            trace = _timed(trace, shown_path(path), rate_per_s)
        if progress is not None:
            trace = replace(trace, rows=counted(trace.rows, trace, progress))
        return _read_window(trace, shown_path(path), start_s, for_s)


def _timed(trace: OpenedTrace, source: str, rate_per_s: float) -> OpenedTrace:
    if trace.has_times:
        raise InputError("has times of its own: leave --rate out", source=source)

    def rows() -> Iterator[Row]:
        rng, time_s = np.random.default_rng(1), 0.0
        for row in trace.rows:
            yield row._replace(time_ns=round(time_s * NS_PER_S))
            time_s += float(rng.standard_exponential()) / rate_per_s

    note = f"has no times: Poisson arrivals at {rate_per_s:g}/s are assumed, and say nothing of its bursts"
    return replace(trace, rows=rows(), has_times=True, notes=(*trace.notes, note))


class _Window:
    """Rows inside the window, as they come."""

    def __init__(self, source: str, start_s: float, for_s: float | None) -> None:
        self.source = source
        self.start_ns = round(start_s * NS_PER_S)
        self.end_ns = None if for_s is None else round((start_s + for_s) * NS_PER_S)
        self.columns = array("q"), array("q"), array("q"), array("q"), array("q"), array("q")
        self.ids, self.offsets = array("q"), array("q", [0])
        self.labels: dict[str, int] = {}
        self.tally = Tally()
        self.failed_rows, self.first_failed_line = 0, 0

    def ends_before(self, at_ns: int) -> bool:
        return self.end_ns is not None and at_ns >= self.end_ns

    def add(self, row: Row, at_ns: int) -> None:
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
        if len(self.columns[0]) == MAX_REQUESTS or len(self.ids) > MAX_SEGMENTS:
            limit = f"the {MAX_REQUESTS:,} rows" if len(self.columns[0]) == MAX_REQUESTS else f"the {MAX_SEGMENTS:,} pieces of prompt"
            raise InputError(f"is one more than {limit} of a plan: {SMALLER}", source=self.source, key=f"line {row.line}")
        values = (since_ns, row.prompt_tokens, row.output_tokens, row.line, row.images, self._label(row.label, row.line))
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)
        self.ids.extend(row.blocks)
        self.offsets.append(len(self.ids))

    def _label(self, label: str, line: int) -> int:
        if label not in self.labels and len(self.labels) >= MAX_LABELS - 1:
            self.tally.count(f"are of one more sort than the {MAX_LABELS - 1} first ones, and are called {OTHER}", line)
            label = OTHER
        return self.labels.setdefault(label, len(self.labels))

    def trace(self, block_tokens: int, words: tuple[str, ...]) -> TraceColumns:
        """What was added, as columns."""
        columns = tuple(np.frombuffer(column, dtype=np.int64) for column in self.columns)
        arrival_ns, prompt_tokens, output_tokens, line, images, label = columns
        blocks = Blocks(
            tokens=block_tokens, offsets=np.frombuffer(self.offsets, dtype=np.int64), ids=np.frombuffer(self.ids, dtype=np.int64)
        )
        failures = (self.failures(),) if self.failed_rows else ()
        return TraceColumns(
            arrival_s=arrival_ns / NS_PER_S,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            line=line,
            blocks=blocks if len(self.ids) else None,
            images=images if images.any() else _none(),
            labels=tuple(self.labels) if any(self.labels) else (),
            label=label if any(self.labels) else _none(),
            failed_rows=self.failed_rows,
            warnings=tuple(f"{self.source}: {text}" for text in (*failures, *words, *self.tally.words())),
        )

    def failures(self) -> str:
        """How many rows are left out and why, in words."""
        rows = "1 row is" if self.failed_rows == 1 else f"{self.failed_rows:,} rows are"
        return f"{rows} left out, for zero tokens of prompt or answer mean a failed request; the first is line {self.first_failed_line}"


def _read_window(opened: OpenedTrace, source: str, start_s: float, for_s: float | None) -> TraceColumns:
    if not opened.has_times:
        problem = "has no times, so it cannot be replayed; `loadlab trace fit --rate` makes a scenario of its lengths"
        raise InputError(problem, source=source)
    window = _Window(source, start_s, for_s)
    first_ns = last_ns = None
    for row in opened.rows:
        assert row.time_ns is not None, "a trace with times has them in every row"
        first_ns = row.time_ns if first_ns is None else first_ns
        if last_ns is not None and row.time_ns < last_ns:
            advice = "sort the trace by time; `loadlab trace convert` does"
            raise InputError(f"is earlier than the row before it; {advice}", source=source, key=f"line {row.line}")
        last_ns = row.time_ns
        if window.ends_before(row.time_ns - first_ns):
            break
        window.add(row, row.time_ns - first_ns)
    trace = window.trace(opened.block_tokens, (*opened.notes, *opened.tally.words()))
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
