"""Every format on rows of its kind, on the slices of the published traces where they are, and on files that somebody mutilated."""

from __future__ import annotations

import contextlib
import csv
import gzip
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.errors import InputError
from loadlab.scenario.trace_formats.convert import convert
from loadlab.scenario.trace_formats.recognise import open_trace
from loadlab.scenario.trace_formats.rows import OpenedTrace, Row, TraceFormat
from loadlab.scenario.traces import load_trace

SLICES = Path(__file__).parents[4] / "shared" / "data" / "traces"
S = 10**9
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
WINDOW = "0,0.5,2.0,Gamma,0.25,8\n600,0.25,1,,0,0\n"
LENGTHS = '{"0": {"input_tokens": "{100: 1.0}", "output_tokens": "{7: 1.0}"}}'
SMALL: dict[TraceFormat, tuple[str, list[Row]]] = {
    TraceFormat.AZURE_2023: (
        f"{AZURE}\r\n2023-11-16 18:17:03.9799600,4808,10\r\n2023-11-16 18:17:04.0319600,3180,8",
        [Row(2, 0, 4808, 10), Row(3, 52_000_000, 3180, 8)],
    ),
    TraceFormat.AZURE_2024: (
        f"{AZURE}\n2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01+00:00,1,2\n2024-05-10 02:00:02+02:00,3,4\n",
        [Row(2, 0, 2162, 5), Row(3, 990_070_000, 1, 2), Row(4, 1_990_070_000, 3, 4)],
    ),
    TraceFormat.AZURE_2025: (
        "TIMESTAMP,NumImages,ContextTokens,GeneratedTokens\n2024-10-15T12:00:00.269Z,0,770,491\n2024-10-15T12:00:05.819Z,2,949,126\n",
        [Row(2, 0, 770, 491), Row(3, 5_550_000_000, 949, 126, "image", 2)],
    ),
    TraceFormat.BURSTGPT: (
        'Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,,3.1,GPT-4,120,30,150,"API, log"\n'
        "9.5,u,,ChatGPT,300,0,300,API log\n",
        [Row(2, 0, 120, 30, "GPT-4 API, log"), Row(3, 4_500_000_000, 300, 0, "ChatGPT API log")],
    ),
    TraceFormat.MOONCAKE: (
        '{"timestamp": 1000, "input_length": 600, "output_length": 52, "hash_ids": [4, 5]}\n\n'
        '{"timestamp": 4000, "input_length": 600, "output_length": 26, "hash_ids": [4]}\n',
        [Row(1, 0, 600, 52, "", 0, [4, 5]), Row(3, 3 * S, 600, 26, "", 0, [])],
    ),
    TraceFormat.BAILIAN: (
        '{"chat_id": 1, "parent_chat_id": -1, "timestamp": 0.5, "input_length": 33, "output_length": 7, "type": "text", "turn": 1, '
        '"hash_ids": [0, 3, 4]}\n',
        [Row(1, 0, 33, 7, "text", 0, [0, 3, 4])],
    ),
    TraceFormat.VIDUR: (
        "arrived_at,num_prefill_tokens,num_decode_tokens,pd_ratio\n0.0,374,44,8.5\n4.314579,396,109,3\n",
        [Row(2, 0, 374, 44), Row(3, 4_314_579_000, 396, 109)],
    ),
    TraceFormat.LOADLAB: (
        "arrival_s,prompt_tokens,output_tokens,class,images,block_tokens,blocks\n0,20,3,chat,0,16,7 9\n1.5,5,1,,1,16,\n",
        [Row(2, 0, 20, 3, "chat", 0, [7, 9]), Row(3, 1_500_000_000, 5, 1, "", 1, [])],
    ),
}


def written(folder: Path, text: str | bytes, name: str = "trace") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(path: Path) -> tuple[OpenedTrace, list[Row]]:
    """All rows, times counted from the first, blocks as lists."""
    with open_trace(path) as trace:
        rows = list(trace.rows)
    first = rows[0].time_ns if rows else 0
    assert first is not None
    return trace, [row._replace(time_ns=(row.time_ns or 0) - first, blocks=list(row.blocks)) for row in rows]


def expected(rows: Sequence[Row]) -> list[Row]:
    return [row._replace(blocks=list(row.blocks)) for row in rows]


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("packing", ["plain", "gzip", "crlf and byte order mark", "capitals and an extra column"])
def test_each_format_is_recognised_and_read_exactly(tmp_path: Path, name: TraceFormat, packing: str) -> None:
    text, rows = SMALL[name]
    content = text.encode()
    match packing:
        case "gzip":
            content = gzip.compress(content)
        case "crlf and byte order mark":
            content = b"\xef\xbb\xbf" + content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        case "capitals and an extra column" if not text.startswith("{") and name is not TraceFormat.LOADLAB:
            header, *others = text.splitlines()
            content = "\n".join([f"more,{header.upper()}", *(f"x,{line}" for line in others)]).encode()
        case _:
            pass
    trace, found = read(written(tmp_path, content))
    assert trace.format is name
    assert found == expected(rows)


