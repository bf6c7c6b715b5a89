"""Rows as numpy columns: what every judgement of a run is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.record.rows import Columns, Row, columns_of

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.int8]
BoolArray = NDArray[np.bool_]

OUTCOMES = tuple(Outcome)
CAUSES = tuple(Cause)
NO_CAUSE = -1
NO_NAME = -1
_OUTCOME_CODE: Mapping[Any, int] = {outcome.value: code for code, outcome in enumerate(OUTCOMES)}
_CAUSE_CODE: Mapping[Any, int] = {None: NO_CAUSE} | {cause.value: code for code, cause in enumerate(CAUSES)}
_FLOAT_COLUMNS = (
    "turn", "scheduled_s", "sent_s", "first_token_s", "last_token_s", "finished_s",
    "prompt_tokens", "image_tokens", "cached_prompt_tokens", "output_tokens", "preemptions",
    "itl_p50_s", "itl_p95_s", "itl_p99_s", "itl_max_s",
)  # fmt: skip
_NAME_COLUMNS = {"traffic_class": "class", "model": "model", "tier": "tier", "region": "region", "mode": "mode"}
_COLUMN_OF_LABEL = {label: name for name, label in _NAME_COLUMNS.items()}
_CHUNK_ROWS = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class NameColumn:
    """A column of names: int32[n] codes into `names`, in the order in which they came; NO_NAME where the row has None."""

    names: tuple[str, ...]
    codes: NDArray[np.int32]

    def are(self, name: str) -> BoolArray:
        """True in the rows that have this name."""
        return np.equal(self.codes, self.names.index(name)) if name in self.names else np.zeros(len(self.codes), dtype=np.bool_)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestTable:
    """n rows as columns, in the order of the rows. NaN where the row has None; tokens are float64 for that reason.

    `outcome` indexes OUTCOMES, `cause` indexes CAUSES or is NO_CAUSE. Up to 150 bytes a row; a column whose rows
    all say the same takes none, and is read-only.
    """

    seq: IntArray
    outcome: CodeArray
    cause: CodeArray
    traffic_class: NameColumn
    model: NameColumn
    tier: NameColumn
    region: NameColumn
    mode: NameColumn
    turn: FloatArray
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
    itl_p50_s: FloatArray
    itl_p95_s: FloatArray
    itl_p99_s: FloatArray
    itl_max_s: FloatArray

    def __len__(self) -> int:
        return len(self.seq)

    def has_outcome(self, outcome: Outcome) -> BoolArray:
        """True in the rows that ended so."""
        return np.equal(self.outcome, OUTCOMES.index(outcome))

    @property
    def ok(self) -> BoolArray:
        """True in the rows that succeeded."""
        return self.has_outcome(Outcome.OK)

    def names(self, label: str) -> NameColumn:
        """The column of a label as people say it: class, model, tier, region or mode."""
        column: NameColumn = getattr(self, _COLUMN_OF_LABEL[label])
        return column

    def rows(self, which: BoolArray | IntArray) -> RequestTable:
        """The table of some of the rows: a mask, or positions in the order wanted."""
        places: IntArray = np.flatnonzero(which) if which.dtype == np.bool_ else which.astype(np.int64, copy=False)
        return RequestTable(**{f.name: _taken(getattr(self, f.name), places) for f in fields(self)})

    def in_due_order(self) -> RequestTable:
        """The rows as they came due, which is the order in which neighbours share a queue; what never came due, last."""
        if np.all(self.scheduled_s[1:] >= self.scheduled_s[:-1]):
            return self
        return self.rows(np.argsort(self.scheduled_s, kind="stable"))


def _taken(column: Any, places: IntArray) -> Any:
    if isinstance(column, NameColumn):
        return NameColumn(names=column.names, codes=_taken(column.codes, places))
    all_the_same = column.strides == (0,) and len(column)
    return np.broadcast_to(column[:1], len(places)) if all_the_same else column[places]


def build_table(records: Iterable[RequestRecord]) -> RequestTable:
    """The columns of records, in their order."""
    return table_of_chunks(_as_chunks(iter(records)))


def table_of_chunks(chunks: Iterable[Sequence[Row]]) -> RequestTable:
    """The columns of rows as `RunDir.row_chunks` gives them; absent columns read as None. Never holds more than one chunk."""
    return table_of_columns(columns_of(rows) for rows in chunks)


def table_of_columns(chunks: Iterable[Columns]) -> RequestTable:
    """The table of columns as `RunDir.column_chunks` gives them."""
    seqs, outcomes, causes = _Column(np.int64), _Column(np.int8), _Column(np.int8)
    floats = {name: _Column(np.float64) for name in _FLOAT_COLUMNS}
    names = {name: _Names() for name in _NAME_COLUMNS}
    for found in chunks:
        seqs.extend(found["seq"])
        outcomes.extend([_OUTCOME_CODE[outcome] for outcome in found["outcome"]])
        causes.extend([_CAUSE_CODE[cause] for cause in found["cause"]])
        for name, column in _NAME_COLUMNS.items():
            names[name].extend(found[column])
        for name, values in floats.items():
            values.extend(found[name])  # None becomes NaN
    columns: dict[str, Any] = {name: known.column() for name, known in names.items()}
    columns |= {name: values.values() for name, values in floats.items()}
    return RequestTable(seq=seqs.values(), outcome=outcomes.values(), cause=causes.values(), **columns)


class _Column:
    """A column under way. While every row says the same it is that one number, as many columns are to their end."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._count = 0
        self._room = np.empty(0, dtype=dtype)  # the column's beginning, once rows differ; pages that nobody wrote to cost nothing
        self._same: NDArray[Any] | None = np.empty(0, dtype=dtype)

    def extend(self, values: Sequence[Any]) -> None:
        new = np.array(values, dtype=self._room.dtype)
        first, self._count = self._count, self._count + len(new)
        if self._same is not None:
            self._same = self._same if first else new[:1].copy()
            if new.tobytes() == self._same.tobytes() * len(new):
                return
        if len(self._room) < self._count:
            self._room.resize(2 * self._count, refcheck=False)
        if self._same is not None:
            self._room[:first] = self._same
            self._same = None
        self._room[first : self._count] = new

    def values(self) -> NDArray[Any]:
        return self._room[: self._count] if self._same is None else np.broadcast_to(self._same[:1], self._count if self._count else (0,))


class _Names:
    """A column of names under way: each new name takes the next code."""

    def __init__(self) -> None:
        self._code: dict[str | None, int] = {None: NO_NAME}
        self._codes = _Column(np.int32)

    def extend(self, found: Sequence[str | None]) -> None:
        for name in dict.fromkeys(found):
            if name not in self._code:
                self._code[name] = len(self._code) - 1
        self._codes.extend([self._code[name] for name in found])

    def column(self) -> NameColumn:
        return NameColumn(names=tuple(name for name in self._code if name is not None), codes=self._codes.values())


def _as_chunks(records: Iterator[RequestRecord]) -> Iterator[list[Row]]:
    while chunk := list(islice(records, _CHUNK_ROWS)):
        yield [record.as_row() for record in chunk]
