"""`over_time`: windows of due time, who was in flight in them, and where they are shown."""

from __future__ import annotations

from typing import Any

import pytest

from loadlab.analysis.table import build_table
from loadlab.report.over_time import MAX_WINDOWS, is_steady, is_worth_a_table, over_time_block, over_time_columns, over_time_note
from tests.record.examples import five_requests, ok

POISSON, SPIKE = {"kind": "poisson", "rate_per_s": 1}, {"kind": "spike", "base_per_s": 1}


@pytest.mark.parametrize(
    ("scenario", "steady"),
    [
        ({}, True),
        ({"load": {"kind": "closed_loop"}}, True),
        ({"load": {"kind": "open_loop", "arrivals": POISSON}}, True),
        ({"load": {"kind": "open_loop", "arrivals": SPIKE}}, False),
        ({"load": {"kind": "open_loop", "arrivals": POISSON}, "classes": {"batch": {"arrivals": SPIKE}}}, False),
        ({"load": {"kind": "replay"}}, False),
    ],
)
def test_a_load_is_steady_where_nothing_in_it_changes_with_time(scenario: dict[str, Any], steady: bool) -> None:
    assert is_steady(scenario) is steady


def test_every_request_is_in_the_window_in_which_it_became_due() -> None:
    table = build_table(five_requests())
    found = over_time_block(table, {})
    assert found["width_s"] == 1
    assert sum(window["due"] for window in found["windows"]) == 5
    assert sum(window["ok"] for window in found["windows"]) == sum(window["ttft_s"]["n"] for window in found["windows"]) == 3


def test_in_flight_is_the_time_mean_and_latencies_are_those_of_the_window() -> None:
    """Sent at 0 and 1 s, ended at 1.5 and 2.5 s; the last window holds what is due at its very end."""
    found = over_time_block(build_table([ok(0), ok(1), ok(2)]), {})
    assert [window["due"] for window in found["windows"]] == [1, 2]
    assert [window["in_flight"] for window in found["windows"]] == pytest.approx([1.0, 1.5])
    assert found["windows"][0]["e2e_s"]["p95"] == pytest.approx(1.5)


@pytest.mark.parametrize("count", [1, 13, 100, 1000])
def test_windows_are_few_and_of_round_width(count: int) -> None:
    found = over_time_block(build_table([ok(seq) for seq in range(count)]), {})
    assert len(found["windows"]) <= MAX_WINDOWS
    assert sum(window["due"] for window in found["windows"]) == count


def test_a_run_without_times_has_one_empty_window() -> None:
    (window,) = over_time_block(build_table([]), {})["windows"]
    assert (window["due"], window["ttft_s"]["p50"]) == (0, None)


def test_a_table_is_shown_where_the_load_changes_or_a_backlog_grew() -> None:
    block = over_time_block(build_table([ok(seq) for seq in range(30)]), {"load": {"kind": "open_loop", "arrivals": SPIKE}})
    calm, ill = ({"steadiness": {"overload": {"is_overloaded": grew}}} for grew in (None, True))
    assert is_worth_a_table(calm | {"over_time": block})
    assert not is_worth_a_table(calm | {"over_time": block | {"is_steady": True}})
    assert is_worth_a_table(ill | {"over_time": block | {"is_steady": True}})
    assert not is_worth_a_table(calm | {"over_time": None})
    columns = list(over_time_columns({"over_time": block}))
    assert columns[0].cells[:2] == ["0 s", "5 s"]
    assert {len(column.cells) for column in columns} == {len(block["windows"])}
    assert "the largest" in over_time_note({"over_time": block})
