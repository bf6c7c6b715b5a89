"""`loadlab plan`: from files to a cluster that other verbs take; and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.command import CLUSTERS, SCENARIOS, Command

CHAT = SCENARIOS / "hardware" / "70b-on-l40s.toml"
SMALL = ["--gpus", "l40s", "--max-gpus", "4", "--quantisation", "fp8", "--max-running", "256", "--max-batched-tokens", "4096"]


def test_a_plan_from_a_cluster_file_leaves_a_cluster_that_run_takes(command: Command, tmp_path: Path) -> None:
    out = tmp_path / "plan"
    answer = command("plan", CHAT, "--cluster", CLUSTERS / "l40s-70b.toml", *SMALL, "--rate", "0.8/s", "--out", out, "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert found["schema"] == "loadlab/plan/1"
    assert found["chosen"]["gpu"] == "L40S"
    assert found["chosen"]["edges"]["high"]["bad_share"]["high"] <= 0.05
    assert found["chosen"]["plan_digest"].startswith("sha256:")
    assert found["gpus"]["L40S"]["step_scale"][0] < 1 < found["gpus"]["L40S"]["step_scale"][1]
    assert {row["fate"] for row in found["candidates"]} >= {"chosen", "does not fit"}
    short = next(row for row in found["candidates"] if row["fate"] == "does not fit")
    assert short["why"] == f"does not fit by {short['lacking_gib']:.2f} GiB on each GPU"
    assert "of requests are bad [" in answer.err
    assert (out / "plan.svg").read_text().startswith("<svg xmlns=")
    page = (out / "report.html").read_text()
    assert "Every configuration, and why it lost" in page
    assert "[pools.llm.engine]\n" in page, "the cluster file keeps its lines"
    ran = command("run", CHAT, "--target", f"sim:{out / 'cluster.toml'}", "--out", tmp_path / "run", "--no-report", "-q")
    assert ran.code == 0, ran.err


def test_a_load_that_nothing_holds_exits_99_and_says_why(command: Command) -> None:
    answer = command("plan", CHAT, "--model", "llama-3.3-70b-instruct", *SMALL, "--rate", "50/s", "--json")
    assert answer.code == 99
    assert "no cluster of the lattice holds 50 arrivals a second" in answer.err
    found = json.loads(answer.out)
    assert found["chosen"] is None
    assert any(row["why"].startswith("needs more than 4 GPUs: misses ") for row in found["candidates"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gpus", "l40s"], "--model is missing"),
        (["--gpus", "abacus", "--model", "llama-3.3-70b-instruct"], "--gpus = 'abacus' is not in the catalogue"),
        (["--gpus", "l4", "--model", "llama-3.3-70b-instruct"], 'rents has no price of L4: add [rents.NAME] with gpu = "L4"'),
        (["--gpus", "l40s", "--model", "lama"], "model 'lama' is not in the catalogue"),
        (["--gpus", "l40s", "--model", "llama-3.3-70b-instruct", "--rent", "h100-sxm-nebius-2"], "is not in price book"),
        (["--gpus", "l40s", "--model", "llama-3.3-70b-instruct", "--quantisation", "fp7"], "--quantisation = 'fp7' must be among"),
        (["--gpus", "l40s", "--model", "llama-3.3-70b-instruct", "--max-running", "0"], "--max-running = 0 must be whole numbers above 0"),
        (["--gpus", "l40s", "--model", "llama-3.3-70b-instruct", "--rate", "0"], "--rate = 0 must be above 0"),
        (["--gpus", "h100", "--cluster", str(CLUSTERS / "h100-router.toml")], "must have one pool of a catalogue model"),
    ],
)
def test_bad_input_names_what_is_wrong(command: Command, flags: list[str], message: str) -> None:
    answer = command("plan", CHAT, *flags)
    assert answer.code == 2
    assert message in answer.err
    assert "Traceback" not in answer.err


def test_a_scenario_without_an_slo_is_asked_for_one(command: Command, tmp_path: Path) -> None:
    text = CHAT.read_text().replace("[slo]", "[unused]").split("[unused]")
    (tmp_path / "s.toml").write_text(text[0] + text[1][text[1].index("[load]") :])
    answer = command("plan", tmp_path / "s.toml", "--gpus", "l40s", "--model", "llama-3.3-70b-instruct")
    assert answer.code == 2
    assert "has no SLO" in answer.err
