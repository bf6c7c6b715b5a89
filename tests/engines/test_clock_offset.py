"""The offset of a far clock is within the bound that is printed, whatever the ways there and back took."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.engines.locust_child.clock_offset import ClockOffset

DELAY_S = st.floats(min_value=0, max_value=5)


@given(st.floats(min_value=-1e6, max_value=1e6), st.lists(st.tuples(DELAY_S, DELAY_S), min_size=1, max_size=30))
def test_the_offset_is_within_its_bound(true_s: float, trips: list[tuple[float, float]]) -> None:
    clock, now_s = ClockOffset(is_shared=False), 100.0
    for there_s, back_s in trips:
        clock.add(now_s, now_s + there_s + true_s, now_s + there_s + back_s)
        now_s += 1
    assert clock.bound_s is not None
    assert abs(clock.offset_s - true_s) <= clock.bound_s + 1e-9 * max(1.0, abs(true_s))
    assert clock.bound_s == pytest.approx(min(there_s + back_s for there_s, back_s in trips) / 2, abs=1e-9)


def test_a_shared_clock_has_no_offset() -> None:
    clock = ClockOffset(is_shared=True)
    clock.add(1.0, 1.2, 1.3)
    assert (clock.offset_s, clock.bound_s) == (0.0, 0.0)
    assert clock.facts()["measured_offset_s"] == pytest.approx(0.05)


def test_what_is_no_round_trip_is_refused() -> None:
    with pytest.raises(ValueError, match="no round trip"):
        ClockOffset(is_shared=False).add(2.0, 0.0, 1.0)
