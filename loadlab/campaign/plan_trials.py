"""Simulations of one configuration for `plan`: so many replicas, at the median prediction and at the pessimistic edge of its band."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import orjson

from loadlab.analysis.latency import order_statistic, per_row_s, rank_of
from loadlab.analysis.table import FloatArray, IntArray, RequestTable, table_of_columns
from loadlab.campaign.prediction_band import bands_of
from loadlab.campaign.probing import level_of_table
from loadlab.catalog.specs import find, gpus
from loadlab.engines.simulation import SimulationEngine
from loadlab.errors import InputError
from loadlab.planning.configurations import Configuration
from loadlab.planning.plan_search import Edge, Fate, Seen
from loadlab.scenario.build import build_plan
from loadlab.scenario.model import Scenario
from loadlab.scenario.plan import RequestPlan
from loadlab.scenario.rates import with_rate
from loadlab.schema import as_table, read_table
from loadlab.simulator import sequence as simulated
from loadlab.simulator.calibrated import Calibration
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.sharding import kv_capacity, missing_bytes, shard
from loadlab.simulator.spec import ClusterSpec, PoolSpec, ShardedModel
from loadlab.slo import Slos, read_slos
from loadlab.units import PS_PER_S

LATENCIES = ("ttft", "tpot", "e2e")
_ABSENT = (
    "model", "tier", "region", "mode", "turn", "prompt_tokens", "image_tokens", "cached_prompt_tokens", "preemptions",
    "itl_p50_s", "itl_p95_s", "itl_p99_s", "itl_max_s",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBand:
    """Factors on steps, and on TTFT under load, between which eight in ten measured values lay; where they come from."""

    low: float
    high: float
    ttft_low: float
    ttft_high: float
    rows: int
    source: str
    is_calibrated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What every candidate shares. `hardware`: a pool whose constants candidates on its GPU keep, as a calibrated cluster file has them."""

    model: str
    pool: PoolSpec  # of its keys those that no candidate changes: what it serves, its router, limits and engine
    hardware: ShardedModel | None = None
    calibration: Calibration | None = None  # of `hardware`

    def pool_of(self, one: Configuration, replicas: int) -> PoolSpec:
        """The pool of a candidate."""
        row, constants = find(gpus(), one.gpu, what="gpu"), self.hardware_on(one.gpu)
        hardware = replace(
            constants, model=self.model, quantisation=one.quantisation, kv_format=one.kv_format, tensor_parallel=one.tensor_parallel,
            pipeline_parallel=one.pipeline_parallel, data_parallel=one.data_parallel, expert_parallel=one.expert_parallel,
            link=constants.link or row.link, node_link=constants.node_link or row.node_link, sequence_parallel=False,
        )  # fmt: skip
        engine = replace(self.pool.engine, max_running=one.max_running, max_batched_tokens=one.max_batched_tokens)
        if not self.is_calibrated_for(one.gpu) or _bytes_of(constants) != _bytes_of(hardware):
            engine = replace(engine, kv_blocks=None)  # they were counted on another split
        return replace(self.pool, replicas=replicas, hardware=hardware, engine=engine)

    def cluster_of(self, one: Configuration, replicas: int, name: str = "plan", description: str = "") -> ClusterSpec:
        """The candidate as a cluster."""
        calibration = self.calibration if self.is_calibrated_for(one.gpu) else None
        return ClusterSpec(name=name, description=description, pools={"llm": self.pool_of(one, replicas)}, calibration=calibration)

    def is_calibrated_for(self, gpu: str) -> bool:
        """Whether measured runs corrected the constants that candidates on this GPU have."""
        return self.calibration is not None and self.hardware is not None and self.hardware.gpu == gpu

    def band_of(self, gpu: str) -> PlanBand:
        """The band of predictions for this GPU: that of the cluster file's calibration, else of the measured rows behind the catalogue."""
        if self.calibration is not None and self.is_calibrated_for(gpu):
            found = self.calibration
            return PlanBand(
                low=found.low_ratio, high=found.high_ratio, ttft_low=found.ttft_low_ratio, ttft_high=found.ttft_high_ratio,
                rows=found.requests, source=found.words()["label"], is_calibrated=True,
            )  # fmt: skip
        serving, ttft, words = bands_of(replace(self.hardware_on(gpu), model=self.model))
        return PlanBand(
            low=serving.low, high=serving.high, ttft_low=ttft.low, ttft_high=ttft.high, rows=serving.rows, source=serving.source,
            is_calibrated=words == "calibrated",
        )  # fmt: skip

    def hardware_on(self, gpu: str) -> ShardedModel:
        """The hardware whose constants candidates on this GPU have."""
        if self.hardware is not None and self.hardware.gpu == gpu:
            return self.hardware
        row = find(gpus(), gpu, what="gpu")
        return ShardedModel(
            model=self.model, quantisation=row.formats[0], gpu=gpu, link=row.link, gpus_per_node=row.gpus_per_node, node_link=row.node_link
        )  # fmt: skip

    def conditions(self) -> dict[str, Any]:
        """The same as tables."""
        own = {"hardware": self.hardware, "calibration": self.calibration}
        return {"model": self.model, "pool": as_table(self.pool)} | {k: None if v is None else as_table(v) for k, v in own.items()}


