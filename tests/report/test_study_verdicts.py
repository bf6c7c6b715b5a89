"""The word at the top of a plan's and of a fleet's page: each state has its own, and only what is proven is green."""

from __future__ import annotations

from typing import Any

import pytest

from loadlab.report.study_verdicts import fleet_verdict, plan_verdict


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
