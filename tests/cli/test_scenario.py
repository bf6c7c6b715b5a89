"""`loadlab scenario` and `loadlab new` as a shell runs them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from loadlab.scenario.build import build_plan
from loadlab.scenario.files import load_scenario
from loadlab.scenario.library import Entry, entries, shipped_folder
from loadlab.scenario.template import Application
from tests.cli.command import Command

SHIPPED = entries(shipped_folder())


def test_list_shows_names_and_questions(command: Command) -> None:
    answer = command("scenario", "list")
    assert answer.code == 0
    assert "support/insurer" in answer.out
    assert "t4-study (campaign)" in answer.out
    rows = json.loads(command("scenario", "list", "--json").out)
    assert {"name", "path", "is_campaign", "description", "question", "answer", "command"} == set(rows[0])


def test_show_tells_question_command_and_plan(command: Command) -> None:
    answer = command("scenario", "show", "insurer")
    assert answer.code == 0
    for words in (
        "question: can a 34B",
        "answer: compare class",
        "run: loadlab run scenarios/support/insurer.toml",
        "support/expert",
        "dispersion",
    ):
        assert words in answer.out
    assert all(len(line) <= 80 for line in answer.out.splitlines() if not line.startswith(("question", "answer", "run", "file")))
    (plan,) = json.loads(command("scenario", "show", "insurer", "--json").out)["plans"]
    assert plan["classes"]["support/expert"]["requests"] == 100
    assert plan["digest"] == build_plan(load_scenario(Path("scenarios/support/insurer.toml")), 1).digest


def test_show_of_a_campaign_tells_each_experiment(command: Command) -> None:
    answer = command("scenario", "show", "t4-study")
    assert answer.out.count("requests:") == 19


def test_plot_draws_in_the_terminal_and_into_files(command: Command, tmp_path: Path) -> None:
    for ending, begin in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        file = tmp_path / f"week{ending}"
        answer = command("scenario", "plot", "weeks/week", "--out", file)
        assert answer.code == 0, answer.err
        assert "first minute" in answer.out
        assert file.read_bytes().startswith(begin)
    assert command("scenario", "plot", "t4-study", "--experiment", "E01").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("plot", "smoke", "--out", "x.pdf"), "--out = 'x.pdf' must end in .png or .svg"),
        (("plot", "t4-study", "--out", "x.png"), "--experiment must name one experiment of t4-study: E01, E02"),
        (("plot", "t4-study", "--experiment", "E99"), "--experiment must name one experiment"),
        (("show", "insurerr"), "Did you mean insurer?"),
        (("list", "nowhere"), "nowhere: does not exist"),
        (("check", "nowhere"), "nowhere: does not exist"),
    ],
)
def test_what_cannot_be_done_is_said(command: Command, arguments: tuple[str, ...], words: str) -> None:
    answer = command("scenario", *arguments)
    assert answer.code == 2
    assert words in answer.err


def test_check_exits_2_where_one_file_is_bad(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('schema = "loadlab/scenario/1"\n')
    answer = command("scenario", "check", tmp_path)
    assert (answer.code, answer.err) == (2, "1 files, 1 bad\n")
    assert answer.out.startswith("bad   ")
    assert command("scenario", "check", "scenarios/smoke.toml").code == 0


def test_every_shipped_file_is_sound(command: Command) -> None:
    answer = command("scenario", "check")
    assert answer.code == 0, answer.out
    assert "bad" not in answer.out


def test_without_a_target_the_scenarios_own_cluster_is_named(command: Command, tmp_path: Path) -> None:
    answer = command("run", "insurer")
    assert answer.code == 2
    assert "The header of this scenario says --target sim:scenarios/clusters/h100-expert-tier.toml" in answer.err
    mine = tmp_path / "mine.toml"
    mine.write_text(Path("scenarios/smoke.toml").read_text().replace("#   loadlab run", "# "))
    assert "such as --target sim:scenarios/clusters/t4-14b.toml" in command("run", mine).err


@pytest.mark.slow
@pytest.mark.parametrize("entry", [entry for entry in SHIPPED if entry.command and entry.name != "replay"], ids=lambda entry: entry.name)
def test_every_ready_scenario_runs_as_its_header_says_and_answers(command: Command, entry: Entry, tmp_path: Path) -> None:
    """Classes side by side where there are several, windows where the load changes; 3 CPU-seconds each, 16 the longest."""
    answer = command(*shlex.split(entry.command)[1:], "--out", tmp_path / "run", "--no-report")
    assert answer.code == 0, answer.err
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["status"] == "complete"
    for run in summary.get("experiments", [summary]):
        assert run["totals"]["ok"] > 0
        assert run["totals"]["unknown"] == run["totals"]["not_sent"] == 0
    if not entry.is_campaign:
        assert ("By class" in answer.out) == ("class" in summary["groups"])
        assert ("Over time" in answer.out) >= (not summary["over_time"]["is_steady"])


def test_a_shipped_scenario_runs_by_name(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = command("run", "smoke", "--target", "sim:t4-14b", "--out", tmp_path / "run", "--no-report", "-q")
    assert answer.code == 0, answer.err
    assert (tmp_path / "run" / "summary.json").exists()


@pytest.mark.parametrize("application", Application)
@pytest.mark.parametrize("load", [("--rate", "120/min", "--cv", "3", "--duration", "2min"), ("--users", "4")])
def test_new_writes_a_scenario_that_becomes_a_plan(
    command: Command, tmp_path: Path, application: Application, load: tuple[str, ...]
) -> None:
    file = tmp_path / "mine.toml"
    answer = command("new", file, "--application", application, "--model", "m", "--ttft", "1s", *load)
    if load[0] == "--users" and application in (Application.SESSIONS, Application.AGENT):
        assert answer.code == 2
        assert 'must be left out with load.kind = "closed_loop"' in answer.err
        assert not file.exists()
        return
    assert answer.code == 0, answer.err
    scenario = load_scenario(file)
    assert len(build_plan(scenario, 1)) >= 80
    assert scenario.name == "mine"
    assert file.read_text().count("#") >= 4


def test_new_never_writes_over_a_file_unless_told(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    assert command("new", file).code == 0
    before = file.read_text()
    assert command("new", file, "--model", "other").code == 2
    assert file.read_text() == before
    assert command("new", file, "--model", "other", "--force").code == 0
    assert '"other"' in file.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x.txt",), "FILE = 'x.txt' must end in .toml"),
        (("x.toml", "--rate", "2", "--users", "3"), "--rate and --users cannot be given together"),
        (("x.toml", "--rate", "fast"), "--rate = 'fast' is not a number"),
        (("x.toml", "--cv", "1000"), "cv = 1000 must be > 0, from 0.01 to 100"),
        (("x.toml", "--duration", "long"), "load.duration_s = 'long' is not a number with a unit"),
        (("x.toml", "--model", 'a"b'), "cannot hold quotes"),
    ],
)
def test_new_says_what_it_cannot_write(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = command("new", *arguments)
    assert answer.code == 2
    assert words in answer.err
    assert list(tmp_path.iterdir()) == []
