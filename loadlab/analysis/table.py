"""Rows as numpy columns: what every judgement of a run is computed from."""

from __future__ import annotations

from array import array
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
    seqs, outcomes, causes = array("q"), array("b"), array("b")
    floats = {name: array("d") for name in _FLOAT_COLUMNS}
    for rows in chunks:
        seqs.extend([row["seq"] for row in rows])
        outcomes.extend([_OUTCOME_CODE[row["outcome"]] for row in rows])
        causes.extend([_CAUSE_CODE[row.get("cause")] for row in rows])
        for name, values in floats.items():
            values.frombytes(np.array([row.get(name) for row in rows], dtype=np.float64).tobytes())  # None becomes NaN
    return RequestTable(
        seq=_column(seqs, np.int64),
        outcome=_column(outcomes, np.int8),
        cause=_column(causes, np.int8),
        **{name: _column(values, np.float64) for name, values in floats.items()},
    )


def _column(values: array[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """The same memory as numpy sees it: a table of millions of rows is never there twice."""
    return np.frombuffer(values, dtype=dtype) if values else np.empty(0, dtype=dtype)


def _as_chunks(records: Iterator[RequestRecord]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(islice(records, _CHUNK_ROWS)):
        yield [record.as_row() for record in chunk]