def _bytes_of(hardware: ShardedModel) -> tuple[object, ...]:
    """What decides how many KV blocks there are."""
    degrees = (hardware.tensor_parallel, hardware.pipeline_parallel, hardware.data_parallel, hardware.expert_parallel)
    return (hardware.model, hardware.quantisation, hardware.kv_format, *degrees)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """The load to be held. `text` is the scenario as JSON, its SLO in it, so that it can be a key of what a process has built already."""

    text: bytes
    rate_per_s: float
    seed: int

    def plan(self, share: float, requests: int) -> RequestPlan:
        """So many arrivals of a share of the load."""
        return _plan(self.text, self.rate_per_s * share, requests, self.seed)

    @property
    def slos(self) -> Slos:
        """Of its scenario."""
        return _read(self.text)[1]

    @property
    def budget(self) -> float:
        """The share of requests that may be bad."""
        return round(1 - self.slos.target_of(None), 12)


def traffic_of(scenario: Scenario, rate_per_s: float, seed: int) -> Traffic:
    """The load of a scenario at a rate. Raises InputError where it has no SLO."""
    table = as_table(scenario)
    if read_slos(table, scenario.name) is None:
        raise InputError('has no SLO: write [slo] with a limit such as ttft = "800ms", or pass --slo ttft=800ms', source=scenario.name)
    return Traffic(text=orjson.dumps(table, option=orjson.OPT_SORT_KEYS), rate_per_s=rate_per_s, seed=seed)


@lru_cache(maxsize=4)
def _read(text: bytes) -> tuple[Scenario, Slos]:
    table = orjson.loads(text)
    scenario = read_table(Scenario, table, str(table.get("name")))
    slos = read_slos(table, scenario.name)
    assert slos is not None
    return scenario, slos


@lru_cache(maxsize=64)
def _plan(text: bytes, rate_per_s: float, requests: int, seed: int) -> RequestPlan:
    return build_plan(with_rate(_read(text)[0], rate_per_s, requests), seed)


def unfit(one: Configuration, base: Base) -> tuple[Fate, str, float | None] | None:
    """Why a configuration cannot run, in words, and how many bytes each GPU lacks where it is memory; None where it can."""
    pool = base.pool_of(one, 1)
    assert isinstance(pool.hardware, ShardedModel)
    try:
        part = shard(pool.hardware)
    except InputError as error:
        return Fate.CANNOT_SPLIT, error.problem, None
    lacking = missing_bytes(part, pool.engine)
    if lacking > 0:
        return Fate.DOES_NOT_FIT, "", lacking
    kv_capacity(pool, one.name, "pools.llm")
    return None


def look(one: Configuration, replicas: int, requests: int, base: Base, traffic: Traffic, *, is_fleet: bool) -> Seen:
    """What the configuration shows under the load: one replica with its share of the arrivals, or the whole fleet behind its router."""
    share, running = (1.0, replicas) if is_fleet else (1 / replicas, 1)
    plan = traffic.plan(share, requests)
    spec = base.cluster_of(one, running)
    band = base.band_of(one.gpu)
    median = _replayed(spec, plan, traffic.seed)
    slow = _replayed(_slower(spec, band.high), plan, traffic.seed)
    rate_per_s = traffic.rate_per_s * share
    return Seen(
        replicas=replicas,
        median=edge_of(median, traffic.slos, rate_per_s, plan.digest),
        edge=edge_of(later(slow, median, band.ttft_high), traffic.slos, rate_per_s, plan.digest),
    )


