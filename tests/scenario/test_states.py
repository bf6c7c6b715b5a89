"""On/off and Markov-modulated arrivals against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.random import default_rng

from loadlab.scenario.arrivals import arrival_times_s
from loadlab.scenario.states import Dwell, Mmpp, OnOff, state_times_s
from tests.scenario.point_process import WINDOWS_S, assert_dispersion, assert_poisson, rescaled

TWO = Mmpp(rates_per_s=(1, 9), dwell_s=(30, 10))
FOUR = Mmpp(
    rates_per_s=(0, 1, 5, 20),
    dwell_s=(60, 30, 20, 5),
    jumps=((0, 1, 0, 0), (0.3, 0, 0.7, 0), (0, 0.8, 0, 0.2), (0, 0, 1, 0)),
)


def two_state_dispersion(w: float) -> float:
    """IDC(w) of TWO in closed form: Fischer & Meier-Hellstern, The MMPP cookbook, 1993."""
    l1, l2, q12, q21 = 1.0, 9.0, 1 / 30, 1 / 10
    q, d = q12 + q21, l1 * q21 + l2 * q12
    return 1 + 2 * (l1 - l2) ** 2 * q12 * q21 / (q**2 * d) * (1 - (1 - np.exp(-q * w)) / (q * w))


def test_fixed_states_are_poisson_at_their_rates_beginning_with_the_first() -> None:
    times = state_times_s(OnOff(rates_per_s=(1, 9), dwell_s=(30, 10)), 10_000, default_rng(5))
    middles = np.arange(0, 5000) + 0.5
    assert_poisson(rescaled(times, np.where(middles % 40 < 30, 1.0, 9.0), 1.0))


def test_a_silent_state_has_no_arrivals() -> None:
    times = state_times_s(OnOff(rates_per_s=(0, 5), dwell_s=(30, 10)), 2_000, default_rng(6))
    assert np.all(times % 40 >= 30)


@pytest.mark.parametrize("law", [TWO, OnOff(rates_per_s=(1, 9), dwell_s=(30, 10), dwell=Dwell.EXPONENTIAL)], ids=["mmpp", "onoff"])
def test_two_states_have_the_rate_dispersion_and_cv_of_the_closed_forms(law: Mmpp | OnOff) -> None:
    times = state_times_s(law, 600_000, default_rng(7))
    assert law.rate_per_s == pytest.approx(3)
    assert_dispersion(times, 3, {w: two_state_dispersion(w) for w in WINDOWS_S})
    gaps = np.diff(times)
    l1, l2, q12, q21 = 1.0, 9.0, 1 / 30, 1 / 10
    cv_squared = 1 + 2 * q12 * q21 * (l1 - l2) ** 2 / ((q12 + q21) ** 2 * (l1 * l2 + l1 * q21 + l2 * q12))
    assert gaps.var() / gaps.mean() ** 2 == pytest.approx(cv_squared, rel=0.05)


def test_the_dispersion_of_the_law_is_the_closed_form_for_two_states() -> None:
    for w in (0.01, *WINDOWS_S, 3600):
        assert TWO.dispersion(w) == pytest.approx(two_state_dispersion(w), rel=1e-9)


def test_four_states_with_a_jump_matrix_have_the_dispersion_of_the_law() -> None:
    assert FOUR.time_shares().sum() == pytest.approx(1)
    assert_dispersion(state_times_s(FOUR, 400_000, default_rng(8)), FOUR.rate_per_s, {w: FOUR.dispersion(w) for w in WINDOWS_S})


def test_time_shares_of_a_chain_solve_its_balance_equations() -> None:
    generator = (FOUR.jump_matrix() - np.eye(4)) / np.asarray(FOUR.dwell_s)[:, np.newaxis]
    np.testing.assert_allclose(FOUR.time_shares() @ generator, 0, atol=1e-12)
    np.testing.assert_allclose(TWO.time_shares(), [0.75, 0.25])


def test_a_window_from_zero_holds_the_stated_rate() -> None:
    """The first state is drawn by its share of time."""
    counts = [len(arrival_times_s(FOUR, default_rng(seed), duration_s=40)) for seed in range(1500)]
    assert np.mean(counts) == pytest.approx(40 * FOUR.rate_per_s, abs=4 * np.std(counts) / np.sqrt(len(counts)))
