"""`loadlab export`: a run for other tools."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadlab.errors import InputError

if TYPE_CHECKING:
    from loadlab.cli.screen import Screen
    from loadlab.export.formats import FileFormat
    from loadlab.record.run_dir import RunDir

EPILOG = """Examples:

  loadlab export runs/t4/E10 --to parquet

  loadlab export runs/chat --to prometheus --out /var/lib/node_exporter/chat.prom --force

  loadlab export runs/t4 --to mlflow --out http://127.0.0.1:5000
"""


class Kind(StrEnum):
    """For whom."""

    CSV = "csv"
    PARQUET = "parquet"
    PROMETHEUS = "prometheus"
    OTLP = "otlp"
    MLFLOW = "mlflow"
    GUIDELLM = "guidellm"


def export(
    run_directory: Annotated[
        Path, typer.Argument(help="A run directory, or a folder of them such as that of a campaign.", show_default=False)
    ],
    to: Annotated[
        Kind,
        typer.Option(
            help="csv, parquet: a row a request; prometheus: a metrics page; otlp: a span a request, JSON lines; "
            "mlflow: a run in a tracking store; guidellm: its JSON report.",
            show_default=False,
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            help="File to write, - for stdout; of several runs, a folder. Default: beside the run directory. "
            "mlflow: tracking URI, default $MLFLOW_TRACKING_URI.",
            metavar="PATH",
            show_default=False,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing.")] = False,
) -> None:
    """Write a run for other tools; `docs/export.md` says what each file holds.

    Rows are copied as they were recorded, each with its TTFT, TPOT and end to end. Texts that a spreadsheet would evaluate are quoted.
    """
    from loadlab.campaign.sides import load_side
    from loadlab.cli.screen import Screen
    from loadlab.export.formats import FileFormat

    runs, screen = load_side(run_directory), Screen(is_quiet=quiet, is_stdout_taken=out == "-")
    for run in runs:
        if run.manifest.status != "complete":
            screen.say(f"warning: {run.path} is {run.manifest.status}: what it holds is a part of a run")
    if to is Kind.MLFLOW:
        _log(runs, out, screen)
    elif out == "-":
        _print(runs, FileFormat(to.value))
    else:
        _save(run_directory, runs, FileFormat(to.value), out, screen, force=force)


def _save(folder: Path, runs: list[RunDir], kind: FileFormat, out: str | None, screen: Screen, *, force: bool) -> None:
    from loadlab.export.formats import ENDINGS, export_file

    is_one = runs[0].path == folder
    for run in runs:
        name = f"{run.path.resolve().name}{ENDINGS[kind]}"
        where = (folder.resolve().parent / name if out is None else Path(out)) if is_one else Path(out or f"{folder}-{kind.value}") / name
        with screen.busy(f"writing {where.name}"):
            count = export_file(run, kind, where, force=force)
        screen.say(f"{where}: {count:,} requests")


def _print(runs: list[RunDir], kind: FileFormat) -> None:
    from loadlab.export.formats import write_to

    if len(runs) > 1:
        raise InputError("holds several runs, and - is one file: name a folder with --out, or export one of them", key="RUN_DIRECTORY")
    if kind.value == "parquet" and sys.stdout.isatty():
        raise InputError("= - would write bytes to the terminal; name a file", key="--out")
    write_to(sys.stdout.buffer, runs[0], kind)
    sys.stdout.flush()


def _log(runs: list[RunDir], out: str | None, screen: Screen) -> None:
    from loadlab.export.mlflow_run import log_to_mlflow

    uri = out or os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise InputError("is missing: name a tracking URI (http://HOST:5000, a folder) or set MLFLOW_TRACKING_URI", key="--out")
    for run in runs:
        with screen.busy(f"logging {run.manifest.name}"):
            identity = log_to_mlflow(run, uri)
        screen.say(f"{uri}: run {identity} of {run.path}")
