"""Verdicts on the hours of a simulated day: pooled on n / tau, or over draws where an hour breaks in each of them."""

from __future__ import annotations

import pytest

from loadlab.planning.fleet_verdict import Held, Hour, verdict
from loadlab.planning.levels import Level


def hour(*bad: int, n: int = 1000, tau: float = 1.0) -> Hour:
    return Hour(draws=tuple(Level(rate_per_s=1, n=n, bad=count, tau=tau) for count in bad), by_region={})


@pytest.mark.parametrize(
    ("found", "expected", "why"),
    [
        (None, Held.EMPTY, "nothing came"),
        (hour(0, 0, 0), Held.HELD, "0 of 3,000: 0.1 % at most"),
        (hour(0, n=100), Held.OPEN, "0 of 100: 3 % at most"),
        (hour(0, 0, 0, tau=30), Held.OPEN, "3,000 dependent requests say as much as 100"),
        (hour(3, 3, 3), Held.HELD, "9 of 3,000 by n / tau: 0.5 %"),
        (hour(500, 510, 490, tau=500), Held.BROKEN, "half of each draw is bad: no tau hides that"),
        (hour(500, tau=1000), Held.OPEN, "one draw alone cannot tell dependence from lateness"),
        (hour(12, 500, 11, tau=300), Held.OPEN, "one bad draw of three proves nothing"),
        (hour(30, 31, 29, tau=1), Held.BROKEN, "3 % in each"),
    ],
)
def test_an_hour_is_held_broken_or_open(found: Hour | None, expected: Held, why: str) -> None:
    assert verdict(found, 0.01) is expected, why


def test_students_interval_is_that_of_the_tables() -> None:
    """Shares 0.1, 0.2, 0.3: 0.2 +- 2.92 * 0.1 / sqrt(3)."""
    low, high = hour(100, 200, 300).bounds
    assert (low, high) == (pytest.approx(0.2 - 2.91999 * 0.1 / 3**0.5, rel=1e-4), pytest.approx(0.2 + 2.91999 * 0.1 / 3**0.5, rel=1e-4))
