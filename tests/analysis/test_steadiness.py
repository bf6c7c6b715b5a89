"""Warm-up and overload on series whose answer is known, and Mann-Kendall against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from loadlab.analysis.steadiness import overload, rising_p, warm_up_length
from loadlab.analysis.table import build_table
from tests.record.examples import ok


def test_a_step_down_after_forty_values_is_the_warm_up() -> None:
    assert warm_up_length(np.array([9.0] * 40 + [1.0, 1.1] * 480)) == 40


def test_a_series_that_starts_steady_has_no_warm_up() -> None:
    assert warm_up_length(np.array([1.0, 1.1] * 500)) == 0


def test_a_series_that_keeps_rising_never_settles() -> None:
    assert warm_up_length(np.linspace(0.0, 1.0, 1000) ** 3) is None


@pytest.mark.parametrize("n", [0, 1, 9])
def test_too_short_a_series_settles_nothing(n: int) -> None:
    assert warm_up_length(np.ones(n)) is None


@given(st.lists(st.floats(0, 1e3), min_size=20, max_size=200), st.floats(0.1, 1e3), st.floats(-1e3, 1e3))
def test_warm_up_does_not_depend_on_unit_or_offset(values: list[float], unit: float, offset: float) -> None:
    rng = np.random.default_rng(len(values))
    series = np.array(values) + rng.random(len(values))  # no two of its errors are equal
    assert warm_up_length(series * unit + offset) == warm_up_length(series)


@given(st.permutations(range(10)))
def test_mann_kendall_is_scipys_exact_test_of_kendalls_tau_with_time(order: list[int]) -> None:
    theirs = kendalltau(range(10), order, method="exact", alternative="greater").pvalue
    assert rising_p(np.array(order, dtype=np.float64)) == pytest.approx(theirs, abs=1e-12)


def test_equal_blocks_rise_no_more_than_they_fall() -> None:
    assert rising_p(np.ones(10)) > 0.5


def queue(n: int, service_s: float) -> list:
    """One server, an arrival a second, each served in service_s, first come first served."""
    free, records = 0.0, []
    for i in range(n):
        free = max(free, float(i)) + service_s
        records.append(ok(i, due_s=float(i), ttft_s=free - i, tokens=1))
    return records


def test_a_server_ten_per_cent_too_slow_is_overloaded() -> None:
    found = overload(build_table(queue(500, 1.1)))
    assert found is not None
    assert found.is_overloaded
    assert found.backlog_growth == pytest.approx(1 - 1 / 1.1, rel=0.05)


def test_a_server_that_keeps_up_is_not() -> None:
    found = overload(build_table(queue(500, 0.9)))
    assert found is not None
    assert not found.is_overloaded


def test_a_target_that_still_fills_is_not_overloaded() -> None:
    """Ten arrivals a second of 10 to 20 s each: the more are in flight, the longer, until a hundred have come."""
    records = [ok(i, due_s=i / 10, ttft_s=10 + min(i, 100) / 10, tokens=1) for i in range(400)]
    found = overload(build_table(records))
    assert found is not None
    assert not found.is_overloaded


def test_ninety_nine_requests_say_nothing_of_overload() -> None:
    assert overload(build_table(queue(99, 1.1))) is None
