"""`loadlab report`: summary, table and HTML made again from the rows of a run directory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

EPILOG = """Examples:

  loadlab report runs/t4

  loadlab report runs/t4/E10 --json

  loadlab report runs/t4/E10 --figures -q
"""


def report(
    run_directory: Annotated[Path, typer.Argument(help="A run directory, or that of a campaign.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary on stdout, and nothing else; tables go to stderr.")] = False,
    write_report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html with figures, and report.md.")] = True,
    figure_files: Annotated[
        bool, typer.Option("--figures", help="Write every figure as SVG and PNG into the directory's figures/ as well.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
) -> None:
    """Show what a run directory holds, and write its report.html and report.md again.

    A run that was killed is shown with the rows that it has.
    """
    from loadlab.campaign.results import load_summary, save_report
    from loadlab.cli.screen import Screen
    from loadlab.report.summary import dump_summary

    summary = load_summary(run_directory)
    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    screen.show(summary)
    if write_report:
        with screen.busy("drawing the report"):
            report_file = save_report(run_directory, summary, figure_files=figure_files)
        screen.say(f"report: {report_file}")
    if as_json:
        sys.stdout.buffer.write(dump_summary(summary))
