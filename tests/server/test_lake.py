"""The log of a server is a run that `loadlab report` reads, with a record of each request beside its rows."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from loadlab.errors import InputError
from loadlab.record.manifest import Status
from loadlab.record.request import Cause
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import summarise_run
from loadlab.server.gateway_spec import GatewaySpec, LakeSpec
from loadlab.simulator.spec import ClusterSpec, Pipeline
from tests.server.running import plain_cluster, running

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "one two"}], "max_tokens": 4, "ignore_eos": True}


def staged() -> ClusterSpec:
    pipeline = Pipeline(authenticate_s=0.01, tokenise_per_token_s=0.005, post_process_s=0.02, log_s=0.5)
    return dataclasses.replace(plain_cluster(), pipeline=pipeline)


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "lake.jsonl").read_text().splitlines()]


def test_every_request_has_a_row_and_a_record(tmp_path: Path) -> None:
    spec = dataclasses.replace(
        plain_cluster(), pipeline=Pipeline(authenticate_s=0.01, tokenise_per_token_s=0.005, post_process_s=0.02, log_s=0.5)
    )
    gateway = GatewaySpec(lake=LakeSpec(retention_s=86400, residency="eu"))
    with running(spec, speed=20, gateway=gateway, log=tmp_path / "log") as server:
        status, answer = server.post(
            "/v1/chat/completions", BODY, **{"X-Request-ID": "mine", "X-Loadlab-Session": "7", "traceparent": "00-ab-cd-01"}
        )
        assert status == 200
        server.post("/v1/chat/completions", BODY | {"model": "other"})
        server.post("/v1/completions", {"prompt": ["a", "b"], "max_tokens": 3, "ignore_eos": True})
    run = RunDir.open(tmp_path / "log")
    assert (run.manifest.status, run.manifest.planned, run.manifest.engine) == (Status.COMPLETE, 3, "server")
    first, second, third = run.rows()
    assert (first.kind, first.model, first.session, first.prompt_tokens, first.output_tokens) == ("chat", "m", 7, 2, 4)
    assert first.replica == "p/0"
    assert first.itl_p50_s == pytest.approx(0.01)
    assert (second.cause, second.http_status) == (Cause.CLIENT_ERROR, 404)
    assert (third.prompt_tokens, third.output_tokens) == (2, 6)
    summary = summarise_run(run)
    assert (summary["totals"]["ok"], summary.get("validity")) == (2, None)
    assert run.manifest.client is not None
    assert run.manifest.client["write_lateness_p99_s"] > 0
    assert list(run.timeline())
    lake = records(tmp_path / "log")
    assert [record["seq"] for record in lake] == [0, 1, 2]
    text = answer["choices"][0]["message"]["content"]
    assert lake[0]["answers_sha256"] == [hashlib.sha256(text.encode()).hexdigest()]
    assert (lake[0]["request_id"], lake[0]["trace"], lake[0]["residency"]) == ("mine", "00-ab-cd-01", "eu")
    assert "one two" not in (tmp_path / "log" / "lake.jsonl").read_text()


def test_spans_lie_end_to_end_and_cost_what_the_cluster_says(tmp_path: Path) -> None:
    """Two tokens of prompt: 10 ms to authenticate, 10 ms to tokenise, 20 ms after the last token."""
    spec = dataclasses.replace(
        plain_cluster(), pipeline=Pipeline(authenticate_s=0.01, tokenise_per_token_s=0.005, post_process_s=0.02, log_s=0.5)
    )
    with running(spec, speed=20, log=tmp_path / "log") as server:
        server.post("/v1/chat/completions", BODY)
    (record,) = records(tmp_path / "log")
    spans = {span["name"]: span for span in record["spans"]}
    assert list(spans) == ["authenticate", "tokenise", "filter", "select", "queue", "prefill", "decode", "post_process", "log"]
    lengths = {name: span["duration_s"] for name, span in spans.items()}
    assert [lengths[name] for name in ("authenticate", "tokenise", "prefill", "post_process", "log")] == pytest.approx(
        [0.01, 0.01, 0.01, 0.02, 0.5]
    )
    assert lengths["decode"] == pytest.approx(0.03)
    ends = [span["start_s"] + span["duration_s"] for span in record["spans"]]
    assert [span["start_s"] for span in record["spans"][1:]] == pytest.approx(ends[:-1])


def test_text_is_logged_only_if_asked_for(tmp_path: Path) -> None:
    with running(speed=50, log=tmp_path / "log", log_text=True) as server:
        server.post("/v1/chat/completions", BODY)
    (record,) = records(tmp_path / "log")
    assert record["prompts"] == ["one two"]
    assert len(record["answers"][0]) == 16


def test_a_running_log_can_be_read(tmp_path: Path) -> None:
    with running(speed=50, log=tmp_path / "log") as server:
        for _ in range(3):
            server.post("/v1/chat/completions", BODY)
        server.call(lambda: server.server.flush_log())
        assert summarise_run(RunDir.open(tmp_path / "log"))["totals"]["ok"] == 3


def test_a_log_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    with pytest.raises(InputError, match="not empty"), running(log=tmp_path):
        pass
