"""`loadlab trace`: what a recorded trace looks like, in our own format, and as a scenario that is statistically like it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from loadlab.errors import InputError
from loadlab.scenario.trace_formats.rows import TraceFormat

app = typer.Typer(
    help="Recorded traces: look at one, convert it, fit a scenario to it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

File = Annotated[
    Path, typer.Argument(help="A trace, gzip or not, or a folder of ServeGen clients; its format is recognised.", show_default=False)
]
Format = Annotated[TraceFormat | None, typer.Option("--format", help="Refuse the file if it has another format.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.")]


@app.command(
    "inspect", epilog="Examples:\n\n  loadlab trace inspect trace.csv\n\n  loadlab trace inspect trace.jsonl.gz --out trace.png --json"
)
def inspect(
    file: File,
    trace_format: Format = None,
    out: Annotated[Path | None, typer.Option(help="Draw into this file, .png or .svg, too.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Rows, span, rate, burstiness, lengths and prefix hits of a trace, and what to beware of. Reads it once, in bounded memory."""
    from loadlab.analysis.trace_profile import inspect_trace
    from loadlab.report.trace import draw_trace, trace_json

    _check_figure(out)
    with _counting("reading") as progress:
        profile = inspect_trace(file, trace_format, progress)
    if as_json:
        print_json(trace_json(profile))
    else:
        for line in draw_trace(profile):
            typer.echo(line)
    if out is not None:
        from loadlab.report.figures_trace import save_trace

        try:
            save_trace(profile, file.name, out)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", source=str(out)) from None
        typer.echo(f"figure: {out}", err=True)


@app.command(
    "convert",
    epilog="Examples:\n\n  loadlab trace convert trace.jsonl.gz --out trace.csv\n\n"
    "  loadlab trace convert conversation_trace.jsonl --out trace.parquet --dequantize 3s",
)
def convert(
    file: File,
    out: Annotated[Path, typer.Option(help="Where to, .csv or .parquet.", show_default=False)],
    trace_format: Format = None,
    dequantize: Annotated[
        str | None, typer.Option(help='The tick of a coarse clock, such as "3s": each row is put anywhere in its tick.', show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**53, help="Draws the places in the ticks.")] = 1,
) -> None:
    """Writes a trace in our own format (docs/traces.md), sorted by time; failed rows stay. Row by row, in bounded memory."""
    from loadlab.scenario.trace_formats.convert import convert as convert_trace
    from loadlab.units import parse_duration_s

    try:
        tick_s = None if dequantize is None else parse_duration_s(dequantize)
    except ValueError as error:
        raise InputError(f"= {dequantize!r} {error}", key="--dequantize") from None
    if tick_s is not None and not 0 < tick_s <= 3600:
        raise InputError(f"= {dequantize!r} must be above 0 and at most an hour", key="--dequantize")
    with _counting("converting") as progress:
        done = convert_trace(file, out, trace_format, tick_s=tick_s, seed=seed, progress=progress)
    for words in done.words:
        typer.echo(f"beware: {words}", err=True)
    typer.echo(f"{out}: {done.rows:,} rows of {done.format.value}")


def _check_figure(out: Path | None) -> None:
    if out is not None and out.suffix not in (".png", ".svg"):
        raise InputError(f"= {str(out)!r} must end in .png or .svg", key="--out")


@contextmanager
def _counting(doing: str) -> Iterator[Callable[[int], None]]:
    """A spinner with the rows so far; nothing without a terminal."""
    from rich.console import Console

    with Console(stderr=True, highlight=False).status(f"{doing} ...") as status:
        yield lambda rows: status.update(f"{doing}, {rows:,} rows ...")


def print_json(value: object) -> None:
    """JSON on stdout."""
    import sys

    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.flush()