TIMES = {
    "2024-10-15T12:00:00.5Z": 12 * 3600 * S + S // 2,
    "2024-10-15T12:00:00+02:00": 10 * 3600 * S,
    "2024-10-15 12:00:00 +0200": 10 * 3600 * S,
    "2024-10-15 12:00:00-02": 14 * 3600 * S,
    "2024-10-15 12:00:00 UTC": 12 * 3600 * S,
    "2024-10-15t12:00z": 12 * 3600 * S,
}
MIDNIGHT_S = 1_728_950_400  # of 2024-10-15


@pytest.mark.parametrize("time", TIMES)
def test_dates_are_read_as_most_programs_write_them(tmp_path: Path, time: str) -> None:
    with open_trace(written(tmp_path, f"{AZURE}\n{time},1,2\n")) as trace:
        (row,) = trace.rows
    assert row.time_ns == MIDNIGHT_S * S + TIMES[time]


@pytest.mark.parametrize("unit_ns", [S, 10**6, 10**3, 1])
def test_numbers_too_large_for_seconds_are_of_the_unit_that_fits_the_first(tmp_path: Path, unit_ns: int) -> None:
    per_s = S // unit_ns
    text = f"{AZURE}\n{MIDNIGHT_S * per_s},1,2\n{(MIDNIGHT_S + 3) * per_s},3,4\n"
    assert [row.time_ns for row in read(written(tmp_path, text))[1]] == [0, 3 * S]
    with pytest.raises(InputError, match=r"line 3 TIMESTAMP = .* must be a time"):
        read(written(tmp_path, f"{text.splitlines()[0]}\n{MIDNIGHT_S},1,2\n{MIDNIGHT_S * 1000},1,2\n"))


@pytest.mark.parametrize("name", [name for name, (text, _) in SMALL.items() if not text.startswith("{")])
def test_columns_are_found_wherever_they_stand_quoted_or_not(tmp_path: Path, name: TraceFormat) -> None:
    text, rows = SMALL[name]
    lines = [[f'"{value}"' for value in reversed(next(csv.reader([line])))] for line in text.splitlines()]
    trace, found = read(written(tmp_path, "\r\n".join(",".join(line) for line in lines)))
    assert (trace.format, found) == (name, expected(rows))


@pytest.mark.parametrize("name", SMALL)
def test_a_gzip_file_of_several_members_is_one_file(tmp_path: Path, name: TraceFormat) -> None:
    text, rows = SMALL[name]
    half = len(text) // 2
    _, found = read(written(tmp_path, gzip.compress(text[:half].encode()) + gzip.compress(text[half:].encode()) + b"\0" * 100))
    assert found == expected(rows)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_of_our_own_format_that_nobody_reads_is_told(tmp_path: Path, ending: str) -> None:
    path = written(tmp_path, "arrival_s,prompt_tokens,outputs,output_tokens\n0,20,9,3\n", "trace.csv")
    if ending == "parquet":
        pandas, path = pytest.importorskip("pandas"), tmp_path / "trace.parquet"
        pytest.importorskip("pyarrow")
        pandas.read_csv(tmp_path / "trace.csv").astype({"arrival_s": float}).to_parquet(path, index=False)
    trace, found = read(path)
    assert found[0][1:4] == (0, 20, 3)
    assert "columns that are not read: 'outputs'" in trace.notes[0]


@pytest.mark.parametrize("text", ["7 9", " 7  9 ", "07 9"])
def test_blocks_are_read_however_they_are_spaced(tmp_path: Path, text: str) -> None:
    rows = read(written(tmp_path, f"arrival_s,prompt_tokens,output_tokens,block_tokens,blocks\n0,20,3,16,{text}\n"))[1]
    assert list(rows[0].blocks) == [7, 9]


def test_a_list_of_blocks_that_does_not_fit_its_prompt_is_counted(tmp_path: Path) -> None:
    trace, _ = read(written(tmp_path, SMALL[TraceFormat.MOONCAKE][0]))
    (words,) = trace.tally.words()
    assert "more or fewer block ids" in words
    assert words.endswith(": 1; the first is line 3")


