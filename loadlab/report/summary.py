"""`summary.json`: what a run or a campaign means, computed from its rows. The contract for machines: docs/run-directory.md."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import orjson

from loadlab.analysis.intervals import wilson
from loadlab.analysis.latency import duration_s, e2e_s, order_statistic, tpot_s, ttft_s
from loadlab.analysis.table import FloatArray, RequestTable, table_of_chunks
from loadlab.analysis.totals import Totals, causes_of, totals_of
from loadlab.errors import InputError
from loadlab.record.manifest import Manifest, Status
from loadlab.record.request import Outcome
from loadlab.record.run_dir import REQUESTS_FILE, RunDir
from loadlab.report.text import NOT_RUN, PERCENTILES, is_maximum
from loadlab.report.validity import validity_block

RUN_SCHEMA, CAMPAIGN_SCHEMA = "loadlab/run/1", "loadlab/campaign/1"
Json = dict[str, Any]

NO_INTERVAL = "no interval yet: needs the effective sample size"
_OURS = {"experiments": "experiments", "requests": "totals.planned", "success_rate": "totals.success_rate", "oom": "totals.oom"}
_WORDS = {"oom": "OOM", "gpu": "GPU"}
_WILSON_NOTE = "Wilson 95 %, treats requests as independent"
_PARTIAL_NOTE = "no interval: not complete, and requests without a result count against it"
_BUSY_NOTE = "time in which any work ran / duration_s, mean over replicas, idle ones included; not utilisation of its compute"
_RATE_NOTE = "of OK requests, from the first due time to the last end; no interval yet"


def estimate(value: float | None, low: float | None = None, high: float | None = None, note: str = "") -> Json:
    """A number with its interval; low and high are None where nobody has computed them honestly."""
    return {"value": value, "low": low, "high": high, "note": note}


def totals_block(totals: Totals, *, is_complete: bool = True) -> Json:
    """`totals` of the contract: counts as plain integers, and the success rate with its Wilson interval if the run is complete."""
    if totals.planned == 0:
        return asdict(totals) | {"success_rate": estimate(None, note="nothing was planned")}
    if not is_complete:
        return asdict(totals) | {"success_rate": estimate(totals.ok / totals.planned, note=_PARTIAL_NOTE)}
    low, high = wilson(totals.ok, totals.planned) or (None, None)
    return asdict(totals) | {"success_rate": estimate(totals.ok / totals.planned, low, high, _WILSON_NOTE)}


def metrics_block(table: RequestTable) -> Json:
    """`metrics` of the contract: n and percentiles of TTFT, TPOT and end to end of the OK rows, seconds."""
    return {"ttft_s": _percentiles(ttft_s(table)), "tpot_s": _percentiles(tpot_s(table)), "e2e_s": _percentiles(e2e_s(table))}


def _percentiles(values: FloatArray) -> Json:
    n = len(values)
    block: Json = {"n": n}
    for name, p in PERCENTILES.items():
        note = "no OK request has it" if n == 0 else f"max of n={n}; {NO_INTERVAL}" if is_maximum(n, name) else NO_INTERVAL
        block[name] = estimate(order_statistic(values, p), note=note)
    return block


def _throughput_block(table: RequestTable) -> Json:
    """Rates over the duration of the run; work of OK rows only."""
    over_s, ok = duration_s(table), table.ok

    def rate(amount: float, what: str) -> Json:
        return estimate(float(amount) / over_s if over_s else None, note=f"{what} {_RATE_NOTE}")

    prompt_tokens = np.nansum(table.prompt_tokens[ok]) + np.nansum(table.image_tokens[ok])
    return {
        "duration_s": over_s,
        "requests_per_s": rate(float(np.count_nonzero(ok)), "count"),
        "output_tokens_per_s": rate(np.nansum(table.output_tokens[ok]), "tokens"),
        "prompt_tokens_per_s": rate(prompt_tokens, "text and image tokens, cached ones included,"),
    }


def _observed_block(timeline: Iterable[Mapping[str, Any]], duration_s: float | None) -> Json:
    """What the server was seen to do in `duration_s`; null where its timeline does not say.

    Time means are over `duration_s`, so that they agree with the throughput. Work that goes on behind the last end (a step of a
    request that was given up) counts, up to a share of 1.
    """
    sums = dict.fromkeys(("preemptions", "ooms", "prefill_tokens", "cached_tokens"), 0)
    busy_s, kv_peak, is_there, replicas = 0.0, None, False, set()
    for row in timeline:
        for key in sums:
            sums[key] += row.get(key) or 0
        if row.get("gpu_busy") is not None:
            busy_s += row["gpu_busy"] * row["dt_s"]
            replicas.add(row["replica"])
        if row.get("kv_usage_max") is not None:
            kv_peak = max(kv_peak or 0.0, row["kv_usage_max"])
        is_there = True
    replica_s = (duration_s or 0.0) * len(replicas)
    prompt_tokens = sums["cached_tokens"] + sums["prefill_tokens"]
    absent = "" if is_there else "no server.jsonl"
    return {
        "kv_peak": estimate(kv_peak, note=absent or "highest share of KV blocks in use, of any replica"),
        "gpu_busy": estimate(min(1.0, busy_s / replica_s) if replica_s else None, note=absent or _BUSY_NOTE),
        "prefix_hit_rate": estimate(
            sums["cached_tokens"] / prompt_tokens if prompt_tokens else None, note=absent or "prompt tokens: cached / (cached + computed)"
        ),
        "preemptions": sums["preemptions"] if is_there else None,
        "oom_events": sums["ooms"] if is_there else None,
    }


def load_table(run: RunDir) -> RequestTable:
    """The rows of a run as columns. Raises InputError if they are damaged."""
    return table_of_chunks(run.row_chunks())


def summarise_run(run: RunDir, table: RequestTable | None = None) -> Json:
    """The summary of a run, from its rows; `table` spares reading them again. Raises InputError if they contradict the manifest."""
    manifest = run.manifest
    table = load_table(run) if table is None else table
    try:
        totals = totals_of(table, manifest.planned)
    except ValueError as error:
        raise InputError(f"{error}; the file was changed, or belongs to another run", source=str(run.path / REQUESTS_FILE)) from None
    return {
        "schema": RUN_SCHEMA,
        "status": manifest.status.value,
        "name": manifest.name,
        "totals": totals_block(totals, is_complete=manifest.status is Status.COMPLETE),
        "metrics": metrics_block(table),
        "causes": causes_of(table),
        "throughput": _throughput_block(table),
        "observed": _observed_block(run.timeline(), duration_s(table)),
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
    empty = table_of_chunks(())
    totals = totals_block(Totals(planned=planned, not_sent=planned)) | {"success_rate": estimate(None, note="not run")}
    return {
        "id": experiment_id,
        "shows": "",
        "status": NOT_RUN,
        "name": name,
        "totals": totals,
        "metrics": metrics_block(empty),
        "causes": {},
        "throughput": _throughput_block(empty),
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
        "totals": totals_block(totals, is_complete=status is Status.COMPLETE),
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