def quickest(one: Configuration, replicas: int, requests: int, base: Base, traffic: Traffic) -> Edge:
    """What the whole fleet shows at the favourable edge of the band."""
    spec, plan = base.cluster_of(one, replicas), traffic.plan(1.0, requests)
    table = _replayed(_slower(spec, base.band_of(one.gpu).low), plan, traffic.seed)
    return edge_of(table, traffic.slos, traffic.rate_per_s, plan.digest)


def _slower(spec: ClusterSpec, factor: float) -> ClusterSpec:
    pool = spec.pools["llm"]
    assert isinstance(pool.hardware, ShardedModel)
    scaled = replace(pool.hardware, step_scale=pool.hardware.step_scale * factor)
    return replace(spec, pools={"llm": replace(pool, hardware=scaled)})


def _replayed(spec: ClusterSpec, plan: RequestPlan, seed: int) -> RequestTable:
    """The rows of a replay by seq, with the columns that a judgement reads."""
    ended: list[simulated.Sequence] = []
    SimulationEngine(SimulatedCluster(spec, "plan", seed), itl=False).follow(plan, ended.extend, lambda *_: None)
    ended.sort(key=lambda one: one.seq)
    return table_of_columns([_columns(ended)])


def _columns(ended: Sequence[simulated.Sequence]) -> Mapping[str, Sequence[Any]]:
    nothing = [None] * len(ended)
    scheduled = [one.arrival_ps / PS_PER_S for one in ended]
    return {
        **dict.fromkeys(_ABSENT, nothing),
        "seq": [one.seq for one in ended],
        "outcome": [one.outcome.value for one in ended],
        "cause": [None if one.cause is None else one.cause.value for one in ended],
        "class": [one.traffic_class for one in ended],
        "scheduled_s": scheduled,
        "sent_s": scheduled,
        "first_token_s": [_seconds(one.first_token_ps) for one in ended],
        "last_token_s": [_seconds(one.last_token_ps) for one in ended],
        "finished_s": [_seconds(one.ended_ps) for one in ended],
        "output_tokens": [one.generated for one in ended],
    }


def _seconds(ps: int | None) -> float | None:
    return None if ps is None else ps / PS_PER_S


def later(slow: RequestTable, median: RequestTable, factor: float) -> RequestTable:
    """The slow rows, each first token at least `factor` times as late as in the median ones; what follows it comes as much later.

    TTFT errs by more than the steps that it waits for: its band stands beside theirs (docs/validation.md).
    """
    least_s = (median.first_token_s - median.scheduled_s) * factor
    delay_s = np.nan_to_num(np.maximum(0.0, least_s - (slow.first_token_s - slow.scheduled_s)))
    return replace(
        slow,
        first_token_s=slow.first_token_s + delay_s,
        last_token_s=slow.last_token_s + delay_s,
        finished_s=slow.finished_s + delay_s,
    )


def edge_of(table: RequestTable, slos: Slos, rate_per_s: float, digest: str) -> Edge:
    """What rows show of an SLO."""
    table = table.in_due_order()
    level = replace(level_of_table(table, slos, rate_per_s), digest=digest)
    kept = table.rows(np.arange(len(table)) >= level.warm_up)
    target = slos.target_of(None)
    values = {name: per_row_s(name, kept) for name in LATENCIES}
    worst, excess = _worst(kept, values, slos, target)
    at_target = {f"{name}_s": order_statistic(found[~np.isnan(found)], target) for name, found in values.items()}
    return Edge(level=level, worst=worst, excess=excess, **at_target)


def _worst(table: RequestTable, values: Mapping[str, FloatArray], slos: Slos, target: float) -> tuple[str, float]:
    """The limit that is missed by most, or nearest to being missed, and by what share; ("failed", their share) where that misses alone."""
    failed = 1 - float(table.ok.mean())
    if failed > 1 - target:
        return "failed", failed
    excess = {}
    for name, found in values.items():
        shares = np.sort(np.concatenate([found[own] / limit for own, limit in _limits(table, slos, name)] or [np.empty(0)]))
        shares = shares[~np.isnan(shares)]
        if len(shares):
            excess[name] = float(shares[rank_of(target, len(shares)) - 1]) - 1
    return max(excess.items(), key=lambda pair: pair[1], default=("success", -1.0))


def _limits(table: RequestTable, slos: Slos, latency: str) -> list[tuple[IntArray, float]]:
    """(rows, limit) of every class that has that limit."""
    column = table.traffic_class
    pairs = []
    for code, name in enumerate(column.names):
        limit = getattr(slos.of(name), latency)
        if limit is not None:
            pairs.append((np.flatnonzero(column.codes == code), limit))
    return pairs
