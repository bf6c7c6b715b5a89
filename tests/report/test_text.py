"""Text from outside is cleaned; numbers read as they should."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.report.text import (
    OUTCOME_WORDS,
    CauseLine,
    band_text,
    cause_lines,
    clean_text,
    clean_tree,
    failures_text,
    heading_text,
    look_up,
    percentile_text,
    short_success,
    success_text,
    three_digits,
    whole_percent,
)


@pytest.mark.parametrize(
    ("text", "cleaned", "reason"),
    [
        ("plain", "plain", "nothing to do"),
        ("größer 漢字 ±20 %", "größer 漢字 ±20 %", "letters of any script stay"),
        ("\x1b[31mred\x1b[0m", "\ufffd[31mred\ufffd[0m", "no escape reaches the terminal"),
        ("a\u202egnp.exe", "a\ufffdgnp.exe", "no text runs backwards"),
        ("two\r\nlines\tand", "two lines and", "one line"),
        ("a\u200bb\x00", "a\ufffdb\ufffd", "nothing invisible"),
        ("\x9b31m", "\ufffd31m", "the one-byte escape of 8-bit terminals"),
    ],
)
def test_text_from_outside_is_cleaned(text: str, cleaned: str, reason: str) -> None:
    assert clean_text(text) == cleaned, reason


@given(st.text())
def test_cleaned_text_is_one_printable_line(text: str) -> None:
    cleaned = clean_text(text)
    assert all(c.isprintable() or c in " \u00a0\ufffd" or c.isspace() for c in cleaned)
    assert not set(cleaned) & set("\x1b\x9b\n\r\x07\x08\u202e\u2066")


def test_every_text_of_a_tree_is_cleaned() -> None:
    assert clean_tree({"a\x1b": ["b\x07", {"c": 1}], "d": None}) == {"a\ufffd": ["b\ufffd", {"c": 1}], "d": None}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0, "0.000"),
        (0.0816, "0.082"),
        (0.99951, "1.00"),
        (9.996, "10.0"),
        (99.96, "100"),
        (12345.6, "12,346"),
    ],
)
def test_three_digits(value: float | None, text: str) -> None:
    assert three_digits(value) == text


@pytest.mark.parametrize(("share", "text"), [(None, "-"), (0.0, "0"), (0.413, "41"), (0.9999, "99"), (1.0, "100"), (1.2, "120")])
def test_whole_percent_is_100_only_when_full(share: float | None, text: str) -> None:
    assert whole_percent({"value": share}) == text


def test_a_percentile_that_is_the_maximum_is_marked() -> None:
    metric = {"n": 60, "p50": {"value": 0.4}, "p99": {"value": 1.25}}
    assert (percentile_text(metric, "p50", 1e3), percentile_text(metric, "p99")) == ("400", "1.25*")


def test_success_stands_with_its_interval() -> None:
    assert success_text({"planned": 7, "success_rate": {"value": 0.913, "low": 0.906, "high": 0.919}}) == "91.3 % [90.6, 91.9]"
    nothing = {"success_rate": {"value": None, "low": None, "high": None}}
    assert success_text({"planned": 0} | nothing) == "-"
    assert success_text({"planned": 7} | nothing) == "not run"


@pytest.mark.parametrize(
    ("value", "text", "reason"),
    [
        (1.0, "100", "all of them"),
        (0.999, "99", "rounded down: no failure is rounded away"),
        (0.95, "95", "not below"),
        (0.949, "94!", "below 95 %: marked"),
        (0.29, "29!", "0.29 * 100 is 28.999999999999996"),
        (None, "-", "nothing ran"),
    ],
)
def test_short_success_is_rounded_down_and_marked_where_it_is_low(value: float | None, text: str, reason: str) -> None:
    assert short_success({"success_rate": {"value": value}}) == text, reason


def test_failures_stand_with_their_causes() -> None:
    totals = dict.fromkeys(OUTCOME_WORDS, 0) | {"rejected": 12, "timeout": 3}
    assert failures_text(totals) == "12 rejected, 0 OOM, 3 timed out"
    causes = {"context_length": 3, "queue_full": 9, "deadline": 3}
    assert failures_text(totals, causes) == "12 rejected (context_length 3, queue_full 9), 0 OOM, 3 timed out (deadline 3)"


def test_causes_of_a_campaign_name_their_experiments() -> None:
    experiments = [
        {"id": "E1", "causes": {"deadline": 2}},
        {"id": "E2", "causes": {"queue_full": 1000, "deadline": 1}},
        {"id": "E3", "causes": {}},
    ]
    assert cause_lines(experiments) == [
        CauseLine(outcome="rejected", cause="queue_full", count=1000, experiments="E2"),
        CauseLine(outcome="timed out", cause="deadline", count=3, experiments="E1 2, E2 1"),
    ]


def test_the_heading_says_what_was_run() -> None:
    run: dict[str, Any] = {"name": "a\x1b", "seed": 3, "engine": "simulation", "versions": {"loadlab": "0.1.0"}}
    assert heading_text(run) == "a\ufffd, seed 3, simulated backend, loadlab 0.1.0"
    campaign = run | {"variant": "naive", "experiments": [{"engine": "simulation"}, {}]}
    assert heading_text(campaign) == "a\ufffd, variant naive, seed 3, simulated backend, loadlab 0.1.0"
    assert heading_text(campaign | {"variant": None}) == "a\ufffd, no variant, seed 3, simulated backend, loadlab 0.1.0"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("totals.planned", "7,310"),
        ("experiments", "2"),
        ("totals.absent", "-"),
        (None, "-"),
        ("throughput.x", "12.3"),
        ("name", "a\ufffd"),
    ],
)
def test_look_up_finds_a_figure_by_its_path(path: str | None, text: str) -> None:
    summary: dict[str, Any] = {"totals": {"planned": 7310}, "experiments": [1, 2], "throughput": {"x": {"value": 12.34}}, "name": "a\x1b"}
    assert look_up(summary, path) == text


@pytest.mark.parametrize(
    ("pool", "text"),
    [
        ({}, None),
        ({"label": "fitted"}, "fitted"),
        ({"label": "fitted", "step_time_band": 0.2}, "fitted, band ±20 %"),
        ({"calibration": "datasheet", "band_share": 0.25}, "datasheet, not calibrated, band ±25 %"),
        ({"step_time_band": "10 to 90 %"}, "10 to 90 %"),
    ],
)
def test_band_of_the_simulator(pool: dict[str, Any], text: str | None) -> None:
    assert band_text(pool) == text
