"""Tiers: who computes which tokens, what is paid twice, and what a right answer costs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadlab.planning.routing import RiskClass, Style, Tier, Tiers, premium_loss_usd, quality_of, tier_tokens_per_day

MIX = Tiers(
    name="mix",
    tokens_per_day=100e6,
    tokens_per_request=1000,
    output_share=0.2,
    loss_per_error_usd=2.0,
    tiers={
        "small": Tier(share=0.7, error_share=0.10, per_million_usd=1, source="x"),
        "mid": Tier(share=0.2, error_share=0.05, per_million_usd=3, source="x"),
        "expert": Tier(share=0.1, error_share=0.02, per_million_usd=10, source="x"),
    },
)


def test_a_router_pays_each_token_once_and_a_cascade_at_every_tier_on_its_way() -> None:
    assert tier_tokens_per_day(MIX, Style.ROUTER) == pytest.approx({"small": 70e6, "mid": 20e6, "expert": 10e6})
    assert tier_tokens_per_day(MIX, Style.CASCADE) == pytest.approx({"small": 100e6, "mid": 30e6, "expert": 10e6})


def test_a_good_answer_carries_the_cost_of_the_bad_ones() -> None:
    quality = quality_of(MIX, 30_000)
    requests = 100e6 * (730 / 24) / 1000
    errors = 0.7 * 0.10 + 0.2 * 0.05 + 0.1 * 0.02
    assert quality.error_share == pytest.approx(errors)
    assert quality.loss_usd_per_month == pytest.approx(requests * errors * 2)
    assert quality.usd_per_good_answer == pytest.approx((30_000 + requests * errors * 2) / (requests * (1 - errors)))


def test_checks_cost_their_tokens_and_catch_their_share_of_errors() -> None:
    checked = replace(MIX, risk={"critical": RiskClass(share=0.05, models=2, per_million_usd=3, caught_share=0.5)})
    quality = quality_of(checked, 0)
    assert quality.check_usd_per_month == pytest.approx(0.05 * 2 * 3 * 100 * (730 / 24))
    assert quality.error_share == pytest.approx(quality_of(MIX, 0).error_share * (1 - 0.05 * 0.5))


def test_the_expert_earns_its_premium_where_both_cost_the_same_per_month() -> None:
    mix, expert = quality_of(MIX, 30_000), quality_of(MIX, 90_000, {"expert": 1.0})
    loss = premium_loss_usd(30_000, mix, 90_000, expert)
    assert loss is not None
    totals = [usd + q.requests_per_month * q.error_share * loss for usd, q in ((30_000, mix), (90_000, expert))]
    assert totals[0] == pytest.approx(totals[1])
    assert premium_loss_usd(90_000, mix, 30_000, expert) == 0.0
    assert premium_loss_usd(30_000, expert, 90_000, mix) is None
