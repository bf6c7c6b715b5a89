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


def shown(summary: dict[str, Any], width: int, *, is_terminal: bool = True) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, color_system=None)
    (print_campaign if "experiments" in summary else print_run)(summary, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 160, 200])
def test_every_line_fits_and_every_number_is_there(tmp_path: Path, width: int) -> None:
    summary, _ = small_campaign(tmp_path)
    for experiment in summary["experiments"]:
        experiment["totals"] |= {"planned": 640, "ok": 571, "rejected": 100, "oom": 123, "timeout": 123, "http_error": 3}
        experiment["metrics"]["e2e_s"]["n"] = 60
    text = shown(summary, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for head in ("success [95 %]", "OOM", "rejected", "timed", "TTFT", "TPOT", "e2e", "tok", "KV", "GPU", "published elsewhere"):
        assert head in text, head
    for number in ("! 60.0 % [23.1, 88.2]", "640", "123", "0.600", "0.700*", "100*", "1.60", "1.70", "5.79"):
        assert text.count(number) >= 2, number
    assert "all requests" in text or width >= 160


def test_below_60_columns_nothing_is_cut(tmp_path: Path) -> None:
    text = shown(small_campaign(tmp_path)[0], 40)
    assert "…" not in text
    for number in ("! 60.0 % [23.1, 88.2]", "0.700*", "1.70*", "5.79"):
        assert text.count(number) >= 2, number


def test_success_is_repeated_beside_the_latencies_of_the_survivors(tmp_path: Path) -> None:
    text = shown(small_campaign(tmp_path)[0], 80)
    latencies = text[text.index("How long they took, and their output: OK requests only") :]
    assert "60!" in latencies
    assert "! below 95 % success: the latencies are those of the requests that got through." in latencies


def test_sentences_are_not_broken_where_no_terminal_reads_them(tmp_path: Path) -> None:
    text = shown(small_campaign(tmp_path)[0], 60, is_terminal=False)
    assert "[..] is a 95 % interval. Requests that queue behind each other are not independent: it counts n / tau of them, not n.\n" in text


def test_causes_stand_under_the_counts(tmp_path: Path) -> None:
    text = shown(small_campaign(tmp_path)[0], 80)
    assert "      2 rejected, queue_full: E01 1, E02 1\n" in text
    assert "      2 timed out, deadline: E01 1, E02 1\n" in text
    assert text.index("queue_full") < text.index("How long they took")


def test_oom_requests_and_oom_events_are_told_apart(tmp_path: Path) -> None:
    summary, _ = small_campaign(tmp_path)
    summary["totals"]["oom"], summary["observed"]["oom_events"] = 12, 3
    assert "OOM events (a replica died): 3; OOM requests (they were on it): 12." in shown(summary, 80)


@pytest.mark.parametrize("width", [60, 80, 160])
def test_campaign_is_the_golden_table(tmp_path: Path, width: int, update_golden: bool) -> None:
    text = "\n".join(line.rstrip() for line in shown(small_campaign(tmp_path)[0], width).splitlines()) + "\n"
    path = GOLDEN / f"campaign-{width}-columns.txt"
    if update_golden:
        path.write_text(text)
    assert text == path.read_text()


def test_a_run_says_what_failed(tmp_path: Path) -> None:
    text = shown(summarise_run(small_run(tmp_path / "run")), 80)
    assert text.startswith("small, seed 1, simulated backend, loadlab 0.0.0\n")
    said = "5 planned, 3 OK = 60.0 % [23.1, 88.2], 1 rejected (queue_full 1), 0 OOM, 1 timed out (deadline 1)"
    assert said in " ".join(text.split())
    assert "OK requests 0.526 [0.202, 0.774]/s, output tokens 5.79" in text
    assert "? inconclusive: n < 300 tau. Requests that would do: TTFT p50/p90/p95/p99 300" in " ".join(text.split())
    assert "datasheet, not calibrated, band ±20 %" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80


def test_a_campaign_that_was_stopped_says_so_first(tmp_path: Path) -> None:
    summary, _ = small_campaign(tmp_path, not_run=[one_not_run()], interrupted=True)
    text = shown(summary, 80)
    assert text.splitlines()[0] == "study, no variant, seed 1, simulated backend, loadlab 0.0.0"
    assert text.splitlines()[1].startswith("study: STOPPED before its end")
    assert "other: 7 not sent." in text
    never = next(line for line in text.splitlines() if line.startswith("E03"))
    assert never.split() == ["E03", "never", "7", "not", "run", "-", "-", "-", "-"]
    total = next(line for line in text.splitlines() if line.split()[:1] == ["total"])
    assert total.split()[1:5] == ["17", "!", "35.3", "%"]
    assert "published elsewhere" not in text


def test_a_missing_sensitivity_says_why(tmp_path: Path) -> None:
    summary, _ = small_campaign(tmp_path, sensitivity=None, sensitivity_note="stopped; --resume makes it")
    assert "Success with other values: stopped; --resume makes it." in shown(summary, 80)


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
    assert "30 s                  50.0 %" in text
