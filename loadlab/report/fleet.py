"""A fleet plan for machines: its JSON, and the sentences that terminal and page share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loadlab.planning.curves import DAYS_PER_MONTH
from loadlab.planning.demand import HOURS, MINUTES_PER_DAY, MINUTES_PER_HOUR
from loadlab.planning.fleet import FleetPlan, Month, TierFleet
from loadlab.planning.fleet_verdict import DayResult, Held, Hour, verdict
from loadlab.units import format_duration

SCHEMA = "loadlab/fleet/1"
Json = dict[str, Any]


def summarise_fleet(
    plan: FleetPlan, months: Sequence[Month], tiers: Sequence[TierFleet], days: Sequence[DayResult], *, day: int, budget: float | None,
    capacity: Json, demand: Json, rule: Mapping[str, Any], usd_per_gpu_hour: float | None, price_source: str | None, notes: Sequence[str],
    why_not_played: str, break_even: Json | None, seed: int, versions: Mapping[str, str], command: str,
) -> Json:  # fmt: skip
    """The JSON of a study. Demand in arrivals a second, time in hours of the day with the highest minute, money in USD."""
    bill = Bill(gpus=capacity["gpus"], usd_per_gpu_hour=usd_per_gpu_hour)
    summary: Json = {
        "schema": SCHEMA,
        "name": demand["name"],
        "capacity": capacity,
        "demand": demand,
        "rule": dict(rule) | {"formula": "R(t) = ceil(D(t) z / (c u)) + spare"},
        "price": None if usd_per_gpu_hour is None else {"usd_per_gpu_hour": usd_per_gpu_hour, "source": price_source},
        "static": _static(plan, demand["regions"], bill),
        "autoscaled": _autoscaled(plan, bill),
        "hours": _hours(plan, day),
        "months": [_month(month, bill) for month in months],
        "year": _year(months, bill),
        "tiers": [tier_row(fleet, demand["tiers"], bill) for fleet in tiers],
        "error_budget": budget,
        "days": [_day(one, budget) for one in days if budget is not None],
        "why_not_played": why_not_played,
        "notes": list(notes),
        "break_even": break_even,
        "seed": seed,
        "versions": dict(versions),
        "command": command,
    }
    summary["sentences"] = sentences(summary)
    summary["unsure"] = unsure(summary)
    return summary


class Bill:
    """Replica-hours to GPU-hours and dollars; None where a factor is not known."""

    def __init__(self, *, gpus: int | None, usd_per_gpu_hour: float | None) -> None:
        self.gpus, self._usd = gpus, usd_per_gpu_hour

    def of(self, replica_hours: float) -> Json:
        gpu_hours = None if self.gpus is None else replica_hours * self.gpus
        usd = None if gpu_hours is None or self._usd is None else gpu_hours * self._usd
        return {"replica_hours": replica_hours, "gpu_hours": gpu_hours, "usd": usd}


def _static(plan: FleetPlan, regions: Sequence[Json], bill: Bill) -> Json:
    replicas = int(plan.static.sum())
    hours = plan.static_hours_per_day()
    return {
        "replicas": replicas,
        "gpus": None if bill.gpus is None else replicas * bill.gpus,
        "by_region": {region["name"]: int(count) for region, count in zip(regions, plan.static, strict=True)},
        "replicas_for_p99_of_demand": int(plan.static_p99.sum()),
        "day": bill.of(hours),
        "month": bill.of(hours * DAYS_PER_MONTH),
    }


def _autoscaled(plan: FleetPlan, bill: Bill) -> Json:
    hours, total = plan.scaled_hours_per_day(), plan.started.sum(axis=0)
    return {
        "least": int(total.min()),
        "most": int(total.max()),
        "mean": float(total.mean()),
        "share_of_static": hours / plan.static_hours_per_day(),
        "day": bill.of(hours),
        "month": bill.of(hours * DAYS_PER_MONTH),
    }


def _hours(plan: FleetPlan, day: int) -> list[Json]:
    """The hours of the shown day: demand, and the replicas of all regions together."""
    own = slice(day * MINUTES_PER_DAY, (day + 1) * MINUTES_PER_DAY)
    demand, need, started, up, late = (
        np.asarray(row)[:, own].sum(axis=0).reshape(HOURS, MINUTES_PER_HOUR)
        for row in (plan.per_s, plan.need, plan.started, plan.up, plan.late_up)
    )
    return [
        {
            "hour": hour,
            "mean_per_s": float(demand[hour].mean()),
            "peak_per_s": float(demand[hour].max()),
            "needed": int(need[hour].max()),
            "started": int(started[hour].max()),
            "started_least": int(started[hour].min()),
            "up_least": int(up[hour].min()),
            "late_least": int(late[hour].min()),
            "late_by": int((need[hour] - late[hour]).max()),
        }
        for hour in range(HOURS)
    ]


def _month(month: Month, bill: Bill) -> Json:
    return {
        "month": month.month,
        "factor": month.factor,
        "peak_per_s": month.peak_per_s,
        "static_replicas": month.static_replicas,
        "scaled_most": month.scaled_most,
        "static": bill.of(month.static_hours),
        "autoscaled": bill.of(month.scaled_hours),
    }


def _year(months: Sequence[Month], bill: Bill) -> Json:
    return {"static": bill.of(sum(m.static_hours for m in months)), "autoscaled": bill.of(sum(m.scaled_hours for m in months))}


def tier_row(fleet: TierFleet, small: Json, bill: Bill) -> Json:
    """One share of a small model: replicas and GPUs of both, and a month of all of them where both prices are known."""
    small_gpus = fleet.small_replicas * small["gpus"]
    large_gpus = None if bill.gpus is None else fleet.large_replicas * bill.gpus
    small_usd, large_usd = small["usd_per_gpu_hour"], bill.of(fleet.large_replicas * 24 * DAYS_PER_MONTH)["usd"]
    return {
        "small_share": fleet.small_share,
        "style": str(small["style"]),
        "small_replicas": fleet.small_replicas,
        "large_replicas": fleet.large_replicas,
        "small_gpus": small_gpus,
        "large_gpus": large_gpus,
        "usd_per_month": None if small_usd is None or large_usd is None else small_gpus * 24 * DAYS_PER_MONTH * small_usd + large_usd,
    }


def _day(one: DayResult, budget: float) -> Json:
    verdicts = one.verdicts(budget)
    return {
        "name": one.name,
        "about": one.about,
        "plan_digests": list(one.plan_digests),
        "minutes_of_each_hour": one.minutes,
        "requests": one.whole.level.n,
        "whole": _judged(one.whole, budget),
        "held": sum(v is Held.HELD for v in verdicts),
        "broken": [h for h, v in enumerate(verdicts) if v is Held.BROKEN],
        "open": [h for h, v in enumerate(verdicts) if v is Held.OPEN],
        "hours": [_hour(h, hour, one.up[h], budget) for h, hour in enumerate(one.hours)],
    }


def _hour(number: int, hour: Hour | None, up: int, budget: float) -> Json:
    if hour is None:
        return {"hour": number, "up_least": up, "verdict": str(Held.EMPTY), "n": 0, "attainment": None, "low": None, "high": None}
    return {"hour": number, "up_least": up} | _judged(hour, budget) | {"by_region": dict(hour.by_region)}


def _judged(hour: Hour, budget: float) -> Json:
    """Attainment, its 90 % interval, and the verdict."""
    (low, high), level = hour.bounds, hour.level
    return {
        "verdict": str(verdict(hour, budget)),
        "n": level.n,
        "tau": level.tau,
        "attainment": 1 - level.bad_share,
        "low": 1 - high,
        "high": 1 - low,
        "interval": f"Student's over {len(hour.draws)} draws" if hour.is_by_draws else "n / tau of all draws",
    }


# Sentences


def sentences(summary: Json) -> list[str]:
    """The answer: what to run, and whether the simulated days held."""
    static, scaled = summary["static"], summary["autoscaled"]
    what = unit_word(summary)
    first = f"{static['replicas']} {what}{gpus_text(static['gpus'], summary['capacity']['gpu'])} always on"
    if len(static["by_region"]) > 1:
        first += " (" + ", ".join(f"{name} {count}" for name, count in static["by_region"].items()) + ")"
    second = f"autoscaled {scaled['least']} to {scaled['most']}, {100 * scaled['share_of_static']:.0f} % of the hours"
    found = [f"{first}; {second}"]
    edge = summary["capacity"]["slow_edge"]
    if edge is not None:
        least, most = ("", "") if edge["is_simulated"] else ("at least ", " at most")
        found.append(
            f"at the slow edge of the prediction's band {least}{edge['replicas']}: one holds {edge['low_per_s']:.3g}/s there{most} "
            f"({edge['note']})"
        )
    if summary["static"]["replicas_for_p99_of_demand"] < static["replicas"]:
        fewer = static["replicas_for_p99_of_demand"]
        found.append(
            f"{fewer} would do for all but the busiest 1 % of minutes: the maximum of the demand costs {static['replicas'] - fewer} more"
        )
    found += [held_text(day) for day in summary["days"]]
    if summary["price"] is not None and summary["capacity"]["gpus"] is None:
        found.append("no bill: how many GPUs a replica has is not known; give --gpus-per-replica")
    if summary["why_not_played"]:
        found.append(summary["why_not_played"] if summary["days"] else f"not simulated: {summary['why_not_played']}")
    return found


def held_text(day: Json) -> str:
    """ "late: the SLO held in 21 of 24 hours; broken at 7, 8; not proven at 3"."""
    counted = sum(hour["n"] > 0 for hour in day["hours"])
    text = f"{day['name']}: the SLO held in {day['held']} of {counted} hours"
    for word, hours in (("broken", day["broken"]), ("not proven", day["open"])):
        if hours:
            text += f"; {word} at {hours_text(hours)}"
    return text


def hours_text(hours: Sequence[int]) -> str:
    """ "7 to 9, 12": hours of the day, neighbours joined."""
    runs: list[list[int]] = []
    for hour in hours:
        if runs and hour == runs[-1][-1] + 1:
            runs[-1].append(hour)
        else:
            runs.append([hour])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs)


def unit_word(summary: Json) -> str:
    """What is counted: replicas, or copies of a cluster file with several pools."""
    return "copies of the cluster" if summary["capacity"]["is_whole"] else "replicas"


def gpus_text(gpus: int | None, name: str | None) -> str:
    """ " (14 T4)", or nothing."""
    return "" if gpus is None else f" ({gpus} {name or 'GPUs'})"


def capacity_text(summary: Json) -> str:
    """What one replica holds, and where that is from."""
    found = summary["capacity"]
    interval = ""
    if found["value_per_s"] is not None:
        high = "?" if found["high_per_s"] is None else f"{found['high_per_s']:.3g}"
        interval = f" (point {found['value_per_s']:.3g}, upper end {high})"
    return f"one {'copy' if found['is_whole'] else 'replica'} holds {found['low_per_s']:.3g}/s{interval}: {found['note']}"


def rule_text(summary: Json) -> str:
    """The formula with its numbers."""
    rule, c = summary["rule"], summary["capacity"]["low_per_s"]
    text = f"R(t) = ceil(D(t) x {rule['burst_factor']:g} / ({c:.3g}/s x {rule['utilisation_share']:g})) + {rule['spare_replicas']}"
    if len(summary["demand"]["regions"]) > 1:
        text += ", or what any one lost region asks of the others" if rule["survives_region"] else ""
    return f"{text}; start-up {format_duration(rule['startup_s'])} ({rule['startup_source']})"


def demand_text(summary: Json) -> str:
    """The demand in a line."""
    demand = summary["demand"]
    tokens = "" if demand["tokens_per_day"] is None else f", {tokens_text(demand['tokens_per_day'])} tokens a day"
    grows = f", growing {100 * demand['monthly_growth_share']:g} % a month" if demand["monthly_growth_share"] else ""
    return (
        f"demand: mean {demand['mean_per_s']:.3g}/s, p99 of minutes {demand['p99_per_s']:.3g}/s, highest {demand['peak_per_s']:.3g}/s"
        f"{tokens}{grows}"
    )


def tokens_text(count: float) -> str:
    """ "1,780M"; "29.8M"."""
    return f"{count / 1e6:,.0f}M" if count >= 1e8 else f"{count / 1e6:.3g}M"


def unsure(summary: Json) -> list[str]:
    """What would make the plan inconclusive."""
    found = []
    if summary["capacity"]["value_per_s"] is None and not summary["capacity"]["digests"]:
        found.append("the capacity is a number without an interval: a capacity study would give the lower end that one plans with")
    found += [f"the capacity is simulated: {band} of the step time is not in its interval" for band in summary["capacity"]["bands"]]
    for day in summary["days"]:
        if day["open"]:
            found.append(f"{day['name']}: hours {hours_text(day['open'])} have too few requests to prove or refute the SLO")
    if summary["demand"]["kind"] == "trace":
        found.append(f"the demand is what came in {summary['demand']['days']} days: another week may be busier")
    return found
