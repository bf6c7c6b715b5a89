"""Rows as numpy columns: what every judgement of a run is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadlab.record.request import Cause, Outcome, RequestRecord

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.int8]
BoolArray = NDArray[np.bool_]

OUTCOMES = tuple(Outcome)
CAUSES = tuple(Cause)
NO_CAUSE = -1
_OUTCOME_CODE: Mapping[Any, int] = {outcome.value: code for code, outcome in enumerate(OUTCOMES)}
_CAUSE_CODE: Mapping[Any, int] = {None: NO_CAUSE} | {cause.value: code for code, cause in enumerate(CAUSES)}
_FLOAT_COLUMNS = (
    "scheduled_s", "sent_s", "first_token_s", "last_token_s", "finished_s",
    "prompt_tokens", "image_tokens", "cached_prompt_tokens", "output_tokens", "preemptions",
)  # fmt: skip
_CHUNK_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTable:
    """n rows as columns, in the order of the rows. NaN where the row has None; tokens are float64 for that reason.

    `outcome` indexes OUTCOMES, `cause` indexes CAUSES or is NO_CAUSE. 90 bytes a row.
    """

    seq: IntArray
    outcome: CodeArray
    cause: CodeArray
    scheduled_s: FloatArray
    sent_s: FloatArray
    first_token_s: FloatArray
    last_token_s: FloatArray
    finished_s: FloatArray
    prompt_tokens: FloatArray
    image_tokens: FloatArray
    cached_prompt_tokens: FloatArray
    output_tokens: FloatArray
    preemptions: FloatArray

    def __len__(self) -> int:
        return len(self.seq)

    def has_outcome(self, outcome: Outcome) -> BoolArray:
        """True in the rows that ended so."""
        return np.equal(self.outcome, OUTCOMES.index(outcome))

    @property
    def ok(self) -> BoolArray:
        """True in the rows that succeeded."""
        return self.has_outcome(Outcome.OK)


def build_table(records: Iterable[RequestRecord]) -> RequestTable:
    """The columns of records, in their order."""
    return table_of_chunks(_as_chunks(iter(records)))


def table_of_chunks(chunks: Iterable[Sequence[Mapping[str, Any]]]) -> RequestTable:
    """The columns of rows as `RunDir.row_chunks` gives them; absent columns read as None. Never holds more than one chunk."""
    seqs: list[IntArray] = []
    codes: list[tuple[CodeArray, CodeArray]] = []
    floats: dict[str, list[FloatArray]] = {name: [] for name in _FLOAT_COLUMNS}
    for rows in chunks:
        seqs.append(np.array([row["seq"] for row in rows], dtype=np.int64))
        outcome = np.array([_OUTCOME_CODE[row["outcome"]] for row in rows], dtype=np.int8)
        codes.append((outcome, np.array([_CAUSE_CODE[row.get("cause")] for row in rows], dtype=np.int8)))
        for name, parts in floats.items():
            parts.append(np.array([row.get(name) for row in rows], dtype=np.float64))
    return RequestTable(
        seq=np.concatenate([np.empty(0, np.int64), *seqs]),
        outcome=np.concatenate([np.empty(0, np.int8), *(outcome for outcome, _ in codes)]),
        cause=np.concatenate([np.empty(0, np.int8), *(cause for _, cause in codes)]),
        **{name: np.concatenate([np.empty(0), *floats.pop(name)]) for name in _FLOAT_COLUMNS},  # never two copies of all
    )


def _as_chunks(records: Iterator[RequestRecord]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(islice(records, _CHUNK_ROWS)):
        yield [record.as_row() for record in chunk]
