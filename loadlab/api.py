"""loadlab from Python: what `run`, `capacity` and `break-even` do on the command line, as functions. `docs/python-api.md` shows them.

    from loadlab import break_even, capacity, load_run, run, simulate

Nothing is printed. What is wrong raises `loadlab.errors.InputError`, in the words of the command line; times are seconds, rates per second.
"""

from __future__ import annotations

import datetime
import shlex
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from loadlab.analysis.intervals import Estimate
from loadlab.analysis.metrics import value_of
from loadlab.campaign.capacity import Bounds, find_capacity, measure_levels, rate_note, summarise_study
from loadlab.campaign.money import Demand, compare, load_case
from loadlab.campaign.probing import Probing
from loadlab.campaign.results import load_summary, save_report
from loadlab.campaign.target import Target
from loadlab.campaign.trial import host_facts, prepare, record, write_summary
from loadlab.engines.endpoint import Endpoint, is_loopback, load_api_key, parse_url, resolve
from loadlab.errors import InputError
from loadlab.export.formats import FileFormat, export_file
from loadlab.export.rows import COLUMN_TYPES, exported_chunks
from loadlab.planning.hosting import Against
from loadlab.record.manifest import load_versions
from loadlab.record.run_dir import RunDir
from loadlab.report.break_even import summarise_break_even
from loadlab.report.numbers import gather
from loadlab.report.summary import load_table
from loadlab.scenario.files import load_scenario
from loadlab.scenario.judgement import with_flags
from loadlab.scenario.library import find_cluster, find_scenario
from loadlab.scenario.model import Scenario
from loadlab.scenario.rates import mean_rate_per_s, with_rate
from loadlab.schema import as_table
from loadlab.slo import Slos, parse_metric, read_slos

Json = dict[str, Any]
Progress = Callable[[str, int, int], None]  # what is done, how many requests of it, of how many


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Run:
    """One run: its directory on disk, and its numbers.

    `summary` is that of `summary.json` (docs/run-directory.md): every estimate with its interval and what it rests on.
    """

    path: Path
    summary: Json

    def metric(self, text: str) -> Estimate:
        """A metric as thresholds name it, with its 95 % interval: `run.metric("ttft.p95{class=chat}").value`, seconds, shares or 1/s.

        Warm-up is left out of latencies, as in the report. Raises ValueError on another name, or where it needs an SLO and there is none.
        """
        manifest = RunDir.open(self.path).manifest
        evidence = gather(self._table(), manifest.scenario, self._slos())
        return value_of(parse_metric(text), evidence.table, evidence.slos, warm_up_s=evidence.warm_up_s)

    def requests(self) -> pd.DataFrame:
        """A row a request, by seq: the columns of `requests.jsonl`, and `ttft_s`, `tpot_s`, `e2e_s` of those that were OK."""
        rows = [row for chunk in exported_chunks(RunDir.open(self.path)) for row in chunk]
        return pd.DataFrame(rows, columns=list(COLUMN_TYPES)).set_index("seq")

    @property
    def has_passed(self) -> bool | None:
        """True if every threshold surely holds, False if one is surely broken, None if there are none or one is undecided."""
        verdicts = {threshold["verdict"] for threshold in self.summary.get("thresholds") or ()}
        return False if "failed" in verdicts else None if not verdicts or "undecided" in verdicts else True

    def report(self) -> Path:
        """Draws `report.html` into the run directory; returns its path."""
        return save_report(self.path, self.summary)

    def export(self, kind: str, out: str | Path, *, force: bool = False) -> Path:
        """Writes the run as `csv`, `parquet`, `prometheus`, `otlp` or `guidellm` (docs/export.md); returns `out`."""
        export_file(RunDir.open(self.path), FileFormat(kind), Path(out), force=force)
        return Path(out)

    def _table(self) -> Any:
        return load_table(RunDir.open(self.path))

    def _slos(self) -> Slos | None:
        return read_slos(RunDir.open(self.path).manifest.scenario, str(self.path))


