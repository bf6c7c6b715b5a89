"""`summary.json`: what a run or a campaign means, computed from its rows. The contract for machines: docs/run-directory.md."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from loadlab.analysis.latency import duration_s
from loadlab.analysis.metrics import success_estimate
from loadlab.analysis.table import RequestTable, table_of_chunks, table_of_columns
from loadlab.analysis.totals import Totals, causes_of, totals_of
from loadlab.errors import InputError
from loadlab.record.manifest import MANIFEST_FILE, Manifest, Status
from loadlab.record.request import Outcome
from loadlab.record.run_dir import REQUESTS_FILE, RunDir
from loadlab.report.numbers import (
    SHARE_NOTE,
    block,
    gather,
    groups_block,
    judgements,
    metrics_block,
    slo_block,
    steadiness_block,
    thresholds_block,
    throughput_block,
    withheld,
)
from loadlab.report.over_time import over_time_block
from loadlab.report.prediction import prediction_block
from loadlab.report.server import server_block
from loadlab.report.text import NOT_RUN
from loadlab.report.validity import validity_block
from loadlab.slo import read_slos

RUN_SCHEMA, CAMPAIGN_SCHEMA = "loadlab/run/1", "loadlab/campaign/1"
Json = dict[str, Any]

_OURS = {"experiments": "experiments", "requests": "totals.planned", "success_rate": "totals.success_rate", "oom": "totals.oom"}
_WORDS = {"oom": "OOM", "gpu": "GPU"}
_POOLED_NOTE = "95 %, from the intervals of its experiments (MOVER)"
_COUNTED_NOTE = "no interval: counted beside the run, without the order in which requests failed"
_PARTIAL_NOTE = "no interval: not complete, and requests without a result count against it"
_BUSY_NOTE = "time in which any work ran / duration_s, mean over replicas, idle ones included; not utilisation of its compute"


def estimate(value: float | None, low: float | None = None, high: float | None = None, note: str = "") -> Json:
    """A number with its interval; low and high are None where nobody has computed them honestly."""
    return {"value": value, "low": low, "high": high, "note": note}


def totals_block(totals: Totals, success_rate: Json | None = None) -> Json:
    """`totals` of the contract: counts as plain integers, and the success rate; without one handed in it is the plain share."""
    if totals.planned == 0:
        return asdict(totals) | {"success_rate": estimate(None, note="nothing was planned")}
    return asdict(totals) | {"success_rate": success_rate or estimate(totals.ok / totals.planned, note=_COUNTED_NOTE)}


def _success_of(table: RequestTable, totals: Totals, *, is_complete: bool) -> Json:
    if not is_complete and totals.planned:
        return estimate(totals.ok / totals.planned, note=_PARTIAL_NOTE)
    return block(success_estimate(table), SHARE_NOTE)


def _pooled_success(totals: Totals, experiments: Sequence[Json]) -> Json:
    """Success over a campaign, its experiments fixed: deviations of their intervals' ends, weighted by their requests, add in squares.

    MOVER, the method of variance estimates recovery (G. Y. Zou and A. Donner, Statistics in Medicine 27, 2008, p. 1693).
    """
    value = totals.ok / totals.planned
    parts = [(e["totals"]["planned"] / totals.planned, e["totals"]["success_rate"]) for e in experiments if e["totals"]["planned"]]
    if any(rate["low"] is None for _, rate in parts):
        return estimate(value, note=_PARTIAL_NOTE)
    down, up = (math.sqrt(sum((weight * (rate[end] - rate["value"])) ** 2 for weight, rate in parts)) for end in ("low", "high"))
    return estimate(value, max(0.0, value - down), min(1.0, value + up), _POOLED_NOTE)


def _observed_block(timeline: Iterable[Mapping[str, Any]], duration_s: float | None) -> Json:
    """What the server was seen to do in `duration_s`; null where its timeline does not say.

    Time means are over `duration_s`, so that they agree with the throughput. Work that goes on behind the last end (a step of a
    request that was given up) counts, up to a share of 1.
    """
    sums: dict[str, int] = {}  # by column; none where no row has it
    busy_s, kv_peak, is_there, replicas = 0.0, None, False, set()
    for row in timeline:
        for key in ("preemptions", "ooms", "prefill_tokens", "cached_tokens"):
            if row.get(key) is not None:
                sums[key] = sums.get(key, 0) + row[key]
        if row.get("gpu_busy") is not None:
            busy_s += row["gpu_busy"] * row["dt_s"]
            replicas.add(row["replica"])
        if row.get("kv_usage_max") is not None:
            kv_peak = max(kv_peak or 0.0, row["kv_usage_max"])
        is_there = True
    replica_s = (duration_s or 0.0) * len(replicas)
    prompt_tokens = sums.get("prefill_tokens", 0) + sums["cached_tokens"] if "cached_tokens" in sums else 0
    absent = "" if is_there else "no server.jsonl"
    return {
        "kv_peak": estimate(kv_peak, note=absent or "highest share of KV blocks in use, of any replica"),
        "gpu_busy": estimate(min(1.0, busy_s / replica_s) if replica_s else None, note=absent or _BUSY_NOTE),
        "prefix_hit_rate": estimate(
            sums["cached_tokens"] / prompt_tokens if prompt_tokens else None, note=absent or "prompt tokens: cached / (cached + computed)"
        ),
        "preemptions": sums.get("preemptions"),
        "oom_events": sums.get("ooms"),
    }


def load_table(run: RunDir) -> RequestTable:
    """The rows of a run as columns. Raises InputError if they are damaged, or contradict the manifest."""
    table = table_of_columns(run.column_chunks())
    _totals(run, table)
    return table


def _totals(run: RunDir, table: RequestTable) -> Totals:
    try:
        return totals_of(table, run.manifest.planned)
    except ValueError as error:
        raise InputError(f"{error}; the file was changed, or belongs to another run", source=str(run.path / REQUESTS_FILE)) from None


def summarise_run(run: RunDir, table: RequestTable | None = None) -> Json:
    """The summary of a run, from its rows; `table` spares reading them again. Raises InputError if they contradict the manifest."""
    manifest = run.manifest
    table = load_table(run) if table is None else table
    totals = _totals(run, table)
    is_complete = manifest.status is Status.COMPLETE
    timeline = list(run.timeline())
    evidence = gather(table, manifest.scenario, read_slos(manifest.scenario, str(run.path / MANIFEST_FILE)), timeline)
    found = {
        "steadiness": steadiness_block(evidence),
        "metrics": metrics_block(evidence.settled),
        "groups": groups_block(evidence),
        "slo": slo_block(evidence),
        "throughput": throughput_block(evidence.table),
        "over_time": over_time_block(evidence.table, manifest.scenario),
    }
    band = prediction_block(run.path, found["metrics"]) if is_complete else None
    found = found if is_complete else withheld(found, _PARTIAL_NOTE)
    found |= {} if band is None else {"prediction": band}
    return {
        "schema": RUN_SCHEMA,
        "status": manifest.status.value,
        "name": manifest.name,
        "totals": totals_block(totals, _success_of(evidence.table, totals, is_complete=is_complete)),
        "thresholds": thresholds_block(judgements(evidence, manifest.scenario.get("thresholds", ()) if is_complete else ())),
        **found,
        "causes": causes_of(table),
        "observed": _observed_block(timeline, duration_s(table)),
        **({} if (scraped := server_block(timeline, evidence.table)) is None else {"server": scraped}),
        "validity": validity_block(table, manifest),
        **_conditions_of(manifest),
        "host": asdict(manifest.host),
    }


def _conditions_of(manifest: Manifest) -> Json:
    return {
        "seed": manifest.seed,
        "plan_digest": manifest.plan_digest,
        "scenario_digest": manifest.scenario_digest,
        "target": manifest.target,
        "engine": manifest.engine,
        "conditions": [dict(pool) for pool in manifest.conditions],
        "versions": dict(manifest.versions),
    }


def not_run_experiment(experiment_id: str, name: str, planned: int) -> Json:
    """The entry of an experiment that was stopped before it began: every planned request is not sent, and nothing was estimated."""
    empty = gather(table_of_chunks(()), {}, None)
    totals = totals_block(Totals(planned=planned, not_sent=planned), estimate(None, note="not run"))
    return {
        "id": experiment_id,
        "shows": "",
        "status": NOT_RUN,
        "name": name,
        "totals": totals,
        "thresholds": [],
        "steadiness": steadiness_block(empty),
        "metrics": metrics_block(empty.table),
        "groups": {},
        "slo": None,
        "causes": {},
        "throughput": throughput_block(empty.table),
        "over_time": None,
        "observed": _observed_block((), None),
        "validity": None,
    }


def published_rows(published: Mapping[str, Any]) -> list[Json]:
    """Rows {what, ours, published, source} from a campaign's [published] table; `ours` is a dotted path into the summary, or None."""
    source = str(published.get("source", "published elsewhere"))
    rows = []
    for key, value in published.items():
        if key == "source" or value is None or value == [] or value == ():
            continue
        said = f"{100 * value:g} %" if key == "success_rate" else f"{value:,}" if isinstance(value, int) else value
        text = ", ".join(map(str, said)) if isinstance(said, list | tuple) else str(said)
        rows.append({"what": _WORDS.get(key, key.replace("_", " ")), "ours": _OURS.get(key), "published": text, "source": source})
    return rows


