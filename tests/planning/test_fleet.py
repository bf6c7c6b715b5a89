"""The formulas of a fleet against tables done by hand, the published volumes, and laws that hold for any demand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadlab.planning.curves import FloatArray
from loadlab.planning.demand import Demand, SmallModel, TokenVolume, demand_per_s
from loadlab.planning.fleet import Rule, ahead, needed, over_the_year, plan_fleet, replicas_for, serving, tier_fleets
from loadlab.planning.routing import Style

RULE = Rule(low_per_s=1.0, utilisation_share=0.8, spare_replicas=1, startup_s=0)


def day(*hours: float) -> FloatArray:
    """[1, 1440] of 24 hours."""
    assert len(hours) == 24
    return np.repeat(np.array([hours], dtype=np.float64), 60, axis=1)


@pytest.mark.parametrize(
    ("demand", "burst", "low", "utilisation", "replicas", "why"),
    [
        (0.0, 1.0, 1.0, 0.8, 0, "nothing needs nothing"),
        (0.8, 1.0, 1.0, 0.8, 1, "exactly one replica's worth"),
        (0.81, 1.0, 1.0, 0.8, 2, "a little more than one"),
        (2.4, 1.0, 1.0, 0.8, 3, "2.4 / 0.8 is 3, whatever the last bit says"),
        (2.4, 1.2, 1.0, 0.8, 4, "2.88 / 0.8 = 3.6"),
        (7.0, 1.0, 0.7, 1.0, 10, "full replicas: 7 / 0.7"),
        (100.0, 1.5, 2.0, 0.5, 150, "150 / 1"),
    ],
)
def test_replicas_are_the_demand_over_what_one_may_carry(
    demand: float, burst: float, low: float, utilisation: float, replicas: int, why: str
) -> None:
    rule = Rule(low_per_s=low, utilisation_share=utilisation, burst_factor=burst)
    assert replicas_for(np.array([demand]), rule).tolist() == [replicas], why


@pytest.mark.parametrize(
    ("per_s", "spare", "survives", "replicas", "why"),
    [
        ([8.0], 1, True, [11], "10 and one spare"),
        ([8.0, 8.0], 1, True, [20, 20], "either carries both: 16 / 0.8, more than 10 + 1"),
        ([8.0, 8.0], 1, False, [11, 11], "N + 1 alone"),
        ([8.0, 0.8], 1, True, [11, 11], "the small one carries 8.8 / 0.8 = 11; the large one 11, which is its N + 1 too"),
        ([8.0, 8.0, 8.0], 1, True, [15, 15, 15], "D / ((K - 1) c u) = 24 / (2 x 0.8)"),
        ([8.0, 4.0, 2.0], 0, True, [13, 10, 8], "10 alone or 8 + 2 = 12.5; 4 + 4 = 10; 2 + 4 = 7.5"),
        ([0.0], 0, True, [1], "one at least"),
    ],
)
def test_regions_carry_each_other(per_s: list[float], spare: int, survives: bool, replicas: list[int], why: str) -> None:
    rule = Rule(low_per_s=1.0, utilisation_share=0.8, spare_replicas=spare, survives_region=survives)
    assert needed(np.array(per_s)[:, None], rule)[:, 0].tolist() == replicas, why


@pytest.mark.parametrize(("tokens_per_day", "replicas"), [(24.80e6, 2), (24.82e6, 3), (30e6, 3), (60e6, 4), (100e6, 6), (285e6, 13)])
def test_the_published_volumes_need_the_published_replicas(tokens_per_day: float, replicas: int) -> None:
    """0.701 req/s of 1,280 tokens, 80 % at a peak of 2.5: 24.81M tokens a day each, and one spare. 285M: the router's 95 % of 300M."""
    demand = Demand(name="x", curve=TokenVolume(tokens_per_day=tokens_per_day, peak_to_average=2.5), tokens_per_arrival=1280)
    plan = plan_fleet(demand_per_s(demand, None, Path()), Rule(low_per_s=0.701))
    assert int(plan.static.sum()) == replicas


def test_two_replicas_of_a_month_cost_what_the_break_even_says() -> None:
    """3 replicas of 2 GPUs at $1.09: $4,774.20."""
    demand = Demand(name="x", curve=TokenVolume(tokens_per_day=30e6, peak_to_average=2.5), tokens_per_arrival=1280)
    first = over_the_year(demand_per_s(demand, None, Path()), Rule(low_per_s=0.701), 0.0)[0]
    assert first.static_hours * 2 * 1.09 == pytest.approx(4774.20, abs=0.005)


def test_hours_of_a_day_add_up() -> None:
    """Demand for 1, 3 and 5 replicas during 12, 8 and 4 hours, no spare, no start-up."""
    per_s = day(*[0.8] * 12, *[2.4] * 8, *[4.0] * 4)
    plan = plan_fleet(per_s, Rule(low_per_s=1, spare_replicas=0, startup_s=0))
    assert plan.static.tolist() == [5]
    assert plan.static_hours_per_day() == 5 * 24
    assert plan.scaled_hours_per_day() == pytest.approx(12 * 1 + 8 * 3 + 4 * 5)
    assert plan.static_p99.tolist() == [5]


