"""Draws: their law, their reproducibility, and the case without any spread."""

from __future__ import annotations

import numpy as np
import pytest

from loadlab.planning.curves import find_crossings
from loadlab.planning.hosting import Spread
from loadlab.planning.inputs import api_curve, own_curve
from loadlab.planning.uncertainty import draw_inputs, simulate, tornado
from tests.planning.examples import INPUTS, TERMS

VOLUMES = np.geomspace(1e6, 1e9, 50)


def test_draws_without_spread_are_the_point_answer() -> None:
    exact = {"tokens_per_s": Spread(low_share=1.0, high_share=1.0), "rent_usd_per_gpu_hour": Spread(low_share=1.0, high_share=1.0)}
    found = simulate(INPUTS, TERMS, exact, VOLUMES, 100, seed=1)
    permanent = find_crossings(own_curve(INPUTS, TERMS), api_curve(INPUTS)).permanent_tokens_per_day
    assert permanent is not None
    assert found.break_even_tokens_per_day == pytest.approx(permanent)
    assert found.cost_own_usd == pytest.approx(np.tile(own_curve(INPUTS, TERMS).usd_per_month(VOLUMES), (3, 1)))
    assert found.never_share == 0
    assert found.share_below(permanent * 1.001) == 1
    assert found.share_below(permanent * 0.999) == 0


def test_ninety_percent_of_draws_lie_within_the_spread_and_half_below_the_point() -> None:
    drawn = draw_inputs(INPUTS, {"tokens_per_s": Spread(low_share=0.7, high_share=1.2)}, 200_000, seed=3)
    values = np.asarray(drawn.tokens_per_s) / INPUTS.tokens_per_s
    assert np.quantile(values, [0.05, 0.5, 0.95]) == pytest.approx([0.7, 1.0, 1.2], rel=0.01)


def test_shares_end_at_one_and_peaks_at_the_average() -> None:
    wide = Spread(low_share=0.1, high_share=10)
    drawn = draw_inputs(INPUTS, {"target_utilisation_share": wide, "peak_to_average": wide}, 1000, seed=3)
    assert np.max(drawn.target_utilisation_share) == 1.0
    assert np.min(drawn.peak_to_average) == 1.0


def test_a_new_spread_leaves_the_other_draws_alone() -> None:
    rent = {"rent_usd_per_gpu_hour": Spread(low_share=0.8, high_share=1.3)}
    one = draw_inputs(INPUTS, rent, 50, seed=9)
    two = draw_inputs(INPUTS, rent | {"peak_to_average": Spread(low_share=0.9, high_share=1.1)}, 50, seed=9)
    assert np.array_equal(one.rent_usd_per_gpu_hour, two.rent_usd_per_gpu_hour)
    assert not np.array_equal(one.rent_usd_per_gpu_hour, draw_inputs(INPUTS, rent, 50, seed=8).rent_usd_per_gpu_hour)


def test_bands_are_order_statistics_of_the_draws() -> None:
    spreads = {"tokens_per_s": Spread(low_share=0.7, high_share=1.4)}
    found = simulate(INPUTS, TERMS, spreads, np.array([30e6]), 1000, seed=5)
    bills = np.sort(np.asarray(own_curve(draw_inputs(INPUTS, spreads, 1000, seed=5), TERMS).usd_per_month(30e6)))
    assert found.cost_own_usd[:, 0].tolist() == [bills[49], bills[499], bills[949]]
    wins = (bills <= float(api_curve(INPUTS).usd_per_month(30e6))).mean()
    assert found.own_wins_share[0] == wins


def test_the_tornado_puts_the_widest_swing_first_and_says_what_it_assumed() -> None:
    swings = tornado(INPUTS, TERMS, {"rent_usd_per_gpu_hour": Spread(low_share=0.5, high_share=2.0)}, 100e6)
    assert swings[0].name == "rent_usd_per_gpu_hour"
    assert not swings[0].is_assumed
    assert (swings[0].low_value, swings[0].high_value) == (0.545, 2.18)
    assert swings[0].saving_at_low_usd == pytest.approx(16425 - 6 * 2 * 0.545 * 730)
    assert all(swing.is_assumed for swing in swings[1:])
    reaches = [swing.reach_usd for swing in swings]
    assert reaches == sorted(reaches, reverse=True)
    assert "staff_usd_per_month" not in {swing.name for swing in swings}  # it is 0