def summarise_campaign(
    *,
    name: str,
    seed: int,
    runs: Mapping[str, Json],
    versions: Mapping[str, str],
    host: Mapping[str, Any],
    description: str = "",
    variant: str | None = None,
    shows: Mapping[str, str] | None = None,
    not_run: Sequence[Json] = (),
    interrupted: bool = False,
    published: Sequence[Mapping[str, Any]] = (),
    sensitivity: Mapping[str, Any] | None = None,
    sensitivity_note: str | None = None,
    design_choices: Sequence[str] = (),
) -> Json:
    """The summary of a campaign, from the summaries of its runs by id; experiments come out in the order of their ids.

    `shows`: by id, what an experiment is there to show. `not_run`: entries of `not_run_experiment`. `published`: rows of
    `published_rows`. `sensitivity`: {key, rows: [{value, totals}]}, totals as `totals_block` makes them;
    `sensitivity_note`: why it is missing.
    """
    shows = shows or {}
    ran = [{"id": key, "shows": shows.get(key, ""), **_without(run, "schema", "versions", "host")} for key, run in runs.items()]
    experiments = sorted([*ran, *not_run], key=lambda experiment: str(experiment["id"]))
    totals = sum((_totals_in(experiment["totals"]) for experiment in experiments), Totals(planned=0))
    status = _campaign_status(experiments, interrupted)
    return {
        "schema": CAMPAIGN_SCHEMA,
        "status": status.value,
        "name": name,
        "description": description,
        "variant": variant,
        "totals": totals_block(totals, _campaign_success(totals, experiments, status)),
        "observed": _campaign_observed(experiments),
        "experiments": experiments,
        "published": [dict(row) for row in published],
        "sensitivity": None if sensitivity is None else dict(sensitivity),
        "sensitivity_note": sensitivity_note,
        "design_choices": list(design_choices),
        "seed": seed,
        "versions": dict(versions),
        "host": dict(host),
    }


