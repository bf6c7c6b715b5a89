"""A sweep's panels share their colours, and its screen names the plans that it ran."""

from __future__ import annotations

import io
import re

import pandas as pd
import pytest
from matplotlib.figure import Figure
from rich.console import Console

from loadlab.report import figures_sweep
from loadlab.report.sweep import print_sweep

AXES = ("rate", "tp", "prompt")
CELLS = pd.DataFrame(
    [
        {"point": i, "rate": r, "tp": t, "prompt": p, "ttft_p95_s": r * p / t, "overloaded": False, "plan_digest": f"sha256:{i:064x}"}
        for i, (r, t, p) in enumerate((r, t, p) for r in (1, 2) for t in (1, 2) for p in (1, 10))
    ]
)


def test_one_colour_is_one_number_in_every_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(figures_sweep, "as_svg", lambda figure, title: drawn.append(figure) or title)
    figures_sweep.draw_sweep(CELLS, AXES, "ttft_p95_s", "s")
    limits = [at.images[0].get_clim() for at in drawn[0].axes if at.images]
    assert limits == [(0.5, 20.0)] * 2


def test_the_screen_says_how_many_plans_and_how_their_digests_begin() -> None:
    screen = io.StringIO()
    print_sweep(CELLS, AXES, Console(file=screen, width=80))
    assert re.search(r"8 plans, from 00000000 to\s+00000000", screen.getvalue())
