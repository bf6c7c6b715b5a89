"""Steps against a line: golden figures, and the code against a grid of volumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from loadlab.planning.curves import LineCurve, StepCurve, find_crossings, permanent_break_even
from tests.planning.examples import L40S, PREMIUM, lines, own_curves


def test_a_replica_is_whole_and_an_exact_multiple_needs_no_more() -> None:
    own = StepCurve(replica_tokens_per_day=10e6, replica_usd_per_month=100, fixed_usd_per_month=7, spare_replicas=1)
    assert [float(own.replicas(v)) for v in (0, 1, 10e6, 10e6 + 1, 30e6)] == [1, 2, 2, 3, 4]
    assert float(own.usd_per_month(25e6)) == 407
    third = replace(own, replica_tokens_per_day=0.1 * 3)  # 0.30000000000000004
    assert float(third.replicas(0.9)) == 4


def test_islands_lie_below_the_permanent_break_even() -> None:
    found = find_crossings(L40S, PREMIUM)
    assert [(round(i.low_tokens_per_day / 1e6, 2), round(i.high_tokens_per_day / 1e6, 2)) for i in found.islands] == [(19.38, 24.81)]
    assert found.permanent_tokens_per_day == pytest.approx(29.0667e6, rel=1e-5)
    assert found.first_tokens_per_day == found.islands[0].low_tokens_per_day
    assert float(L40S.marginal_usd_per_million) == pytest.approx(2.109, abs=5e-4)


@pytest.mark.parametrize("price", [0.74, 0.88, 2.10])
def test_a_price_below_the_marginal_cost_is_never_beaten(price: float) -> None:
    found = find_crossings(L40S, LineCurve(usd_per_million=price))
    assert (found.islands, found.permanent_tokens_per_day, found.first_tokens_per_day) == ((), None, None)
    assert np.isinf(permanent_break_even(L40S, LineCurve(usd_per_million=price)))


def wins_on_a_grid(own: StepCurve, api: LineCurve, volumes: np.ndarray) -> np.ndarray:
    """Brute force: compares the two bills at each volume."""
    return np.asarray(own.usd_per_month(volumes)) <= np.asarray(api.usd_per_month(volumes)) * (1 + 1e-9)


@given(own_curves, lines)
@example(L40S, PREMIUM)
def test_crossings_equal_those_of_a_grid(own: StepCurve, api: LineCurve) -> None:
    found = find_crossings(own, api)
    assume(found.more_islands == 0)
    capacity = float(own.replica_tokens_per_day)
    last = found.permanent_tokens_per_day or 20 * capacity
    steps = np.arange(0, min(np.ceil(last / capacity) + 3, 400))
    volumes = (steps[:, None] + np.linspace(0.001, 0.999, 23)).ravel() * capacity
    spans = [(i.low_tokens_per_day, i.high_tokens_per_day) for i in found.islands]
    spans += [] if found.permanent_tokens_per_day is None else [(found.permanent_tokens_per_day, np.inf)]
    expected = np.zeros(len(volumes), dtype=bool)
    near = np.zeros(len(volumes), dtype=bool)  # at an edge, floats may say either
    for low, high in spans:
        expected |= (volumes >= low) & (volumes <= high)
        near |= np.isclose(volumes, low, rtol=1e-6) | np.isclose(volumes, high, rtol=1e-6)
    wins = wins_on_a_grid(own, api, volumes)
    assert (wins == expected)[~near].all()


@given(own_curves, lines)
def test_the_array_form_agrees(own: StepCurve, api: LineCurve) -> None:
    permanent = find_crossings(own, api).permanent_tokens_per_day
    assert float(permanent_break_even(own, api)) == pytest.approx(np.inf if permanent is None else permanent)


@given(own_curves, st.lists(st.floats(0, 1e11), min_size=2, max_size=20))
def test_the_bill_never_falls_with_volume(own: StepCurve, volumes: list[float]) -> None:
    bills = np.asarray(own.usd_per_month(np.sort(volumes)))
    assert (np.diff(bills) >= 0).all()


@given(own_curves, lines, st.floats(0.1, 1))
def test_a_cheaper_api_never_lowers_the_break_even(own: StepCurve, api: LineCurve, cheaper: float) -> None:
    less = LineCurve(usd_per_million=float(api.usd_per_million) * cheaper)
    assert float(permanent_break_even(own, less)) >= float(permanent_break_even(own, api)) * (1 - 1e-9)
    first, first_less = (find_crossings(own, line).first_tokens_per_day for line in (api, less))
    assert first_less is None or (first is not None and first_less >= first * (1 - 1e-9))


def test_more_islands_than_are_listed_are_counted() -> None:
    own = StepCurve(replica_tokens_per_day=1e6, replica_usd_per_month=30.0, fixed_usd_per_month=0.0, spare_replicas=1)
    api = LineCurve(usd_per_million=30.0 / 1e6 / (730 / 24) * 1e6 * 1.0001)
    found = find_crossings(own, api)
    assert len(found.islands) == 1000
    assert found.more_islands > 0
    assert found.permanent_tokens_per_day == pytest.approx(float(permanent_break_even(own, api)))
