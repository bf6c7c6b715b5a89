"""Each format is read back by the tool that it is for: csv, pyarrow, prometheus-client, OpenTelemetry's protobuf, MLflow, our importer."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loadlab.campaign.imports.guidellm import read_guidellm
from loadlab.errors import InputError
from loadlab.export.formats import FileFormat, export_file, write_to
from loadlab.export.rows import COLUMN_TYPES, derived
from loadlab.record.request import Cause, Outcome
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import load_table, summarise_run
from tests.cli.command import Command
from tests.record.examples import failed, manifest, ok, small_run

FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", 'plain, with "quotes"\nand a line']


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Forty requests of two classes; every fourth fails, with a text that a spreadsheet would evaluate; two turns a session."""
    directory = RunDir.create(
        tmp_path / "run", manifest(40, scenario={"name": "small", "slo": {"ttft": "1s"}, "classes": {"a": {"x": [1, 2]}}})
    )
    for i in range(40):
        row = ok(i, ttft_s=0.4 + i / 100) if i % 4 else failed(i, Cause.SERVER_ERROR, Outcome.HTTP_ERROR)
        words = FORMULAS[i // 4 % len(FORMULAS)] if i % 4 == 0 else None
        directory.append([replace(row, traffic_class="ab"[i % 2], model="llm", kind="chat", session=i // 2, turn=i % 2, error=words)])
    directory.finalise(40)
    return directory


def written(run: RunDir, kind: FileFormat) -> bytes:
    file = io.BytesIO()
    assert write_to(file, run, kind) == 40
    return file.getvalue()


def test_csv_holds_every_row_and_nothing_that_a_spreadsheet_evaluates(run: RunDir) -> None:
    rows = list(csv.DictReader(io.StringIO(written(run, FileFormat.CSV).decode(), newline="")))
    assert len(rows) == 40
    assert list(rows[0]) == list(COLUMN_TYPES)
    assert (rows[1]["outcome"], float(rows[1]["ttft_s"]), float(rows[1]["tpot_s"])) == ("ok", pytest.approx(0.41), pytest.approx(0.1))
    assert (rows[0]["ttft_s"], rows[0]["e2e_s"], rows[0]["replica"]) == ("", "", "")
    errors = [row["error"] for row in rows if row["error"]]
    assert not [text for text in errors if text[0] in "=+-@\t\r"]
    assert {text.removeprefix("'") for text in errors} == set(FORMULAS), "and the words are all there"


def test_derived_columns_are_the_latencies_of_every_table(run: RunDir) -> None:
    summary = summarise_run(run)["metrics"]
    rows = [derived(row) for chunk in run.row_chunks() for row in chunk]
    for name in ("ttft_s", "tpot_s", "e2e_s"):
        known = sorted(value for row in rows if (value := row[name]) is not None)
        assert (len(known), known[-1]) == (summary[name]["n"], pytest.approx(summary[name]["max"]["value"]))


def test_parquet_has_types_and_says_which_run_it_is_of(run: RunDir) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    table = parquet.read_table(io.BytesIO(written(run, FileFormat.PARQUET)))
    kinds = {field.name: str(field.type) for field in table.schema}
    assert (kinds["seq"], kinds["scheduled_s"], kinds["class"], kinds["tokens_estimated"]) == ("int64", "double", "string", "bool")
    assert json.loads(table.schema.metadata[b"loadlab"])["plan_digest"] == run.manifest.plan_digest
    rows = table.to_pylist()
    assert [row["seq"] for row in rows] == list(range(40))
    assert rows[4]["error"] == FORMULAS[1], "bytes are as they were: nobody evaluates Parquet"
    assert (rows[4]["ttft_s"], rows[5]["ttft_s"]) == (None, pytest.approx(0.45))


def test_prometheus_page_is_read_by_its_own_client(run: RunDir) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed")
    families = {family.name: family for family in parser.text_string_to_metric_families(written(run, FileFormat.PROMETHEUS).decode())}
    counts = {(s.labels["class"], s.labels["outcome"]): s.value for s in families["loadlab_run_requests"].samples}
    assert counts == {("a", "ok"): 10, ("a", "http_error"): 10, ("b", "ok"): 20}
    ttft = families["loadlab_ttft_seconds"]
    assert ttft.type == "histogram"
    upto = {s.labels["le"]: s.value for s in ttft.samples if s.name.endswith("_bucket") and s.labels["class"] == "b"}
    assert (upto["0.25"], upto["0.5"], upto["+Inf"]) == (0, 5, 20)  # of 0.41, 0.43 .. 0.79: five are at most half a second
    stats = {(s.labels["latency"], s.labels["statistic"], s.labels["bound"]): s.value for s in families["loadlab_latency_seconds"].samples}
    assert stats["ttft", "p50", "value"] == summarise_run(run)["metrics"]["ttft_s"]["p50"]["value"]
    assert families["loadlab_slo_attainment_ratio"].samples[0].value == pytest.approx(0.75)
    assert families["loadlab_run_info"].samples[0].labels["plan_digest"] == run.manifest.plan_digest


def test_prometheus_labels_survive_quotes_and_backslashes(tmp_path: Path) -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client is not installed")
    name = 'a"b\\c'
    run = small_run(tmp_path / "run", name=name, planned=5)
    file = io.BytesIO()
    write_to(file, run, FileFormat.PROMETHEUS)
    families = {family.name: family for family in parser.text_string_to_metric_families(file.getvalue().decode())}
    assert families["loadlab_run_info"].samples[0].labels["name"] == name


def test_otlp_lines_are_traces_by_its_own_protobuf(run: RunDir) -> None:
    trace = pytest.importorskip("opentelemetry.proto.trace.v1.trace_pb2", reason="opentelemetry-proto is not installed")
    from google.protobuf import json_format

    spans = []
    for line in written(run, FileFormat.OTLP).splitlines():
        for resource in _in_base64(json.loads(line))["resourceSpans"]:
            data = json_format.ParseDict({"resourceSpans": [resource]}, trace.TracesData())
            spans += data.resource_spans[0].scope_spans[0].spans
    assert len(spans) == len({span.span_id for span in spans}) == 40
    assert len({span.trace_id for span in spans}) == 20, "the turns of a session are one trace"
    assert {(len(span.trace_id), len(span.span_id)) for span in spans} == {(16, 8)}
    first, second = spans[0], spans[1]
    assert (first.status.code, second.status.code) == (2, 1)
    assert second.end_time_unix_nano - second.start_time_unix_nano == pytest.approx(1.41e9, abs=1e3)
    assert [event.name for event in second.events] == ["loadlab.sent", "gen_ai.first_token", "gen_ai.last_token"]
    said = {attribute.key: attribute.value for attribute in second.attributes}
    assert said["gen_ai.usage.output_tokens"].int_value == 11
    assert said["loadlab.class"].string_value == "b"
    assert second.name == "chat llm"


def _in_base64(line: dict[str, Any]) -> dict[str, Any]:
    """OTLP/JSON writes identities in hex, where protobuf's own JSON has base64: the one difference that its specification names."""
    import base64

    for resource in line["resourceSpans"]:
        for span in resource["scopeSpans"][0]["spans"]:
            for key in ("traceId", "spanId"):
                span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
    return line


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_mlflow_finds_the_run_with_its_numbers(run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")
    from loadlab.export.mlflow_run import log_to_mlflow

    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "store").as_uri()
    identity = log_to_mlflow(run, uri)
    found = mlflow.MlflowClient(uri).get_run(identity)
    summary = summarise_run(run)
    assert found.data.metrics["ttft.p50"] == summary["metrics"]["ttft_s"]["p50"]["value"]
    assert found.data.metrics["success_rate.low"] == summary["totals"]["success_rate"]["low"]
    assert found.data.metrics["requests.http_error"] == 10
    assert found.data.params["classes.a.x.1"] == "2"
    assert found.data.tags["loadlab.plan_digest"] == run.manifest.plan_digest
    assert (found.info.status, found.info.run_name) == ("FINISHED", "small")
    assert {file.path for file in mlflow.MlflowClient(uri).list_artifacts(identity)} == {"summary.json", "manifest.json"}


def test_guidellm_report_comes_back_through_the_importer(run: RunDir, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(written(run, FileFormat.GUIDELLM))
    (back,) = read_guidellm(path)
    ours = {row.seq: row for row in run.rows()}
    assert len(back.records) == 40
    for row in back.records:  # in the order sent, which is that of our plan
        mine = ours[row.seq]
        assert (row.outcome is Outcome.OK) == (mine.outcome is Outcome.OK)
        if mine.outcome is Outcome.OK:
            assert (row.first_token_s, row.finished_s) == (
                pytest.approx(mine.first_token_s, abs=1e-5),
                pytest.approx(mine.finished_s, abs=1e-5),
            )
            assert (row.prompt_tokens, row.output_tokens) == (100, 11)
    metrics = json.loads(path.read_bytes())["benchmarks"][0]["metrics"]
    assert metrics["request_totals"] == {"successful": 30, "incomplete": 0, "errored": 10, "total": 40}
    assert metrics["time_to_first_token_ms"]["successful"]["max"] == pytest.approx(790)
    assert metrics["inter_token_latency_ms"]["successful"]["mean"] == pytest.approx(100)


@pytest.mark.parametrize("kind", FileFormat)
def test_a_run_without_a_single_answer_is_written_too(kind: FileFormat, tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", manifest(1))
    run.finalise(1, interrupted=True)
    file = io.BytesIO()
    assert write_to(file, run, kind) == (0 if kind is FileFormat.OTLP else 1)
    assert len(load_table(run)) == 1


def test_nothing_is_overwritten_and_nothing_half_is_left(run: RunDir, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    export_file(run, FileFormat.CSV, out)
    before = out.read_bytes()
    with pytest.raises(InputError, match="--force"):
        export_file(run, FileFormat.CSV, out)
    rows = (run.path / "requests.jsonl").read_bytes()
    (run.path / "requests.jsonl").write_bytes(rows[:3000] + b"{oops}\n" + rows[3000:])
    with pytest.raises(InputError, match="line"):
        export_file(RunDir.open(run.path), FileFormat.CSV, out, force=True)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_command_writes_beside_the_run_and_a_folder_of_runs_into_a_folder(run: RunDir, tmp_path: Path, command: Command) -> None:
    answer = command("export", run.path, "--to", "csv")
    assert answer.code == 0
    assert "run.csv: 40 requests" in answer.out
    assert (tmp_path / "run.csv").exists()
    assert "--force" in command("export", run.path, "--to", "csv").err
    many = tmp_path / "many"
    for name in ("x", "y"):
        small_run(many / name)
    assert command("export", many, "--to", "otlp", "--out", tmp_path / "spans").code == 0
    assert sorted(path.name for path in (tmp_path / "spans").iterdir()) == ["x.otlp.jsonl", "y.otlp.jsonl"]
    refused = command("export", many, "--to", "csv", "--out", "-")
    assert (refused.code, "several runs" in refused.err) == (2, True)


def test_mlflow_without_a_store_says_what_to_name(run: RunDir, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    answer = command("export", run.path, "--to", "mlflow")
    assert (answer.code, "MLFLOW_TRACKING_URI" in answer.err) == (2, True)
