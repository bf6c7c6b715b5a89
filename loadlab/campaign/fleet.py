"""What a fleet is planned from: the capacity of one replica, by a study or by a number, and the demand file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from loadlab.campaign.capacity import JOURNAL
from loadlab.campaign.capacity_file import read_study
from loadlab.errors import InputError
from loadlab.planning.curves import HOURS_PER_MONTH, FloatArray
from loadlab.planning.demand import Demand, TokenVolume, demand_per_s, load_demand
from loadlab.planning.inputs import gpu_usd_per_month
from loadlab.planning.resolve import resolve
from loadlab.report.capacity import sure_text
from loadlab.report.capacity_files import CAPACITY_FILE
from loadlab.scenario.files import load_scenario
from loadlab.scenario.judgement import with_flags
from loadlab.scenario.library import find_cluster, find_scenario, find_shipped
from loadlab.scenario.model import Scenario
from loadlab.schema import read_table, shown_path
from loadlab.simulator.files import load_cluster
from loadlab.simulator.sharding import shard
from loadlab.simulator.spec import ClusterSpec, ShardedModel
from loadlab.units import parse_rate_per_s

BOOT_S = 60.0  # a process, its libraries and its engine: EngineLimits.restart_s
LOAD_BYTES_PER_S = 1e9  # weights from a disk or object store to the GPUs: our choice, an NVMe reads some 3e9, a network 1e9
DEFAULT_STARTUP_S = 300.0  # where nothing is known of the weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What one replica holds at the SLO, arrivals a second: `low_per_s` is planned with; point and upper end where an interval is known.

    `copies`: how many replicas the study had. `is_whole`: the unit is the whole cluster file, which has several pools.
    """

    low_per_s: float
    value_per_s: float | None = None
    high_per_s: float | None = None
    source: str
    note: str
    gpus: int | None = None
    gpu: str | None = None
    copies: int = 1
    is_whole: bool = False
    tokens_per_arrival: float | None = None
    slo_text: str | None = None
    digests: tuple[str, ...] = ()
    study: Mapping[str, Any] | None = None
    scenario: Scenario | None = None
    cluster: Path | None = None


def load_unit(text: str, scenario: Path | None, cluster: Path | None, slo: list[str]) -> Unit:
    """The capacity in a study's capacity.json (or its folder), or a rate such as "0.70/s". Raises InputError.

    `scenario` and `cluster` are what its day is simulated with, in place of what the study names; `slo` over the scenario's.
    """
    path = Path(text)
    file = path / CAPACITY_FILE if path.is_dir() else path
    if file.is_file():
        try:
            unit = _of_study(read_study(file), file)
        except (KeyError, TypeError) as error:
            raise InputError(f"is not whole: {error} is missing or of another kind", source=shown_path(file)) from None
    elif path.is_dir():
        raise InputError(f"has no {CAPACITY_FILE}: name the --out of a `loadlab capacity` that ended", source=shown_path(path))
    else:
        unit = _plain(text)
    if scenario is not None:
        unit = replace(unit, scenario=load_scenario(find_scenario(scenario)))
    if slo and unit.scenario is not None:
        unit = replace(unit, scenario=with_flags(unit.scenario, slo))
    if cluster is not None:
        file = find_cluster(cluster)
        unit = replace(unit, cluster=file, is_whole=unit.is_whole or (unit.study is None and len(load_cluster(file).pools) > 1))
    return unit


def _plain(text: str) -> Unit:
    try:
        rate = parse_rate_per_s(text)
    except ValueError:
        problem = f"= {text!r} is neither a file that exists nor a rate of one replica, such as 0.70/s"
        raise InputError(problem, key="--capacity") from None
    if "/" not in text or rate <= 0:
        raise InputError(f"= {text!r} must be a rate above 0 with its unit, such as 0.70/s", key="--capacity")
    return Unit(
        low_per_s=rate, source=f"{text} a replica, as given", note="without an interval: taken as it is, and nobody says how sure it is"
    )