def _without(block: Json, *keys: str) -> Json:
    return {key: value for key, value in block.items() if key not in keys}


def _totals_in(block: Mapping[str, Any]) -> Totals:
    return Totals(planned=block["planned"], **{outcome.value: block[outcome.value] for outcome in Outcome})


def _campaign_status(experiments: Sequence[Json], interrupted: bool) -> Status:
    found = {experiment["status"] for experiment in experiments}
    if interrupted or Status.ABORTED in found:
        return Status.ABORTED
    return Status.COMPLETE if found <= {Status.COMPLETE} else Status.INCOMPLETE


def _campaign_success(totals: Totals, experiments: Sequence[Json], status: Status) -> Json | None:
    if totals.planned == 0:
        return None
    if status is not Status.COMPLETE:
        return estimate(totals.ok / totals.planned, note=_PARTIAL_NOTE)
    return _pooled_success(totals, experiments)


def _campaign_observed(experiments: Sequence[Json]) -> Json:
    """Highest KV use and sums of events over the experiments; null where none knows."""
    blocks = [experiment["observed"] for experiment in experiments]

    def total(key: str) -> int | None:
        known = [block[key] for block in blocks if block[key] is not None]
        return sum(known) if known else None

    peaks = [block["kv_peak"]["value"] for block in blocks if block["kv_peak"]["value"] is not None]
    return {
        "kv_peak": estimate(max(peaks, default=None), note="highest of any experiment"),
        "preemptions": total("preemptions"),
        "oom_events": total("oom_events"),
    }


def dump_summary(summary: Mapping[str, Any]) -> bytes:
    """The bytes of `summary.json`, and of stdout with --json: equal summaries give equal bytes."""
    return orjson.dumps(summary, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
