"""From prices to curves: hand-computed bills, and the laws that they keep."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.planning.inputs import (
    Terms,
    blended_usd_per_million,
    gpu_usd_per_month,
    invested_usd,
    net_present_usd,
    own_curve,
    payback_months,
)
from tests.planning.examples import INPUTS, TERMS


def test_the_blend_of_input_output_cache_and_batch() -> None:
    assert blended_usd_per_million(INPUTS) == pytest.approx(5.40)
    mixed = replace(INPUTS, cached_share=0.5, batch_share=0.4, api_batch_discount_share=0.5)
    assert blended_usd_per_million(mixed) == pytest.approx((0.8 * (0.5 * 3 + 0.5 * 0.3) + 0.2 * 15) * 0.8)


def test_an_owned_gpu_is_annuity_power_and_colocation_with_a_reserve() -> None:
    terms = Terms(gpus_per_replica=1, spare_replicas=0, residue_share=0.25, life_months=10, interest_share_per_year=0.0, kw_per_gpu=0.5)
    owned = replace(
        INPUTS,
        rent_usd_per_gpu_hour=0.0,
        purchase_usd_per_gpu=1000,
        power_usd_per_kwh=0.1,
        colocation_usd_per_gpu_month=20,
        reserve_share=0.1,
    )
    assert gpu_usd_per_month(owned, terms) == pytest.approx((750 / 10 + 0.5 * 0.1 * 730 + 20) * 1.1)


def test_the_annuity_pays_the_loan_back() -> None:
    terms = Terms(gpus_per_replica=1, spare_replicas=0, life_months=48, interest_share_per_year=0.06)
    debt = 1.0
    for _ in range(48):
        debt = debt * (1 + 0.06 / 12) - terms.annuity_per_usd
    assert debt == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("volume", "months"), [(30e6, 97.85), (60e6, 4.30), (100e6, 2.18), (200e6, 0.89)])
def test_payback_of_a_rented_fleet(volume: float, months: float) -> None:
    found = payback_months(INPUTS, TERMS, volume)
    assert found is not None
    assert round(found, 2) == months


def test_payback_counts_every_gpu_that_is_bought_and_no_annuity() -> None:
    owned = replace(INPUTS, rent_usd_per_gpu_hour=0.0, purchase_usd_per_gpu=10_000)
    assert invested_usd(owned, TERMS, 60e6) == 4 * 2 * 10_000 + 15_000
    saving = 60 * (730 / 24) * 5.40  # running costs nothing here
    assert payback_months(owned, TERMS, 60e6) == pytest.approx(95_000 / saving)
    assert payback_months(INPUTS, TERMS, 10e6) is None  # the API is cheaper there


def test_net_present_value_without_interest_is_the_sum() -> None:
    owned = replace(INPUTS, rent_usd_per_gpu_hour=0.0, purchase_usd_per_gpu=10_000)
    terms = replace(TERMS, life_months=36)
    saving = 60 * (730 / 24) * 5.40
    assert net_present_usd(owned, terms, 60e6, 36, 0.0) == pytest.approx(36 * saving - 95_000)
    assert net_present_usd(owned, terms, 60e6, 18, 0.0) == pytest.approx(18 * saving - 95_000 + 40_000)
    assert net_present_usd(owned, terms, 60e6, 0, 0.0) == -95_000


@given(st.floats(0.05, 1), st.floats(1, 20), st.floats(1e5, 1e10))
def test_a_higher_target_utilisation_never_costs_more(low: float, factor: float, volume: float) -> None:
    high = min(1.0, low * factor)
    bills = [own_curve(replace(INPUTS, target_utilisation_share=u), TERMS).usd_per_month(volume) for u in (low, high)]
    assert float(bills[1]) <= float(bills[0])
