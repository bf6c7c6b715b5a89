"""`loadlab baseline`: the numbers of some runs as a small file that is committed and compared with later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadlab.errors import InputError

if TYPE_CHECKING:
    from loadlab.campaign.baselines import Baseline

EPILOG = """Examples:

  loadlab baseline save runs/gate/base baselines/smoke.json

  loadlab baseline update runs/nightly/candidate baselines/smoke.json
"""
app = typer.Typer(no_args_is_help=True, help="Keep the numbers of some runs as a small file, to compare with later.", epilog=EPILOG)
Runs = Annotated[
    Path, typer.Argument(help="A run directory, or a folder of them: five or more, each with a seed of its own.", show_default=False)
]
File = Annotated[Path, typer.Argument(help="The baseline file.", show_default=False)]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="Keep this metric too, such as tpot.p99{class=chat}; may be repeated.", show_default=False),
]


@app.command(
    "save",
    epilog="Examples:\n\n  loadlab baseline save runs/gate/base baselines/smoke.json\n\n"
    "  loadlab baseline save runs/nightly baselines/smoke.json --metric 'tpot.p99{class=chat}'",
)
def save(
    runs: Runs,
    file: File,
    metric: Metrics = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the file on stdout too, and nothing else there.")] = False,
) -> None:
    """Write a new baseline of complete runs of one scenario."""
    from loadlab.campaign.baselines import build_baseline, save_baseline
    from loadlab.cli.compare import read_metrics

    if file.exists():
        raise InputError("exists; `loadlab baseline update` replaces one", source=str(file))
    baseline = build_baseline(runs, read_metrics(metric) or ())
    save_baseline(file, baseline)
    if as_json:
        typer.echo(file.read_text(encoding="utf-8"), nl=False)
    typer.echo(f"{file}: {baseline.name}, runs: {len(baseline.runs)}, metrics: {len(baseline.metrics)}", err=as_json)
    _warn_of_few(baseline)


@app.command(
    "show", epilog="Examples:\n\n  loadlab baseline show baselines/smoke.json\n\n  loadlab baseline show baselines/smoke.json --json"
)
def show(
    file: File, as_json: Annotated[bool, typer.Option("--json", help="The file itself on stdout, once it is known to be sound.")] = False
) -> None:
    """Print what a baseline holds: where it came from, and each metric over its runs."""
    from loadlab.campaign.baselines import load_baseline
    from loadlab.cli.screen import Screen
    from loadlab.report.baseline import print_baseline

    baseline = load_baseline(file)
    if as_json:
        typer.echo(file.read_text(encoding="utf-8"), nl=False)
        return
    head = f"{baseline.name}, {baseline.target}, saved from runs of {baseline.saved_from}, loadlab {baseline.loadlab}"
    print_baseline(head, baseline.scenario_digest, baseline.runs, Screen().tables)
    _warn_of_few(baseline)


@app.command(
    "update",
    epilog="Examples:\n\n  loadlab baseline update runs/nightly/candidate baselines/smoke.json\n\n"
    "  loadlab baseline update runs/nightly/candidate baselines/smoke.json --new-scenario",
)
def update(
    runs: Runs,
    file: File,
    metric: Metrics = None,
    new_scenario: Annotated[bool, typer.Option("--new-scenario", help="The scenario was changed on purpose: take the new one.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what changed on stdout as JSON; tables go to stderr.")] = False,
) -> None:
    """Replace a baseline by newer runs, and print what changed."""
    from loadlab.analysis.compare import compare_runs
    from loadlab.campaign.baselines import build_baseline, check_same_scenario, load_baseline, save_baseline
    from loadlab.cli.compare import read_metrics
    from loadlab.cli.screen import Screen
    from loadlab.report.compare_terminal import print_comparisons
    from loadlab.report.comparison import ComparedPage, document
    from loadlab.report.summary import dump_summary
    from loadlab.slo import parse_metric

    if runs.is_file():
        raise InputError("is a file: runs come first, `loadlab baseline update RUNS FILE`", source=str(runs))
    old, new = load_baseline(file), build_baseline(runs, read_metrics(metric) or ())
    if not new_scenario:
        check_same_scenario(old, new.scenario_digest, new.scenario, str(runs), str(file))
    save_baseline(file, new)
    shared = [parse_metric(name) for name in new.metrics if name in old.metrics]
    page = ComparedPage(name=f"{file}, {new.name}", comparison=compare_runs(old.runs, new.runs, shared))
    print_comparisons([page], Screen(is_stdout_taken=as_json).tables)
    if as_json:
        typer.echo(dump_summary(document([page])).decode(), nl=False)
    _warn_of_few(new)


def _warn_of_few(baseline: Baseline) -> None:
    if (n := len(baseline.runs)) < 5:
        typer.echo(f"note: {'1 run knows' if n == 1 else f'{n} runs know'} little of how runs vary; five or more are the rule", err=True)
