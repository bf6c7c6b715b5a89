"""Damaged Parquet files and ServeGen clients: an error that names the file and the place, whatever is broken, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadlab.errors import InputError
from loadlab.scenario.trace_formats.convert import convert
from loadlab.scenario.trace_formats.recognise import open_trace

GOOD_ROWS = "arrival_s,prompt_tokens,output_tokens,class,images,block_tokens,blocks\n" + "".join(
    f"{i},{16 * 4 - i % 5},{i % 9 + 1},chat,0,16,{i} {i + 1} {i + 2} {i + 3}\n" for i in range(200)
)


def read(path: Path) -> int:
    with open_trace(path) as trace:
        return sum(1 for _ in trace.rows)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    pytest.importorskip("pyarrow")
    source, target = tmp_path / "trace.csv", tmp_path / "trace.parquet"
    source.write_text(GOOD_ROWS)
    convert(source, target)
    assert read(target) == 200
    return target


def test_a_parquet_file_cut_anywhere_is_an_error_that_names_it(parquet: Path) -> None:
    whole = parquet.read_bytes()
    for size in (4, 5, 8, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1):
        parquet.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"is not a whole Parquet file") as caught:
            read(parquet)
        assert "trace.parquet" in str(caught.value)


def test_flipped_bytes_of_a_parquet_file_never_give_a_traceback(parquet: Path) -> None:
    whole, rng, told = parquet.read_bytes(), np.random.default_rng(1), []
    for _ in range(60):
        content = bytearray(whole)
        for at in rng.integers(4, len(whole) - 8, 8):
            content[at] ^= 0xFF
        parquet.write_bytes(bytes(content))
        try:
            read(parquet)
        except InputError as error:
            told.append(str(error))
    assert len(told) > 30
    assert all("trace.parquet" in words for words in told)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"arrival_s": ["soon"]}, r"row|line 1 arrival_s = 'soon' must be a time"),
        ({"arrival_s": [float("nan")]}, r"line 1 arrival_s = .* must be a time"),
        ({"arrival_s": [-1.0]}, r"line 1 arrival_s = .* must be a time"),
        ({"prompt_tokens": [None]}, r"line 1 prompt_tokens = None must be a whole number"),
        ({"prompt_tokens": [-3]}, r"line 1 prompt_tokens = -3 must be a whole number"),
        ({"output_tokens": [2.5]}, r"line 1 output_tokens = 2.5 must be a whole number"),
        ({"blocks": [[1]], "block_tokens": [16]}, r"line 1 blocks = '1 ids' must be 3 ids"),
        ({"blocks": [[1, 2, -3]], "block_tokens": [16]}, r"line 1 blocks = .* must be whole numbers"),
    ],
)
def test_values_of_a_parquet_file_that_cannot_be_are_told_by_row(tmp_path: Path, changed: dict[str, Any], words: str) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path = tmp_path / "odd.parquet"
    columns = {"arrival_s": [1.0], "prompt_tokens": [40], "output_tokens": [3]} | changed
    pyarrow.parquet.write_table(arrow.table(columns), path)
    with pytest.raises(InputError, match=words):
        read(path)


def test_a_parquet_file_without_a_column_is_an_error_that_names_it(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path = tmp_path / "other.parquet"
    pyarrow.parquet.write_table(arrow.table({"arrival_s": [1.0], "tokens": [3]}), path)
    with pytest.raises(InputError, match="must have the column prompt_tokens; it has arrival_s, tokens"):
        read(path)


LENGTHS = {"0": {"input_tokens": "{100: 0.5, 200: 0.5}", "output_tokens": "{10: 1.0}"}}
WINDOWS = "0,0.5,1.5,Gamma,0.4,1.0\n600,0.2,1.0,Weibull,1.0,1.0\n"


def client(folder: Path, windows: str = WINDOWS, lengths: Any = LENGTHS) -> Path:
    path = folder / "chunk-7-trace.csv"
    path.write_text(windows)
    (folder / "chunk-7-dataset.json").write_text(lengths if isinstance(lengths, str) else json.dumps(lengths))
    return path


def test_a_whole_client_is_read(tmp_path: Path) -> None:
    assert 200 < read(client(tmp_path)) < 800


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ("0,0.5,1.5,Gamma,0.4,1.0\n600,0.2,1.0,Weib", "line 2 has 4 columns, expected 6"),
        ("0,nan,1.5,Gamma,0.4,1.0\n", "line 1 rate = 'nan' must be a number, 0 or more"),
        ("0,0.5,-1,Gamma,0.4,1.0\n", "line 1 CV = '-1' must be a number, 0 or more"),
        ("0,1e9,1,Gamma,0.4,1.0\n", "line 1 rate = '1e9' must be at most 100,000"),
        ("0,0.5,1,Cauchy,0.4,1.0\n", "line 1 law = 'Cauchy' must be one of"),
        ("600,0.5,1,Gamma,0.4,1.0\n0,0.5,1,Gamma,0.4,1.0\n", "line 2 begins no later than the window before it"),
    ],
)
def test_windows_of_a_client_that_cannot_be_are_told_by_line(tmp_path: Path, windows: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(client(tmp_path, windows))


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        (json.dumps(LENGTHS)[:40], "is not valid JSON .*: was it cut short"),
        ("[]", "must be a JSON object of windows"),
        ({"0": 5}, "must be a window of time with its lengths"),
        ({"0": {"input_tokens": "{100: ", "output_tokens": "{10: 1.0}"}}, "must be lengths by weight"),
        ({"0": {"input_tokens": "{-100: 1}", "output_tokens": "{10: 1.0}"}}, "must have lengths and weights of 0 or more"),
        ({"0": {"input_tokens": "__import__('os')", "output_tokens": "{10: 1.0}"}}, "must be lengths by weight"),
        ({"0": {"input_tokens": "{}", "output_tokens": "{}"}}, "has requests, and its dataset tells no lengths"),
    ],
)
def test_lengths_of_a_client_that_cannot_be_are_told_by_window(tmp_path: Path, lengths: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read(client(tmp_path, lengths=lengths))


def test_a_client_without_its_lengths_is_an_error_that_says_where_they_stand(tmp_path: Path) -> None:
    path = client(tmp_path)
    (tmp_path / "chunk-7-dataset.json").unlink()
    with pytest.raises(InputError, match="the lengths of a ServeGen client stand beside its windows"):
        read(path)
