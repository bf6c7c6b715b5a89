"""Our own format: whatever was read comes back, in order, ticks spread where asked, and a target appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadlab.errors import InputError
from loadlab.scenario.trace_formats.convert import convert
from loadlab.scenario.trace_formats.rows import TraceFormat
from loadlab.scenario.traces import load_trace
from tests.scenario.trace_formats.test_importers import SMALL, expected, read, written

HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens"


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_what_is_converted_is_read_again_as_it_was(tmp_path: Path, name: TraceFormat, ending: str) -> None:
    text, rows = SMALL[name]
    done = convert(written(tmp_path, text), tmp_path / f"ours{ending}")
    assert done.rows == len(rows)
    found, again = read(tmp_path / f"ours{ending}")
    assert found.format is TraceFormat.LOADLAB
    assert [row._replace(line=0) for row in again] == [row._replace(line=0) for row in expected(rows)]


def test_rows_out_of_order_are_sorted_and_that_is_told(tmp_path: Path) -> None:
    done = convert(written(tmp_path, f"{HEADER}\n5,1,1\n4,2,2\n7,3,3\n"), tmp_path / "ours.csv")
    assert done.words == ("rows that are earlier than the row before, and are sorted: 1; the first is line 3",)
    trace = load_trace(tmp_path / "ours.csv")
    assert trace.arrival_s.tolist() == [0, 1, 3]
    assert trace.prompt_tokens.tolist() == [2, 1, 3]


def test_dequantized_rows_lie_in_their_ticks_in_order(tmp_path: Path) -> None:
    rows = "".join(f"{3 * (k // 10)},{k + 1},1\n" for k in range(200))
    convert(written(tmp_path, f"{HEADER}\n{rows}"), tmp_path / "ours.csv", tick_s=3)
    trace = load_trace(tmp_path / "ours.csv")
    assert np.all(np.diff(trace.arrival_s) >= 0)
    assert trace.prompt_tokens.tolist() == list(range(1, 201))
    assert len(np.unique(trace.arrival_s)) > 150
    with pytest.raises(InputError, match=r"line 12 lies 0\.6 ticks of 5 s"):
        convert(tmp_path / "trace", tmp_path / "other.csv", tick_s=5)


def test_a_target_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = written(tmp_path, f"{HEADER}\n5,1,1\n6,x,2\n")
    for ending in (".csv", ".parquet"):
        with pytest.raises(InputError, match="line 3"):
            convert(path, tmp_path / f"ours{ending}")
    with pytest.raises(InputError, match="no times"):
        convert(written(tmp_path, "num_prefill_tokens,num_decode_tokens\n1,1\n", "timeless"), tmp_path / "ours.csv")
    with pytest.raises(InputError, match=r"must end in \.csv or \.parquet"):
        convert(path, tmp_path / "ours.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["timeless", "trace"]
