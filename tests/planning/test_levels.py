"""What n requests at one rate prove."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from loadlab.planning.levels import Level, level_of, pooled


def level(n: int, bad: int, tau: float = 1.0) -> Level:
    return Level(rate_per_s=1.0, n=n, bad=bad, tau=tau)


@pytest.mark.parametrize(("n", "bad"), [(1000, 0), (1000, 3), (2000, 40), (50, 50)])
def test_bounds_are_clopper_and_pearsons_for_independent_requests(n: int, bad: int) -> None:
    exact = binomtest(bad, n).proportion_ci(0.90, method="exact")
    assert level(n, bad).lower_bound(0.95) == pytest.approx(exact.low, abs=1e-9)
    assert level(n, bad).upper_bound(0.95) == pytest.approx(exact.high, abs=1e-9)


def test_299_independent_requests_without_a_bad_one_prove_one_percent() -> None:
    assert level(299, 0).upper_bound(0.95) <= 0.01 < level(298, 0).upper_bound(0.95)


def test_dependent_requests_prove_as_much_as_n_over_tau() -> None:
    assert level(2990, 0, tau=10).upper_bound(0.95) == pytest.approx(level(299, 0).upper_bound(0.95))
    assert level(4000, 40, tau=4).upper_bound(0.95) == pytest.approx(level(1000, 10).upper_bound(0.95))


def test_walds_ratio_weighs_each_request_by_its_evidence_over_tau() -> None:
    by_hand = 12 * math.log(0.016 / 0.006) + 988 * math.log(0.984 / 0.994)
    assert level(1000, 12).log_likelihood_ratio(0.01) == pytest.approx(by_hand)
    assert level(1000, 12, tau=3).log_likelihood_ratio(0.01) == pytest.approx(by_hand / 3)


def test_bursts_of_bad_requests_count_as_few() -> None:
    calm, burst = np.zeros(3000, dtype=bool), np.zeros(3000, dtype=bool)
    calm[::100] = True
    burst[1000:1030] = True
    found = [level_of(1.0, bad, np.arange(3000.0) % 7) for bad in (calm, burst)]
    assert [one.bad for one in found] == [30, 30]
    assert found[1].tau > 10 * found[0].tau


def test_pooled_levels_add_requests_and_effective_requests() -> None:
    both = pooled([level(1000, 5, tau=2), level(3000, 9, tau=10)])
    assert (both.n, both.bad) == (4000, 14)
    assert both.n_effective == pytest.approx(500 + 300)
