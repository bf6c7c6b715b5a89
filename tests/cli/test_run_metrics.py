"""`loadlab run --metrics` against a server of ours: rows, numbers, thresholds, and what both sides say of the same requests."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.command import CLUSTERS, SCENARIOS, Command, command
from tests.cli.test_run_http import small
from tests.http.fault_server import closed_port
from tests.server.running import running

__all__ = ["command"]


def test_the_server_is_heard_beside_the_client(tmp_path: Path, command: Command) -> None:
    out = tmp_path / "out"
    with running() as server:
        url = f"http://127.0.0.1:{server.port}"
        answer = command(
            "run", small(tmp_path, requests=60, model="m"), "--target", url, "--model", "m", "--metrics", url,
            "--metrics", f"http://127.0.0.1:{closed_port()}/metrics",
            "--threshold", "server.kv_usage.max < 95%", "--threshold", "server.preemptions.count == 0", "--out", out,
        )  # fmt: skip
    assert answer.code in (0, 98), answer.err
    summary = json.loads((out / "summary.json").read_bytes())
    silent, heard = sorted(summary["server"]["pages"], key=lambda page: bool(page["came"]))
    assert (heard["failed"], heard["restarts"]) == ({}, 0)
    assert "vLLM" in heard["servers"]
    assert heard["came"] >= 2
    assert (silent["came"], set(silent["failed"])) == (0, {"refused"})
    requests = next(one for one in summary["server"]["agreement"] if one["what"] == "requests")
    assert (requests["client"], requests["told"], requests["verdict"]) == (60, 60, "agrees")
    assert {one["what"] for one in summary["server"]["agreement"]} >= {"ttft_s.mean", "e2e_s.mean", "tpot_s.mean"}
    assert [one["verdict"] for one in summary["thresholds"]] == ["passed", "passed"]
    assert "60 requests OK here, 60 finished by vLLM" in answer.out
    assert "no page came, so that nothing is known of the server" in answer.out
    rows = [json.loads(line) for line in (out / "server.jsonl").read_text().splitlines()]
    assert sum(row.get("decode_tokens", 0) for row in rows) == 60 * 4
    assert min(row["t_s"] for row in rows) == 0
    assert "agree" in (out / "report.html").read_text()
    again = command("report", out, "--json")
    assert json.loads(again.out)["server"] == summary["server"]


def test_a_simulated_target_answers_thresholds_on_the_server_from_its_own_timeline(tmp_path: Path, command: Command) -> None:
    target = f"sim:{CLUSTERS / 't4-14b.toml'}"
    answer = command(
        "run", SCENARIOS / "smoke.toml", "--target", target, "--threshold", "server.kv_usage.max < 95%", "--threshold",
        "server.running.mean > 30", "--no-band", "--no-report", "--out", tmp_path / "out",
    )  # fmt: skip
    verdicts = {one["threshold"]: one["verdict"] for one in json.loads((tmp_path / "out" / "summary.json").read_bytes())["thresholds"]}
    assert verdicts == {"server.kv_usage.max < 95%": "passed", "server.running.mean > 30": "failed"}
    assert answer.code == 99


def test_what_cannot_be_is_refused_before_anything_is_sent(tmp_path: Path, command: Command) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    there = ("run", small(tmp_path), "--out", tmp_path / "out")
    for words, says in (
        (("--target", f"sim:{CLUSTERS / 't4-14b.toml'}", "--metrics", url), "belongs to a target over HTTP"),
        (("--target", url, "--model", "m", "--threshold", "server.kv_usage.max < 95%"), "--metrics http://HOST:PORT/metrics"),
        (("--target", url, "--model", "m", "--metrics", "http://me:hunter2@127.0.0.1/metrics"), "a user, a password or a query"),
    ):
        answer = command(*there, *words)
        assert answer.code == 2
        assert says in answer.err
        assert "hunter2" not in answer.err
    assert not (tmp_path / "out").exists()
