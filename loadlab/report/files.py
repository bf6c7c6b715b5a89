"""Writes `report.html`, `report.md` and, where asked, each figure as a file. matplotlib is imported here, when it is needed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadlab.analysis.latency import e2e_s, tpot_s, ttft_s
from loadlab.analysis.table import RequestTable
from loadlab.record.atomic_file import make_folder, save_bytes
from loadlab.record.run_dir import FIGURES, MARKDOWN_FILE, REPORT_FILE, RunDir
from loadlab.report.html import Section, render_campaign_html, render_run_html
from loadlab.report.run_markdown import run_markdown
from loadlab.report.series import distribution_series, shard_series, timeline_series
from loadlab.report.summary import load_table
from loadlab.report.text import clean_text

_DISTRIBUTIONS = "How long did requests take? The share of the OK ones that took at most so long."
_WITH_LIMIT = " Dashed: the limit of the SLO."
_TIMELINE = "What happened over time? What was offered and what ended, what was in flight, and what the server was doing."
_WITH_BURSTS = " Shaded: far more due than on average."
_SHARDS = "How busy was each GPU? In a group, all wait for the slowest, so a slow GPU is the one that is always busy."
_OVERVIEW = "Which experiments did well? Success and p95 latency of each. Read both together: a fast p95 of few survivors is no good news."
_SLO_KEYS = {"TTFT": "ttft", "TPOT": "tpot", "end to end": "e2e"}
_FILE_NAMES = {"latencies": _DISTRIBUTIONS, "timeline": _TIMELINE, "gpus": _SHARDS, "experiments": _OVERVIEW}
_PARTIAL = "Experiments that did not run to their end are left out."


def save_run_report(run: RunDir, summary: Mapping[str, Any], table: RequestTable | None = None, *, figure_files: bool = False) -> Path:
    """Writes the run's `report.html` and `report.md`; returns the path of the first. `table` spares reading the rows again.

    `figure_files`: every figure as SVG and PNG in `figures/` as well.
    """
    section = _section(run, summary, table)
    if figure_files:
        _save_figures(run.path, {"": section})
    save_bytes(run.path / MARKDOWN_FILE, run_markdown(summary).encode())
    save_bytes(run.path / REPORT_FILE, render_run_html(section))
    return run.path / REPORT_FILE


def save_campaign_report(directory: Path, summary: Mapping[str, Any], runs: Mapping[str, RunDir], *, figure_files: bool = False) -> Path:
    """The same of a campaign. `runs` by experiment id; one that was not run has none."""
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
    if figure_files:
        named = {f"{clean_text(str(section.summary['id']))}-": section for section in sections}
        _save_figures(directory, {"": Section(summary=summary, figures=overview)} | named)
    save_bytes(directory / MARKDOWN_FILE, run_markdown(summary).encode())
    save_bytes(directory / REPORT_FILE, render_campaign_html(summary, sections, overview))
    return directory / REPORT_FILE


def _save_figures(directory: Path, sections: Mapping[str, Section]) -> None:
    """Each figure as `figures/PREFIX-what.svg` and `.png`; names of experiments are reduced to letters, digits and "-"."""
    from loadlab.report.figure_style import Drawing, as_svg_file

    folder = directory / FIGURES
    make_folder(folder)
    for prefix, section in sections.items():
        for caption, drawing in section.figures.items():
            what = next(name for name, begin in _FILE_NAMES.items() if caption.startswith(begin))
            path = folder / f"{re.sub('[^A-Za-z0-9-]+', '-', prefix)}{what}"
            save_bytes(path.with_suffix(".svg"), as_svg_file(drawing))
            assert isinstance(drawing, Drawing), "a figure of this page was drawn by matplotlib"
            save_bytes(path.with_suffix(".png"), drawing.png())


def _section(run: RunDir, summary: Mapping[str, Any], table: RequestTable | None) -> Section:
    from loadlab.report import figures

    table = load_table(run) if table is None else table
    name = clean_text(str(summary.get("id", summary["name"])))
    latencies = {"TTFT": ttft_s(table), "TPOT": tpot_s(table), "end to end": e2e_s(table)}
    limits = (summary.get("slo") or {"limits": {}})["limits"]
    limits_s = {words: limits[key] for words, key in _SLO_KEYS.items() if limits.get(key) is not None}
    over_time = timeline_series(table, run.timeline())
    distributions = {words: distribution_series(values) for words, values in latencies.items()}
    drawn = {
        _DISTRIBUTIONS + (_WITH_LIMIT if limits_s else ""): figures.draw_distributions(distributions, name, limits_s),
        _TIMELINE + (_WITH_BURSTS if over_time.bursts_s else ""): figures.draw_timeline(over_time, name),
    }
    shards = shard_series(table, run.timeline())
    if shards is not None:
        drawn[_SHARDS] = figures.draw_shards(shards, name)
    return Section(summary=summary, scenario=run.manifest.scenario, figures=drawn)
