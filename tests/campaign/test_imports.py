"""Results of other tools: small files in their own formats, made up here, become rows; broken and foreign ones one clear error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from loadlab.campaign.imports.foreign import ForeignRun, Loop
from loadlab.campaign.imports.recording import Tool, import_file
from loadlab.errors import InputError
from loadlab.record.manifest import Status
from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import summarise_run
from tests.record.examples import HOST

T0 = 1_768_385_700.0  # 2026-01-14T10:15:00Z


def imported(tool: Tool, path: Path) -> tuple[ForeignRun, RunDir, list[RequestRecord]]:
    ((run, directory),) = import_file(tool, path, path.parent / "out", HOST)
    return run, directory, list(directory.rows())


def refused(tool: Tool, path: Path) -> str:
    with pytest.raises(InputError) as error:
        import_file(tool, path, path.parent / "out", HOST)
    assert not (path.parent / "out").exists(), "nothing was written"
    assert str(path) in str(error.value)
    return str(error.value)


VLLM: Mapping[str, Any] = {
    "date": "20260114-101500", "backend": "openai-chat", "model_id": "llama", "num_prompts": 3, "request_rate": 2.0, "burstiness": 1.0,
    "max_concurrency": None, "duration": 3.0, "completed": 2, "request_throughput": 0.67,
    "input_lens": [100, 200, 300], "output_lens": [3, 2, 0], "ttfts": [0.5, 0.25, 0.0], "itls": [[0.1, 0.3], [0.2], []],
    "start_times": [1000.0, 1001.5, 1002.0], "latencies": [0.9, 0.45, 0.0], "queue_times": [0.0, 0.5, 0.0],
    "errors": ["", "", "Cannot connect to host: Connection refused"],
}  # fmt: skip


def vllm(folder: Path, **changes: Any) -> Path:
    path = folder / "vllm.json"
    path.write_text(json.dumps({key: value for key, value in {**VLLM, **changes}.items() if value != "gone"}))
    return path


def test_vllm_bench_rows_have_its_stamps_tokens_and_gaps(tmp_path: Path) -> None:
    run, directory, rows = imported(Tool.VLLM_BENCH, vllm(tmp_path))
    assert run.loop is Loop.OPEN
    first, second, third = rows
    assert (first.scheduled_s, first.first_token_s, first.finished_s) == pytest.approx((0.0, 0.5, 0.9))
    assert (first.prompt_tokens, first.output_tokens, first.itl_p50_s, first.itl_max_s) == (100, 3, 0.1, 0.3)
    assert (second.scheduled_s, second.sent_s) == (1.0, 1.5)  # held back by the client: latency counts from when it was due
    assert (third.outcome, third.cause) == (Outcome.CONNECTION_ERROR, Cause.REFUSED)
    assert third.first_token_s is None
    manifest = directory.manifest
    assert (manifest.status, manifest.engine, manifest.scenario_digest) == (Status.COMPLETE, "imported", None)
    summary = summarise_run(directory)
    assert summary["totals"]["ok"] == 2
    assert summary.get("validity") is None, "the delay of its load generator is not known"


@pytest.mark.parametrize(
    ("rate", "limit", "loop"), [("inf", None, Loop.CLOSED), (5.0, 8, Loop.CLOSED), ("inf", 8, Loop.CLOSED), (5.0, None, Loop.OPEN)]
)
def test_vllm_bench_is_open_loop_only_at_a_rate_without_a_limit(tmp_path: Path, rate: object, limit: object, loop: Loop) -> None:
    assert imported(Tool.VLLM_BENCH, vllm(tmp_path, request_rate=rate, max_concurrency=limit))[0].loop is loop


def test_older_files_of_vllm_bench_do_not_say_when(tmp_path: Path) -> None:
    run, _, rows = imported(Tool.VLLM_BENCH, vllm(tmp_path, start_times="gone", latencies="gone", queue_times="gone"))
    assert [row.scheduled_s for row in rows] == [0.0, 1.0, 2.0]
    assert rows[0].finished_s == pytest.approx(0.9)  # the last token
    assert any("start times were not recorded" in note for note in run.notes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ttfts": "gone"}, "holds aggregates only"),
        ({"ttfts": "gone", "request_throughput": "gone"}, "is not a result of `vllm bench serve`"),
        ({"itls": [[0.1]]}, "itls has 1 entries and ttfts has 3"),
        ({"ttfts": [0.5, "x", 0.0]}, "ttfts[1] = 'x' must be a number >= 0"),
        ({"itls": [[0.1], "x", []]}, "itls[1] must be a list of seconds"),
    ],
)
def test_what_is_no_run_of_vllm_bench_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in refused(Tool.VLLM_BENCH, vllm(tmp_path, **changes))


def aiperf_line(k: int, **changes: Any) -> dict[str, Any]:
    start = int((T0 + k) * 1e9)
    metadata = {
        "session_num": k,
        "turn_index": 0,
        "request_start_ns": start,
        "request_end_ns": start + 900_000_000,
        "benchmark_phase": "profiling",
    }
    metrics = {
        "input_sequence_length": {"value": 100, "unit": "tokens"}, "output_sequence_length": {"value": 5, "unit": "tokens"},
        "time_to_first_token": {"value": 500.0, "unit": "ms"}, "inter_token_latency": {"value": 100.0, "unit": "ms"},
        "inter_chunk_latency": {"value": [90.0, 110.0], "unit": "ms"},
    }  # fmt: skip
    return {"metadata": metadata, "metrics": metrics, "error": None} | changes


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_aiperf_rows_have_its_stamps_tokens_and_gaps_and_no_warm_up(tmp_path: Path) -> None:
    warm = aiperf_line(0)
    warm["metadata"]["benchmark_phase"] = "warmup"
    broken = aiperf_line(2, metrics=None, error={"code": 429, "type": "HTTPStatusError", "message": "slow down"})
    run, directory, rows = imported(Tool.AIPERF, lines(tmp_path / "profile_export.jsonl", [warm, aiperf_line(1), broken]))
    first, second = rows
    assert (first.scheduled_s, first.first_token_s, first.finished_s) == pytest.approx((0.0, 0.5, 0.9), abs=1e-6)
    assert first.last_token_s == pytest.approx(0.9, abs=1e-6)
    assert (first.prompt_tokens, first.output_tokens, first.itl_max_s) == (100, 5, pytest.approx(0.11))
    assert (second.outcome, second.cause, second.http_status) == (Outcome.REJECTED, Cause.RATE_LIMITED, 429)
    assert run.loop is Loop.UNKNOWN
    assert "1 requests of the warm-up are left out" in run.notes
    assert directory.manifest.host.t0.startswith("2026-01-14T10:15:01")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([aiperf_line(0), "{oops"], "line 2: is not JSON"),
        ([[1]], "line 1: is not a JSON object"),
        ([{"name": "x"}], "line 1: is no record of aiperf"),
        ([aiperf_line(0, metrics={"time_to_first_token": {"value": 1, "unit": "fortnights"}})], "unit = 'fortnights' must be one of"),
        ([aiperf_line(0, metrics={"time_to_first_token": {"value": -1, "unit": "ms"}})], "line 1: metrics.time_to_first_token.value = -1"),
        ([], "holds no request"),
    ],
)
def test_what_is_no_run_of_aiperf_is_refused(tmp_path: Path, rows: list[Any], said: str) -> None:
    assert said in refused(Tool.AIPERF, lines(tmp_path / "profile_export.jsonl", rows))


def test_aggregates_of_aiperf_are_refused(tmp_path: Path) -> None:
    (tmp_path / "profile_export_aiperf.json").write_text("{}")
    assert "profile_export.jsonl beside it" in refused(Tool.AIPERF, tmp_path / "profile_export_aiperf.json")


def guidellm_request(k: int, **changes: Any) -> dict[str, Any]:
    start = T0 + k
    timings = {
        "targeted_start": start - 0.1, "request_start": start, "first_token_iteration": start + 0.4, "last_token_iteration": start + 0.8,
        "request_end": start + 0.9,
    }  # fmt: skip
    return {"request_id": str(k), "info": {"timings": timings, "error": None}, "prompt_tokens": 100, "output_tokens": 5} | changes


def guidellm(folder: Path, *benchmarks: dict[str, Any]) -> Path:
    path = folder / "benchmarks.json"
    path.write_text(json.dumps({"metadata": {}, "benchmarks": list(benchmarks)}))
    return path


def benchmark(kind: str, successful: list[Any], **others: Any) -> dict[str, Any]:
    return {
        "config": {"strategy": {"type_": kind, "rate": 2.0}},
        "requests": {"successful": successful, "errored": [], "incomplete": [], **others},
    }


def test_guidellm_at_a_rate_counts_from_when_a_request_was_due(tmp_path: Path) -> None:
    errored = guidellm_request(1, info={"timings": {"request_start": T0 + 1, "request_end": T0 + 2}, "error": "ReadTimeout: timed out"})
    run, _, rows = imported(Tool.GUIDELLM, guidellm(tmp_path, benchmark("poisson", [guidellm_request(0)], errored=[errored])))
    assert run.loop is Loop.OPEN
    first, second = rows
    assert (first.scheduled_s, first.sent_s, first.first_token_s) == pytest.approx((0.0, 0.1, 0.5), abs=1e-6)
    assert (second.outcome, second.cause) == (Outcome.TIMEOUT, Cause.DEADLINE)


def test_guidellm_with_so_many_at_once_is_a_closed_loop(tmp_path: Path) -> None:
    run, _, rows = imported(Tool.GUIDELLM, guidellm(tmp_path, benchmark("concurrent", [guidellm_request(0)])))
    assert run.loop is Loop.CLOSED
    assert rows[0].scheduled_s == rows[0].sent_s == 0.0


def test_an_older_report_of_guidellm_and_several_benchmarks_in_one(tmp_path: Path) -> None:
    old = {
        "start_time": T0, "end_time": T0 + 1, "first_token_time": T0 + 0.25,
        "last_token_time": T0 + 1, "prompt_tokens": 10, "output_tokens": 4,
        "scheduler_info": {"targeted_start_time": T0},
    }  # fmt: skip
    found = import_file(
        Tool.GUIDELLM, guidellm(tmp_path, benchmark("synchronous", [old]), benchmark("throughput", [old, old])), tmp_path / "out", HOST
    )
    assert [directory.path.name for _, directory in found] == ["1-guidellm-synchronous", "2-guidellm-throughput"]
    (row,) = found[0][1].rows()
    assert (row.first_token_s, row.finished_s) == (0.25, 1.0)
    assert found[0][1].manifest.plan_digest != found[1][1].manifest.plan_digest, "two runs of one file are no pair"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "is not a report of guidellm"),
        ('{"benchmarks": [{"requests": {}}]}', "benchmarks[0] holds no requests"),
        ('{"benchmarks": [\n{"requests": ', "line 2: is not JSON"),
        ('{"benchmarks": [{"requests": {"successful": [{}]}}]}', "requests.successful[0] has no time of its start"),
    ],
)
def test_what_is_no_report_of_guidellm_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "b.json").write_text(text)
    assert said in refused(Tool.GUIDELLM, tmp_path / "b.json")


def k6_point(value: float, time: str, **tags: str) -> dict[str, Any]:
    return {
        "type": "Point",
        "metric": "http_req_duration",
        "data": {"time": time, "value": value, "tags": {"status": "200", "scenario": "chat", **tags}},
    }


def test_k6_points_are_requests_that_end_at_their_stamp(tmp_path: Path) -> None:
    rows = [
        {"type": "Metric", "metric": "http_req_duration", "data": {"type": "trend"}},
        k6_point(500, "2026-01-14T10:15:02.5Z"),
        {"type": "Point", "metric": "vus", "data": {"time": "2026-01-14T10:15:02Z", "value": 1, "tags": {}}},
        k6_point(250, "2026-01-14T11:15:02.25+01:00", status="503"),
        k6_point(10, "2026-01-14T10:15:09.000000001Z", status="0", error="dial: connection refused"),
    ]
    run, directory, (first, second, third) = imported(Tool.K6, lines(tmp_path / "k6.json", rows))
    assert (first.scheduled_s, first.finished_s, first.outcome, first.traffic_class) == (0.0, 0.5, Outcome.OK, "chat")
    assert (second.finished_s, second.outcome, second.http_status) == (pytest.approx(0.25), Outcome.REJECTED, 503)
    assert (third.outcome, third.cause) == (Outcome.CONNECTION_ERROR, Cause.REFUSED)
    assert first.first_token_s is None
    assert summarise_run(directory)["metrics"]["ttft_s"]["n"] == 0
    assert run.loop is Loop.UNKNOWN


K6_HEAD = "metric_name,timestamp,metric_value,check,error,error_code,expected_response,group,method,name,proto,scenario,service,status,url"


def test_k6_csv_says_that_its_stamps_are_coarse(tmp_path: Path) -> None:
    rows = [K6_HEAD, "vus,1768385700,1.0,,,,,,,,,,,,", "http_req_duration,1768385702,500.0,,,,true,,GET,x,HTTP/1.1,default,,200,x"]
    run, _, (row,) = imported(Tool.K6, lines(tmp_path / "k6.csv", rows))
    assert (row.scheduled_s, row.finished_s) == (0.0, 0.5)
    assert any("whole seconds" in note for note in run.notes)


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("k6.json", [{"root_group": {}, "metrics": {}}], "holds aggregates only"),
        ("k6.json", [{"x": 1}], "line 1: is no line of `k6 run --out json`"),
        ("k6.json", [k6_point(1, "yesterday")], "line 1: time = 'yesterday' is not a time"),
        ("k6.json", [k6_point(1, "2026-01-14T10:15:02Z"), k6_point(-1, "2026-01-14T10:15:02Z")], "line 2: value = -1 must be milliseconds"),
        ("k6.csv", ["a,b", "1,2"], "line 1: is no head of `k6 run --out csv`"),
        ("k6.csv", [K6_HEAD, "http_req_duration,1768385702,fast,,,,,,,,,,,200,x"], "line 2: value = 'fast'"),
        ("k6.csv", [K6_HEAD], "no HTTP request was recorded"),
    ],
)
def test_what_is_no_run_of_k6_is_refused(tmp_path: Path, name: str, rows: list[Any], said: str) -> None:
    assert said in refused(Tool.K6, lines(tmp_path / name, rows))


def test_a_log_of_locust_is_a_closed_loop(tmp_path: Path) -> None:
    rows = ["start_time,name,response_time,exception,status_code", f"{T0},/chat,250.0,,200", f"{T0 + 2},/chat,100.0,HTTPError 500,500"]
    run, _, (first, second) = imported(Tool.LOCUST, lines(tmp_path / "requests.csv", rows))
    assert run.loop is Loop.CLOSED
    assert (first.scheduled_s, first.finished_s, first.traffic_class) == (0.0, 0.25, "/chat")
    assert (second.outcome, second.cause) == (Outcome.HTTP_ERROR, Cause.SERVER_ERROR)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["Type,Name,Request Count,Failure Count", "GET,/,3,0"], "holds aggregates only (locust --csv)"),
        (["start_time,name,response_time", "1,x,2"], "line 1: has no column exception"),
        (["start_time,name,response_time,exception", "1,x,soon,"], "line 2: response_time = 'soon' must be a number"),
        (["start_time,name,response_time,exception"], "holds no request"),
    ],
)
def test_what_is_no_log_of_locust_is_refused(tmp_path: Path, rows: list[Any], said: str) -> None:
    assert said in refused(Tool.LOCUST, lines(tmp_path / "requests.csv", rows))


MAKERS: Mapping[Tool, Callable[[Path], Path]] = {
    Tool.VLLM_BENCH: vllm,
    Tool.AIPERF: lambda folder: lines(folder / "profile_export.jsonl", [aiperf_line(k) for k in range(3)]),
    Tool.GUIDELLM: lambda folder: guidellm(folder, benchmark("poisson", [guidellm_request(k) for k in range(3)])),
    Tool.K6: lambda folder: lines(folder / "k6.json", [k6_point(100, f"2026-01-14T10:15:0{k}Z") for k in range(3)]),
    Tool.LOCUST: lambda folder: lines(
        folder / "l.csv", ["start_time,name,response_time,exception", *(f"{T0 + k},x,100," for k in range(3))]
    ),
}


@pytest.mark.parametrize("tool", Tool)
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.6, 0.9])
def test_a_truncated_file_gives_one_error_or_the_rows_before_the_cut(tmp_path: Path, tool: Tool, cut: float) -> None:
    path = MAKERS[tool](tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(cut * len(data))])
    try:
        found = import_file(tool, path, tmp_path / "out", HOST)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017  either may be
    else:
        assert all(run.records for run, _ in found)


@pytest.mark.parametrize("tool", Tool)
def test_files_of_every_other_tool_and_none_are_refused(tmp_path: Path, tool: Tool) -> None:
    assert "cannot be read" in refused(tool, tmp_path / "absent.json") or tool is Tool.AIPERF
    for other, make in MAKERS.items():
        if other is not tool:
            (tmp_path / other.value).mkdir()
            refused(tool, make(tmp_path / other.value))
    (tmp_path / "noise.json").write_bytes(b"\x00\xff\xfe")
    refused(tool, tmp_path / "noise.json")


def test_imported_runs_can_be_compared_and_are_called_what_they_are(tmp_path: Path, command: Any) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        answer = command("import", "vllm-bench", vllm(tmp_path / name, label=name, request_rate="inf"), "--out", tmp_path / name / "run")
        assert answer.code == 0, answer.err
        assert "CLOSED LOOP" in answer.out
    answer = command("compare", tmp_path / "a" / "run", tmp_path / "b" / "run")
    assert answer.code == 0
    for words in ("Unpaired", "CLOSED LOOP", "The scenarios differ, or are not known"):
        assert words in " ".join(answer.out.split())


def test_what_a_tool_does_not_record_is_unknown_and_never_zero(tmp_path: Path, command: Any) -> None:
    answer = command("import", "locust", MAKERS[Tool.LOCUST](tmp_path), "--out", tmp_path / "run")
    said = " ".join(answer.out.split())
    for words in ("locust, imported,", "output tokens -/s, prompt tokens -/s", "What the server did is not known", "CLOSED LOOP"):
        assert words in said
    assert command("report", tmp_path / "run").code == 0
    assert "CLOSED LOOP" in (tmp_path / "run" / "report.html").read_text()


def test_a_gate_leaves_out_what_neither_tool_recorded_and_holds_to_what_is_asked(tmp_path: Path, command: Any) -> None:
    sides = [tmp_path / "a", tmp_path / "b"]
    for side in sides:
        side.mkdir()
        assert command("import", "k6", MAKERS[Tool.K6](side), "--out", side / "run").code == 0
    gate = ("gate", sides[1] / "run", "--baseline", sides[0] / "run", "--json")
    document = json.loads(command(*gate).out)
    assert [check["metric"] for check in document["checks"]] == ["e2e.p50", "e2e.p90", "success_rate"]
    assert "Neither side recorded ttft, tpot, itl: left out." in document["warnings"]
    assert not any("same seeds" in warning for warning in document["warnings"]), "nobody can give an imported run a seed"
    asked = json.loads(command(*gate, "--margin", "ttft.p50=5%").out)
    assert (asked["checks"][0]["metric"], asked["checks"][0]["verdict"]) == ("ttft.p50", "inconclusive")
    assert asked["more_pairs"] is None, "no number of runs would measure it"
