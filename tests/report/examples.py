"""Summaries of small runs and a small campaign, for the tests of the report."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadlab.analysis.totals import Totals
from loadlab.record.run_dir import RunDir
from loadlab.report.summary import not_run_experiment, published_rows, summarise_campaign, summarise_run, totals_block
from tests.record.examples import HOST, small_run

HOSTILE = '<script>alert("x")</script>\x1b[2J\u202egnp.exe'


def small_campaign(root: Path, **changes: Any) -> tuple[dict[str, Any], dict[str, RunDir]]:
    """Two experiments of five requests each, and what is published about something like them."""
    runs = {"E01": small_run(root / "E01", name="alone"), "E02": small_run(root / "E02", name="crowded")}
    values: dict[str, Any] = {
        "name": "study",
        "seed": 1,
        "runs": {key: summarise_run(run) for key, run in runs.items()},
        "versions": {"loadlab": "0.0.0"},
        "host": asdict(HOST),
        "shows": {"E01": "the floor", "E02": "the knee"},
        "published": published_rows({"source": "a paper", "success_rate": 0.91, "requests": 7310, "gpu": "T4"}),
        "sensitivity": {
            "key": "timeout_s",
            "rows": [
                {"value": 30, "totals": totals_block(Totals(planned=10, ok=5, timeout=5))},
                {"value": 60, "totals": totals_block(Totals(planned=10, ok=6, timeout=4))},
            ],
        },
        "design_choices": ["rates", "lengths"],
    }
    return summarise_campaign(**values | changes), runs


def one_not_run() -> dict[str, Any]:
    return not_run_experiment("E03", "never", 7)
