"""Plays a fleet's day on the simulator, several times, and says of each hour how many requests were good."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadlab.analysis.attainment import attained
from loadlab.analysis.table import BoolArray, RequestTable, table_of_chunks
from loadlab.campaign.fleet_day import Day, Lost, day_cluster, day_scenario
from loadlab.engines.simulation import SimulationEngine
from loadlab.errors import InputError
from loadlab.planning.curves import FloatArray
from loadlab.planning.demand import HOURS
from loadlab.planning.fleet import IntArray
from loadlab.planning.fleet_verdict import DayResult, Hour
from loadlab.planning.levels import Level, level_of
from loadlab.record.client import ClientFacts
from loadlab.record.request import RequestRecord
from loadlab.record.rows import Row
from loadlab.scenario.build import build_plan
from loadlab.schema import as_table
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.slo import Slos, read_slos

Say = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run the day: replicas up in each region and minute of it, int64[regions, 1440], and what is lost."""

    name: str
    about: str
    up: IntArray
    lost: Lost | None = None


def slos_of(day: Day) -> Slos:
    """The SLO that the day is judged by. Raises InputError without one."""
    scenario = day_scenario(day)
    slos = read_slos(as_table(scenario), scenario.name)
    if slos is None:
        raise InputError('has no SLO: write [slo] with a limit such as ttft = "800ms", or pass --slo ttft=800ms', source=scenario.name)
    return slos


def play_day(day: Day, way: Way, draws: int, say: Say) -> DayResult:
    """Plays a day `draws` times, with the day's seed and those after it. Raises InputError where scenario and cluster do not suit."""
    scenario, slos, spec = day_scenario(day), slos_of(day), day_cluster(day, way.up, way.lost)
    drawn, digests = [], []
    for seed in range(day.seed, day.seed + draws):
        plan = build_plan(scenario, seed)
        sink = _Judged(slos)
        SimulationEngine(SimulatedCluster(spec, day.source, seed), itl=False).replay(plan, sink, say)
        drawn.append(sink.in_order())
        digests.append(plan.digest)
    fewest = day.played.of(way.up).sum(axis=0).reshape(HOURS, day.played.minutes).min(axis=1)
    hour_s = day.played.minutes * 60
    whole = _hour(drawn, None, hour_s, day.regions)
    if whole is None:
        raise InputError("brings not one request in the minutes that are played; raise --requests", key="--demand")
    return DayResult(
        name=way.name,
        about=way.about,
        hours=tuple(_hour(drawn, h, hour_s, day.regions) for h in range(HOURS)),
        whole=whole,
        minutes=day.played.minutes,
        up=tuple(fewest.tolist()),
        plan_digests=tuple(digests),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """The requests of one draw in the order in which they were due."""

    due_s: FloatArray
    spent_s: FloatArray
    bad: BoolArray
    region: NDArray[np.str_]

    def level(self, own: BoolArray, span_s: float) -> Level:
        """Of some of them, which came in `span_s`."""
        return level_of(float(np.count_nonzero(own)) / span_s, self.bad[own], self.spent_s[own])


def _hour(drawn: list[_Drawn], hour: int | None, hour_s: float, regions: tuple[str, ...]) -> Hour | None:
    """What the draws showed of an hour, or of the day; None where nothing came in any."""
    levels, good, asked = [], dict.fromkeys(regions, 0), dict.fromkeys(regions, 0)
    for one in drawn:
        own = np.ones(len(one.due_s), dtype=np.bool_)
        if hour is not None:
            own = np.minimum((one.due_s / hour_s).astype(np.int64), HOURS - 1) == hour
        if not own.any():
            continue
        levels.append(one.level(own, hour_s if hour is not None else hour_s * HOURS))
        for region in regions:
            here = own & (one.region == region)
            asked[region] += int(np.count_nonzero(here))
            good[region] += int(np.count_nonzero(here & ~one.bad))
    if not levels:
        return None
    return Hour(draws=tuple(levels), by_region={region: good[region] / asked[region] for region in regions if asked[region]})


class _Judged:
    """A RecordSink that keeps of each request only when it was due, how long it took, whether it was bad, and its region."""

    def __init__(self, slos: Slos) -> None:
        self._slos = slos
        self.columns: list[tuple[FloatArray, FloatArray, BoolArray, NDArray[np.str_]]] = []

    def append(self, records: Iterable[RequestRecord]) -> None:
        self.append_rows(record.as_row() for record in records)

    def append_rows(self, rows: Iterable[Row]) -> None:
        fresh = list(rows)
        if not fresh:
            return
        table: RequestTable = table_of_chunks([fresh])
        names = np.array([name.partition("-else-")[0] for name in (*table.region.names, "all")])  # the last: of those without a region
        self.columns.append(
            (table.scheduled_s, table.finished_s - table.scheduled_s, ~attained(table, self._slos), names[table.region.codes])
        )

    def append_timeline(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Nothing of the cluster's state is shown."""

    def flush(self) -> None:
        """Nothing is written."""

    def note_client(self, facts: ClientFacts, wall_s: float | None) -> None:
        """A simulation has no client."""

    def in_order(self) -> _Drawn:
        """All that came, in due order."""
        if not self.columns:
            none = np.empty(0)
            return _Drawn(due_s=none, spent_s=none, bad=none.astype(np.bool_), region=none.astype(np.str_))
        due, spent, bad, region = (np.concatenate(column) for column in zip(*self.columns, strict=True))
        order = np.argsort(due, kind="stable")
        return _Drawn(due_s=due[order], spent_s=spent[order], bad=bad[order], region=region[order])
