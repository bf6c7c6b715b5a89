"""`loadlab run` over HTTP from the command line: what is refused, what is said, what a campaign leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import SCENARIOS, Command
from tests.engines.null_target import null_target
from tests.http.fault_server import closed_port

CAMPAIGN = """
schema = "loadlab/campaign/1"
name = "two"
[defaults]
timeout_s = 20
load = { kind = "open_loop", requests = 10, arrivals = { kind = "constant", rate_per_s = 40 } }
[defaults.classes.chat]
model = "llm-14b"
prompt_tokens = { kind = "constant", value = 20 }
output_tokens = { kind = "constant", value = 4 }
[experiments.A]
name = "first"
shows = "one"
cluster = "../c.toml"
[experiments.B]
name = "second"
shows = "another"
cluster = "../c.toml"
"""


def small(folder: Path, requests: int = 20, model: str = "llm-14b") -> Path:
    path = folder / "s.toml"
    path.write_text(
        f"""schema = "loadlab/scenario/1"
name = "small"
timeout_s = 20
load = {{ kind = "open_loop", requests = {requests}, arrivals = {{ kind = "constant", rate_per_s = 40 }} }}
[classes.chat]
model = "{model}"
prompt_tokens = {{ kind = "constant", value = 20 }}
output_tokens = {{ kind = "constant", value = 4 }}
"""
    )
    return path


def test_a_run_over_http_has_table_verdict_summary_and_page_like_a_simulated_one(tmp_path: Path, command: Command) -> None:
    with null_target(ttft_s=0.02, gap_s=0.002) as target:
        answer = command("run", small(tmp_path), "--target", f"{target.url}/v1", "--model", "llm-14b=served", "--out", tmp_path / "out")
    assert answer.code in (0, 98), answer.err
    assert answer.out.startswith("small, seed 1, over HTTP, loadlab ")
    for words in ("Dispatch lag p50", "of 40.0 requests/s due", "20 planned, 20 OK", "0 OOMs reported by the server", "`loadlab doctor`"):
        assert words in answer.out, words
    summary = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert (summary["engine"], summary["target"]) == ("locust", target.url)
    assert summary["conditions"][0]["models"] == {"llm-14b": "served"}
    assert summary["validity"]["verdict"] == ("valid" if answer.code == 0 else "invalid")
    assert summary["validity"]["n"] == 20
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Dispatch lag p50" in page
    assert "prediction of the simulator" not in page
    rows = (tmp_path / "out" / "requests.jsonl").read_text().splitlines()
    assert {json.loads(row)["model"] for row in rows} == {"served"}


STEPS = """
[classes.chat.router]
model = "small"
instructions_tokens = 10
output_tokens = { kind = "constant", value = 2 }
[classes.chat.fan_out]
share = 1
models = ["second", "third"]
arbiter = { model = "judge", instructions_tokens = 10, output_tokens = { kind = "constant", value = 3 } }
[classes.chat.escalation]
share = 1
model = "expert"
output_tokens = { kind = "constant", value = 4 }
"""


def test_the_steps_of_an_application_are_sent_each_to_its_model_once_what_it_waits_for_has_ended(tmp_path: Path, command: Command) -> None:
    path = small(tmp_path, requests=3)
    path.write_text(path.read_text() + STEPS)
    with null_target(ttft_s=0.02, gap_s=0.002) as target:
        answer = command("run", path, "--target", target.url, "--model", "x=x", "--out", tmp_path / "out", "--no-report")
    assert answer.code in (0, 98), answer.err
    rows = [json.loads(row) for row in (tmp_path / "out" / "requests.jsonl").read_text().splitlines()]
    assert {row["outcome"] for row in rows} == {"ok"}
    of = {name: [row for row in rows if row["class"] == name] for name in {row["class"] for row in rows}}
    assert {name: len(found) for name, found in of.items()} == {
        "chat": 3, "chat/route": 3, "chat/check": 6, "chat/arbiter": 3, "chat/expert": 3,
    }  # fmt: skip
    assert {row["model"] for row in of["chat/check"]} == {"second", "third"}
    for i, asked in enumerate(of["chat"]):
        assert asked["scheduled_s"] >= of["chat/route"][i]["finished_s"]
        checks = of["chat/check"][2 * i : 2 * i + 2]
        assert of["chat/arbiter"][i]["scheduled_s"] >= max(row["finished_s"] for row in (asked, *checks))
    assert "chat/arbiter" in answer.out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--target", "http://192.0.2.1:9", "--model", "m"], "20 requests, up to 40 requests/s on average, to http://192.0.2.1:9"),
        (["--target", "http://127.0.0.1:9", "--model", "m", "--insecure"], "--insecure has no meaning"),
        (["--target", "http://127.0.0.1:9", "--model", "m", "--abort-on", "bad"], "must read like"),
        (["--target", "http://127.0.0.1:9", "--model", "m", "--idle-timeout", "soon"], "--idle-timeout"),
        (["--target", "http://127.0.0.1:9", "--model", "a", "--model", "b"], "must be NAME (once) or OLD=NAME"),
        (["--target", "http://127.0.0.1:9", "--model", "m", "--api-key-env", "LOADLAB_NO_SUCH"], "empty or not set"),
    ],
)
def test_what_cannot_be_loaded_is_refused_before_anything_is_written(tmp_path: Path, command: Command, flags: list[str], says: str) -> None:
    answer = command("run", small(tmp_path), *flags, "--out", tmp_path / "out")
    assert (answer.code, says in answer.err, (tmp_path / "out").exists()) == (2, True, False), answer.err


def test_a_campaign_takes_one_endpoint_for_all_and_is_resumed(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "campaign"
    folder.mkdir()
    (folder / "campaign.toml").write_text(CAMPAIGN)
    (tmp_path / "c.toml").write_text((SCENARIOS / "clusters" / "t4-14b.toml").read_text())
    with null_target(ttft_s=0.02) as target:
        flags = ("--target", target.url, "--model", "m", "--no-report", "--json")
        answer = command("run", folder, *flags, "--out", tmp_path / "out")
        assert answer.code in (0, 98), answer.err
        again = command("run", folder, *flags, "--resume", tmp_path / "out")
        assert again.code == answer.code
        assert sum(truth.seq != "preflight" for truth in target.truth()) == 20, "nothing was sent again"
    summary = json.loads(answer.out)
    assert [e["validity"]["n"] for e in summary["experiments"]] == [10, 10]
    assert summary["totals"]["ok"] == 20


@pytest.mark.slow
def test_each_run_of_a_campaign_is_spread_over_its_workers(tmp_path: Path, command: Command) -> None:
    folder = tmp_path / "campaign"
    folder.mkdir()
    (folder / "campaign.toml").write_text(CAMPAIGN)
    (tmp_path / "c.toml").write_text((SCENARIOS / "clusters" / "t4-14b.toml").read_text())
    flags = ("--model", "m", "--workers", "2", "--no-report", "--json", "--out", tmp_path / "out")
    with null_target(ttft_s=0.02) as target:
        answer = command("run", folder, "--target", target.url, *flags)
        sent = [int(truth.seq) for truth in target.truth() if truth.seq != "preflight"]
    assert answer.code in (0, 98), answer.err
    assert sorted(sent) == sorted([*range(10)] * 2), "each request of both runs once, whoever sent it"
    runs = [file.parent for file in (tmp_path / "out").rglob("requests.jsonl") if "workers" not in file.parts]
    assert len(runs) == 2
    for run in runs:
        rows = map(json.loads, (run / "requests.jsonl").read_bytes().splitlines())
        assert {row["seq"]: row["worker"] for row in rows} == {seq: seq % 2 for seq in range(10)}


def test_a_campaign_whose_target_is_gone_says_so_and_keeps_a_summary(tmp_path: Path, command: Command) -> None:
    answer = command(
        "run", SCENARIOS / "faults", "--target", f"http://127.0.0.1:{closed_port()}", "--model", "m", "--out", tmp_path / "out"
    )
    assert answer.code == 96
    assert "refused" in answer.err
    summary = json.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert summary["status"] == "aborted"
    assert summary["totals"]["not_sent"] == summary["totals"]["planned"]
