"""The word at the top of the pages of studies: each state has its own, and only what is proven is green."""

from __future__ import annotations

from typing import Any

import pytest

from loadlab.report.calibration_page import calibration_verdict
from loadlab.report.study_verdicts import fleet_verdict, plan_verdict
from loadlab.report.sweep_page import sweep_verdict


@pytest.mark.parametrize(
    ("chosen", "at_median", "word", "tone"),
    [
        (None, False, "NOTHING HOLDS", "alarm"),
        ({"is_proven": True}, True, "HOLDS AT THE MEDIAN ONLY", "open"),
        ({"is_proven": False}, False, "NOT PROVEN", "open"),
        ({"is_proven": True}, False, "HOLDS", "good"),
    ],
)
def test_a_plan(chosen: Any, at_median: bool, word: str, tone: str) -> None:
    facts = {"max_gpus": 4, "slo_text": "TTFT <= 2.00 s", "rate_per_s": 0.8, "sentence": "so", "notes": []}
    found = plan_verdict({**facts, "chosen": chosen, "at_median": at_median})
    assert (found["word"], found["tone"]) == (word, tone)


@pytest.mark.parametrize(
    ("hours", "word", "tone"),
    [
        (None, "3 REPLICAS: COUNTED, NOT PLAYED", "open"),
        (["held", "broken", "open"], "3 REPLICAS: BROKEN", "alarm"),
        (["held", "open"], "3 REPLICAS: NOT PROVEN IN EVERY HOUR", "open"),
        (["held", "empty"], "3 REPLICAS: HOLDS", "good"),
        (["empty"], "3 REPLICAS: NOT PROVEN IN EVERY HOUR", "open"),
    ],
)
def test_a_fleet(hours: list[str] | None, word: str, tone: str) -> None:
    days = [] if hours is None else [{"name": "static", "about": "always on", "hours": [{"verdict": verdict} for verdict in hours]}]
    facts = {"demand": {"description": "a desk"}, "capacity": {}, "static": {"replicas": 3}, "sentences": ["so"], "notes": [], "unsure": []}
    found = fleet_verdict({**facts, "days": days})
    assert (found["word"], found["tone"]) == (word, tone)


@pytest.mark.parametrize(
    ("static", "late", "lost", "word", "tone"),
    [
        ("held", "broken", "held", "3 REPLICAS: HOLDS ALWAYS ON, MISSED AUTOSCALED", "open"),
        ("held", "held", "broken", "3 REPLICAS: HOLDS ALWAYS ON, MISSED WITH A REGION LOST", "open"),
        ("held", "broken", "broken", "3 REPLICAS: HOLDS ALWAYS ON, MISSED AUTOSCALED AND WITH A REGION LOST", "open"),
        ("broken", "broken", "held", "3 REPLICAS: BROKEN", "alarm"),
        ("held", "held", "held", "3 REPLICAS: HOLDS", "good"),
    ],
)
def test_a_fleet_is_not_green_where_another_simulated_day_missed_the_slo(static: str, late: str, lost: str, word: str, tone: str) -> None:
    """An autoscaler that is late, or a region that is lost, is told in words; the always-on day alone makes nothing green."""
    days = [
        {"name": name, "about": f"as {name}", "hours": [{"verdict": verdict} for verdict in ("held", last, last)]}
        for name, last in (("static", static), ("late", late), ("static, eu lost", lost))
    ]
    facts = {"demand": {"description": "a desk"}, "capacity": {}, "static": {"replicas": 3}, "sentences": ["so"], "notes": [], "unsure": []}
    found = fleet_verdict({**facts, "days": days})
    assert (found["word"], found["tone"]) == (word, tone)
    answer = dict(found["rows"])["Answer"]
    assert ("A simulated day missed the SLO: late (as late), in hours 1 to 2." in answer) == (late == "broken")
    assert ("A simulated day missed the SLO: static, eu lost (as static, eu lost), in hours 1 to 2." in answer) == (lost == "broken")


