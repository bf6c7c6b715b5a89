"""`loadlab new`: asks a few questions and writes a commented scenario file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from loadlab.errors import InputError
from loadlab.scenario.template import Answers, Application, write_scenario

EPILOG = """Examples:

  loadlab new my-chat.toml

  loadlab new rag.toml --application rag --model llama-3-70b --rate 2 --cv 3 --duration 10min --ttft 1s
"""


def new(
    file: Annotated[Path, typer.Argument(help="The file to write, ending in .toml.", show_default=False)],
    application: Annotated[Application | None, typer.Option(help="What the requests are.", show_default=False)] = None,
    model: Annotated[str | None, typer.Option(help="Model, as the target calls it.", show_default=False)] = None,
    rate: Annotated[str | None, typer.Option(help='Requests a second, such as 2 or "90/min".', show_default=False)] = None,
    users: Annotated[
        int | None, typer.Option(min=1, help="Users that wait for each answer, instead of a rate.", show_default=False)
    ] = None,
    cv: Annotated[float, typer.Option(help="Burstiness: 1 is Poisson, 4 is very bursty.")] = 1.0,
    duration: Annotated[str, typer.Option(help="How long arrivals go on.")] = "5min",
    prompt_tokens: Annotated[int | None, typer.Option(min=1, help="Median prompt.", show_default=False)] = None,
    output_tokens: Annotated[int | None, typer.Option(min=1, help="Median answer.", show_default=False)] = None,
    ttft: Annotated[str | None, typer.Option(help="SLO on the time to first token, such as 2s.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Write a commented scenario file from a few answers.

    In a terminal it asks for what the flags leave open; elsewhere it takes defaults: chat, llm-14b, 0.5/s, 400 and 150 tokens.
    """
    if file.suffix != ".toml":
        raise InputError(f"= {str(file)!r} must end in .toml", key="FILE")
    if file.exists() and not force:
        raise InputError("is there already; name another file, or write over it with --force", source=str(file))
    if rate is not None and users is not None:
        raise InputError("--rate and --users cannot be given together: arrivals wait for nobody, users do")
    asks = sys.stdin.isatty()
    kind = application or (
        Application(_ask("what are the requests (chat, sessions, rag, agent, embedding)", "chat")) if asks else Application.CHAT
    )
    answers = Answers(
        name=file.stem,
        application=kind,
        model=model or (_ask("model, as the target calls it", "llm-14b") if asks else "llm-14b"),
        rate_per_s=None if users is not None else _rate(rate or (_ask("requests a second", "0.5") if asks else "0.5")),
        users=users or 1,
        cv=cv,
        duration=duration,
        prompt_tokens=prompt_tokens or int(_ask("median prompt, tokens", "400") if asks else "400"),
        output_tokens=output_tokens or int(_ask("median answer, tokens", "150") if asks else "150"),
        ttft=ttft,
    )
    _write(file, write_scenario(answers))
    slo = "" if ttft is not None else " --slo ttft=2s"
    cluster = "t4-14b" if answers.model == "llm-14b" else "CLUSTER.toml"
    typer.echo(
        f"wrote {file}. Next:\n"
        f"  loadlab scenario show {file}              what would be sent\n"
        f"  loadlab run {file} --target sim:{cluster}{slo}   rehearse it on a simulated cluster\n"
        f"  loadlab run {file} --target http://HOST:PORT{slo}   load an endpoint of yours"
    )


def _ask(question: str, default: str) -> str:
    answer: str = typer.prompt(question, default=default)
    return answer


def _rate(text: str) -> float:
    from loadlab.units import parse_count, parse_rate_per_s

    try:
        return parse_rate_per_s(text) if "/" in text else parse_count(text)
    except ValueError as error:
        raise InputError(f"= {error}", key="--rate") from None


def _write(file: Path, text: str) -> None:
    """The file, once its text has been read as a scenario: what cannot be one is said before anything is written."""
    import tomllib

    from loadlab.scenario.files import SCENARIO_SCHEMA
    from loadlab.scenario.model import Scenario
    from loadlab.schema import check_schema, read_table

    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise InputError("cannot hold quotes or control characters in its answers", source=str(file)) from None
    check_schema(table, SCENARIO_SCHEMA, str(file))
    read_table(Scenario, table, str(file))
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=str(file)) from None
