"""Writes `report.html`: reads the rows, draws the figures, renders the page. matplotlib is imported here, when it is needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadlab.analysis.latency import e2e_s, tpot_s, ttft_s
from loadlab.analysis.table import RequestTable
from loadlab.record.atomic_file import save_bytes
from loadlab.record.run_dir import REPORT_FILE, RunDir
from loadlab.report.html import Section, render_campaign_html, render_run_html
from loadlab.report.series import distribution_series, shard_series, timeline_series
from loadlab.report.summary import load_table
from loadlab.report.text import clean_text

_DISTRIBUTIONS = "How long the OK requests took: the share that took at most so long."
_TIMELINE = "Over time: what was offered and what ended, what was in flight, and what the server was doing."
_SHARDS = "How busy each GPU was: in a group, all wait for the slowest, so a slow GPU is the one that is always busy."
_OVERVIEW = "Success and p95 latency of each experiment. Read both together: a fast p95 of few survivors is no good news."
_PARTIAL = "Experiments that did not run to their end are left out."


def save_run_report(run: RunDir, summary: Mapping[str, Any], table: RequestTable | None = None) -> Path:
    """Writes the run's `report.html`; returns its path. `table` spares reading the rows again."""
    path = run.path / REPORT_FILE
    save_bytes(path, render_run_html(_section(run, summary, table)))
    return path


def save_campaign_report(directory: Path, summary: Mapping[str, Any], runs: Mapping[str, RunDir]) -> Path:
    """Writes the campaign's `report.html`; returns its path. `runs` by experiment id; one that was not run has none."""
    from loadlab.report import figures

    sections = []
    for entry in summary["experiments"]:
        run = runs.get(entry["id"])
        sections.append(Section(summary=entry) if run is None else _section(run, entry, None))
    points = [
        figures.OverviewPoint(
            label=clean_text(f"{entry['id']} {entry['name']}")[:28],
            success=entry["totals"]["success_rate"]["value"],
            low=entry["totals"]["success_rate"]["low"],
            high=entry["totals"]["success_rate"]["high"],
            oom=entry["totals"]["oom"],
            ttft_p95_s=entry["metrics"]["ttft_s"]["p95"]["value"],
            e2e_p95_s=entry["metrics"]["e2e_s"]["p95"]["value"],
        )
        for entry in summary["experiments"]
        if entry["status"] == "complete"
    ]
    caption = _OVERVIEW if len(points) == len(summary["experiments"]) else f"{_OVERVIEW} {_PARTIAL}"
    overview = {} if not points else {caption: figures.draw_overview(points, clean_text(summary["name"]))}
    path = directory / REPORT_FILE
    save_bytes(path, render_campaign_html(summary, sections, overview))
    return path


def _section(run: RunDir, summary: Mapping[str, Any], table: RequestTable | None) -> Section:
    from loadlab.report import figures

    table = load_table(run) if table is None else table
    name = clean_text(str(summary.get("id", summary["name"])))
    latencies = {"TTFT": ttft_s(table), "TPOT": tpot_s(table), "end to end": e2e_s(table)}
    drawn = {
        _DISTRIBUTIONS: figures.draw_distributions({words: distribution_series(values) for words, values in latencies.items()}, name),
        _TIMELINE: figures.draw_timeline(timeline_series(table, run.timeline()), name),
    }
    shards = shard_series(table, run.timeline())
    if shards is not None:
        drawn[_SHARDS] = figures.draw_shards(shards, name)
    return Section(summary=summary, scenario=run.manifest.scenario, figures=drawn)
