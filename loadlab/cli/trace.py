"""`loadlab trace`: what a recorded trace looks like, in our own format, and as a scenario that is statistically like it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from loadlab.errors import ExitCode, InputError
from loadlab.scenario.trace_formats.rows import TraceFormat

if TYPE_CHECKING:
    from loadlab.cli.screen import Screen

app = typer.Typer(
    help="Recorded traces: look at one, convert it, fit a scenario to it.",
    epilog="Examples:\n\n  loadlab trace inspect trace.csv\n\n  loadlab trace fit trace.csv --out fitted.toml",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)

MIN_TOLD_S = 2.0  # before that, what is left would be a guess

File = Annotated[
    Path, typer.Argument(help="A trace, gzip or not, or a folder of ServeGen clients; its format is recognised.", show_default=False)
]
Format = Annotated[TraceFormat | None, typer.Option("--format", help="Refuse the file if it has another format.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, and no words but errors: what is written is the answer.")]


@app.command(
    "inspect", epilog="Examples:\n\n  loadlab trace inspect trace.csv\n\n  loadlab trace inspect trace.jsonl.gz --out trace.png --json"
)
def inspect(
    file: File,
    trace_format: Format = None,
    out: Annotated[Path | None, typer.Option(help="Draw into this file, .png or .svg, too.", show_default=False)] = None,
    as_json: Json = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Rows, span, rate, burstiness, lengths and prefix hits of a trace, and what to beware of. Reads it once, in bounded memory."""
    from loadlab.analysis.trace_profile import inspect_trace
    from loadlab.cli.screen import Screen
    from loadlab.report.trace import draw_trace, trace_json

    _check_figure(out)
    with _counting("reading", is_quiet=quiet) as progress:
        profile = inspect_trace(file, trace_format, progress)
    if as_json:
        print_json(trace_json(profile))
    else:
        _print_lines(draw_trace(profile), Screen())
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
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Writes a trace in our own format (docs/traces.md), sorted by time; failed rows stay. Row by row, in bounded memory."""
    from loadlab.cli.screen import Screen
    from loadlab.report.columns import say
    from loadlab.scenario.trace_formats.convert import convert as convert_trace

    tick_s = _duration(dequantize, "--dequantize")
    if tick_s is not None and not 0 < tick_s <= 3600:
        raise InputError(f"= {dequantize!r} must be above 0 and at most an hour", key="--dequantize")
    screen = Screen(is_quiet=quiet, is_stdout_taken=as_json)
    with _counting("converting", is_quiet=quiet) as progress:
        done = convert_trace(file, out, trace_format, tick_s=tick_s, seed=seed, progress=progress)
    for words in done.words:
        say(screen.status, f"beware: {words}")
    screen.say(f"{out}: {done.rows:,} rows of {done.format.value}")
    if as_json:
        print_json({"file": str(out), "rows": done.rows, "format": done.format.value, "warnings": list(done.words)})


def _print_lines(lines: list[str], screen: Screen) -> None:
    """Lines of a drawing: what is longer than a terminal is wide wraps between words; elsewhere each stays one line."""
    from loadlab.report.columns import say

    for line in lines:
        if line:
            say(screen.tables, line)
        else:
            screen.tables.print()


def _check_figure(out: Path | None, flag: str = "--out") -> None:
    if out is not None and out.suffix not in (".png", ".svg"):
        raise InputError(f"= {str(out)!r} must end in .png or .svg", key=flag)


@contextmanager
def _counting(doing: str, *, is_quiet: bool) -> Iterator[Callable[[int, float | None], None]]:
    """A spinner with the rows so far, and what is left where that can be told; nothing without a terminal."""
    from time import monotonic

    from rich.console import Console

    began = monotonic()
    with Console(stderr=True, highlight=False, quiet=is_quiet).status(f"{doing} ...") as status:
        yield lambda rows, share: status.update(f"{doing}, {rows:,} rows{_left(share, monotonic() - began)} ...")


def _left(share: float | None, taken_s: float) -> str:
    """Such as ", 40%, 12 s left": as long again for each share as for those before; nothing of the first two seconds, or of what ends."""
    if share is None or not 0 < share < 1 or taken_s < MIN_TOLD_S:
        return ""
    left_s = math.ceil(taken_s * (1 - share) / share)
    return f", {share:.0%}, {f'{left_s} s' if left_s < 120 else f'{left_s // 60} min'} left"


@contextmanager
def _saying(doing: str, *, is_quiet: bool) -> Iterator[Callable[[str], None]]:
    """A spinner with what is being tried."""
    from rich.console import Console

    with Console(stderr=True, highlight=False, quiet=is_quiet).status(f"{doing} ...") as status:
        yield lambda what: status.update(f"{doing}: {what} ...")


def print_json(value: object) -> None:
    """JSON on stdout."""
    import sys

    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.flush()


class Arrivals(StrEnum):
    """Families of arrival laws that a fit may be told to use."""

    BEST = "best"
    POISSON = "poisson"
    GAMMA = "gamma"
    WEIBULL = "weibull"
    LOGNORMAL = "lognormal"
    MMPP = "mmpp"
    STEPS = "steps"


@app.command(
    "fit",
    epilog="Examples:\n\n  loadlab trace fit trace.csv --out fitted.toml --figure fit.png\n\n"
    "  loadlab trace fit trace.jsonl --out day.toml --window 1h --arrivals mmpp",
)
def fit(
    file: File,
    out: Annotated[Path, typer.Option(help="The scenario, .toml.", show_default=False)],
    trace_format: Format = None,
    model: Annotated[str, typer.Option(help="The served model that requests ask for.")] = "model",
    arrivals: Annotated[Arrivals, typer.Option(help="Choose among the laws of one family, good or not.")] = Arrivals.BEST,
    rate: Annotated[
        str | None, typer.Option(help='For a trace without times: Poisson arrivals, such as "2/s".', show_default=False)
    ] = None,
    window_start: Annotated[str | None, typer.Option(help='Begin of the part that is fitted, such as "10min".', show_default=False)] = None,
    window: Annotated[str | None, typer.Option(help='Length of the part that is fitted, such as "1h".', show_default=False)] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw trace and fit into this file, .png or .svg.", show_default=False)] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Writes a scenario that is statistically like a trace, and says how like it is, beside the models that were rejected.

    Exit codes: 0 a good fit, 99 the scenario is written but does not reproduce the trace.
    """
    from loadlab.analysis.trace_fit import fit_trace
    from loadlab.cli.screen import Screen
    from loadlab.record.atomic_file import save_bytes
    from loadlab.report.trace_fit import draw_fit, fit_json, scenario_text
    from loadlab.scenario.traces import load_trace

    _check_figure(figure, "--figure")
    if out.suffix != ".toml":
        raise InputError(f"= {str(out)!r} must end in .toml", key="--out")
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", out.stem).strip("-._") or "fitted"
    start_s, for_s = _duration(window_start, "--window-start") or 0.0, _duration(window, "--window")
    with _counting("reading", is_quiet=quiet) as progress:
        trace = load_trace(file, start_s, for_s, trace_format, None if rate is None else _rate(rate), progress)
        family = Arrivals.POISSON if rate is not None else arrivals
        chosen = None if family is Arrivals.BEST else family.value
    with _saying(f"fitting {len(trace):,} rows", is_quiet=quiet) as say:
        found = fit_trace(trace, name=name, model=model, family=chosen, say=say, arrivals_assumed=rate is not None)
    save_bytes(out, scenario_text(found, file.name).encode())
    if figure is not None:
        from loadlab.report.figures_fit import save_fit

        try:
            save_fit(found, file.name, figure)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", source=str(figure)) from None
    if as_json:
        print_json(fit_json(found))
    else:
        _print_lines(draw_fit(found), Screen(is_quiet=quiet))
    if not quiet:
        typer.echo(f"scenario: {out}", err=True)
    if not found.is_good:
        raise typer.Exit(ExitCode.THRESHOLD_FAILED)


def _duration(text: str | None, flag: str) -> float | None:
    from loadlab.units import parse_duration_s

    try:
        value = None if text is None else parse_duration_s(text)
    except ValueError as error:
        raise InputError(f"= {text!r} {error}", key=flag) from None
    if value is not None and value < 0:
        raise InputError(f"= {text!r} must be 0 or more", key=flag)
    return value


def _rate(text: str) -> float:
    from loadlab.units import parse_rate_per_s

    try:
        value = parse_rate_per_s(text)
    except ValueError as error:
        raise InputError(f"= {text!r} {error}", key="--rate") from None
    if not 1e-6 <= value <= 1e6:
        raise InputError(f"= {text!r} must be above 0 and at most 1,000,000/s", key="--rate")
    return value
