"""Rows become columns without loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loadlab.analysis.table import CAUSES, NO_CAUSE, OUTCOMES, NameColumn, RequestTable, build_table, table_of_chunks, table_of_columns
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
    run, from_memory = small_run(tmp_path / "run"), build_table(five_requests())
    assert_equal_tables(table_of_chunks(run.row_chunks()), from_memory)
    assert_equal_tables(table_of_columns(run.column_chunks()), from_memory)


def test_some_of_the_rows_are_the_same_by_mask_and_by_place() -> None:
    table = build_table(five_requests())
    assert_equal_tables(table.rows(table.ok), table.rows(np.flatnonzero(table.ok)))
    assert_equal_tables(table.rows(table.ok), build_table([record for record in five_requests() if record.outcome is Outcome.OK]))


def assert_equal_tables(from_file: RequestTable, from_memory: RequestTable) -> None:
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


def test_a_column_is_the_same_whether_its_rows_differ_from_the_start_late_or_never() -> None:
    def chunk(first: int, turns: list[int | None]) -> list[dict[str, object]]:
        return [{"seq": first + i, "outcome": "ok", "turn": turn, "class": f"c{turn}"} for i, turn in enumerate(turns)]

    for turns in ([[1, 1], [1, 1, 1]], [[None, None], [None]], [[1, 1], [1, 2], [3]], [[None], [None, 5]], [[1, 2], [2]], []):
        chunks = [chunk(10 * k, part) for k, part in enumerate(turns)]
        table = table_of_chunks(chunks)
        flat = [turn for part in turns for turn in part]
        assert [None if np.isnan(turn) else turn for turn in table.turn] == flat
        assert [table.traffic_class.names[code] for code in table.traffic_class.codes] == [f"c{turn}" for turn in flat]
        assert len(table) == len(table.outcome) == len(flat)
