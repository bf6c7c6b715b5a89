"""`report.md`: the verdict, the numbers with their intervals, the command; hostile text is text."""

from __future__ import annotations

from pathlib import Path

from loadlab.report.files import save_campaign_report, save_run_report
from loadlab.report.run_markdown import run_markdown
from loadlab.report.summary import summarise_run
from tests.record.examples import small_run
from tests.report.examples import HOSTILE, one_not_run, small_campaign


def test_a_run(tmp_path: Path) -> None:
    summary = summarise_run(small_run(tmp_path / "run"))
    page = run_markdown(summary)
    assert page.startswith(f"## {summary['name']}: NO LIMIT ASKED\n")
    assert f"| TTFT, s | {summary['metrics']['ttft_s']['n']} |" in page
    assert "To repeat it: `loadlab run" in page


def test_a_campaign_has_a_row_for_each_experiment(tmp_path: Path) -> None:
    summary, _ = small_campaign(tmp_path, not_run=[one_not_run()])
    rows = [line for line in run_markdown(summary).splitlines() if line.startswith("| E0")]
    assert [row.split(" | ")[0] for row in rows] == ["| E01 alone", "| E02 crowded", "| E03 never"]
    assert len({row.count(" | ") for row in rows}) == 1


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    page = run_markdown(summarise_run(small_run(tmp_path / "run", name=HOSTILE, target=HOSTILE)))
    assert "<script" not in page.replace("\\<", "")
    assert "\x1b" not in page


def test_figures_become_files_where_they_are_asked_for(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    save_run_report(run, summarise_run(run))
    assert not (run.path / "figures").exists()
    save_run_report(run, summarise_run(run), figure_files=True)
    assert sorted(path.name for path in (run.path / "figures").iterdir()) == [
        "latencies.png",
        "latencies.svg",
        "timeline.png",
        "timeline.svg",
    ]
    assert (run.path / "figures" / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert (run.path / "figures" / "timeline.svg").read_bytes().startswith(b"<svg xmlns=")


def test_those_of_a_campaign_carry_the_experiment(tmp_path: Path) -> None:
    summary, runs = small_campaign(tmp_path)
    save_campaign_report(tmp_path, summary, runs, figure_files=True)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"experiments.svg", "E01-latencies.png", "E02-timeline.svg"} <= names
    assert (tmp_path / "report.md").exists()