def load_run(path: str | Path) -> Run:
    """The run of a directory that exists, its summary made anew from its rows. Raises InputError if there is none, or it is damaged."""
    return Run(path=Path(path), summary=load_summary(Path(path)))


def simulate(
    scenario: str | Path | Scenario,
    cluster: str | Path,
    *,
    rate_per_s: float | None = None,
    requests: int | None = None,
    slo: Sequence[str] = (),
    thresholds: Sequence[str] = (),
    seed: int = 1,
    out: str | Path | None = None,
) -> Run:
    """A scenario on a simulated cluster, in virtual time. Both are files, or names of shipped ones ("smoke", "t4-14b").

    `rate_per_s` and `requests` replace those of an open loop; `slo` and `thresholds` are written as on the command line
    (["ttft=2s", "target=99%"], ["ttft.p95 < 800ms"]). Equal seeds give equal runs. Without `out` the run directory is temporary, and goes
    with the result.

    >>> one = simulate("smoke", "t4-14b", requests=200, slo=["ttft=2s"])
    >>> one.summary["totals"]["planned"]
    200
    >>> p95 = one.metric("ttft.p95")
    >>> p95.low < p95.value
    True
    """
    return _record(_scenario(scenario, rate_per_s, requests, slo, thresholds), find_cluster(Path(cluster)), seed, out)


def run(
    scenario: str | Path | Scenario,
    target: str,
    *,
    model: str | None = None,
    api_key_env: str | None = None,
    max_in_flight: int = 1024,
    may_leave_this_machine: bool = False,
    rate_per_s: float | None = None,
    requests: int | None = None,
    slo: Sequence[str] = (),
    thresholds: Sequence[str] = (),
    seed: int = 1,
    out: str | Path | None = None,
) -> Run:
    """A scenario on a target, in real time: "http://HOST:PORT" with its `model`; "sim:CLUSTER" is `simulate`.

    A target that is not on this machine is loaded only if `may_leave_this_machine`. The key comes from the environment variable
    `api_key_env`. Raises TargetUnreachableError where nobody answers; a run that ends early is kept in `out` first. The rest: `simulate`.
    """
    held = _scenario(scenario, rate_per_s, requests, slo, thresholds)
    if target.startswith("sim:"):
        return _record(held, find_cluster(Path(target.removeprefix("sim:"))), seed, out)
    return _record(held, _endpoint(target, model, api_key_env, max_in_flight, is_allowed=may_leave_this_machine), seed, out)


