"""A fleet's day on the simulator: the traffic that the capacity was found with, at the rates of the demand, on the replicas of the plan.

Replicas come and go as drains: one that is not up takes nothing new, and ends what it has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from loadlab.errors import InputError
from loadlab.planning.curves import FloatArray
from loadlab.planning.demand import HOURS, MINUTES_PER_DAY, MINUTES_PER_HOUR
from loadlab.planning.fleet import IntArray
from loadlab.scenario.load import OpenLoop
from loadlab.scenario.model import Scenario
from loadlab.scenario.profiles import Step
from loadlab.scenario.traffic_class import TrafficClass
from loadlab.simulator.faults import Drain, Fault, LostNode, LostRegion
from loadlab.simulator.spec import ClusterSpec, PoolSpec, Region

Say = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """Which minutes of a day are played: of each hour the `minutes` with most demand, one hour after another, in real time.

    `starts`: the first minute of each hour's window, in minutes of the day.
    """

    minutes: int
    starts: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        """Nothing is left out."""
        return self.minutes == MINUTES_PER_HOUR

    def of(self, values: Any) -> Any:
        """The played minutes of [..., 1440]."""
        return values[..., np.concatenate([np.arange(start, start + self.minutes) for start in self.starts])]


def choose_minutes(per_s: FloatArray, requests: int) -> Played:
    """The whole day where it brings at most `requests`, else as many minutes of each hour as do, at least one. per_s: [regions, 1440]."""
    total = per_s.sum(axis=0)
    expected = float(total.sum()) * 60
    minutes = MINUTES_PER_HOUR if expected <= requests else max(1, int(requests / expected * MINUTES_PER_HOUR))
    starts = []
    for hour in range(HOURS):
        own = total[hour * MINUTES_PER_HOUR : (hour + 1) * MINUTES_PER_HOUR]
        sums = np.convolve(own, np.ones(minutes), mode="valid")
        starts.append(hour * MINUTES_PER_HOUR + int(np.argmax(sums > sums.max() * (1 - 1e-9))))
    return Played(minutes=minutes, starts=tuple(starts))


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A region that is lost: from which hour of the day on, for how many."""

    region: str
    at_hour: int
    for_hours: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What every simulation of one day shares."""

    scenario: Scenario
    spec: ClusterSpec
    source: str
    regions: tuple[str, ...]
    per_s: FloatArray  # [regions, 1440]
    played: Played
    between_regions_s: float
    seed: int


def day_scenario(day: Day) -> Scenario:
    """The scenario at the demand of the played minutes: each class in each region arrives as a Poisson process whose rate is the demand's.

    Of three regions or more a class is split by where its clients turn to if their own is lost.
    """
    total = sum(c.share for c in day.scenario.classes.values())
    classes: dict[str, TrafficClass] = {}
    rates = day.played.of(day.per_s)
    for r, region in enumerate(day.regions):
        if not rates[r].any():
            continue
        homes = _homes(day.regions, region)
        for name, own in day.scenario.classes.items():
            for home in homes:
                suffix = "" if len(day.regions) == 1 else f"-{home}"
                share = own.share / total / len(homes)
                law = _steps(rates[r] * share)
                classes[f"{name}{suffix}"] = replace(own, arrivals=law, region=home if len(day.regions) > 1 else own.region, share=1.0)
    load = OpenLoop(duration_s=float(day.played.minutes * HOURS * 60))
    return replace(day.scenario, name=f"{day.scenario.name}-day"[:80], load=load, classes=classes, thresholds=())


def _homes(regions: tuple[str, ...], region: str) -> list[str]:
    """Labels of a region's clients: one, or one for each region that they would turn to."""
    others = [other for other in regions if other != region]
    return [region] if len(others) < 2 else [f"{region}-else-{other}" for other in others]


def _steps(rates: FloatArray) -> Step:
    """A rate for each minute, equal neighbours joined."""
    changes = np.flatnonzero(np.diff(rates, prepend=-1.0))
    return Step(at_s=tuple(float(i * 60) for i in changes), rates_per_s=tuple(float(rates[i]) for i in changes))


def day_cluster(day: Day, up: IntArray, lost: Lost | None) -> ClusterSpec:
    """The cluster with `up` replicas in each region and minute of the day: int64[regions, 1440]. `copies` of the file are one of them
    where it has several pools."""
    if day.spec.regions or any(pool.region for pool in day.spec.pools.values()):
        raise InputError("has regions of its own: plan with the cluster of one region", source=day.source)
    played = day.played.of(up)
    pools: dict[str, PoolSpec] = {}
    faults: list[Fault] = []
    is_alone = len(day.regions) == 1
    for r, region in enumerate(day.regions):
        names = {name: name if is_alone else f"{name}-{region}" for name in day.spec.pools}
        for name, pool in day.spec.pools.items():
            each = 1 if len(day.spec.pools) == 1 else pool.replicas
            pools[names[name]] = replace(
                pool,
                replicas=int(up[r].max()) * each,
                region=None if is_alone else region,
                autoscale=None,
                prefill_pool=None if pool.prefill_pool is None else names[pool.prefill_pool],
            )
            faults += _drains(names[name], played[r], int(up[r].max()), each)
        if r == 0:
            faults += [_renamed(fault, names) for fault in day.spec.faults if _has_room(fault, names, pools)]
    if lost is not None:
        faults.append(_loss(day, lost))
    regions = {} if is_alone else _regions(day)
    return replace(day.spec, name=f"{day.spec.name}-fleet", pools=pools, regions=regions, faults=tuple(faults))


def _drains(pool: str, up: IntArray, most: int, each: int) -> list[Fault]:
    """Replica k takes nothing new while at most k are up; of copies with several replicas, all of a copy's."""
    found: list[Fault] = []
    for k in range(int(up.min()), most):
        is_down = np.concatenate([[0], (up <= k).astype(np.int64), [0]])
        edges = np.flatnonzero(np.diff(is_down))
        for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            found += [Drain(pool=pool, replica=k * each + i, at_s=float(first * 60), for_s=float((last - first) * 60)) for i in range(each)]
    return found


def _renamed(fault: Fault, names: Mapping[str, str]) -> Fault:
    assert not isinstance(fault, LostRegion), "the cluster has no regions"
    return replace(fault, pool=names[fault.pool])


def _has_room(fault: Fault, names: Mapping[str, str], pools: Mapping[str, PoolSpec]) -> bool:
    """Whether the fleet has the replica that a fault of the file is about."""
    if isinstance(fault, LostRegion | LostNode):
        return isinstance(fault, LostNode)
    return fault.replica < pools[names[fault.pool]].replicas


def _loss(day: Day, lost: Lost) -> LostRegion:
    hour_s = day.played.minutes * 60
    return LostRegion(region=lost.region, at_s=float(lost.at_hour * hour_s), for_s=float(lost.for_hours * hour_s))


def _regions(day: Day) -> dict[str, Region]:
    """Places of replicas and of clients. Clients find their own region at once, their second choice a little nearer than the rest."""
    far = day.between_regions_s
    found = {region: Region(round_trip_s={other: 0.0 if other == region else far for other in day.regions}) for region in day.regions}
    for region in day.regions:
        for home in _homes(day.regions, region):
            second = home.rpartition("-else-")[2]
            trips = {other: 0.0 if other == region else far if other == second else far + 1e-6 for other in day.regions}
            found[home] = Region(round_trip_s=trips)
    return found


def minutes_of_day(values: Any, day: int) -> Any:
    """The 1,440 minutes of one day of [..., minutes]."""
    return values[..., day * MINUTES_PER_DAY : (day + 1) * MINUTES_PER_DAY]
