"""Many runs over a grid: on the simulator in parallel, over HTTP one after another; each point leaves a row, so that a sweep resumes."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import tomli_w

from loadlab.analysis.attainment import attained
from loadlab.analysis.latency import e2e_s, order_statistic, tpot_s, ttft_s
from loadlab.analysis.steadiness import overload
from loadlab.analysis.table import RequestTable, table_of_chunks
from loadlab.campaign.probing import level_of_table
from loadlab.campaign.target import Target, conditions_of
from loadlab.campaign.trial import prepare, record, replay
from loadlab.errors import InputError
from loadlab.planning.grid import RATE, Axis, Point, points, set_key
from loadlab.record.atomic_file import cannot_write, save_bytes
from loadlab.record.client import ClientFacts
from loadlab.record.journal import Journal
from loadlab.record.manifest import HostFacts
from loadlab.record.request import RequestRecord
from loadlab.record.rows import Row
from loadlab.report.summary import load_table
from loadlab.scenario.build import build_plan
from loadlab.scenario.model import Scenario
from loadlab.scenario.rates import with_rate
from loadlab.schema import as_table, read_table, read_toml
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.spec import ClusterSpec
from loadlab.slo import Slos, read_slos
from loadlab.units import parse_rate_per_s

JOURNAL = "points.jsonl"
RUNS = "runs"  # under OUT: a run directory for each point over HTTP
MAX_NAME = 80  # characters of a cluster file's or a run directory's name
SCHEMA = "loadlab/sweep-points/1"
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")  # in a file name
Done = Callable[[int, int], None]  # (points that are done, points)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A grid, and what it is a grid of."""

    scenario: Scenario
    target: Target
    axes: tuple[Axis, ...]
    seeds: int
    seed: int
    requests: int | None  # of each run; None: as the scenario says
    out: Path
    host: HostFacts | None = None  # of the run directories that points over HTTP are kept in

    def points(self) -> list[Point]:
        """Every run of the sweep."""
        return points(self.axes, self.seeds, self.seed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run, made: its scenario and its target, known to suit."""

    point: Point
    scenario: Scenario
    target: Target
    rate_per_s: float | None = None  # where the rate is an axis
    run: Path | None = None  # the run directory to keep it in; None: rows are judged and dropped, and a simulated point can be run again
    host: HostFacts | None = None


def prepare_jobs(sweep: Sweep) -> list[Job]:
    """Every run of the sweep, checked; cluster files of its own are written into OUT/clusters. Raises InputError on a bad point."""
    return [_job(sweep, point) for point in sweep.points()]


def _job(sweep: Sweep, point: Point) -> Job:
    told = ", ".join(f"{name}={value}" for name, value in point.values.items()) or "the point"
    scenario_table = as_table(sweep.scenario)
    cluster_table = read_toml(sweep.target) if isinstance(sweep.target, Path) else None
    rate: float | None = None
    for axis in sweep.axes:
        value = point.values[axis.name]
        where, _, key = axis.key.partition(":")
        if axis.key == RATE:
            rate = _rate(value)
        elif where == "scenario":
            set_key(scenario_table, key, value, axis.name)
        elif cluster_table is None:
            raise InputError(f"= {axis.name} is a key of a cluster file, and the target is an endpoint", key="--over")
        else:
            set_key(cluster_table, key, value, axis.name)
    scenario = read_table(Scenario, scenario_table, f"{sweep.scenario.name} with {told}")
    if rate is not None:
        scenario = with_rate(scenario, rate, sweep.requests)
    elif sweep.requests is not None:
        scenario_table = as_table(scenario)
        scenario_table["load"]["requests"] = sweep.requests
        scenario = read_table(Scenario, scenario_table, f"{sweep.scenario.name} with --requests")
    target = _target(sweep, point, cluster_table)
    run = None if isinstance(target, Path) else sweep.out / RUNS / file_name(f"{point.number:03d}", {**point.values, "seed": point.seed})
    return Job(point=point, scenario=scenario, target=target, rate_per_s=rate, run=run, host=sweep.host)


def _rate(value: float | str) -> float:
    try:
        return parse_rate_per_s(value) if isinstance(value, str) else float(value)
    except ValueError as error:
        raise InputError(f"= rate: {error}", key="--over") from None


def _target(sweep: Sweep, point: Point, cluster: dict[str, Any] | None) -> Target:
    """The target as it is, or a cluster file with the point's keys, written down so that a run of it can be repeated."""
    changed = {axis.name: point.values[axis.name] for axis in sweep.axes if axis.key.startswith("cluster:")}
    if cluster is None or not changed:
        return sweep.target
    text = tomli_w.dumps(cluster).encode()
    path = sweep.out.resolve() / "clusters" / f"{file_name('', changed)}.toml"
    if path.exists() and path.read_bytes() == text:
        return path
    told = ", ".join(f"{key}={value}" for key, value in changed.items())
    source = f"{sweep.target} with {told}"
    SimulatedCluster(read_table(ClusterSpec, {key: value for key, value in cluster.items() if key != "schema"}, source), source)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path.parent, error) from None
    save_bytes(path, text)
    return path


