"""Fits of models whose answer is known: what the figures tell is found, what they do not tell stays where it was."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.analysis.table import FloatArray
from loadlab.planning.calibration import Constant, Values, fit_constants

LOADS = np.array([1.0, 2.0, 4.0, 8.0])


def latency(values: Values) -> FloatArray:
    """A step plus a part that grows with the load; `unused` does nothing, `limit` cuts what the load does."""
    return np.asarray(values["step_s"] * (1 + values["slope_s"] * np.minimum(LOADS, values["limit"])))


def constants(limit: float = 6.0) -> list[Constant]:
    return [
        Constant(name="step_s", start=1.0, low=0.2, high=5.0),
        Constant(name="slope_s", start=0.0, low=0.0, high=10.0, unit=0.2),
        Constant(name="unused", start=3.0, low=0.1, high=30.0),
        Constant(name="limit", start=limit, low=1.0, high=100.0, choices=(2.0, 3.0, 6.0) if limit != 6.0 else (2.0, 3.0)),
    ]


def against(truth: Values) -> Callable[[Values], FloatArray]:
    return lambda values: np.log(latency(values) / latency(truth))


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 2.0), st.floats(0.02, 0.6))
def test_it_finds_constants_that_the_figures_tell(step_s: float, slope_s: float) -> None:
    fit = fit_constants(constants(), against({"step_s": step_s, "slope_s": slope_s, "limit": 6.0}))
    assert fit.values["step_s"] == pytest.approx(step_s, rel=0.03)
    assert np.abs(fit.after).max() < 0.02
    assert np.abs(fit.after).max() <= np.abs(fit.before).max() + 1e-12


def test_a_constant_without_effect_is_kept_and_said() -> None:
    fit = fit_constants(constants(), against({"step_s": 1.4, "slope_s": 0.3, "limit": 6.0}))
    unused = next(fitted for fitted in fit.constants if fitted.constant.name == "unused")
    assert not unused.is_told
    assert unused.value == 3.0
    assert unused.low is None
    assert "do not tell" in unused.why


def test_a_threshold_is_found_though_it_has_no_slope() -> None:
    fit = fit_constants(constants(limit=100.0), against({"step_s": 1.3, "slope_s": 0.4, "limit": 3.0}))
    limit = next(fitted for fitted in fit.constants if fitted.constant.name == "limit")
    assert limit.is_told
    assert limit.value == 3.0
    assert fit.values["step_s"] == pytest.approx(1.3, rel=0.03)


def test_a_threshold_stays_where_another_value_fits_no_better() -> None:
    fit = fit_constants(constants(), against({"step_s": 1.0, "slope_s": 0.0, "limit": 6.0}))
    assert not fit.constants[-1].is_told
    assert fit.values["limit"] == 6.0


def test_an_interval_holds_the_truth_of_noisy_figures() -> None:
    """90 % intervals, 40 fits: about 36 hold; fewer than 30 would happen once in a thousand times."""
    held = 0
    for seed in range(40):
        noise = np.random.default_rng(seed).normal(0, 0.02, len(LOADS))

        def differences(values: Values, noise: FloatArray = noise) -> FloatArray:
            return np.log(latency(values) / latency({"step_s": 1.5, "slope_s": 0.2, "limit": 6.0})) + noise

        step = fit_constants(constants(), differences).constants[0]
        assert step.low is not None
        assert step.high is not None
        held += step.low <= 1.5 <= step.high
    assert held >= 30


def test_values_keep_their_bounds() -> None:
    fit = fit_constants(constants(), lambda values: np.log(latency(values) / 100.0))
    assert fit.values["step_s"] <= 5.0
    assert fit.values["slope_s"] <= 10.0


def test_nothing_to_fit_is_an_error() -> None:
    with pytest.raises(ValueError, match="no constants"):
        fit_constants([], lambda _: np.zeros(3))
    with pytest.raises(ValueError, match="no figures"):
        fit_constants(constants(), lambda _: np.empty(0))


@given(st.floats(0.05, 20.0))
def test_coordinates_are_the_inverse_of_values(value: float) -> None:
    for constant in constants()[:3]:
        assert constant.value(constant.coordinate(value)) == pytest.approx(value, rel=1e-9)
    assert math.isclose(constants()[0].value(0.0), 1.0)
