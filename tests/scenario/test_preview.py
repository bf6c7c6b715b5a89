"""A plan in figures, and drawn."""

from __future__ import annotations

import numpy as np

from loadlab.report.traffic import bars, draw_preview
from loadlab.scenario.arrivals import Constant
from loadlab.scenario.load import ClosedLoop, OpenLoop
from loadlab.scenario.preview import preview
from tests.scenario.test_applications import CHAT, SHAPES, plan


def test_the_figures_of_a_constant_load_can_be_done_in_the_head() -> None:
    seen = preview(plan(OpenLoop(arrivals=Constant(rate_per_s=2), requests=241), a=CHAT), bins=12)
    assert (seen.requests, seen.by_the_clock, seen.span_s) == (241, 241, 120)
    np.testing.assert_allclose(seen.rates_per_s, [2] * 11 + [2.1])
    assert seen.dispersions == {1: 0.0}
    assert seen.classes[0].first_minute.tolist() == [2] * 60
    assert 10 <= seen.classes[0].prompt_tokens[0] <= seen.classes[0].prompt_tokens[1] <= 20


def test_who_follows_an_answer_is_counted_apart() -> None:
    lines = draw_preview(preview(plan(ClosedLoop(users=4, requests=40), a=CHAT)))
    assert "4 due by the clock" in lines[1]
    assert "36 follow an answer" in lines[1]


def test_every_step_has_a_line_and_none_is_wider_than_a_terminal() -> None:
    lines = draw_preview(preview(plan(a_class_with_a_name_that_is_far_too_long_for_a_table=SHAPES["everything"])))
    assert max(map(len, lines)) <= 80
    assert sum("a_class_with" in line for line in lines) >= 6


def test_what_is_above_zero_never_looks_like_zero() -> None:
    assert bars(np.array([0, 1, 500, 1000])) == " ▁▄█"
    assert bars(np.array([0, 0])) == "  "
