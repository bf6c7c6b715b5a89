"""The command `loadlab`: builds the tree of verbs, and turns errors into one message and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from loadlab import __version__
from loadlab.cli import report, run
from loadlab.errors import ExitCode, LoadlabError

app = typer.Typer(
    help="Load-test an LLM endpoint, or a simulated sharded backend, with one scenario file.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("run", epilog=run.EPILOG)(run.run)
app.command("report", epilog=report.EPILOG)(report.report)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"loadlab {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Load-test an LLM endpoint, or a simulated sharded backend, with one scenario file."""


def main() -> None:
    """Entry point of the console script. Exit codes: see loadlab.errors.ExitCode."""
    try:
        app()
    except LoadlabError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        typer.echo("interrupted", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of our stdout went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.OK)


if __name__ == "__main__":
    main()
