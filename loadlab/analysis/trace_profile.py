"""What a trace looks like, read once in bounded memory: rates, burstiness, lengths, shared prefixes, and what to beware of.

Counts are kept by second and by token, never row by row: a file of any length needs the memory of its span and of its block ids.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadlab.analysis.burstiness import Burstiness, burstiness_of
from loadlab.analysis.table import FloatArray, IntArray
from loadlab.analysis.trace_seen import SeenBlocks, tick_of
from loadlab.errors import InputError
from loadlab.scenario.trace_formats.recognise import open_trace
from loadlab.scenario.trace_formats.rows import MAX_LABELS, NS_PER_S, OTHER, OpenedTrace, Progress, Row, TraceFormat
from loadlab.schema import shown_path

MAX_SPAN_S = 400 * 86400  # bins of a second: a quarter of a gigabyte
MAX_BIN_TOKENS = 2_000_000  # longer ones count as so long, and that is told
CHUNK_ROWS, CHUNK_BLOCKS = 50_000, 1_000_000  # looked at together
MIN_CAP_ROWS = 5
FEW_ROWS = 30
FALSE_SHARE_TOLD = 1e-6
AT_CAP = 0.999  # of the maximum: templates add a token or two to a cap
CAP_SHARE = 0.005  # of rows at the greatest length: fewer are chance
LONG_CONTEXT_TOKENS = 131_072  # many served models take no longer prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthProfile:
    """Lengths in tokens of rows that did not fail. `counts[k]`: rows of k tokens. `cap_share`: of rows at the maximum, where those are
    more than chance."""

    counts: IntArray
    mean: float
    maximum: int
    cap_share: float

    def quantile(self, p: float) -> int:
        """The least length that a share p of the rows does not exceed; 0 where there are no rows."""
        edges = np.cumsum(self.counts)
        return int(np.searchsorted(edges, p * edges[-1] - 1e-9)) if len(edges) else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceProfile:
    """A trace in figures. Rates and bursts count every row, failed ones too; lengths only those with tokens on both sides."""

    source: str
    format: TraceFormat
    rows: int
    failed_rows: int
    span_s: float  # earliest to latest row; 0 without times
    gap_cv: float | None  # None without times, or where they are out of order
    tick_s: float | None  # the clock's, where it is coarse
    second_counts: IntArray  # rows in each second since the first; empty without times
    bursts: tuple[Burstiness, ...]  # of windows that the span and the clock allow
    prompt: LengthProfile
    output: LengthProfile
    rank_correlation: float | None  # Spearman, of the first rows
    labels: dict[str, int]
    image_rows: int
    images: int
    block_tokens: int
    hit_ratio: float | None  # share of prompt tokens that an infinite prefix cache would hold; None without ids
    distinct_blocks: int
    warnings: tuple[str, ...]

    @property
    def rate_per_s(self) -> float:
        """Rows a second between the first row and the last."""
        return (self.rows - 1) / self.span_s if self.span_s else 0.0


def inspect_trace(path: Path, expected: TraceFormat | None = None, progress: Progress | None = None) -> TraceProfile:
    """Reads a whole trace. `progress` is told the rows so far and their share of the file.

    Raises InputError as `open_trace`, and on a trace without rows.
    """
    with open_trace(path, expected) as trace:
        gathered = _Gathered(trace, shown_path(path))
        for rows in _chunks(trace.rows):
            gathered.add(rows)
            if progress is not None:
                progress(gathered.rows, trace.share and trace.share(gathered.rows))
        return gathered.profile()


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows in lists of so many rows or so many blocks, whichever comes first."""
    chunk: list[Row] = []
    blocks = 0
    for row in rows:
        chunk.append(row)
        blocks += len(row.blocks)
        if len(chunk) == CHUNK_ROWS or blocks >= CHUNK_BLOCKS:
            yield chunk
            chunk, blocks = [], 0
    if chunk:
        yield chunk


class _Lengths:
    """Counts by tokens, grown as lengths come."""

    def __init__(self) -> None:
        self.counts = np.zeros(0, dtype=np.int64)
        self.total, self.maximum, self.beyond = 0, 0, 0

    def add(self, tokens: IntArray) -> None:
        if not len(tokens):
            return
        self.total += int(tokens.sum())
        self.maximum = max(self.maximum, int(tokens.max()))
        self.beyond += int((tokens > MAX_BIN_TOKENS).sum())
        more = np.bincount(np.minimum(tokens, MAX_BIN_TOKENS), minlength=len(self.counts))
        more[: len(self.counts)] += self.counts
        self.counts = more

    def profile(self) -> LengthProfile:
        rows = int(self.counts.sum())
        there = int(self.counts[math.ceil(AT_CAP * (len(self.counts) - 1)) :].sum())
        at_most = there / rows if rows else 0.0
        is_cap = at_most >= CAP_SHARE and there >= MIN_CAP_ROWS and np.count_nonzero(self.counts) > 1
        return LengthProfile(
            counts=self.counts, mean=self.total / rows if rows else 0.0, maximum=self.maximum, cap_share=at_most if is_cap else 0.0
        )