def capacity(
    scenario: str | Path | Scenario,
    cluster: str | Path,
    *,
    slo: Sequence[str] = (),
    rates_per_s: Sequence[float] = (),
    requests: int = 2000,
    highest_per_s: float = float("inf"),
    seed: int = 1,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Json:
    """How many arrivals a second a simulated cluster holds at an SLO, as in `capacity.json` (docs/capacity.md).

    Simulated only: that of an endpoint is measured by the command, `loadlab capacity --target http://HOST:PORT`.

    Searches, or measures `requests` at each of `rates_per_s`. The result's `answer` says whether there is one; `capacity_per_s` is the
    point with its 90 % interval, `certified_per_s` what is proven (95 %, to 2 %), None where nothing is. With
    `out` probes are journalled there.

    >>> found = capacity("smoke", "t4-14b", slo=["ttft=2s", "target=90%"], rates_per_s=[0.5, 1.0, 2.0], requests=400)
    >>> [level["rate_per_s"] for level in found["levels"]]
    [0.5, 1.0, 2.0]
    """
    held = _scenario(scenario, None, None, slo, ())
    slos = read_slos(as_table(held), held.name)
    if slos is None:
        raise InputError('has no SLO: write [slo] with a limit such as ttft = "800ms", or pass slo=["ttft=800ms"]', source=held.name)
    probing = Probing(scenario=held, target=find_cluster(Path(cluster)), slos=slos, seed=seed, host=host_facts(sys.argv), keep_rows_in=None)
    where, say = None if out is None else Path(out), progress or (lambda *_: None)
    if rates_per_s:
        result = measure_levels(probing, sorted(set(rates_per_s)), requests, where, say)
    else:
        result = find_capacity(probing, Bounds(highest_per_s=highest_per_s), where, say)
    return summarise_study(result, probing, rate_note(probing), load_versions(), _command())


def break_even(
    capacity: str | Path,
    *,
    hosting: str | Path | None = None,
    scenario: str | Path | None = None,
    prices: str | Path | None = None,
    against: Sequence[str] = (),
    api_usd_per_million: float | None = None,
    tokens_per_day: float | None = None,
    changes: Mapping[str, Any] | None = None,
    today: datetime.date | None = None,
    seed: int = 1,
) -> Json:
    """From which volume self-hosting costs less than an API, as `loadlab break-even --json` (docs/break-even.md). USD a month.

    `capacity` is a hosting file; or a capacity study, a run directory or a cluster file (then with `scenario`), with `hosting` for the
    rest. `changes` are keys of the hosting file: {"overhead.staff_usd_per_month": 3500}.

    >>> found = break_even("scenarios/hosting/l40s-70b.toml", tokens_per_day=30e6)
    >>> round(found["comparisons"][0]["crossings"]["permanent_tokens_per_day"] / 1e6, 2)
    29.07
    """
    if against and api_usd_per_million is not None:
        raise InputError("cannot stand beside against: it is a price in place of one", key="api_usd_per_million")
    apis = {name: Against(api=name) for name in against}
    if api_usd_per_million is not None:
        apis = {f"an API at ${api_usd_per_million:g}": Against(per_million_usd=api_usd_per_million, source="api_usd_per_million")}
    volume = {} if tokens_per_day is None else {"traffic.tokens_per_day": tokens_per_day}
    demand = None
    if scenario is not None:
        demand = Demand(scenario=_scenario(scenario, None, None, (), ()), seed=seed, host=host_facts(sys.argv), say=lambda *_: None)
    case = load_case(Path(capacity), _path(hosting), _path(prices), {**(changes or {}), **volume}, demand)
    found = compare(case, apis, today or datetime.datetime.now(datetime.UTC).date(), seed)
    return summarise_break_even(case.hosting, found, load_versions(), _command(), {})


def _scenario(
    given: str | Path | Scenario, rate_per_s: float | None, requests: int | None, slo: Sequence[str], thresholds: Sequence[str]
) -> Scenario:
    scenario = given if isinstance(given, Scenario) else load_scenario(find_scenario(Path(given)))
    if rate_per_s is not None or requests is not None:
        scenario = with_rate(scenario, mean_rate_per_s(scenario) if rate_per_s is None else rate_per_s, requests)
    return with_flags(scenario, slo, thresholds)


def _record(scenario: Scenario, target: Target, seed: int, out: str | Path | None) -> Run:
    trial = prepare(scenario, target, seed)
    folder = tempfile.mkdtemp(prefix="loadlab-") if out is None else None
    path = Path(folder) / "run" if folder is not None else Path(out or "")
    try:
        directory = record(trial, path, host_facts(sys.argv), lambda *_: None, summarise=False)
        result = Run(path=path, summary=write_summary(directory))
    except BaseException:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if folder is not None:
        weakref.finalize(result, shutil.rmtree, folder, ignore_errors=True)  # with the last reference, or the interpreter
    return result


def _endpoint(target: str, model: str | None, api_key_env: str | None, max_in_flight: int, *, is_allowed: bool) -> Endpoint:
    scheme, host, port, base_path = parse_url(target)
    if model is None:
        raise InputError("is missing: say which model to ask for", key="model")
    endpoint = Endpoint(
        scheme=scheme, host=host, port=port, base_path=base_path, model=model, api_key=load_api_key(api_key_env, None),
        max_in_flight=max_in_flight,
    )  # fmt: skip
    if not is_allowed and not is_loopback(resolve(endpoint)):
        raise InputError(f"= {endpoint.url} is not this machine: pass may_leave_this_machine=True if you may load it", key="target")
    return endpoint


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _command() -> str:
    return shlex.join(sys.argv)
