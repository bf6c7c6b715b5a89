"""`loadlab merge`: rows that workers kept on their machines, brought into the run that did not get them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EPILOG = """Examples:

  loadlab merge runs/big from-host-b from-host-c

  loadlab merge runs/killed
"""


def merge(
    run_directory: Annotated[Path, typer.Argument(help="The run directory of the master.", show_default=False)],
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders that workers wrote (their --out). [default: those under RUN_DIRECTORY/workers]", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json on stdout, and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
) -> None:
    """Complete an incomplete run with the rows that its workers kept.

    Only requests that the run lost sight of get other rows; the run stays incomplete, since its load was not the plan's. Merging
    twice changes nothing. Needed after a worker was cut off from its master, or the master was killed.
    """
    from loadlab.campaign.trial import write_summary
    from loadlab.cli.break_even import print_json
    from loadlab.cli.screen import Screen
    from loadlab.errors import InputError
    from loadlab.record.merging import merge_share
    from loadlab.record.run_dir import RunDir
    from loadlab.record.shares import SHARE_FILE, WORKERS_FOLDER

    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    found = folders or sorted(file.parent for file in (run_directory / WORKERS_FOLDER).glob(f"*/{SHARE_FILE}"))
    if not found:
        raise InputError("has no workers/ with rows: name the folders that the workers wrote", source=str(run_directory))
    for folder in found:
        run = RunDir.open(run_directory)
        rescued, kept = merge_share(run, folder)
        screen.say(f"{folder}: {rescued:,} rows that the run had not, of {kept:,}")
    summary = write_summary(RunDir.open(run_directory))
    screen.show(summary)
    if as_json:
        print_json(summary)