class _Times:
    """Counts by second, and the sums of gaps."""

    def __init__(self) -> None:
        self.counts = np.zeros(0, dtype=np.int64)
        self.base_ns: int | None = None  # second 0 of the counts begins here
        self.first_ns = self.last_ns = self.before_ns = 0
        self.tick_s: float | None = None
        self.gaps, self.gap_sum, self.gap_squares = 0, 0.0, 0.0
        self.late, self.first_late = 0, 0

    def add(self, times: IntArray, lines: IntArray, source: str) -> None:
        if self.base_ns is None:
            self.tick_s = tick_of(times.tolist())
            self.base_ns = int(times[0]) - round((self.tick_s or 0) * NS_PER_S / 2)  # so that ticks which wander stay in their second
            self.first_ns = self.last_ns = self.before_ns = int(times[0])
        gaps = np.diff(times, prepend=self.before_ns) / NS_PER_S
        is_late = gaps < 0
        if is_late.any():
            self.first_late = self.first_late or int(lines[int(np.argmax(is_late))])
            self.late += int(is_late.sum())
        self.gaps += len(times)
        self.gap_sum, self.gap_squares = self.gap_sum + float(gaps.sum()), self.gap_squares + float((gaps**2).sum())
        self.before_ns = int(times[-1])
        self.first_ns, self.last_ns = min(self.first_ns, int(times.min())), max(self.last_ns, int(times.max()))
        if self.last_ns - self.first_ns > MAX_SPAN_S * NS_PER_S:
            where = f"line {lines[int(np.argmax(np.abs(times - times[0])))]}"
            raise InputError(f"is more than {MAX_SPAN_S // 86400} days from the first row: is its time right?", source=source, key=where)
        self._count(times)

    def _count(self, times: IntArray) -> None:
        assert self.base_ns is not None
        if self.first_ns < self.base_ns:
            more = -(-(self.base_ns - self.first_ns) // NS_PER_S)
            self.counts = np.concatenate((np.zeros(more, dtype=np.int64), self.counts))
            self.base_ns -= more * NS_PER_S
        seconds = (times - self.base_ns) // NS_PER_S
        low, high = int(seconds.min()), int(seconds.max())
        if high >= len(self.counts):
            self.counts = np.concatenate((self.counts, np.zeros(high + 1 - len(self.counts) + len(self.counts) // 2, dtype=np.int64)))
        self.counts[low : high + 1] += np.bincount(seconds - low)

    @property
    def span_s(self) -> float:
        return (self.last_ns - self.first_ns) / NS_PER_S

    @property
    def gap_cv(self) -> float | None:
        n = self.gaps - 1
        if n < 2 or self.late or not self.gap_sum:
            return None
        mean = self.gap_sum / n
        return float(np.sqrt(max(0.0, self.gap_squares / n - mean**2)) / mean)

    def seconds(self) -> IntArray:
        """Without the last one, which is cut."""
        whole = int((self.last_ns - (self.base_ns or 0)) // NS_PER_S)
        return self.counts[:whole].copy()


class _Gathered:
    """What was read so far."""

    def __init__(self, trace: OpenedTrace, source: str) -> None:
        self.trace, self.source = trace, source
        self.rows = self.failed = self.first_failed = self.with_blocks = self.image_rows = self.images = 0
        self.prompt, self.output, self.times = _Lengths(), _Lengths(), _Times()
        self.labels: Counter[str] = Counter()
        self.seen, self.hit_tokens, self.block_prompt_tokens = SeenBlocks(), 0, 0
        self.rank_correlation: float | None = None

    def add(self, rows: list[Row]) -> None:
        line_of, time_of, prompt_of, output_of, label_of, images_of, blocks_of = zip(*rows, strict=True)
        lines, prompt, output, images = (np.array(column, dtype=np.int64) for column in (line_of, prompt_of, output_of, images_of))
        if self.trace.has_times:
            self.times.add(np.array(time_of, dtype=np.int64), lines, self.source)
        good = (prompt > 0) & (output > 0)
        if not good.all():
            self.first_failed = self.first_failed or int(lines[int(np.argmin(good))])
            self.failed += int((~good).sum())
        if self.rank_correlation is None and good.sum() > 2:
            self.rank_correlation = spearman(prompt[good], output[good])
        self.prompt.add(prompt[good])
        self.output.add(output[good])
        self.image_rows, self.images = self.image_rows + int((images > 0).sum()), self.images + int(images.sum())
        for label, count in Counter(label_of).items():
            self.labels[label if label in self.labels or len(self.labels) < MAX_LABELS - 1 else OTHER] += count
        if self.trace.block_tokens:
            self._add_blocks(prompt, good, blocks_of)
        self.rows += len(rows)

    def _add_blocks(self, prompt: IntArray, good: NDArray[np.bool_], blocks: Sequence[Sequence[int]]) -> None:
        """Of rows that did not fail."""
        self.block_prompt_tokens += int(prompt[good].sum())
        ids = array("q")
        for row_ids in compress(blocks, good.tolist()):
            ids.extend(row_ids)
        counts = np.fromiter(map(len, blocks), dtype=np.int64, count=len(blocks)) * good
        told = counts > 0
        self.with_blocks += int(told.sum())
        leading = self.seen.leading(counts[told], np.asarray(ids))
        self.hit_tokens += int(np.minimum(prompt[told], leading * self.trace.block_tokens).sum())

    def profile(self) -> TraceProfile:
        if not self.rows:
            raise InputError("is an empty trace: a header and no rows", source=self.source)
        prompt, output, times = self.prompt.profile(), self.output.profile(), self.times
        seconds = times.seconds() if self.trace.has_times else np.zeros(0, dtype=np.int64)
        return TraceProfile(
            source=self.source,
            format=self.trace.format,
            rows=self.rows,
            failed_rows=self.failed,
            span_s=times.span_s if self.trace.has_times else 0.0,
            gap_cv=times.gap_cv,
            tick_s=times.tick_s,
            second_counts=seconds,
            bursts=burstiness_of(seconds, times.tick_s),
            prompt=prompt,
            output=output,
            rank_correlation=self.rank_correlation,
            labels=dict(self.labels.most_common()) if any(self.labels) else {},
            image_rows=self.image_rows,
            images=self.images,
            block_tokens=self.trace.block_tokens,
            hit_ratio=self.hit_tokens / self.block_prompt_tokens if self.with_blocks else None,
            distinct_blocks=self.seen.distinct,
            warnings=tuple(self._warnings(prompt, output)),
        )

    def _warnings(self, prompt: LengthProfile, output: LengthProfile) -> Iterator[str]:
        times = self.times
        if self.rows < FEW_ROWS:
            yield f"{_rows(self.rows)} are few: rates, dispersion and quantiles of fewer than {FEW_ROWS} say little of what they come from"
        if self.failed:
            place = "comes from the window in line" if self.trace.format is TraceFormat.SERVEGEN else "is line"
            words = f"with zero tokens of prompt or answer, which means a failed request; the first {place} {self.first_failed}"
            yield f"{_rows(self.failed)} {words}. A replay leaves them out"
        if not self.trace.has_times:
            yield "it has no times: it cannot be replayed, but `fit --rate` makes a scenario of its lengths"
        if times.late:
            yield f"{_rows(times.late)} earlier than the row before; the first is line {times.first_late}. `convert` sorts them"
        if times.tick_s:
            yield (
                f"its clock ticks every {times.tick_s:g} s, so that rows come in clusters that nobody sent: replay with "
                f"dequantize_s = {times.tick_s:g}, or `convert --dequantize {times.tick_s:g}s`"
            )
        for name, lengths in (("prompts", prompt), ("answers", output)):
            if lengths.cap_share:
                yield f"{lengths.cap_share:.1%} of {name} have {lengths.maximum:,} tokens or hardly less, the most of all: a cap"
        if prompt.maximum > LONG_CONTEXT_TOKENS:
            over = int(prompt.counts[LONG_CONTEXT_TOKENS + 1 :].sum())
            yield f"{_rows(over)} with prompts above {LONG_CONTEXT_TOKENS:,} tokens: many models refuse them"
        if beyond := self.prompt.beyond + self.output.beyond:
            yield f"{beyond:,} lengths above {MAX_BIN_TOKENS:,} tokens are shown as that"
        if self.seen.false_share > FALSE_SHARE_TOLD:
            odds = f"up to one new block in {1 / self.seen.false_share:,.0f} may count as seen before"
            yield f"{self.seen.distinct_large:,} blocks have large ids, which are remembered by hash: {odds}"
        yield from (*self.trace.notes, *self.trace.tally.words())


def _rows(count: int) -> str:
    return f"{count:,} row{'s' * (count != 1)}"


def spearman(a: IntArray | FloatArray, b: IntArray | FloatArray) -> float:
    """Rank correlation, ties at their mean rank; 0 where one side does not vary."""
    from scipy.stats import rankdata

    x, y = rankdata(a), rankdata(b)
    spread = float(x.std() * y.std())
    return float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread else 0.0
