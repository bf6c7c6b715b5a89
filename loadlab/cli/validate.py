"""`loadlab validate`: the simulator scored on measured rows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from loadlab.cli.catalog import GpusOption, ModelsOption, extend

if TYPE_CHECKING:
    from loadlab.analysis.scoring import Scored, Unpredicted

app = typer.Typer(
    help="Score the simulator on measured rows: engine steps, serving runs at fixed concurrency, or the requests of a run.",
    epilog="Examples:\n\n  loadlab validate steps step_times.csv\n\n  loadlab validate serving serving_closed_loop.csv --json",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

CsvArgument = Annotated[Path, typer.Argument(help="Measured rows, CSV or CSV.gz.", metavar="CSV", show_default=False)]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the scores as JSON on stdout, and nothing else.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
PlotOption = Annotated[
    Path | None,
    typer.Option("--plot", help="Write a scatter plot of predicted over measured, PNG or SVG.", metavar="FILE", show_default=False),
]


@app.command(
    "steps", epilog="Examples:\n\n  loadlab validate steps step_times.csv\n\n  loadlab validate steps rows.csv.gz --json --plot steps.png"
)
def steps(
    csv: CsvArgument,
    models: ModelsOption = None,
    gpus: GpusOption = None,
    as_json: JsonOption = False,
    plot: PlotOption = None,
    quiet: QuietOption = False,
) -> None:
    """Engine steps: model, gpu, tp, dtype, phase, batch, context_len, step_ms (kernels alone, no host time).

    Rows that cannot be predicted are counted and listed. Errors are |predicted / measured - 1| in percent.
    """
    from loadlab.campaign.validate_steps import score_steps
    from loadlab.cli.screen import Screen

    extend(models, gpus)
    with Screen(is_quiet=quiet).busy("predicting steps"):
        found = score_steps(csv)
    _show(*found, as_json=as_json, plot=plot, title=f"engine steps of {csv.name}")


@app.command(
    "serving",
    epilog="Examples:\n\n  loadlab validate serving serving_closed_loop.csv\n\n  loadlab validate serving rows.csv --models DIR --json",
)
def serving(
    csv: CsvArgument,
    models: ModelsOption = None,
    gpus: GpusOption = None,
    as_json: JsonOption = False,
    plot: PlotOption = None,
    quiet: QuietOption = False,
) -> None:
    """Serving runs at fixed concurrency: model, gpu, tp, pp, dp, ep, dtype, engine, isl, osl, load -> ttft_ms, tpot_ms, output_tok_s.

    Each row's closed loop is simulated, start-up burst included, at the expected step time and at both ends of its band.
    """
    from loadlab.campaign.validate_serving import score_serving
    from loadlab.cli.screen import Screen

    extend(models, gpus)
    screen = Screen(is_quiet=quiet or (as_json and not sys.stderr.isatty()), is_stdout_taken=as_json)
    with screen.progress("serving runs") as progress:
        found = score_serving(csv, lambda done, total: progress("rows", done, total))
    _show(*found, as_json=as_json, plot=plot, title=f"serving runs of {csv.name}")


@app.command(
    "requests",
    epilog="Examples:\n\n  loadlab validate requests serving_requests.csv --cluster rtx.toml --run RTX4090/Llama-3.1-8B"
    "\n\n  loadlab validate requests log.csv.gz --cluster mine.toml --json",
)
def requests(
    csv: CsvArgument,
    cluster: Annotated[Path, typer.Option("--cluster", help="Cluster file to replay the log on.", metavar="C.toml", show_default=False)],
    run: Annotated[
        str | None, typer.Option("--run", help="One run of the log. Default: each of them.", metavar="NAME", show_default=False)
    ] = None,
    models: ModelsOption = None,
    gpus: GpusOption = None,
    as_json: JsonOption = False,
    plot: PlotOption = None,
    quiet: QuietOption = False,
) -> None:
    """A run's requests: run, arrival_s, input_tokens, output_tokens -> ttft_ms, tpot_ms, e2e_ms.

    The log is replayed on the cluster. `bias` of e2e_ms is how far the mean lies off.
    """
    from loadlab.campaign.validate_requests import score_requests
    from loadlab.cli.screen import Screen

    extend(models, gpus)
    with Screen(is_quiet=quiet).busy("replaying the log"):
        found = score_requests(csv, cluster, run)
    _show(*found, as_json=as_json, plot=plot, title=f"requests of {csv.name}")


def _show(scored: list[Scored], unpredicted: list[Unpredicted], *, as_json: bool, plot: Path | None, title: str) -> None:
    from loadlab.analysis.scoring import score

    found = score(scored, unpredicted)
    if plot is not None:
        from loadlab.report.figures_validation import save_scatter

        save_scatter(scored, title, plot)
    if as_json:
        import orjson

        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
        return
    _print_table(found, title)
    if plot is not None:
        typer.echo(f"plot: {plot}", err=True)


def _print_table(found: dict[str, Any], title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    table = Table(
        title=f"Error of {title}, in percent of the measured", title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    names = ("GPU", "kind", "phase", "engine", "metric")
    for name in names:
        table.add_column(name, overflow="fold")
    for name in ("n", "median", "p90", "bias", "in band"):
        table.add_column(name, justify="right", no_wrap=True)
    for group in found["groups"]:
        table.add_row(*(group[key] or "-" for key in ("gpu", "kind", "phase", "engine", "metric")), *_cells(group))
    console.print(table)
    total = Table(title="All together", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("metric", "n", "median", "p90", "bias", "in band", "predicted"):
        total.add_column(name, justify="left" if name == "metric" else "right", no_wrap=True)
    for metric, row in found["total"].items():
        total.add_row(metric, *_cells(row), f"{100 * row['predicted_share']:.1f} %")
    console.print()
    console.print(total)
    for missed in found["unpredicted"]:
        console.print(f"not predicted, {missed['n']} figures: {missed['reason']}")
    console.print("in band: share of measured figures between the 10 % and 90 % ends of their prediction; 80 % would be right.")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if not row["n"]:
        return ("0", "-", "-", "-", "-")
    coverage = "-" if row["band_coverage"] is None else f"{100 * row['band_coverage']:.0f} %"
    return (f"{row['n']:,}", f"{row['median']:.1f}", f"{row['p90']:.1f}", f"{row['bias']:+.1f}", coverage)