@pytest.mark.parametrize(
    ("at_edge", "word", "tone"),
    [(3, "3 REPLICAS: HOLDS", "good"), (5, "3 REPLICAS: HOLDS AT THE MEDIAN ONLY, 5 AT THE SLOW EDGE", "open")],
)
def test_a_fleet_is_not_green_where_the_slow_edge_asks_for_more(at_edge: int, word: str, tone: str) -> None:
    days = [{"name": "static", "about": "always on", "hours": [{"verdict": "held"}]}]
    facts = {"demand": {"description": "a desk"}, "static": {"replicas": 3}, "sentences": ["so"], "notes": [], "unsure": []}
    found = fleet_verdict({**facts, "days": days, "capacity": {"slow_edge": {"replicas": at_edge}}})
    assert (found["word"], found["tone"]) == (word, tone)


def point(**values: Any) -> dict[str, Any]:
    numbers = {"success_rate": 1.0, "attainment": 0.99, "ttft_p95_s": 0.5, "overloaded": False, "n": 60, "seed": 1}
    return numbers | values


def sweep(rows: list[dict[str, Any]], found: tuple[dict[str, Any], ...] = (), slo: str = "TTFT <= 2.00 s") -> dict[str, Any]:
    return {
        "axes": ["tp"], "rows": rows, "capacities_per_s": list(found), "slo_text": slo, "target_share": 0.9, "target": "sim:c.toml",
        "conditions": [],
    }  # fmt: skip


KNOWN, UNKNOWN = {"value": 1.464, "low": 0.7, "high": None, "note": ""}, {"value": None, "low": None, "high": None, "note": "not bracketed"}


@pytest.mark.parametrize(
    ("summary", "word", "tone"),
    [
        (sweep([point(tp=1)], ({"at": {"tp": 1}, **KNOWN}, {"at": {"tp": 2}, **UNKNOWN})), "CAPACITY 1.46/s; 1 OF 2 NOT BRACKETED", "open"),
        (sweep([point(tp=1)], ({"at": {}, **KNOWN}, {"at": {}, **KNOWN, "value": 3.0})), "CAPACITY 1.46 TO 3/s", "open"),
        (sweep([point(tp=1)], ({"at": {}, **UNKNOWN},)), "NOT BRACKETED", "open"),
        (sweep([point(tp=1), point(tp=2, attainment=0.2)]), "1 OF 2 CELLS AT THE SLO", "open"),
        (sweep([point(tp=1, attainment=0.2)]), "0 OF 1 CELLS AT THE SLO", "alarm"),
        (sweep([point(tp=1, attainment=None)], slo=""), "1 CELLS, NOT JUDGED", "open"),
    ],
)
def test_a_sweep(summary: Any, word: str, tone: str) -> None:
    found = sweep_verdict(summary)
    assert (found["word"], found["tone"]) == (word, tone)


def test_a_sweep_says_what_makes_its_numbers_weak() -> None:
    rows = [point(tp=1), point(tp=1, seed=2, overloaded=True), point(tp=2, success_rate=0.5, run="runs/x")]
    sure = " ".join(dict(sweep_verdict(sweep(rows))["rows"])["How sure"])
    for words in (
        "Some cells have one run",
        "In 1 of 2 cells a run was overloaded",
        "In 1 of 3 runs requests failed",
        "valid",
        "prediction",
    ):
        assert words in sure


@pytest.mark.parametrize(
    ("runs", "refused", "word", "tone"),
    [
        (1, False, "WITHIN 3.3 % OF 1 RUN ALONE", "open"),
        (2, False, "WITHIN 3.3 % OF 2 RUNS ALONE", "open"),
        (3, False, "WITHIN 3.3 %", "good"),
        (3, True, "REFUSED", "alarm"),
    ],
)
def test_a_calibration(runs: int, refused: bool, word: str, tone: str) -> None:
    facts = {"cluster": "c.toml", "sentence": "so", "what_next": "", "left_out": [{"name": "r", "why": "partial"}]}
    figures = [{"low": 1.0, "high": 2.0, "after": after} for after in (1.5, 2.5)] + [{"low": 1.0, "high": None, "after": 1.0}]
    measured = [{"rate_per_s": rate, "n": 100, "is_simulated": False} for rate in range(1, runs + 1)]
    found = calibration_verdict(
        facts | {"is_refused": refused, "calibration": {"worst_difference": 0.033}, "figures": figures, "runs": measured}
    )
    assert (found["word"], found["tone"]) == (word, tone)
    sure = " ".join(dict(found["rows"])["How sure"])
    assert f"Of 3 figures of {100 * runs} requests 2 have a 90 % interval; 1 are simulated within it" in sure
    assert "1 runs were left out" in sure
