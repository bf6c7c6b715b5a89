"""What a directory holds, be it one run or a campaign: its summary, and its report drawn from the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from loadlab.errors import InputError
from loadlab.record.manifest import MANIFEST_FILE
from loadlab.record.run_dir import SUMMARY_FILE, RunDir
from loadlab.report.files import save_campaign_report, save_run_report
from loadlab.report.summary import CAMPAIGN_SCHEMA, summarise_run

Json = dict[str, Any]


def load_summary(path: Path) -> Json:
    """The summary of a directory: of a run, made anew from its rows; of a campaign, as written.

    Raises InputError if it is neither, or damaged.
    """
    if (path / MANIFEST_FILE).exists() or not (path / SUMMARY_FILE).exists():
        _check_campaign_ended(path)
        return summarise_run(RunDir.open(path))
    file = path / SUMMARY_FILE
    try:
        summary: Json = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InputError(f"line {error.lineno}: is not JSON ({error.msg})", source=str(file)) from None
    if not isinstance(summary, dict) or summary.get("schema") != CAMPAIGN_SCHEMA:
        raise InputError(
            f"holds no {MANIFEST_FILE}, and its {SUMMARY_FILE} is no campaign's: this is no directory of `loadlab run`", source=str(path)
        )
    return summary


def _check_campaign_ended(path: Path) -> None:
    """A campaign that was killed has runs but no summary: say what to do."""
    if path.is_dir() and not (path / MANIFEST_FILE).exists() and any(path.glob(f"*/{MANIFEST_FILE}")):
        raise InputError(f"holds a campaign that did not end; go on with `loadlab run CAMPAIGN --resume {path}`", source=str(path))


def save_report(path: Path, summary: Json, *, figure_files: bool = False) -> Path:
    """Writes report.html and report.md for the directory that `summary` was loaded from, and its figures as files where asked.

    Returns the path of report.html. Raises InputError where it cannot write.
    """
    if summary["schema"] != CAMPAIGN_SCHEMA:
        return save_run_report(RunDir.open(path), summary, figure_files=figure_files)
    keys = [entry["id"] for entry in summary["experiments"]]
    runs = {key: RunDir.open(path / key) for key in keys if (path / key / MANIFEST_FILE).exists()}
    return save_campaign_report(path, summary, runs, figure_files=figure_files)
