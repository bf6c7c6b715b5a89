"""The box at the top of a page: the worst that is true wins, and every answer has its numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadlab.report.summary import summarise_run
from loadlab.report.verdict_box import MAX_SHOWN, Answer, VerdictBox, verdict_box
from tests.record.examples import small_run
from tests.report.examples import HOSTILE, small_campaign


def threshold(verdict: str, text: str = "ttft.p95 < 2s") -> dict[str, Any]:
    row = {"threshold": text, "verdict": verdict, "leans": "passed", "why": "so it is", "suffices_n": 1234, "unit": "s"}
    return row | {"value": 1.0, "low": 0.9, "high": 2.1}


def slo(low: float, high: float) -> dict[str, Any]:
    return {
        "limits": {"ttft": 2.0},
        "classes": {},
        "target": 0.99,
        "attainment": {"value": (low + high) / 2, "low": low, "high": high},
        "goodput_per_s": {"value": 1.0, "low": None, "high": None},
        "error_budget": {"burn": {"value": None}},
    }


def box_of(tmp_path: Path, **changes: Any) -> VerdictBox:
    return verdict_box(summarise_run(small_run(tmp_path / "run")) | changes)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({}, Answer.NOT_ASKED),
        ({"thresholds": [threshold("passed")]}, Answer.HOLDS),
        ({"thresholds": [threshold("passed"), threshold("undecided")]}, Answer.UNDECIDED),
        ({"thresholds": [threshold("undecided"), threshold("failed")]}, Answer.FAILED),
        ({"slo": slo(0.991, 0.999)}, Answer.HOLDS),
        ({"slo": slo(0.98, 0.995)}, Answer.UNDECIDED),
        ({"slo": slo(0.9, 0.98)}, Answer.FAILED),
        ({"thresholds": [threshold("passed")], "slo": slo(0.9, 0.98)}, Answer.FAILED),
        ({"thresholds": [threshold("passed")], "status": "incomplete"}, Answer.INCOMPLETE),
    ],
)
def test_the_worst_that_is_true_is_the_answer(tmp_path: Path, changes: dict[str, Any], answer: Answer) -> None:
    box = box_of(tmp_path, **changes)
    assert box.answer is answer
    assert box.is_alarm is (answer in (Answer.FAILED, Answer.INCOMPLETE))


def test_a_spoilt_measurement_answers_nothing(tmp_path: Path) -> None:
    summary = summarise_run(small_run(tmp_path / "run", engine="locust"))
    assert summary["validity"] is not None
    summary["validity"]["verdict"] = "invalid"
    box = verdict_box(summary | {"thresholds": [threshold("passed")]})
    assert box.answer is Answer.INVALID
    assert dict(box.rows)["Is the run valid"][1].startswith("INVALID")


def test_failures_are_shown_first_and_the_rest_is_counted(tmp_path: Path) -> None:
    lines = [threshold("passed", f"e2e.p95 < {n}s") for n in range(MAX_SHOWN)] + [threshold("failed")]
    held = dict(box_of(tmp_path, thresholds=lines).rows)["Does it hold"]
    assert held[0].startswith("FAILED ttft.p95 < 2s: 1.00 s [0.900, 2.10]")
    assert held[MAX_SHOWN] == "and 1 more, below"


def test_a_campaign_names_the_experiment(tmp_path: Path) -> None:
    summary, _ = small_campaign(tmp_path)
    summary["experiments"][1]["thresholds"] = [threshold("failed")]
    box = verdict_box(summary)
    assert box.answer is Answer.FAILED
    assert dict(box.rows)["Does it hold"][0].startswith("E02: FAILED ttft.p95 < 2s")


def test_texts_in_it_are_clean(tmp_path: Path) -> None:
    summary = summarise_run(small_run(tmp_path / "run", name=HOSTILE, target=HOSTILE)) | {"thresholds": [threshold("failed", HOSTILE)]}
    said = "".join(line for _, lines in verdict_box(summary).rows for line in lines)
    assert "\x1b" not in said
    assert "\u202e" not in said
