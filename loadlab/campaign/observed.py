"""Runs as a calibration sees them: what came when, how large, and what each request saw. Unfit runs are left out, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from loadlab.analysis.latency import per_row_s
from loadlab.analysis.steadiness import overload
from loadlab.analysis.table import FloatArray, RequestTable
from loadlab.campaign.kv_use import kv_use
from loadlab.errors import InputError, LoadlabError
from loadlab.record.manifest import Manifest, Status
from loadlab.record.run_dir import RunDir
from loadlab.report.imported import IMPORTED
from loadlab.report.summary import load_table
from loadlab.report.validity import validity_block
from loadlab.scenario.build import build_plan
from loadlab.scenario.files import trace_of
from loadlab.scenario.model import Scenario
from loadlab.scenario.plan import NOTHING, IntArray, Labels, RequestKind, RequestPlan
from loadlab.schema import read_table, shown_path

LATENCIES = ("ttft", "tpot", "e2e")
FEWEST = 30  # requests that succeeded: below it no figure of a run means much
MOST_FAILED = 0.05  # of what was due: more is no moderate load
MOST_REQUESTS = 3000  # of a run, from its beginning: as the same requests are simulated, more would hardly tell more


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One run: the requests that reached the target, in the order in which they were due, and their latencies; NaN: none, or not judged.

    `plan` has them as a replay wants them, each due by the clock at the time at which it came due in the run.
    """

    name: str
    digest: str
    target: str
    plan: RequestPlan
    seconds: dict[str, FloatArray]  # by LATENCIES: float64[n]
    rate_per_s: float
    is_simulated: bool
    notes: tuple[str, ...] = ()
    kv_use: float | None = None  # share of KV memory in use while requests came, where the server said it

    def __len__(self) -> int:
        return len(self.plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A run that says nothing of the target at moderate load, and why."""

    name: str
    why: str


def observe(paths: Sequence[Path], models: Sequence[str]) -> tuple[list[Observed], list[LeftOut]]:
    """The runs that can be calibrated on, by rate, and those that cannot. `models`: what the cluster serves.

    Raises InputError where a directory is none, or its requests ask for a model that the cluster does not serve.
    """
    used: list[Observed] = []
    left: list[LeftOut] = []
    seen: dict[str, str] = {}
    for path in paths:
        run, name = RunDir.open(path), shown_path(path)
        table = load_table(run).in_due_order()
        why = unfit(table, run.manifest)
        key = f"{run.manifest.plan_digest} {run.manifest.host.t0} {run.manifest.target_seed}"
        if why is None and key in seen:
            why = f"is the same run as {seen[key]}"
        if why is not None:
            left.append(LeftOut(name=name, why=why))
            continue
        seen[key] = name
        found = observed(table, run.manifest, name, models)
        used.append(replace(found, kv_use=kv_use(run.timeline(), *ends_s(found.plan))))
    return sorted(used, key=lambda run: run.rate_per_s), left


def unfit(table: RequestTable, manifest: Manifest) -> str | None:
    """Why a run cannot be calibrated on; None if it can. `table` is in due order."""
    if manifest.status is not Status.COMPLETE:
        return f"is not whole ({manifest.status.value})"
    block = validity_block(table, manifest)
    if block is not None and block["verdict"] != "valid":
        return f"is {block['verdict']}: {'; '.join(block['reasons'])}"
    signs = overload(table)
    if signs is not None and signs.is_overloaded:
        return "was overloaded: its backlog grew to the end, so that its latencies are those of its length"
    due = int(np.count_nonzero(~np.isnan(table.scheduled_s)))
    ok = int(np.count_nonzero(table.ok))
    if ok < FEWEST:
        return f"has {ok} requests that succeeded; {FEWEST} are the least"
    if due - ok > MOST_FAILED * due:
        return f"failed in {100 * (due - ok) / due:.1f} % of its requests, more than {100 * MOST_FAILED:g} %: no moderate load"
    if np.count_nonzero(~np.isnan(_arrivals_s(table))) < FEWEST or not np.any(table.finished_s > table.scheduled_s):
        return "has no times of its requests"
    if np.isnan(table.output_tokens[table.ok]).all():
        return "does not say how many tokens its answers had; without them nothing can be simulated"
    if np.isnan(table.prompt_tokens[table.ok]).all():
        return "does not say how many tokens its prompts had; without them nothing can be simulated"
    return None


def observed(table: RequestTable, manifest: Manifest, name: str, models: Sequence[str]) -> Observed:
    """A run that is fit, its first MOST_REQUESTS. Raises InputError on a model that `models` lacks."""
    planned, note = _planned(manifest)
    rows = np.flatnonzero(~np.isnan(_arrivals_s(table)) & ~np.isnan(table.sent_s if planned is not None else _arrivals_s(table)))
    notes = [note] if note else []
    if planned is None:
        known = ~np.isnan(table.prompt_tokens[rows])
        if not known.all():
            notes.append(f"{np.count_nonzero(~known):,} requests without a count of prompt tokens are left out")
        rows = rows[known]
    part = table.rows(rows[:MOST_REQUESTS])
    is_judged = np.ones(len(part), dtype=np.bool_)
    if len(rows) > MOST_REQUESTS:  # whoever was not over by then was slowed down by requests that are left out
        notes.append(f"its first {MOST_REQUESTS:,} of {len(rows):,} requests")
        is_judged = part.finished_s <= _arrivals_s(part)[-1]
    arrivals = _arrivals_s(part)
    plan = _plan_of_rows(part, manifest, models) if planned is None else _timed(planned, part)
    span = float(arrivals[-1] - arrivals[0])
    return Observed(
        name=name,
        digest=manifest.plan_digest,
        target=manifest.target,
        plan=plan,
        seconds={latency: np.where(is_judged, per_row_s(latency, part), np.nan) for latency in LATENCIES},
        rate_per_s=(len(part) - 1) / span if span > 0 else 0.0,
        is_simulated=manifest.engine == "simulation",
        notes=tuple(notes),
    )


def ends_s(plan: RequestPlan) -> tuple[float, float]:
    """When the first and the last request came due."""
    return float(np.nanmin(plan.arrival_s)), float(np.nanmax(plan.arrival_s))


def _arrivals_s(table: RequestTable) -> FloatArray:
    return np.where(np.isnan(table.scheduled_s), table.sent_s, table.scheduled_s)


def _planned(manifest: Manifest) -> tuple[RequestPlan | None, str]:
    """The run's plan, made again from its scenario and seed, where that gives the same digest; else None, and why."""
    if manifest.engine == IMPORTED:
        return None, "imported: prompts are taken for unlike each other, but for what the target said it had cached"
    try:
        scenario = read_table(Scenario, manifest.scenario, manifest.name)
        plan = build_plan(scenario, manifest.seed, trace_of(scenario))
    except LoadlabError as error:
        return None, f"its plan cannot be made again ({error}): times and tokens are those of its rows"
    if plan.digest != manifest.plan_digest:
        return None, "its plan is made otherwise by this version: times and tokens are those of its rows"
    return plan, ""


def _timed(plan: RequestPlan, table: RequestTable) -> RequestPlan:
    """The plan's rows of the table, in its order, each due when it came due there, with as many output tokens as came."""
    rows = plan_rows(plan, table.seq)
    came = table.ok & ~np.isnan(table.output_tokens) & (table.output_tokens > 0)
    tokens = np.where(came, table.output_tokens, rows.output_tokens).astype(np.int64)
    return replace(rows, arrival_s=_arrivals_s(table), output_tokens=tokens)


def plan_rows(plan: RequestPlan, seqs: IntArray) -> RequestPlan:
    """Some rows of a plan, as a plan in which nobody waits for another."""
    n = len(seqs)
    changes: dict[str, Any] = {
        "chain": np.arange(n), "after_seq": np.full(n, NOTHING), "after_count": np.zeros(n, dtype=np.int64),
        "delay_after_s": np.zeros(n), "arrival_s": plan.arrival_s[seqs], "stages_s": plan.stages_s[seqs],
    }  # fmt: skip
    for name in ("traffic_class", "kind", "model", "tier", "region", "mode"):
        labels: Labels = getattr(plan, name)
        changes[name] = replace(labels, codes=labels.codes[seqs])
    for name in ("session", "turn", "timeout_s", "prompt_tokens", "output_tokens", "output_content"):
        changes[name] = getattr(plan, name)[seqs]
    for kind, columns in (("segment", ("content", "tokens")), ("image", ("content", "width_px", "height_px"))):
        offsets = getattr(plan, f"{kind}_offsets")
        counts = np.diff(offsets)[seqs]
        changes[f"{kind}_offsets"] = np.concatenate(([0], np.cumsum(counts)))
        places = np.repeat(offsets[:-1][seqs] - changes[f"{kind}_offsets"][:-1], counts) + np.arange(int(counts.sum()))
        for column in columns:
            changes[f"{kind}_{column}"] = getattr(plan, f"{kind}_{column}")[places]
    return replace(plan, **changes)


def _plan_of_rows(table: RequestTable, manifest: Manifest, models: Sequence[str]) -> RequestPlan:
    """A plan of what rows say: prompts of which so much is shared as was read from the cache."""
    n = len(table)
    prompts = np.maximum(1, table.prompt_tokens).astype(np.int64)
    cached = np.minimum(np.nan_to_num(table.cached_prompt_tokens).astype(np.int64), prompts - 1)
    outputs = np.where(np.isnan(table.output_tokens), 1, np.maximum(1, np.nan_to_num(table.output_tokens))).astype(np.int64)
    contents = np.stack([MAX_OWN + cached, np.arange(n)], axis=1)  # prompts that shared as much are taken to share the same
    tokens = np.stack([cached, prompts - cached], axis=1)
    kept = tokens > 0
    nothing = Labels(names=(), codes=np.full(n, NOTHING))
    return RequestPlan(
        scenario_name=manifest.name,
        seed=manifest.seed,
        chain=np.arange(n),
        after_seq=np.full(n, NOTHING),
        after_count=np.zeros(n, dtype=np.int64),
        delay_after_s=np.zeros(n),
        arrival_s=_arrivals_s(table),
        stages_s=np.zeros(n),
        traffic_class=_labels(table, "class"),
        kind=Labels(names=(RequestKind.CHAT,), codes=np.zeros(n, dtype=np.int64)),
        model=_model_labels(table, manifest, models),
        tier=nothing,
        region=nothing,
        mode=nothing,
        session=np.full(n, NOTHING),
        turn=np.full(n, NOTHING),
        timeout_s=np.full(n, np.nan),
        prompt_tokens=prompts,
        output_tokens=outputs,
        output_content=np.arange(n) + 3 * MAX_OWN,
        segment_offsets=np.concatenate(([0], np.cumsum(kept.sum(axis=1)))),
        segment_content=contents[kept],
        segment_tokens=tokens[kept],
        image_offsets=np.zeros(n + 1, dtype=np.int64),
        image_content=np.empty(0, dtype=np.int64),
        image_width_px=np.empty(0, dtype=np.int64),
        image_height_px=np.empty(0, dtype=np.int64),
    )


MAX_OWN = 2**40  # numbers of contents: own ones below, shared ones from here, answers far above


def _labels(table: RequestTable, label: str) -> Labels:
    column = table.names(label)
    return Labels(names=column.names, codes=column.codes.astype(np.int64))


def _model_labels(table: RequestTable, manifest: Manifest, models: Sequence[str]) -> Labels:
    """The cluster's name of each row's model: the same, or its only one, as servers call models by paths and aliases."""
    if len(models) == 1:
        return Labels(names=(models[0],), codes=np.zeros(len(table), dtype=np.int64))
    found = _labels(table, "model")
    unknown = [name for name in found.names if name not in models]
    if unknown or (found.codes == NOTHING).any():
        said = f"asked for {unknown[0]!r}" if unknown else "does not say which model was asked"
        raise InputError(f"{said}, and the cluster serves {', '.join(models)}: which of them it was is not known", source=manifest.name)
    return found
