"""Blocks of `summary.json` that hold estimates: latencies, groups of requests, SLO, thresholds, steadiness.

The contract stands in docs/run-directory.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from loadlab.analysis.attainment import HOURS_OF_BUDGET, alert_of, burn_rate, hours_left
from loadlab.analysis.intervals import Estimate, mean_estimate, quantile_estimates
from loadlab.analysis.itl import gaps_of, itl_quantile, mean_itl
from loadlab.analysis.latency import duration_s, e2e_s, tpot_s, ttft_s
from loadlab.analysis.metrics import attainment_estimate, maximum, rate_of, success_estimate, token_rate, value_of
from loadlab.analysis.server_view import server_value
from loadlab.analysis.steadiness import BACKLOG_GROWTH, Overload, overload, warm_up_s
from loadlab.analysis.table import BoolArray, FloatArray, RequestTable
from loadlab.analysis.verdict import Judgement, judge
from loadlab.report.over_time import STATIONARY
from loadlab.schema import as_table
from loadlab.slo import LABELS, Slos, Threshold, parse_threshold

Json = dict[str, Any]
PERCENTILES_KEPT = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
TURNS_APART = 10  # later turns are one group
QUANTILE_NOTE = "95 %, order statistics on n / tau"
MEAN_NOTE = "95 %, Student's t on n / tau"
SHARE_NOTE = "95 %, Wilson on n / tau"
_SERIES = {"ttft_s": ttft_s, "tpot_s": tpot_s, "e2e_s": e2e_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a run is judged by: every row in due order, when it had settled, and what it is held to."""

    table: RequestTable
    warm_up_s: float | None  # due times before it are warm-up; None: none was cut
    warm_up_note: str
    overload: Overload | None
    slos: Slos | None
    server: Sequence[Mapping[str, Any]] = ()  # rows of server.jsonl

    @property
    def settled(self) -> RequestTable:
        """The rows that latencies are computed from."""
        return self.settled_of(self.table)

    def settled_of(self, rows: RequestTable) -> RequestTable:
        """The same of some of the rows."""
        return rows if self.warm_up_s is None else rows.rows(rows.scheduled_s >= self.warm_up_s)


def gather(table: RequestTable, scenario: Mapping[str, Any], slos: Slos | None, server: Sequence[Mapping[str, Any]] = ()) -> Evidence:
    """The evidence of a run's rows, and of those of its server; `scenario` as tables says what kind of load it was."""
    table, load = table.in_due_order(), scenario.get("load", {})
    kind, law = load.get("kind"), load.get("arrivals", {}).get("kind")
    start_s, note = None, "not looked for: this load is not steady by design"
    if kind == "closed_loop" or law in STATIONARY:
        start_s, note = warm_up_s(table)
    return Evidence(
        table=table,
        warm_up_s=start_s,
        warm_up_note=note,
        overload=None if kind == "closed_loop" else overload(table),
        slos=slos,
        server=server,
    )


def block(found: Estimate, note: str = "") -> Json:
    """An estimate as the contract has it: {value, low, high, note}."""
    return {"value": found.value, "low": found.low, "high": found.high, "note": found.note or note}


def quantile_block(found: Estimate) -> Json:
    """The same of a quantile, with tau, and with the number of requests that would do where n does not: then it is inconclusive."""
    said = block(found, QUANTILE_NOTE)
    if found.needs_n is not None:
        said["note"] = f"inconclusive: n < 300 tau, about {found.needs_n:,} requests would do" + (f"; {found.note}" if found.note else "")
    return said | {"tau": found.tau, "suffices_n": found.needs_n}


def metrics_block(settled: RequestTable) -> Json:
    """`metrics`: n, mean, percentiles and maximum of TTFT, TPOT, ITL and end to end of the OK rows, seconds. Rows in due order."""
    series = {key: series(settled) for key, series in _SERIES.items()}
    blocks = {key: _latency_block(values) for key, values in series.items()}
    return {"ttft_s": blocks["ttft_s"], "tpot_s": blocks["tpot_s"], "itl_s": _itl_block(settled), "e2e_s": blocks["e2e_s"]}


def _latency_block(values: FloatArray) -> Json:
    quantiles = quantile_estimates(values, tuple(PERCENTILES_KEPT.values()))
    return {
        "n": len(values),
        "mean": block(mean_estimate(values), MEAN_NOTE),
        **{name: quantile_block(found) for name, found in zip(PERCENTILES_KEPT, quantiles, strict=True)},
        "max": block(maximum(values)),
    }


def _itl_block(settled: RequestTable) -> Json:
    gaps, rows = gaps_of(settled), settled.ok & ~np.isnan(settled.itl_max_s)
    return {
        "n": len(gaps),
        "mean": block(mean_itl(settled), MEAN_NOTE),
        **{name: quantile_block(itl_quantile(gaps, p)) for name, p in PERCENTILES_KEPT.items()},
        "max": block(maximum(settled.itl_max_s[rows])),
    }


def groups_block(evidence: Evidence) -> Json:
    """`groups`: by label and value, what became of those requests, where a label has more than one value."""
    over_s = duration_s(evidence.table)
    return {
        label: {name: _group(evidence, evidence.table.rows(which), over_s) for name, which in groups}
        for label in LABELS
        if len(groups := list(_groups(label, evidence.table))) > 1
    }


