"""What a fleet plan says and draws: sentences, escaped names, equal bytes, and a plan without a day, a price or GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadlab.planning.fleet import Rule, TierFleet, over_the_year, plan_fleet
from loadlab.planning.fleet_verdict import DayResult, Hour
from loadlab.planning.levels import Level
from loadlab.report.figures_fleet import draw_day, draw_held, draw_year
from loadlab.report.fleet import Bill, held_text, hours_text, summarise_fleet, tier_row
from loadlab.report.fleet_files import save_fleet_report
from loadlab.report.fleet_terminal import cell, percent

EVIL = "<script>alert(1)</script>\x1b[31m"


def summary(*, gpus: int | None = 2, usd: float | None = 1.0, days: tuple[DayResult, ...] = (), name: str = "x") -> dict[str, Any]:
    per_s = np.repeat(np.array([[0.8] * 12 + [2.4] * 12]), 60, axis=1)
    rule = Rule(low_per_s=1, spare_replicas=0, startup_s=600)
    capacity = dict.fromkeys(("value_per_s", "high_per_s", "gpu", "tokens_per_arrival", "slo_text")) | {
        "low_per_s": 1.0, "source": name, "note": "n", "gpus": gpus, "copies": 1, "is_whole": False, "digests": [], "bands": [],
        "slow_edge": None,
    }  # fmt: skip
    demand = {
        "name": name, "description": name, "file": "d.toml", "digest": "sha256:00", "kind": "hourly", "days": 1, "mean_per_s": 1.6,
        "peak_per_s": 2.4, "p99_per_s": 2.4, "peak_to_average": 1.5, "arrivals_per_day": 1.0, "tokens_per_arrival": None,
        "tokens_per_day": None, "burst_factor": 1.0, "monthly_growth_share": 0.1, "tiers": None,
        "regions": [{"name": "all", "mean_per_s": 1, "peak_per_s": 2}],
    }  # fmt: skip
    facts = {
        "low_per_s": 1, "utilisation_share": 0.8, "burst_factor": 1.0, "spare_replicas": 0, "startup_s": 600, "survives_region": True,
        "startup_source": "as given",
    }  # fmt: skip
    return summarise_fleet(
        plan_fleet(per_s, rule), over_the_year(per_s, rule, 0.1), [], days, day=0, budget=0.01 if days else None, capacity=capacity,
        demand=demand, rule=facts, usd_per_gpu_hour=usd, price_source="as given", notes=[], why_not_played="" if days else "as asked",
        break_even=None, seed=1, versions={"loadlab": "0"}, command="loadlab fleet",
    )  # fmt: skip


def day(name: str = "static") -> DayResult:
    good, bad = (Hour(draws=(Level(rate_per_s=1, n=1000, bad=count, tau=1),) * 3, by_region={"all": 1.0}) for count in (0, 400))
    hours = (None, bad, bad, *[good] * 21)
    return DayResult(name=name, about=name, hours=hours, whole=good, minutes=5, up=(1,) * 24, plan_digests=("sha256:11",) * 3)


def test_the_answer_names_replicas_hours_and_what_broke() -> None:
    found = summary(days=(day("late"),))
    assert found["sentences"] == [
        "3 replicas (6 GPUs) always on; autoscaled 1 to 3, 67 % of the hours",
        "late: the SLO held in 21 of 23 hours; broken at 1 to 2",
    ]
    assert found["year"]["static"]["usd"] == pytest.approx(sum(month["static"]["gpu_hours"] for month in found["months"]))
    assert found["days"][0]["hours"][0]["verdict"] == "empty"


def test_a_month_of_tiers_is_priced_where_both_prices_are_known() -> None:
    """Two small replicas of one GPU at 0.5 USD and three large ones of two at 1 USD, all of a 730-hour month."""
    fleet = TierFleet(small_share=0.9, small_replicas=2, large_replicas=3)
    small = {"gpus": 1, "style": "cascade", "usd_per_gpu_hour": 0.5}
    assert tier_row(fleet, small, Bill(gpus=2, usd_per_gpu_hour=1.0))["usd_per_month"] == pytest.approx(730 * (2 * 0.5 + 6))
    assert tier_row(fleet, small | {"usd_per_gpu_hour": None}, Bill(gpus=2, usd_per_gpu_hour=1.0))["usd_per_month"] is None
    assert tier_row(fleet, small, Bill(gpus=2, usd_per_gpu_hour=None))["usd_per_month"] is None


@pytest.mark.parametrize(("hours", "text"), [([], ""), ([3], "3"), ([7, 8, 9, 12], "7 to 9, 12"), ([0, 2], "0, 2")])
def test_hours_are_joined(hours: list[int], text: str) -> None:
    assert hours_text(hours) == text


def test_a_share_that_is_not_whole_never_reads_100() -> None:
    assert (percent(1.0), percent(0.99999), percent(0.9951), percent(0.42)) == ("100.00", "99.99", "99.51", "42.0")
    assert cell({"attainment": 0.42, "verdict": "broken"}) == "!42.0"
    assert held_text({"name": "x", "held": 1, "broken": [], "open": [5], "hours": [{"n": 1}] * 2}) == (
        "x: the SLO held in 1 of 2 hours; not proven at 5"
    )


@pytest.mark.parametrize(("gpus", "usd"), [(2, 1.0), (2, None), (None, None)])
def test_pages_are_whole_without_prices_gpus_or_a_day_and_escape_names(tmp_path: Path, gpus: int | None, usd: float | None) -> None:
    found = summary(gpus=gpus, usd=usd, days=(day(EVIL),) if usd else (), name=EVIL)
    text = save_fleet_report(found, tmp_path / "out", [("static", "loadlab run")]).read_text()
    assert "<script" not in text
    assert "\x1b" not in text
    assert (tmp_path / "out" / "figures" / "year.svg").is_file()
    assert (tmp_path / "out" / "figures" / "held.svg").is_file() is (usd is not None)


def test_equal_summaries_give_equal_figures() -> None:
    found = summary(days=(day(), day("late")))
    assert [draw(found) for draw in (draw_day, draw_held, draw_year)] == [draw(found) for draw in (draw_day, draw_held, draw_year)]
    assert "always on: 3" in draw_day(found)
