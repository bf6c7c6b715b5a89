"""The first words of a capacity page: a simulated rate is called simulated, and is green only where the band's slow edge holds it too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadlab.report.capacity_page import render_capacity

STUDY = Path(__file__).parents[2] / "reports" / "t4-study" / "capacity" / "capacity.json"


@pytest.mark.parametrize(
    ("changes", "word", "tone"),
    [
        ({"slow_edge_per_s": 0.95}, "HOLDS 0.9/s IN SIMULATION", "good"),
        ({"slow_edge_per_s": 0.62}, "HOLDS 0.9/s IN SIMULATION, NOT AT THE SLOW EDGE", "open"),
        ({"slow_edge_per_s": None, "band_edges": None}, "HOLDS 0.9/s IN SIMULATION", "good"),
        ({"slow_edge_per_s": None, "band_edges": None, "target": "http://127.0.0.1:8000"}, "HOLDS 0.9/s", "good"),
    ],
)
def test_a_certified_rate_is_no_greener_than_its_band(changes: dict[str, Any], word: str, tone: str) -> None:
    page = render_capacity({**json.loads(STUDY.read_text()), **changes}, "<svg></svg>").decode()
    assert f"<strong>{word}</strong>" in page
    assert f'class="verdict {tone}"' in page