def _groups(label: str, table: RequestTable) -> Iterator[tuple[str, BoolArray]]:
    """Each value of a label, and its rows."""
    if label != "turn":
        column = table.names(label)
        yield from ((name, column.are(name)) for name in sorted(column.names))
        return
    turns = np.unique(table.turn[~np.isnan(table.turn)]).astype(int).tolist()
    for turn in turns[:TURNS_APART]:
        yield str(turn), np.equal(table.turn, turn)
    if len(turns) > TURNS_APART:
        later = turns[TURNS_APART]
        yield f"{later}+", table.turn >= later


def _group(evidence: Evidence, rows: RequestTable, over_s: float | None) -> Json:
    attainment = None if evidence.slos is None else attainment_estimate(rows, evidence.slos)
    return {
        "planned": len(rows),
        "ok": int(np.count_nonzero(rows.ok)),
        "success_rate": block(success_estimate(rows), SHARE_NOTE),
        "attainment": None if attainment is None else block(attainment, SHARE_NOTE),
        "goodput_per_s": None if attainment is None else block(rate_of(attainment, over_s), SHARE_NOTE),
        "prompt_tokens_per_s": block(token_rate(rows, "prompt_tokens_per_s", over_s), MEAN_NOTE),
        "output_tokens_per_s": block(token_rate(rows, "output_tokens_per_s", over_s), MEAN_NOTE),
        "metrics": metrics_block(evidence.settled_of(rows)),
    }


def throughput_block(table: RequestTable) -> Json:
    """`throughput`: work of OK rows over the run's duration, which is taken as it was. Rows in due order."""
    over_s = duration_s(table)
    return {
        "duration_s": over_s,
        "requests_per_s": block(rate_of(success_estimate(table), over_s), f"OK requests; {SHARE_NOTE}"),
        "output_tokens_per_s": block(token_rate(table, "output_tokens_per_s", over_s), f"of OK requests; {MEAN_NOTE}"),
        "prompt_tokens_per_s": block(
            token_rate(table, "prompt_tokens_per_s", over_s), f"text and image tokens of OK requests, cached ones included; {MEAN_NOTE}"
        ),
    }


def slo_block(evidence: Evidence) -> Json | None:
    """`slo`: limits, attainment, goodput and the error budget; None where the scenario has no SLO."""
    slos, table = evidence.slos, evidence.table
    if slos is None:
        return None
    over_s, target = duration_s(table), slos.target_of(None)
    attainment = attainment_estimate(table, slos)
    burn = burn_rate(attainment, target)
    spent = None if burn.value is None or over_s is None else burn.value * over_s / 3600 / HOURS_OF_BUDGET
    return {
        "limits": as_table(slos.default),
        "classes": {name: as_table(slo) for name, slo in slos.by_class.items()},
        "target": target,
        "attainment": block(attainment, SHARE_NOTE),
        "goodput_per_s": block(rate_of(attainment, over_s), SHARE_NOTE),
        "error_budget": {
            "burn": block(burn, "share of bad requests / (1 - target)"),
            "spent_of_30_days": spent,
            "hours_left": block(hours_left(burn), "until a 30-day budget is gone at this load"),
            "alert": alert_of(burn),
        },
    }


def judgements(evidence: Evidence, thresholds: Sequence[str]) -> list[Judgement]:
    """The verdict on each threshold of a scenario, in order."""
    return [_judged(evidence, parse_threshold(text)) for text in thresholds]


def _judged(evidence: Evidence, threshold: Threshold) -> Judgement:
    if threshold.metric.is_of_server:
        return judge(threshold, server_value(threshold.metric, evidence.server))
    return judge(threshold, value_of(threshold.metric, evidence.table, evidence.slos, warm_up_s=evidence.warm_up_s))


def thresholds_block(found: Sequence[Judgement]) -> list[Json]:
    """`thresholds`: what was asked, what was seen, and the verdict."""
    return [
        {
            "threshold": str(one.threshold),
            "verdict": one.verdict.value,
            "leans": one.leans.value,
            "why": one.why,
            "suffices_n": one.suffices_n,
            "unit": one.threshold.metric.unit.value,
            "limit": one.threshold.limit,
            **block(one.estimate),
        }
        for one in found
    ]


def steadiness_block(evidence: Evidence) -> Json:
    """`steadiness`: how long the warm-up was, and whether more came than was served."""
    found = evidence.overload
    cut = evidence.warm_up_s
    requests = 0 if cut is None else int(np.count_nonzero(evidence.table.scheduled_s < cut))
    return {
        "warm_up": {"requests": requests, "until_s": cut, "note": evidence.warm_up_note},
        "overload": {
            "is_overloaded": None if found is None else found.is_overloaded,
            "trend_p": None if found is None else float(f"{found.trend_p:.6g}"),
            "backlog_growth": None if found is None else float(f"{found.backlog_growth:.6g}"),
            "note": f"Mann-Kendall on 10 block means of time in the system, and backlog growth above {100 * BACKLOG_GROWTH:g} % of arrivals"
            if found is not None
            else "not looked for: closed loop, or too few requests",
        },
    }


def withheld(blocks: Any, note: str) -> Any:
    """The same blocks without intervals: of a run that is not complete, where what is missing would bias them."""
    if isinstance(blocks, dict):
        if "low" in blocks and "high" in blocks:
            return blocks | {"low": None, "high": None, "note": note}
        return {key: withheld(value, note) for key, value in blocks.items()}
    return [withheld(value, note) for value in blocks] if isinstance(blocks, list) else blocks