def _of_study(study: dict[str, Any], file: Path) -> Unit:
    """One replica's part of what the study found. Its lower end is the interval's; where that is open, the certified rate."""
    found, source = study["capacity_per_s"], shown_path(file)
    low, note = found["low"], f"lower end of the 90 % interval of {study['name']}"
    if low is None:
        tolerance = study.get("certificate_tolerance", 0.0)  # absent from files of before it
        low, note = study["certified_per_s"], f"the certified rate ({sure_text(0.95, tolerance)}): the interval is open below"
    if not low:
        raise InputError(f"has no lower bound to plan with: {study['sentence']}. Measure more levels, or give a rate", source=source)
    pools = [pool for pool in study["conditions"] if "replicas" in pool]
    is_whole = len(pools) > 1
    copies = pools[0]["replicas"] if len(pools) == 1 else 1
    gpus = sum(pool.get("gpus") or 0 for pool in pools) // copies if pools else 0
    if copies > 1:
        note += f", divided by its {copies} replicas"
    value, high = found["value"], found["high"]
    target = str(study["target"])
    cluster = Path(target.removeprefix("sim:")) if target.startswith("sim:") else None
    return Unit(
        low_per_s=low / copies,
        value_per_s=None if value is None else value / copies,
        high_per_s=None if high is None else high / copies,
        source=f"{source}: {study['sentence']}, {study['requests']:,} requests on {target}",
        note=note,
        gpus=gpus or None,
        gpu=_gpu_of(pools),
        copies=copies,
        is_whole=is_whole,
        tokens_per_arrival=study["tokens_per_arrival"],
        slo_text=study["slo_text"],
        digests=(_digest(file), *(level["digest"] for level in study["levels"])),
        study=study,
        scenario=_scenario_beside(file),
        cluster=cluster,
    )


def _gpu_of(pools: list[dict[str, Any]]) -> str | None:
    names = {pool["hardware"].get("gpu") for pool in pools if isinstance(pool.get("hardware"), dict)}
    return names.pop() if len(names) == 1 else None


def _scenario_beside(file: Path) -> Scenario | None:
    """The scenario in the study's journal, its SLO filled in; None without a journal."""
    journal = file.parent / JOURNAL
    if not journal.is_file():
        return None
    with journal.open("rb") as lines:
        try:
            header = orjson.loads(lines.readline())
        except orjson.JSONDecodeError:
            raise InputError("line 1: is not the header of a study", source=shown_path(journal)) from None
    return read_table(Scenario, header["scenario"], shown_path(journal), "scenario")


def _digest(file: Path) -> str:
    return f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A demand file, read: arrivals a second of each region and minute."""

    demand: Demand
    per_s: FloatArray
    digest: str
    path: Path

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the rows of `per_s`; "all" where the file has no regions."""
        return tuple(self.demand.regions) or ("all",)

    @property
    def is_in_tokens(self) -> bool:
        """Whether arrivals follow from tokens."""
        return isinstance(self.demand.curve, TokenVolume)


def load_asked(path: Path, unit: Unit) -> Asked:
    """The demand in a file. Raises InputError."""
    path = find_shipped(path, "demand")
    demand = load_demand(path)
    try:
        per_s = demand_per_s(demand, unit.tokens_per_arrival, path.parent)
    except ValueError as error:
        key, _, rest = str(error).partition(" ")
        raise InputError(rest, source=shown_path(path), key=key) from None
    return Asked(demand=demand, per_s=per_s, digest=_digest(path), path=path)


def startup_of(unit: Unit, given_s: float | None) -> tuple[float, str]:
    """Seconds until a new replica serves, and where that comes from."""
    if given_s is not None:
        return given_s, "as given"
    spec = None if unit.cluster is None or not unit.cluster.is_file() else load_cluster(unit.cluster)
    weights = 0.0 if spec is None else _weights_bytes(spec)
    if weights == 0:
        return DEFAULT_STARTUP_S, "our default: nothing is known of the weights; set --startup"
    return (
        BOOT_S + weights / LOAD_BYTES_PER_S,
        f"{BOOT_S:g} s to boot + {weights / 1e9:.3g} GB of weights at {LOAD_BYTES_PER_S / 1e9:g} GB/s, our assumption; set --startup",
    )


def _weights_bytes(spec: ClusterSpec) -> float:
    """Of the pool with most: pools load side by side."""
    sharded = [pool.hardware for pool in spec.pools.values() if isinstance(pool.hardware, ShardedModel)]
    return max((shard(hardware).weights_bytes * hardware.gpus for hardware in sharded), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a GPU costs by the hour, and who says so."""

    usd_per_gpu_hour: float
    source: str


def price_of(usd_per_gpu_hour: float | None, hosting: Path | None, prices: Path | None) -> Price | None:
    """The price on the command line, or what a hosting file's GPU costs a month over 730 hours; None without either. Raises InputError."""
    from loadlab.campaign.money import load_case

    if usd_per_gpu_hour is not None:
        return Price(usd_per_gpu_hour=usd_per_gpu_hour, source="as given")
    if hosting is None:
        return None
    case = load_case(hosting, None, prices, {})
    found = resolve(case.hosting, case.book, next(iter(case.hosting.against.values())), case.source)
    usd = float(gpu_usd_per_month(found.inputs, found.terms)) / HOURS_PER_MONTH
    return Price(usd_per_gpu_hour=usd, source=f"{shown_path(hosting)} ({case.hosting.replica.gpu}), reserve included, staff not")