def test_start_up_is_paid_for_before_and_missed_when_late() -> None:
    """From 1 to 3 replicas at noon for an hour, half an hour to start: three are paid for from 11:30 on; late, two lack until 12:30."""
    per_s = day(*[0.8] * 12, 2.4, *[0.8] * 11)
    plan = plan_fleet(per_s, Rule(low_per_s=1, spare_replicas=0, startup_s=1800))
    assert plan.scaled_hours_per_day() == pytest.approx(22.5 * 1 + 1.5 * 3)
    assert (plan.up >= plan.need).all()
    lacking = plan.need[0] - plan.late_up[0]
    assert np.flatnonzero(lacking).tolist() == list(range(12 * 60, 12 * 60 + 30))
    assert lacking.max() == 2


def test_a_peak_of_a_few_minutes_is_in_the_maximum_and_not_in_p99() -> None:
    per_s = day(*[0.8] * 24)
    per_s[0, 600:610] = 8.0
    plan = plan_fleet(per_s, RULE)
    assert (plan.static.tolist(), plan.static_p99.tolist()) == ([11], [2])


def test_a_year_of_growth_is_planned_month_by_month() -> None:
    months = over_the_year(day(*[0.8] * 24), Rule(low_per_s=1, spare_replicas=0, startup_s=0), 0.5)
    assert [month.static_replicas for month in months[:4]] == [1, 2, 3, 4]  # 1, 1.5, 2.25, 3.375
    assert months[3].static_hours == 4 * 730
    assert len(months) == 12


@pytest.mark.parametrize(
    ("style", "small", "large", "why"),
    [
        (Style.ROUTER, [10, 11, 11], [3, 2, 2], "small: 7.2, 7.6, 7.92 over 0.8, and a spare; large: 0.8, 0.4, 0.08 over 0.4"),
        (Style.CASCADE, [11, 11, 11], [3, 2, 2], "the small one has all: what it passes on is paid at both"),
    ],
)
def test_a_small_model_in_front_leaves_the_rest_to_the_large_one(style: Style, small: list[int], large: list[int], why: str) -> None:
    tiers = SmallModel(capacity_per_s=1.0, style=style, source="by hand")
    fleets = tier_fleets(np.full((1, 1440), 8.0), Rule(low_per_s=0.5), tiers)
    assert [fleet.small_replicas for fleet in fleets] == small, why
    assert [fleet.large_replicas for fleet in fleets] == large, why


# Laws

demands = st.lists(st.floats(0, 50), min_size=24, max_size=24).map(lambda hours: day(*hours))
rules = st.builds(
    Rule, low_per_s=st.floats(0.05, 5), utilisation_share=st.floats(0.3, 1), burst_factor=st.floats(1, 2),
    spare_replicas=st.integers(0, 3), startup_s=st.floats(0, 4000),
)  # fmt: skip


@given(demands, demands, rules)
def test_more_demand_never_needs_fewer_replicas(one: FloatArray, more: FloatArray, rule: Rule) -> None:
    low, high = plan_fleet(one, rule), plan_fleet(one + more, rule)
    assert (high.need >= low.need).all()
    assert (high.static >= low.static).all()
    assert high.scaled_hours_per_day() >= low.scaled_hours_per_day()


@given(demands, demands, rules)
def test_a_region_that_may_be_lost_never_needs_fewer(one: FloatArray, other: FloatArray, rule: Rule) -> None:
    from dataclasses import replace

    both = np.concatenate([one, other])
    assert (needed(both, rule) >= needed(both, replace(rule, survives_region=False))).all()


@given(demands, rules)
def test_started_ahead_enough_is_up_and_late_is_never_more(per_s: FloatArray, rule: Rule) -> None:
    plan = plan_fleet(per_s, rule)
    assert (plan.up >= plan.need).all()
    assert (plan.late_up <= plan.need).all()
    assert plan.scaled_hours_per_day() <= plan.static_hours_per_day() + 1e-9
    assert (plan.static_p99 <= plan.static).all()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(0, 50))
def test_windows_are_those_of_the_definition(counts: list[int], minutes: int) -> None:
    row, n = np.array([counts]), len(counts)
    after = [max(counts[(t + k) % n] for k in range(minutes + 1)) for t in range(n)]
    before = [min(counts[(t - k) % n] for k in range(minutes + 1)) for t in range(n)]
    assert ahead(row, minutes)[0].tolist() == after
    assert serving(row, minutes)[0].tolist() == before


def test_a_rule_without_a_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="must have a capacity above 0"):
        plan_fleet(day(*[1.0] * 24), Rule(low_per_s=0))
