"""Rows become columns without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loadlab.analysis.table import CAUSES, NO_CAUSE, OUTCOMES, NameColumn, build_table, table_of_chunks
from loadlab.record.request import Cause, Outcome
from tests.record.examples import five_requests, small_run


def test_columns_hold_the_rows_in_order_with_nan_for_none() -> None:
    table = build_table(five_requests())
    assert table.seq.tolist() == [0, 1, 2, 3, 4]
    assert [OUTCOMES[code] for code in table.outcome] == [Outcome.OK, Outcome.REJECTED, Outcome.OK, Outcome.TIMEOUT, Outcome.OK]
    assert table.cause.tolist() == [NO_CAUSE, CAUSES.index(Cause.QUEUE_FULL), NO_CAUSE, CAUSES.index(Cause.DEADLINE), NO_CAUSE]
    assert np.isnan(table.first_token_s).tolist() == [False, True, False, True, False]
    assert table.ok.tolist() == [True, False, True, False, True]


def test_rows_of_a_file_and_records_in_memory_give_the_same_columns(tmp_path: Path) -> None:
    from_file, from_memory = table_of_chunks(small_run(tmp_path / "run").row_chunks()), build_table(five_requests())
    for name in from_file.__slots__:
        one, other = getattr(from_file, name), getattr(from_memory, name)
        if isinstance(one, NameColumn):
            assert one.names == other.names
            one, other = one.codes, other.codes
        np.testing.assert_array_equal(one, other)


def test_no_rows_are_an_empty_table() -> None:
    assert len(build_table([])) == 0


def test_chunks_join_in_order() -> None:
    rows = [record.as_row() for record in five_requests()]
    assert table_of_chunks([rows[:2], rows[2:]]).seq.tolist() == [0, 1, 2, 3, 4]
