"""From levels to a rate with an interval, and to the words for where there is none."""

from __future__ import annotations

import pytest

from loadlab.planning.capacity_curve import fit_capacity
from loadlab.planning.levels import Level


def levels(*shares: tuple[float, float], n: int = 10_000) -> list[Level]:
    return [Level(rate_per_s=rate, n=n, bad=round(share * n), tau=1.0) for rate, share in shares]


def test_the_root_lies_where_the_curve_meets_the_budget() -> None:
    found = fit_capacity(levels((1, 0.001), (2, 0.01), (4, 0.1)), 0.01)
    assert found.rate_per_s == pytest.approx(2)
    assert found.low_per_s is not None
    assert found.high_per_s is not None
    assert 1 < found.low_per_s < 2 < found.high_per_s < 4


def test_more_requests_narrow_the_interval() -> None:
    wide, narrow = (fit_capacity(levels((1, 0.001), (2, 0.01), (4, 0.1), n=n), 0.01) for n in (2_000, 200_000))
    spans = [(found.high_per_s or 0) - (found.low_per_s or 0) for found in (wide, narrow)]
    assert spans[1] < spans[0] / 5


@pytest.mark.parametrize(
    ("shares", "says"),
    [
        ([(1, 0.001), (2, 0.002)], "every rate measured holds, up to 2/s; measure higher"),
        ([(1, 0.1), (2, 0.2)], "no rate measured holds, down to 1/s; measure lower"),
    ],
)
def test_outside_the_levels_nothing_is_claimed(shares: list[tuple[float, float]], says: str) -> None:
    found = fit_capacity(levels(*shares), 0.01)
    assert (found.rate_per_s, found.note) == (None, f"not bracketed: {says} rates")


def test_noise_against_the_trend_is_smoothed_by_weight() -> None:
    found = fit_capacity(levels((1, 0.002), (2, 0.008), (3, 0.006), (4, 0.05)), 0.01)
    assert found.fitted[1] == pytest.approx(found.fitted[2])
    assert 3 < (found.rate_per_s or 0) < 4


def test_an_overloaded_level_bounds_from_above_whatever_its_share() -> None:
    calm = levels((1, 0.001), (2, 0.002))
    overloaded = Level(rate_per_s=3.0, n=500, bad=1, tau=1.0, is_overloaded=True)
    found = fit_capacity([*calm, overloaded], 0.01)
    assert 2 < (found.rate_per_s or 0) < 3


def test_levels_of_one_rate_are_one_level() -> None:
    found = fit_capacity([*levels((1, 0.001)), *levels((2, 0.02)), *levels((2, 0.0)), *levels((4, 0.1))], 0.01)
    assert len(found.levels) == 3
    assert found.rate_per_s == pytest.approx(2)


def test_a_run_that_saw_no_burst_is_not_trusted_more_than_lower_rates() -> None:
    seen = Level(rate_per_s=1.0, n=8000, bad=20, tau=40.0)
    lucky = Level(rate_per_s=2.0, n=2000, bad=8, tau=1.5)
    assert fit_capacity([seen, lucky], 0.01).levels[1].tau > 10
