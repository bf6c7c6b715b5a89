"""`loadlab calibrate`: measured runs correct a simulated cluster's constants."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loadlab.cli.catalog import GpusOption, ModelsOption, extend
from loadlab.errors import ExitCode, InputError, RunInterruptedError

EPILOG = """Examples:

  loadlab calibrate runs/a runs/b runs/c --cluster scenarios/clusters/t4-14b.toml --out t4.calibrated.toml

  loadlab import vllm-bench results.json --out runs/vllm && loadlab calibrate runs/vllm --cluster C.toml --out C.calibrated.toml
"""


def calibrate(
    runs: Annotated[
        list[Path], typer.Argument(help="Run directories: of `run`, over HTTP or simulated, or of `import`.", show_default=False)
    ],
    cluster: Annotated[
        Path, typer.Option("--cluster", help="The cluster file that is to do the same.", metavar="C.toml", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The calibrated cluster file to write.", metavar="C.calibrated.toml", show_default=False)
    ],
    pool: Annotated[str | None, typer.Option(help="Whose constants, where pools differ in hardware.", show_default=False)] = None,
    plot: Annotated[Path | None, typer.Option(help="Where the figure goes. Default: beside --out.", metavar="FILE.svg")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Write over an --out that exists.")] = False,
    models: ModelsOption = None,
    gpus: GpusOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the calibration as JSON on stdout, and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Fit a simulated cluster's few constants to measured runs, and write it down with what it was fitted to.

    Runs at moderate load tell most: three or four between 30 and 70 % of saturation. Each run's requests are simulated at the times at
    which they came; compute and bandwidth efficiency, host time, prefill interference, KV blocks and the token budget of a step move until
    both sides agree. What the runs do not tell is kept. Overloaded, invalid and partial runs are left out, each with its reason. Where a
    mean or p90 still differs by more than 10 % no cluster is written, and the exit code is 99. The report, with figure and
    tables, is written beside --out either way, as C.calibrated.html.
    """
    import datetime

    from loadlab.campaign.calibrate import calibrate as fit
    from loadlab.campaign.calibrate import save_cluster
    from loadlab.campaign.calibration_summary import summarise_calibration
    from loadlab.cli.break_even import command_line, print_json
    from loadlab.cli.screen import Screen
    from loadlab.record.atomic_file import save_bytes
    from loadlab.report.calibration import print_calibration

    if out.exists() and not replace:
        raise InputError("exists; pass --replace to write over it, or another --out", source=str(out))
    if plot is not None and plot.suffix != ".svg":
        raise InputError(f"= {plot.name!r} must end in .svg", key="--plot")
    extend(models, gpus)
    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    try:
        with screen.busy("fitting constants, some hundred simulations of every run") as say:
            found = fit(runs, cluster, datetime.datetime.now(datetime.UTC).date().isoformat(), lambda what, *_: say(what), pool)
    except KeyboardInterrupt:
        raise RunInterruptedError("nothing was written; the runs are as they were") from None
    summary = summarise_calibration(found, cluster=str(cluster), out=str(out), command=command_line())
    print_calibration(summary, screen.tables)
    from loadlab.record.manifest import load_versions
    from loadlab.report.calibration_page import render_calibration
    from loadlab.report.figure_style import as_svg_file
    from loadlab.report.figures_calibration import draw_calibration

    where, page = plot or out.with_suffix(".svg"), out.with_suffix(".html")
    if not found.is_refused:
        save_cluster(found, out)
        screen.say(f"calibrated cluster: {out}")
    drawn = draw_calibration(summary)
    save_bytes(where, as_svg_file(drawn))
    save_bytes(page, render_calibration(summary, drawn, load_versions()))
    screen.say(f"figure: {where}")
    screen.say(f"report: {page}")
    if as_json:
        print_json(summary)
    if found.is_refused:
        raise typer.Exit(ExitCode.THRESHOLD_FAILED)
