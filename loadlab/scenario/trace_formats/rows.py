"""What every trace format is read into: rows, one by one, and a tally of what was odd about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from loadlab.errors import InputError
from loadlab.schema import shown

NS_PER_S = 10**9
MAX_TIME_NS = 9 * 10**18  # 285 years, in 63 bits: seconds that are larger are of a smaller unit
MAX_TOKENS = 999_999_999  # of a prompt or an answer
MAX_BLOCK_ID = 2**62
MAX_LABELS = 100  # sorts of requests that are told apart in one trace, OTHER included
OTHER = "other"
REPORT_EVERY = 50_000  # rows

Lines = Iterator[tuple[int, str]]


class TraceFormat(StrEnum):
    """The trace files that can be read, each told by what it begins with. Sources: docs/traces.md."""

    AZURE_2023 = "azure-2023"  # Azure/AzurePublicDataset, AzureLLMInferenceTrace_{code,conv}.csv: CRLF, 7-digit fractions
    AZURE_2024 = "azure-2024"  # the same columns, times with a zone
    AZURE_2025 = "azure-2025"  # multimodal: NumImages
    BURSTGPT = "burstgpt"  # HPMLL/BurstGPT, read by column name
    MOONCAKE = "mooncake"  # kvcache-ai/Mooncake: JSON lines, blocks of 512 tokens
    BAILIAN = "bailian"  # alibaba-edu/qwen-bailian-usagetraces-anon: JSON lines, blocks of 16 tokens
    SERVEGEN = "servegen"  # alibaba/ServeGen: chunk-N-trace.csv beside chunk-N-dataset.json, or a folder of them
    VIDUR = "vidur"  # microsoft/vidur, data/processed_traces
    LOADLAB = "loadlab"  # our own CSV or Parquet: docs/traces.md


class Row(NamedTuple):
    """One request as it was recorded. Zero tokens of prompt or answer: it failed there."""

    line: int  # of the file, from 1; of a Parquet file the row, from 1
    time_ns: int | None  # since any fixed moment; None in a trace without times
    prompt_tokens: int
    output_tokens: int
    label: str = ""  # sort of request
    images: int = 0
    blocks: Sequence[int] = ()  # ids of the prompt's blocks in order: equal ids, equal text up to there


@dataclass(slots=True)
class Tally:
    """Odd things about rows, each counted, with the line where it was first seen."""

    seen: dict[str, tuple[int, int]] = field(default_factory=dict)

    def count(self, what: str, line: int) -> None:
        """`what` reads after a number of rows: "name a block twice"."""
        count, first = self.seen.get(what, (0, line))
        self.seen[what] = (count + 1, first)

    def words(self) -> tuple[str, ...]:
        """One sentence for each odd thing."""
        return tuple(f"rows that {what}: {count:,}; the first is line {line}" for what, (count, line) in self.seen.items())


@dataclass(frozen=True, slots=True)
class OpenedTrace:
    """A trace while it is read: `rows` come as the file is read, and `tally` fills with them."""

    format: TraceFormat
    rows: Iterator[Row]
    tally: Tally
    block_tokens: int = 0  # tokens of a block of the prompt; 0: no ids
    has_times: bool = True
    notes: tuple[str, ...] = ()  # about the format, as a person should know it
    share: Callable[[int], float] | None = None  # of the file that was read, after so many rows; None where that is not known


def bad_value(source: str, line: int, name: str, value: object, wanted: str) -> InputError:
    """The error of one value in one row."""
    return InputError(f"{name} = {shown(value)} must be {wanted}", source=source, key=f"line {line}")


Progress = Callable[[int, float | None], None]  # is told the rows so far, and the share of the file that they are


def counted(rows: Iterator[Row], trace: OpenedTrace, progress: Progress) -> Iterator[Row]:
    """The rows; `progress` is told now and then how far `trace` was read."""
    for count, row in enumerate(rows):
        if count % REPORT_EVERY == 0:
            progress(count, trace.share and trace.share(count))
        yield row
