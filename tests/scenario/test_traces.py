"""Azure 2023 traces: exact times and lengths, windows, and every malformed row named by its line."""

from __future__ import annotations

import csv
from datetime import datetime
from fractions import Fraction
from pathlib import Path

import pytest

from loadlab.errors import InputError
from loadlab.scenario.traces import TraceFormat, load_trace

AZURE = Path(__file__).parents[3] / "shared" / "data" / "traces" / "azure"
HEADER = "TIMESTAMP,ContextTokens,GeneratedTokens"
ROWS = [
    "2023-11-16 18:17:03.9799600,4808,10",
    "2023-11-16 18:17:04.0319600,3180,8",
    "2023-11-16 18:17:04.0319600,110,27",
    "2023-11-16 18:18:04,7433,14",
]


def written(folder: Path, lines: list[str], end: str = "\r\n") -> Path:
    """A trace file as Azure writes it: CRLF, no final newline."""
    path = folder / "trace.csv"
    path.write_bytes(end.join(lines).encode())
    return path


def test_times_are_seconds_since_the_first_row_to_the_seventh_digit(tmp_path: Path) -> None:
    trace = load_trace(written(tmp_path, [HEADER, *ROWS]))
    assert trace.arrival_s.tolist() == [0.0, 0.052, 0.052, 60.02004]
    assert trace.prompt_tokens.tolist() == [4808, 3180, 110, 7433]
    assert trace.output_tokens.tolist() == [10, 8, 27, 14]
    assert trace.line.tolist() == [2, 3, 4, 5]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_line_ends_byte_order_marks_and_blank_last_lines_do_not_matter(tmp_path: Path, end: str) -> None:
    trace = load_trace(written(tmp_path, ["\ufeff" + HEADER, *ROWS, ""], end))
    assert len(trace) == 4


