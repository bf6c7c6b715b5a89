"""The sliders of a break-even's page, moved in a real browser: each state equals what Python computes for it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.cli.command import SCENARIOS, Command, command
from tests.report.browser import BROWSER, WHY_SKIPPED, browser_page, open_file

__all__ = ["command"]
pytestmark = pytest.mark.skipif(BROWSER is None, reason=WHY_SKIPPED)


@pytest.fixture
def page(command: Command, tmp_path: Path) -> Iterator[Page]:
    file = SCENARIOS / "hosting" / "l40s-70b.toml"
    answer = command("break-even", "--capacity", file, "--against", "claude-sonnet-4-6", "--out", tmp_path, "-q")
    assert answer.code == 0, answer.err
    with browser_page() as (page, complaints):
        open_file(page, tmp_path / "report.html", 1200)
        yield page
        assert complaints == []


def state_of(page: Page) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(page.locator(".comparison").get_attribute("data-state") or "")
    return state


def move(page: Page, name: str, position: int) -> None:
    page.locator(f"input[data-name={name}]").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", position
    )


def check_against_python(page: Page, command: Command) -> None:
    """Runs the command that the page shows, and compares bills and crossings."""
    shown = page.locator(".live-command").text_content() or ""
    words = shlex.split(shown)
    assert words[:2] == ["loadlab", "break-even"]
    answer = command(*words[1:], "--json", "-q")
    assert answer.code == 0, answer.err
    python, script = json.loads(answer.out)["comparisons"][0], state_of(page)
    at = python["at_volume"]
    assert script["replicas"] == at["replicas"]
    assert script["own_usd"] == pytest.approx(at["own_usd_per_month"], rel=1e-5)
    assert script["api_usd"] == pytest.approx(at["api_usd_per_month"], rel=1e-5)
    permanent = python["crossings"]["permanent_tokens_per_day"]
    assert script["crossings"]["permanent"] == (None if permanent is None else pytest.approx(permanent, rel=1e-5))
    islands = [pytest.approx(span, rel=1e-5) for span in python["crossings"]["own_also_wins"]]
    assert script["crossings"]["islands"] == islands


def test_the_page_opens_on_the_case_itself(page: Page, command: Command) -> None:
    state = state_of(page)
    assert (state["replicas"], round(state["own_usd"], 2), round(state["api_usd"], 2)) == (3, 4774.20, 4927.50)
    assert "for good from 29.07M/day; also from 19.38M/day to 24.81M/day" in (page.locator(".live-verdict").text_content() or "")
    check_against_python(page, command)


def test_every_slider_equals_python_wherever_it_stands(page: Page, command: Command) -> None:
    for moves in (
        {"tokens_per_day": 800},
        {"staff_usd_per_month": 90},
        {"target_utilisation_share": 300, "tokens_per_day": 610},
        {"api_price": 0},  # 1.35 a million: never
        {"api_price": 950, "tokens_per_day": 120},
    ):
        for name, position in moves.items():
            move(page, name, position)
        check_against_python(page, command)
    assert page.locator(".live svg path").count() == 2
