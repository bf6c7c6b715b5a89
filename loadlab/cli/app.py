"""The command `loadlab`: builds the tree of verbs, and turns errors into one message and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from loadlab import __version__
from loadlab.cli import (
    baseline,
    break_even,
    calibrate,
    capacity,
    catalog,
    compare,
    decide,
    doctor,
    export,
    fleet,
    gate,
    import_results,
    merge,
    new,
    plan,
    report,
    run,
    scenario,
    serve,
    sweep,
    trace,
    validate,
)
from loadlab.cli.welcome import welcome
from loadlab.errors import ExitCode, LoadlabError, RunInterruptedError

WHAT = """Replay random and bursty LLM traffic on a simulated sharded backend or over HTTP, and record what becomes of every request."""
EPILOG = """Examples:

  loadlab run smoke --target sim:t4-14b --slo ttft=2s

  loadlab scenario list

`loadlab` alone shows the five things that one can do. Colours: NO_COLOR=1, or --no-color anywhere on the line, leaves them out.
"""
app = typer.Typer(
    help=WHAT,
    epilog=EPILOG,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("run", epilog=run.EPILOG)(run.run)
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)
app.command("serve", epilog=serve.EPILOG)(serve.serve)
app.command("report", epilog=report.EPILOG)(report.report)
app.add_typer(scenario.app, name="scenario")
app.add_typer(trace.app, name="trace")
app.command("new", epilog=new.EPILOG)(new.new)
app.add_typer(catalog.app, name="catalog")
app.add_typer(validate.app, name="validate")
app.command("decide", epilog=decide.EPILOG)(decide.decide)
app.command("plan", epilog=plan.EPILOG)(plan.plan)
app.command("sweep", epilog=sweep.EPILOG)(sweep.sweep)
app.command("calibrate", epilog=calibrate.EPILOG)(calibrate.calibrate)
app.command("capacity", epilog=capacity.EPILOG)(capacity.capacity)
app.command("fleet", epilog=fleet.EPILOG)(fleet.fleet)
app.command("break-even", epilog=break_even.EPILOG)(break_even.break_even)
app.command("compare", epilog=compare.EPILOG)(compare.compare)
app.command("import", epilog=import_results.EPILOG)(import_results.import_results)
app.command("merge", epilog=merge.EPILOG)(merge.merge)
app.command("export", epilog=export.EPILOG)(export.export)
app.command("gate", epilog=gate.EPILOG)(gate.gate)
app.add_typer(baseline.app, name="baseline")


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"loadlab {__version__}")
        raise typer.Exit


@app.callback(epilog=EPILOG)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
    no_color: Annotated[
        bool, typer.Option("--no-color", help="No colours; may stand anywhere on the line, as NO_COLOR=1 may before it.")
    ] = False,
) -> None:
    """The command without a verb: its help is WHAT."""
    del version, no_color  # their work is done: by a callback, and by main, since it may stand anywhere
    if context.invoked_subcommand is None:
        typer.echo(welcome(__version__))


def main() -> None:
    """Entry point of the console script. Exit codes: see loadlab.errors.ExitCode."""
    _take_no_color(sys.argv)
    try:
        app()
    except RunInterruptedError as error:
        typer.echo(f"interrupted: {error}", err=True)
        sys.exit(error.exit_code)
    except LoadlabError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of our stdout went away, as `head` does
        _silence_stdout()
        sys.exit(ExitCode.OK)
    except OSError as error:  # stdout itself is full or gone; files have errors of their own
        _silence_stdout()
        typer.echo(f"error: stdout cannot be written: {error.strerror}", err=True)
        sys.exit(ExitCode.BAD_INPUT)


def _take_no_color(arguments: list[str]) -> None:
    """Takes --no-color out of the line, wherever it stands before a bare --, and tells everyone below by NO_COLOR."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    if "--no-color" in arguments[:end]:
        arguments[:end] = [word for word in arguments[:end] if word != "--no-color"]
        os.environ["NO_COLOR"] = "1"


def _silence_stdout() -> None:
    """So that the interpreter's last flush does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
