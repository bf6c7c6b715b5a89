"""`loadlab compare`: a candidate against a base, from their run directories."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadlab.errors import InputError

if TYPE_CHECKING:
    from loadlab.slo import Metric

EPILOG = """Examples:

  loadlab compare runs/before runs/after

  loadlab compare runs/gate/base runs/gate/candidate --metric ttft.p99 --metric tpot.p50 --json
"""


def compare(
    base: Annotated[Path, typer.Argument(help="A run directory, or a folder of them.", show_default=False)],
    candidate: Annotated[Path, typer.Argument(help="What is compared with it.", show_default=False)],
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to compare, such as ttft.p99; may be repeated. Default: the usual.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for compare.json, report.html and the figures (SVG, PNG).", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the comparison on stdout as JSON; tables go to stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No table.")] = False,
) -> None:
    """Compare runs of a candidate with runs of a base.

    Runs of equal plans (same scenario, same seed) are pairs, which shows differences that strangers hide; the table says which it is,
    and what may be claimed. A comparison is no verdict: that is what `loadlab gate` gives.
    """
    from loadlab.campaign.sides import compare_paths
    from loadlab.cli.screen import Screen
    from loadlab.report.compare_terminal import print_comparisons
    from loadlab.report.comparison import document
    from loadlab.report.summary import dump_summary

    pages = compare_paths(base, candidate, read_metrics(metric))
    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    print_comparisons(pages, screen.tables)
    found = document(pages)
    if out is not None:
        from loadlab.report.compare_files import save_compare_report

        screen.say(f"report: {save_compare_report(out, found, pages, shlex.join(sys.argv))}")
    if as_json:
        sys.stdout.buffer.write(dump_summary(found))


def read_metrics(texts: list[str] | None) -> list[Metric] | None:
    """The metrics of repeated flags; None for none. Raises InputError naming the flag."""
    from loadlab.slo import parse_metric

    try:
        return [parse_metric(text) for text in dict.fromkeys(texts)] if texts else None
    except ValueError as error:
        raise InputError(f"= {error}", key="--metric") from None
