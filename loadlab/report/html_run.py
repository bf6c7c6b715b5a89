"""Cells of the page of one run: verdicts, findings, latencies with their intervals, and groups of requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loadlab.report.findings import (
    ALL_METRICS,
    number_text,
    slo_sentences,
    steadiness_sentences,
    tau_sentence,
    too_short_sentence,
    verdict_lines,
)
from loadlab.report.imported import imported_sentences
from loadlab.report.over_time import is_worth_a_table, over_time_columns, over_time_note
from loadlab.report.server import server_sentences
from loadlab.report.text import success_text
from loadlab.units import format_duration

Json = Mapping[str, Any]
STATISTICS = ("mean", "p50", "p90", "p95", "p99", "max")
_OF_GROUPS = (("ttft_s", ("p50", "p95", "p99")), ("tpot_s", ("p50", "p95")), ("e2e_s", ("p50", "p95", "p99")))


def numbers_of(summary: Json) -> dict[str, Any]:
    """What the template shows of a run's numbers; every text in `summary` is clean already."""
    sentences = [*imported_sentences(summary), *steadiness_sentences(summary), *server_sentences(summary)]
    return {
        "verdicts": verdict_lines(summary),
        "alarms": [said for said, is_alarm in sentences if is_alarm],
        "findings": [
            *(said for said, is_alarm in sentences if not is_alarm),
            *slo_sentences(summary),
            *(said for said in (tau_sentence(summary), too_short_sentence(summary)) if said is not None),
        ],
        "statistics": STATISTICS,
        "metrics": _metrics(summary),
        "group_heads": [
            *(["within SLO [95 %]", "goodput /s"] if summary["slo"] else []),
            "OK prompt tok/s",
            "OK output tok/s",
            *(f"{ALL_METRICS[key]} {name}" for key, names in _OF_GROUPS for name in names),
        ],
        "groups": {
            label: [
                {"name": name, "planned": group["planned"], "cells": _group_cells(group), "metrics": _metrics(group)}
                for name, group in groups.items()
            ]
            for label, groups in summary["groups"].items()
        },
        "over_time": _over_time(summary),
    }


def _metrics(block: Json) -> list[dict[str, Any]]:
    """Every statistic of every latency of a run, or of a group of its requests; ITL where there are gaps."""
    return [
        {"words": words, "n": metric["n"], "cells": [_cell(metric[name]) for name in STATISTICS]}
        for key, words in ALL_METRICS.items()
        if (metric := block["metrics"][key])["n"] or key != "itl_s"
    ]


def _over_time(summary: Json) -> dict[str, Any] | None:
    """Heads, lines and the note of the windows, where they are worth a table."""
    if not is_worth_a_table(summary):
        return None
    columns = list(over_time_columns(summary))
    return {
        "heads": [column.head.replace("\n", " ") for column in columns],
        "lines": list(zip(*(column.cells for column in columns), strict=True)),
        "note": over_time_note(summary),
    }


def _cell(estimate: Json) -> tuple[str, str]:
    """(value with its unit, interval in that unit)."""
    value = estimate["value"]
    if value is None:
        return "-", ""
    scale, unit = (1e3, "ms") if abs(value) < 1 else (1.0, "s") if abs(value) < 600 else (1 / 60, "min")
    number, _, interval = number_text(estimate, scale).partition(" ")
    return f"{number} {unit}" if value else format_duration(value), interval


def _group_cells(group: Json) -> list[str]:
    latencies = [_cell(group["metrics"][key][name])[0] for key, names in _OF_GROUPS for name in names]
    slo = [] if group["attainment"] is None else [success_text({"success_rate": group["attainment"], "planned": group["planned"]})]
    goodput = [] if group["goodput_per_s"] is None else [number_text(group["goodput_per_s"], interval=False)]
    tokens = [number_text(group[key], interval=False) for key in ("prompt_tokens_per_s", "output_tokens_per_s")]
    return [success_text(group), *slo, *goodput, *tokens, *latencies]
