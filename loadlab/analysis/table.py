"""Rows as numpy columns: what every judgement of a run is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
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
        return RequestTable(**{f.name: _taken(getattr(self, f.name), which) for f in fields(self)})

    def in_due_order(self) -> RequestTable:
        """The rows as they came due, which is the order in which neighbours share a queue; what never came due, last."""
        if np.all(self.scheduled_s[1:] >= self.scheduled_s[:-1]):
            return self
        return self.rows(np.argsort(self.scheduled_s, kind="stable"))


def _taken(column: Any, which: BoolArray | IntArray) -> Any:
    return NameColumn(names=column.names, codes=column.codes[which]) if isinstance(column, NameColumn) else column[which]


def build_table(records: Iterable[RequestRecord]) -> RequestTable:
    """The columns of records, in their order."""
    return table_of_chunks(_as_chunks(iter(records)))


def table_of_chunks(chunks: Iterable[Sequence[Mapping[str, Any]]]) -> RequestTable:
    """The columns of rows as `RunDir.row_chunks` gives them; absent columns read as None. Never holds more than one chunk."""
    seqs, outcomes, causes = _Column(np.int64), _Column(np.int8), _Column(np.int8)
    floats = {name: _Column(np.float64) for name in _FLOAT_COLUMNS}
    names = {name: _Names() for name in _NAME_COLUMNS}
    for rows in chunks:
        seqs.extend([row["seq"] for row in rows])
        outcomes.extend([_OUTCOME_CODE[row["outcome"]] for row in rows])
        causes.extend([_CAUSE_CODE[row.get("cause")] for row in rows])
        for name, column in _NAME_COLUMNS.items():
            names[name].extend([row.get(column) for row in rows])
        for name, values in floats.items():
            values.extend([row.get(name) for row in rows])  # None becomes NaN
    columns: dict[str, Any] = {name: found.column() for name, found in names.items()}
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

    def extend(self, found: list[str | None]) -> None:
        for name in dict.fromkeys(found):
            if name not in self._code:
                self._code[name] = len(self._code) - 1
        self._codes.extend([self._code[name] for name in found])

    def column(self) -> NameColumn:
        return NameColumn(names=tuple(name for name in self._code if name is not None), codes=self._codes.values())


def _as_chunks(records: Iterator[RequestRecord]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(islice(records, _CHUNK_ROWS)):
        yield [record.as_row() for record in chunk]
