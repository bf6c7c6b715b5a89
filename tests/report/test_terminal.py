"""Tables fit the terminal, say what failed, and let no escape through."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from loadlab.report.summary import summarise_run
from loadlab.report.terminal import print_campaign, print_run
from tests.record.examples import small_run
from tests.report.examples import HOSTILE, one_not_run, small_campaign

GOLDEN = Path(__file__).parents[1] / "golden" / "report"


def shown(summary: dict[str, Any], width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    (print_campaign if "experiments" in summary else print_run)(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 120, 160])
def test_every_line_fits_and_every_number_is_there(tmp_path: Path, width: int) -> None:
    summary, _ = small_campaign(tmp_path)
    for experiment in summary["experiments"]:
        experiment["totals"] |= {"planned": 640, "ok": 571, "rejected": 100, "oom": 123, "timeout": 123, "http_error": 3}
        experiment["metrics"]["e2e_s"]["n"] = 60
    text = shown(summary, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for head in ("success [95 %]", "OOM", "rejected", "timed", "TTFT", "TPOT", "e2e", "tok", "KV", "GPU", "published elsewhere", "total"):
        assert head in text, head


@pytest.mark.parametrize("width", [80, 160])
def test_campaign_is_the_golden_table(tmp_path: Path, width: int, update_golden: bool) -> None:
    text = "\n".join(line.rstrip() for line in shown(small_campaign(tmp_path)[0], width).splitlines()) + "\n"
    path = GOLDEN / f"campaign-{width}-columns.txt"
    if update_golden:
        path.write_text(text)
    assert text == path.read_text()


def test_a_run_says_what_failed(tmp_path: Path) -> None:
    text = shown(summarise_run(small_run(tmp_path / "run")), 80)
    assert "small: 5 planned, 3 OK = 60.0 % [23.1, 88.2], 1 rejected, 0 OOM, 1 timed out" in text
    assert "* the maximum: too few requests for this percentile." in text
    assert "datasheet, not calibrated, band ±20 %" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_a_campaign_that_was_stopped_says_so_first(tmp_path: Path) -> None:
    summary, _ = small_campaign(tmp_path, not_run=[one_not_run()], interrupted=True)
    text = shown(summary, 80)
    assert text.startswith("study: STOPPED before its end")
    assert "other: 7 not sent." in text


def test_no_escape_or_markup_of_a_name_reaches_the_terminal(tmp_path: Path) -> None:
    summary, _ = small_campaign(tmp_path)
    summary["name"] = summary["experiments"][0]["name"] = f"[red]{HOSTILE}"
    summary["published"][0]["source"] = HOSTILE
    for width in (80, 200):
        text = shown(summary, width)
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "[red]" in text


def test_sensitivity_stands_below(tmp_path: Path) -> None:
    text = shown(small_campaign(tmp_path)[0], 80)
    assert "Success by client timeout" in text
    assert "30 s     50.0 % [23.7, 76.3]" in text