def file_name(first: str, values: Mapping[str, Any]) -> str:
    """A name for a file from keys and their values; where it would be long, cut, with the beginning of a digest."""
    name = "-".join([first, *(f"{key}-{value}" for key, value in values.items())]).strip("-")
    safe = _UNSAFE.sub("-", name)
    return safe if len(safe) <= MAX_NAME else f"{safe[:MAX_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def run_sweep(sweep: Sweep, jobs: Sequence[Job], done: Done, *, resume: bool = False) -> list[dict[str, Any]]:
    """The rows of all points, by number. What ended before a KeyboardInterrupt is in OUT/points.jsonl.

    Simulated points run on every core through joblib, whose own backends (dask, ray) take over where the caller set one.
    """
    journal = Journal(
        sweep.out / JOURNAL, _header(sweep), lambda row: (int(row["point"]), row), resume=resume,
        study="sweep", row="point", question="scenario, target, grid or seed",
    )  # fmt: skip
    rows: dict[int, dict[str, Any]] = dict(journal.found)
    left = [job for job in jobs if job.point.number not in rows]
    is_simulated = isinstance(sweep.target, Path)
    done(len(rows), len(jobs))
    with closing(_results(left, is_simulated=is_simulated)) as results:
        for row in results:
            rows[row["point"]] = row
            journal.add([row])
            done(len(rows), len(jobs))
    return [rows[number] for number in sorted(rows)]


def _results(jobs: Sequence[Job], *, is_simulated: bool) -> Generator[dict[str, Any], None, None]:
    if not is_simulated or len(jobs) < 2:
        yield from map(run_point, jobs)
        return
    runs = joblib.Parallel(n_jobs=-1, return_as="generator_unordered")(joblib.delayed(run_point)(job) for job in jobs)
    try:
        for row in runs:  # noqa: UP028 - `yield from` would close it before the warning is silenced
            yield row
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that points were given up is what an interrupt asks for
            runs.close()


def conditions_of_jobs(jobs: Sequence[Job]) -> list[Mapping[str, Any]]:
    """One table for each pool of each cluster of the grid, equal ones once; one for an endpoint."""
    found: list[Mapping[str, Any]] = []
    plan = build_plan(jobs[0].scenario, jobs[0].point.seed)
    for job in {str(job.target): job for job in jobs}.values():
        found += [dict(table) for table in conditions_of(job.target, plan, job.point.seed) if table not in found]
    return found


def run_point(job: Job) -> dict[str, Any]:
    """One run as one row: the point's values, and its numbers (None where there are none)."""
    trial = prepare(job.scenario, job.target, job.point.seed)
    slos = read_slos(as_table(job.scenario), job.scenario.name)
    if job.run is None or job.host is None:
        sink = _Rows()
        replay(trial, sink, lambda *_: None, itl=False)
        return row_of_table(table_of_chunks([sink.rows]).in_due_order(), slos, job.point, trial.plan.digest, job.rate_per_s)
    table = load_table(record(trial, job.run, job.host, lambda *_: None, replace=True)).in_due_order()
    row = row_of_table(table, slos, job.point, trial.plan.digest, job.rate_per_s)
    return row | {"run": f"{RUNS}/{job.run.name}"}


def row_of_table(table: RequestTable, slos: Slos | None, point: Point, digest: str, rate_per_s: float | None) -> dict[str, Any]:
    """The row of one run in due order: the point's values, and its numbers (None where there are none)."""
    return {
        "point": point.number,
        **point.values,
        "seed": point.seed,
        "plan_digest": digest,
        **_numbers(table, slos),
        **_judged(table, slos, rate_per_s),
    }


def _judged(table: RequestTable, slos: Slos | None, rate_per_s: float | None) -> dict[str, Any]:
    """What a capacity is fitted to, without the warm-up: requests, bad ones, and how many neighbours say as much as one."""
    if slos is None or rate_per_s is None:
        return {}
    level = level_of_table(table, slos, rate_per_s)
    return {"rate_per_s": rate_per_s, "judged_n": level.n, "bad": level.bad, "tau": level.tau}


def _numbers(table: RequestTable, slos: Slos | None) -> dict[str, Any]:
    signs, ok = overload(table), int(table.ok.sum())
    span_s = float(max(table.finished_s.max() - table.scheduled_s.min(), 1e-9)) if len(table) else 0.0
    numbers: dict[str, Any] = {
        "n": len(table),
        "success_rate": ok / len(table),
        "requests_per_s": ok / span_s,
        "output_tokens_per_s": float(table.output_tokens[table.ok].sum()) / span_s,
        "overloaded": signs is not None and signs.is_overloaded,
        "attainment": None if slos is None else float(attained(table, slos).mean()),
    }
    for name, values in (("ttft", ttft_s(table)), ("tpot", tpot_s(table)), ("e2e", e2e_s(table))):
        numbers |= {f"{name}_p{p}_s": order_statistic(values, p / 100) for p in (50, 95, 99)}
    return numbers


class _Rows:
    """A RecordSink that keeps the rows in memory."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def append(self, records: Any) -> None:
        self.rows += [RequestRecord.as_row(record) for record in records]

    def append_rows(self, rows: Any) -> None:
        self.rows += rows

    def append_timeline(self, rows: Any) -> None:
        """A sweep has no room for it."""

    def flush(self) -> None:
        """Nothing waits."""

    def note_client(self, facts: ClientFacts, wall_s: float | None) -> None:
        """A sweep's rows say nothing of the load generator."""


def _header(sweep: Sweep) -> dict[str, Any]:
    cluster = read_toml(sweep.target) if isinstance(sweep.target, Path) else str(getattr(sweep.target, "url", sweep.target))
    return {
        "schema": SCHEMA,
        "scenario": as_table(sweep.scenario),
        "target": cluster,
        "axes": [[axis.name, list(axis.values)] for axis in sweep.axes],
        "seeds": sweep.seeds,
        "seed": sweep.seed,
        "requests": sweep.requests,
    }