def test_servegen_clients_are_drawn_at_their_rates_and_alike_each_time(tmp_path: Path) -> None:
    for k in (1, 2):
        written(tmp_path, WINDOW, f"chunk-{k}-trace.csv")
        written(tmp_path, LENGTHS, f"chunk-{k}-dataset.json")
    trace, rows = read(tmp_path)
    assert trace.format is TraceFormat.SERVEGEN
    assert rows == read(tmp_path)[1]
    assert 700 <= len(rows) <= 1100  # two clients of 300 and 150 on average; the first is bursty
    assert {(row.prompt_tokens, row.output_tokens, row.label) for row in rows} == {(100, 7, "chunk-1"), (100, 7, "chunk-2")}
    assert [row.time_ns for row in rows] == sorted(row.time_ns or 0 for row in rows)


MUTILATED = {
    "a cut line": (f"{AZURE}\n2023-11-16 18:17:03.97,4808,10\n2023-11-16 18:17:0", r"line 3 has 1 columns, expected 3"),
    "a column more": (f"{AZURE}\n2023-11-16 18:17:03,1,2,3\n", r"line 2 has 4 columns"),
    "wrong columns": ("when,what\n1,2\n", r"line 1 = 'when,what' is not the header of a trace"),
    "a column twice": (f"{AZURE},TIMESTAMP\n1,2,3,4\n", r"line 1 names the column 'TIMESTAMP' twice"),
    "NaN": (f"{AZURE}\n2023-11-16 18:17:03,nan,2\n", r"line 2 ContextTokens = 'nan' must be a whole number"),
    "NaN time": ("arrived_at,num_prefill_tokens,num_decode_tokens\nNaN,1,2\n", r"line 2 arrived_at = 'NaN' must be a time"),
    "negative tokens": ("Timestamp,Model,Request tokens,Response tokens,Log Type\n1,m,-4,2,x\n", r"line 2 Request tokens = '-4' must be"),
    "half a token": (f"{AZURE}\n2023-11-16 18:17:03,1.5,2\n", r"line 2 ContextTokens = '1.5' must be a whole"),
    "a day that is none": (f"{AZURE}\n2023-02-30 18:17:03,1,2\n", r"line 2 TIMESTAMP = '2023-02-30 18:17:03' must be a date"),
    "a year far off": (f"{AZURE}\n9999-02-03 18:17:03,1,2\n", r"line 2 TIMESTAMP = '9999-02-03 18:17:03' must be a date between 1830 and"),
    "a whole JSON document": ('{\n  "rows": 3\n}\n', r"line 1 begins one JSON document"),
    "a JSON list": ('[{"timestamp": 0, "input_length": 3, "output_length": 1}]\n', r"line 1 begins one JSON document"),
    "a long line": (f"{AZURE}\n{'9' * 5000},1,2\n", r"line 2 is longer than 4096 characters"),
    "a line without end": (b'{"timestamp": 0, "input_length": ' + b"1" * 2**22, r"line 1 is longer than 4194304 characters"),
    "cut JSON": ('{"timestamp": 0, "input_length": 3, "output_length": 1}\n{"timestamp": 0, "inp', r"line 2 is not valid JSON"),
    "NaN in JSON": ('{"timestamp": NaN, "input_length": 3, "output_length": 1}\n', r"line 1 is not valid JSON"),
    "other JSON": ('{"prompt": "x"}\n', r"line 1 = .* is not a row of mooncake or bailian"),
    "negative JSON": ('{"timestamp": 0, "input_length": -3, "output_length": 1}\n', r"line 1 input_length = -3 must be a whole"),
    "text for a number": ('{"timestamp": "0", "input_length": 3, "output_length": 1}\n', r"line 1 timestamp = '0' must be a time"),
    "no ids": ('{"timestamp": 0, "input_length": 3, "output_length": 1, "hash_ids": [1.5]}\n', r"line 1 hash_ids = "),
    "ids without end": ('{"timestamp": 0, "input_length": 3, "output_length": 1, "hash_ids": [9e99]}\n', r"line 1 hash_ids = "),
    "a time without end": ('{"timestamp": 1e14, "input_length": 3, "output_length": 1}\n', r"line 1 timestamp = .* must be a time"),
    "half an id": ("arrival_s,prompt_tokens,output_tokens,block_tokens,blocks\n0,9,3,16,7.5\n", r"line 2 blocks = '7.5' must be whole"),
    "nothing": ("", r"is empty"),
    "no text": (b"\xff\xfe\x00\x01" * 30, r"is not UTF-8 text"),
    "Parquet cut short": (b"PAR1" + b"\x00" * 30, r"is not a whole Parquet file"),
    "blocks that do not fit": (
        "arrival_s,prompt_tokens,output_tokens,block_tokens,blocks\n0,20,3,16,7\n", r"line 2 blocks = '1 ids' must be 2 ids",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MUTILATED)
def test_a_mutilated_file_is_an_error_with_its_line(tmp_path: Path, what: str) -> None:
    content, words = MUTILATED[what]
    with pytest.raises(InputError, match=words) as caught:
        read(written(tmp_path, content))
    assert caught.value.source is not None


def test_a_gzip_file_cut_short_names_the_last_whole_line(tmp_path: Path) -> None:
    lines = "".join(f"2023-11-16 18:{k // 60 % 60:02d}:{k % 60:02d}.{k * 7919 % 10**7:07d},{k * 31 % 997},{k % 83}\n" for k in range(3000))
    packed = gzip.compress(f"{AZURE}\n{lines}".encode())
    with pytest.raises(InputError, match=r"line \d+ is the last whole one, for the gzip file is damaged after it"):
        read(written(tmp_path, packed[: len(packed) // 2]))
    with pytest.raises(InputError, match=r"gzip"):
        read(written(tmp_path, packed[:5]))


@pytest.mark.parametrize("packing", ["plain", "gzip", "parquet"])
def test_progress_tells_rows_and_the_share_of_the_file(tmp_path: Path, packing: str) -> None:
    rng = random.Random(1)
    rows = "".join(f"{k},{rng.randrange(1, 10**6)},{rng.randrange(1, 10**6)}\n" for k in range(120_000))
    text = f"arrival_s,prompt_tokens,output_tokens\n{rows}".encode()
    path = written(tmp_path, gzip.compress(text, 1) if packing == "gzip" else text, "trace.csv")
    if packing == "parquet":
        pytest.importorskip("pyarrow")
        convert(path, tmp_path / "trace.parquet")
        path = tmp_path / "trace.parquet"
    told: list[tuple[int, float | None]] = []
    load_trace(path, progress=lambda count, share: told.append((count, share)))
    assert [count for count, _ in told] == [0, 50_000, 100_000]
    assert [share for _, share in told] == pytest.approx([0, 5 / 12, 10 / 12], abs=0.05)


def test_times_out_of_order_are_refused_by_a_replay_with_their_line(tmp_path: Path) -> None:
    path = written(tmp_path, "arrived_at,num_prefill_tokens,num_decode_tokens\n5,1,1\n4,1,1\n")
    with pytest.raises(InputError, match=r"line 3 is earlier than the row before it; sort the trace by time; `loadlab trace convert` does"):
        load_trace(path)


@given(content=st.binary(max_size=300), start=st.sampled_from(["", *(text for text, _ in SMALL.values())]), cut=st.integers(0, 400))
def test_whatever_is_in_a_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, start: str, cut: int) -> None:
    path = written(tmp_path_factory.getbasetemp(), start.encode()[:cut] + content, "garbage")
    with contextlib.suppress(InputError):  # anything else fails the test
        read(path)


COUNTS = {
    "azure/AzureLLMInferenceTrace_code.csv": (TraceFormat.AZURE_2023, 5353),
    "azure/AzureLLMInferenceTrace_conv.csv": (TraceFormat.AZURE_2023, 9739),
    "burstgpt/BurstGPT_1.csv": (TraceFormat.BURSTGPT, 30),
    "format_rows/azure_2024_code_rows.csv": (TraceFormat.AZURE_2024, 10),
    "format_rows/azure_2024_conv_rows.csv": (TraceFormat.AZURE_2024, 10),
    "format_rows/azure_lmm_2025_rows.csv": (TraceFormat.AZURE_2025, 10),
    "format_rows/bailian_SYNTHETIC_format.jsonl": (TraceFormat.BAILIAN, 3),
    "format_rows/burstgpt3_SYNTHETIC_format.csv": (TraceFormat.BURSTGPT, 3),
    "format_rows/mooncake_readme_rows.jsonl": (TraceFormat.MOONCAKE, 2),
    "mooncake/conversation_trace.jsonl": (TraceFormat.MOONCAKE, 5606),
    "vidur/splitwise_conv.csv": (TraceFormat.VIDUR, 5000),
    "vidur/arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv": (TraceFormat.VIDUR, 8000),
    "servegen/data/multimodal/mm-image": (TraceFormat.SERVEGEN, None),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_slices_of_published_traces_are_read_whole(name: str) -> None:
    if not (SLICES / name).exists():
        pytest.skip(f"the trace slices are not here: {SLICES}")
    found, rows = COUNTS[name]
    with open_trace(SLICES / name) as trace:
        assert trace.format is found
        count = sum(1 for _ in trace.rows)
    assert rows is None or count == rows
    assert count > 0
