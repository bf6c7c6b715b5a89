"""A fleet, planned and then played: what `loadlab fleet` does between its flags and its report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w

from loadlab.campaign.fleet import Asked, Price, Unit
from loadlab.campaign.fleet_day import Day, Lost, choose_minutes, day_cluster, day_scenario, minutes_of_day
from loadlab.campaign.fleet_play import Way, play_day, slos_of
from loadlab.campaign.study_band import capacity_scales, edges_text, has_simulated_edges
from loadlab.campaign.target import conditions_of, target_name
from loadlab.errors import InputError
from loadlab.planning.curves import SECONDS_PER_DAY
from loadlab.planning.demand import HOURS, MINUTES_PER_DAY, MINUTES_PER_HOUR, busiest_day
from loadlab.planning.fleet import FleetPlan, Month, Rule, TierFleet, over_the_year, plan_fleet, replicas_for, tier_fleets
from loadlab.planning.fleet_verdict import DayResult
from loadlab.planning.hosting import load_hosting
from loadlab.record.atomic_file import cannot_write, save_bytes
from loadlab.scenario.arrivals import Poisson
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.rates import mean_rate_per_s, with_rate
from loadlab.schema import as_table
from loadlab.simulator.files import CLUSTER_SCHEMA, load_cluster
from loadlab.units import format_duration

Say = Callable[[str, int, int], None]
Json = dict[str, Any]
SCENARIO_SCHEMA = "loadlab/scenario/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStudy:
    """All that is known of a fleet. `days` is empty where it was not played, and `why_not_played` says why."""

    unit: Unit
    asked: Asked
    startup_source: str
    plan: FleetPlan
    months: list[Month]
    tiers: list[TierFleet]
    price: Price | None
    days: tuple[DayResult, ...] = ()
    budget: float | None = None
    notes: tuple[str, ...] = ()
    why_not_played: str = ""

    @property
    def day(self) -> int:
        """The day that is shown, from 0: the one with the highest minute."""
        return busiest_day(self.asked.per_s)


def plan_study(unit: Unit, asked: Asked, rule: Rule, startup_source: str, price: Price | None) -> FleetStudy:
    """The plan without its simulation."""
    tiers = asked.demand.tiers
    return FleetStudy(
        unit=unit,
        asked=asked,
        startup_source=startup_source,
        plan=plan_fleet(asked.per_s, rule),
        months=over_the_year(asked.per_s, rule, asked.demand.monthly_growth_share),
        tiers=[] if tiers is None else tier_fleets(asked.per_s, rule, tiers),
        price=price,
    )


def day_of(study: FleetStudy, requests: int, draws: int, seed: int) -> Day | str:
    """What is needed to play the busiest day; or why it cannot be played. Raises InputError where a file that is named is bad."""
    unit = study.unit
    if unit.scenario is None:
        return "no scenario is known: give --scenario FILE, the traffic that the capacity is of"
    if unit.cluster is None:
        return "no cluster is known: give --cluster FILE, a simulated stand-in of one replica"
    if not unit.cluster.is_file():
        raise InputError("does not exist; give --cluster FILE, or --no-simulate", source=str(unit.cluster))
    per_s = minutes_of_day(study.asked.per_s, study.day)
    spec = load_cluster(unit.cluster)
    return Day(
        scenario=unit.scenario, spec=spec, source=str(unit.cluster), regions=study.asked.regions, per_s=per_s,
        played=choose_minutes(per_s, requests // draws), between_regions_s=study.asked.demand.between_regions_s, seed=seed,
    )  # fmt: skip


def ways(study: FleetStudy, lost: list[Lost]) -> list[Way]:
    """Every way in which the day is played."""
    plan, startup_s = study.plan, study.plan.rule.startup_s
    static = np.repeat(plan.static[:, None], MINUTES_PER_DAY, axis=1)
    up, late = minutes_of_day(plan.up, study.day), minutes_of_day(plan.late_up, study.day)
    found, is_scaled = [Way(name="static", about="always on", up=static)], bool((plan.static > plan.up.min(axis=1)).any())
    if is_scaled:
        soon, then = format_duration(startup_s), "started when they are needed"
        found += [
            Way(name="ahead", about=f"autoscaled, started {soon} before they are needed", up=up),
            Way(name="late", about=f"autoscaled, {then}: up {soon} later", up=late),
        ]
    for one in lost:
        when = f"{one.region} lost from {one.at_hour}:00 for {one.for_hours} h"
        found.append(Way(name=f"static, {one.region} lost", about=f"always on, {when}", up=static, lost=one))
        if is_scaled:
            found.append(Way(name=f"ahead, {one.region} lost", about=f"autoscaled ahead, {when}", up=up, lost=one))
    return found


def budget_of(day: Day) -> float:
    """The error budget that hours are judged by: 1 - target."""
    return round(1 - slos_of(day).target_of(None), 12)


def play(study: FleetStudy, day: Day, lost: list[Lost], draws: int, say: Say) -> Iterator[DayResult]:
    """The simulated days, one after another: who is interrupted has those that ended."""

    def shown(way: Way) -> Callable[[int, int], None]:
        return lambda done, planned: say(way.name, done, planned)

    for way in ways(study, lost):
        yield play_day(day, way, draws, shown(way))


def notes_on(study: FleetStudy, day: Day) -> tuple[str, ...]:
    """What a reader should know of how the day was played, and how it differs from what was planned for."""
    notes = []
    played = day.played
    if not played.is_whole:
        notes.append(
            f"each hour is played by its busiest {played.minutes} min, one after another, at its own rate; start-up takes its real time, "
            f"so what is late weighs up to {heavier_text(MINUTES_PER_HOUR / played.minutes)} in an hour as it would"
        )
    arrivals = day.scenario.load.arrivals if isinstance(day.scenario.load, OpenLoop) else None
    if not isinstance(arrivals, Poisson):
        notes.append("arrivals are played as a Poisson process at the demand's rate; the scenario's own law is burstier or another one")
    if study.plan.rule.burst_factor > 1:
        notes.append(f"the burst factor {study.plan.rule.burst_factor:g} is planned for and not played: the day is the curve itself")
    if study.tiers:
        notes.append("tiers are counted, not played: the day is that of the large model alone, with all requests")
    changed = _changed_conditions(study.unit, day)
    if changed:
        notes.append(changed)
    return tuple(notes)


def heavier_text(ratio: float) -> str:
    """ "4.3 times as much"; "1.03 times as much": never "1 times", since an hour that is not played whole weighs more."""
    return f"{ratio:.2f} times as much" if ratio < 2 else f"{ratio:.2g} times as much"


def _changed_conditions(unit: Unit, day: Day) -> str:
    """Whether the cluster file still says what it said when the capacity was found."""
    if unit.study is None or unit.cluster is None:
        return ""
    plan = build_plan(with_rate(day.scenario, mean_rate_per_s(day.scenario), 100), unit.study["seed"])
    now = [dict(table) for table in conditions_of(unit.cluster, plan, unit.study["seed"])]
    before = unit.study["conditions"]
    if target_name(unit.cluster) != unit.study["target"]:
        return f"the day is played on {unit.cluster}, not on the target of the capacity study, {unit.study['target']}"
    if _plain(now) != _plain(before):
        return f"{unit.cluster} no longer says what it said when the capacity was found"
    return ""


def _plain(value: Any) -> Any:
    """As JSON tells it."""
    import orjson

    return orjson.loads(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY))


def capacity_facts(study: FleetStudy) -> Json:
    """The part of the report about the capacity."""
    unit = study.unit
    keys = (
        "low_per_s",
        "value_per_s",
        "high_per_s",
        "source",
        "note",
        "gpus",
        "gpu",
        "copies",
        "is_whole",
        "tokens_per_arrival",
        "slo_text",
    )
    table = {key: getattr(unit, key) for key in keys}
    conditions = [] if "hybrid" in (unit.study or {}) else (unit.study or {}).get("conditions", ())
    bands = sorted({pool["step_time_band"] for pool in conditions if pool.get("step_time_band")})
    return table | {"digests": list(unit.digests), "bands": bands, "slow_edge": _slow_edge(study)}


def _slow_edge(study: FleetStudy) -> Json | None:
    """Replicas always on, were every step as slow as the band of a simulated capacity says; None without one."""
    down, _ = capacity_scales(study.unit.study or {})
    if down == 1:
        return None
    rule = replace(study.plan.rule, low_per_s=study.plan.rule.low_per_s * down)
    return {
        "low_per_s": rule.low_per_s,
        "replicas": int(plan_fleet(study.asked.per_s, rule).static.sum()),
        "is_simulated": has_simulated_edges(study.unit.study or {}),
        "note": edges_text(study.unit.study or {}),
    }


def demand_facts(asked: Asked, tokens_per_arrival: float | None) -> Json:
    """The part of the report about the demand: arrivals a second, of all regions together unless it says otherwise."""
    demand, total = asked.demand, asked.per_s.sum(axis=0)
    tokens = demand.tokens_per_arrival or tokens_per_arrival
    mean, peak = float(total.mean()), float(total.max())
    return {
        "name": demand.name,
        "description": demand.description,
        "file": asked.path.as_posix(),
        "digest": asked.digest,
        "kind": demand.curve.kind,
        "days": len(total) // MINUTES_PER_DAY,
        "mean_per_s": mean,
        "peak_per_s": peak,
        "p99_per_s": float(np.sort(total)[int(np.ceil(0.99 * len(total))) - 1]),
        "peak_to_average": peak / mean,
        "arrivals_per_day": mean * SECONDS_PER_DAY,
        "tokens_per_arrival": tokens,
        "tokens_per_day": None if tokens is None else mean * SECONDS_PER_DAY * tokens,
        "burst_factor": demand.burst_factor,
        "monthly_growth_share": demand.monthly_growth_share,
        "regions": [
            {"name": name, "mean_per_s": float(row.mean()), "peak_per_s": float(row.max())}
            for name, row in zip(asked.regions, asked.per_s, strict=True)
        ],
        "tiers": None if demand.tiers is None else asdict(demand.tiers),
    }


def spare_for_break_even(plan: FleetPlan, unit: Unit) -> int:
    """Replicas beyond those that the point capacity needs at the peak: with so many spare ones, break-even has the same fleet here."""
    rule = plan.rule
    point = Rule(low_per_s=unit.value_per_s or rule.low_per_s, utilisation_share=rule.utilisation_share, burst_factor=rule.burst_factor)
    return max(0, int(plan.static.sum()) - int(replicas_for(plan.per_s.sum(axis=0).max(), point)))


def hand_over(study: FleetStudy, capacity: str, hosting: Path | None) -> Json | None:
    """The `loadlab break-even` of this fleet: the same capacity, volume, peak and replicas. None where tokens or prices are not known."""
    facts = demand_facts(study.asked, study.unit.tokens_per_arrival)
    if hosting is None or facts["tokens_per_day"] is None:
        return None
    rule = study.plan.rule
    words = ["loadlab", "break-even", "--capacity", str(hosting)]
    changes = {
        "operation.peak_to_average": f"{facts['peak_to_average'] * rule.burst_factor:.6g}",
        "operation.spare_replicas": str(spare_for_break_even(study.plan, study.unit)),
    }
    if study.unit.study is not None:
        words = ["loadlab", "break-even", "--capacity", capacity, "--hosting", str(hosting)]
    elif load_hosting(hosting).capacity.tokens_per_s is not None:
        changes["capacity.tokens_per_s"] = f"{rule.low_per_s * facts['tokens_per_arrival']:.6g}"
    else:
        changes |= {"capacity.requests_per_s": f"{rule.low_per_s:.6g}", "capacity.tokens_per_request": f"{facts['tokens_per_arrival']:.6g}"}
    words += ["--volume", f"{facts['tokens_per_day']:.0f}", "--utilisation", f"{100 * rule.utilisation_share:g}%"]
    for key, value in changes.items():
        words += ["--set", f"{key}={value}"]
    return {
        "tokens_per_day": facts["tokens_per_day"],
        "command": shlex.join(words),
        "note": "break-even counts with the point of the capacity and draws from its interval; its spare replicas make up the difference "
        "to this fleet, which is planned with the lower end",
    }


def save_inputs(day: Day, study: FleetStudy, lost: list[Lost], out: Path) -> list[tuple[str, Path, Path]]:
    """Writes the day's scenario and each way's cluster into `out`, so that `loadlab run` plays it again. Raises InputError."""
    scenario = out / "day.toml"
    try:
        (out / "clusters").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(out, error) from None
    save_bytes(scenario, tomli_w.dumps({"schema": SCENARIO_SCHEMA} | as_table(day_scenario(day))).encode())
    written = []
    for way in ways(study, lost):
        cluster = out / "clusters" / f"{way.name.replace(', ', '-').replace(' ', '-')}.toml"
        save_bytes(cluster, tomli_w.dumps({"schema": CLUSTER_SCHEMA} | as_table(day_cluster(day, way.up, way.lost))).encode())
        written.append((way.name, scenario, cluster))
    return written


def lost_regions(names: list[str], study: FleetStudy, at_hour: int | None, for_hours: int) -> list[Lost]:
    """The regions that are lost: by default in the busiest hour of each. Raises InputError on one that the demand has not."""
    regions = study.asked.regions
    found = []
    for name in names:
        if len(regions) < 2:
            raise InputError(f"= {name!r} needs a demand of at least two [regions]; {study.asked.path} has none", key="--lose-region")
        if name not in regions:
            raise InputError(f"= {name!r} is not one of the demand's regions ({', '.join(regions)})", key="--lose-region")
        row = minutes_of_day(study.asked.per_s, study.day)[regions.index(name)]
        busiest = int(row.argmax()) // MINUTES_PER_HOUR if at_hour is None else at_hour
        found.append(Lost(region=name, at_hour=busiest, for_hours=min(for_hours, HOURS - busiest)))
    return found


def plan_facts(study: FleetStudy) -> Mapping[str, Any]:
    """Where the numbers of the plan come from."""
    rule = study.plan.rule
    return asdict(rule) | {"startup_source": study.startup_source}