@pytest.mark.parametrize(
    ("start_s", "for_s", "arrivals", "lines"),
    [
        (0, 0.052, [0.0], [2]),  # the end is outside
        (0.052, None, [0.0, 0.0, 59.96804], [3, 4, 5]),  # the start is inside, times count from it
        (0.05, 10, [0.002, 0.002], [3, 4]),
        (60, 60, [0.02004], [5]),
    ],
)
def test_a_window_holds_its_start_but_not_its_end(
    tmp_path: Path, start_s: float, for_s: float | None, arrivals: list[float], lines: list[int]
) -> None:
    trace = load_trace(written(tmp_path, [HEADER, *ROWS]), start_s, for_s)
    assert trace.arrival_s.tolist() == arrivals
    assert trace.line.tolist() == lines


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "trace.csv: is empty"),
        ([HEADER], "is an empty trace: a header and no rows"),
        (["time,prompt,output", ROWS[0]], "line 1 = 'time,prompt,output' is not the header of a trace"),
        ([HEADER, ROWS[0] + ",1"], "line 2 has 4 columns, expected 3"),
        ([HEADER, ROWS[0], "2023-11-16 18:17:05,5"], "line 3 has 2 columns"),
        ([HEADER, "16/11/2023 18:17,1,2"], "line 2 TIMESTAMP = '16/11/2023 18:17' must be a time such as"),
        ([HEADER, "2023-02-30 00:00:00,1,2"], "line 2 TIMESTAMP = '2023-02-30 00:00:00' must be a date and time that exist"),
        ([HEADER, "NaN,1,2"], "line 2 TIMESTAMP = 'NaN'"),
        ([HEADER, ROWS[0], "", "2023-11-16 18:17:05,NaN,2"], "line 4 ContextTokens = 'NaN' must be a whole number"),
        ([HEADER, "2023-11-16 18:17:05,-3,2"], "line 2 ContextTokens = '-3'"),
        ([HEADER, "2023-11-16 18:17:05,3,2.5"], "line 2 GeneratedTokens = '2.5'"),
        ([HEADER, "2023-11-16 18:17:05,3,"], "line 2 GeneratedTokens = ''"),
        ([HEADER, "2023-11-16 18:17:05,3,99999999999999999999"], "line 2 GeneratedTokens = '9999"),
        ([HEADER, "2023-11-16 18:17:05,\u0663,1"], "line 2 ContextTokens"),
        ([HEADER, ROWS[1], ROWS[0]], "line 3 is earlier than the row before it; sort the trace by time"),
        ([HEADER, "x" * 5000], "line 2 is longer than 4096 characters"),
    ],
)
def test_a_malformed_trace_is_an_error_that_names_the_line(tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        load_trace(written(tmp_path, lines))
    assert words in str(caught.value)


def test_rows_without_tokens_are_left_out_and_said_so(tmp_path: Path) -> None:
    failed = ["2023-11-16 18:17:02,0,0", ROWS[0], "2023-11-16 18:17:03.99,55,0", "2023-11-16 18:17:03.995,0,7", *ROWS[1:]]
    trace = load_trace(written(tmp_path, [HEADER, *failed]))
    assert trace.line.tolist() == [3, 6, 7, 8]
    assert trace.arrival_s.tolist() == [1.97996, 2.03196, 2.03196, 62.0]  # since the first row, which failed
    assert trace.failed_rows == 3
    (warning,) = trace.warnings
    assert warning.endswith(
        "trace.csv: 3 rows are left out, for zero tokens of prompt or answer mean a failed request; the first is line 2"
    )
    window = load_trace(tmp_path / "trace.csv", 1.99, 60)
    assert (window.line.tolist(), window.failed_rows) == ([6, 7], 2)


def test_a_trace_of_failures_only_has_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has nothing to replay in the window: 1 row is left out, .*; the first is line 2"):
        load_trace(written(tmp_path, [HEADER, "2023-11-16 18:17:02,7,0"]))


def test_a_trace_without_failures_has_no_warning(tmp_path: Path) -> None:
    trace = load_trace(written(tmp_path, [HEADER, *ROWS]))
    assert (trace.failed_rows, trace.warnings) == (0, ())


def test_a_trace_of_years_is_read_by_windows(tmp_path: Path) -> None:
    path = written(tmp_path, [HEADER, "1931-01-01 00:00:00,1,1", "2099-12-31 23:59:59,2,2"])
    with pytest.raises(InputError, match=r"line 3 lies 61,726 days after the window's first moment, and a plan spans 30: take a smaller"):
        load_trace(path)
    assert load_trace(path, for_s=60).line.tolist() == [2]


def test_a_window_without_rows_says_how_long_the_trace_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no rows in the window from 61\.0 s for 5\.00 s; the rows read span 60\.0 s"):
        load_trace(written(tmp_path, [HEADER, *ROWS]), 61, 5)


def test_a_missing_trace_and_one_that_is_not_text_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: does not exist"):
        load_trace(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="is a folder without"):
        load_trace(tmp_path)
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\x93NUMPY\xff\xfe")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        load_trace(binary)


@pytest.mark.parametrize("name", ["AzureLLMInferenceTrace_code.csv", "AzureLLMInferenceTrace_conv.csv"])
def test_azure_slices_are_read_exactly(name: str) -> None:
    path = AZURE / name
    if not path.exists():
        pytest.skip(f"needs the trace slices beside the repository: {name}")
    trace = load_trace(path, trace_format=TraceFormat.AZURE_2023)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert trace.prompt_tokens.tolist() == [int(row["ContextTokens"]) for row in rows]
    assert trace.output_tokens.tolist() == [int(row["GeneratedTokens"]) for row in rows]
    exact = [_exact_s(row["TIMESTAMP"]) for row in rows]
    assert trace.arrival_s.tolist() == [float(time - exact[0]) for time in exact]
    window = load_trace(path, 600, 300)
    inside = [float(time - exact[0] - 600) for time in exact if 600 <= time - exact[0] < 900]
    assert window.arrival_s.tolist() == inside


def _exact_s(text: str) -> Fraction:
    whole, fraction = text.split(".")
    return Fraction((datetime.fromisoformat(whole) - datetime(2023, 1, 1)).total_seconds()) + Fraction(int(fraction), 10 ** len(fraction))
