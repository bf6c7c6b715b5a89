"""The command line, from the tree of verbs itself: every verb, argument, option and default, and the examples of its help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperArgument, TyperGroup, TyperOption

from handbook.keys import escaped
from loadlab.cli.app import app
from loadlab.errors import ExitCode

EXIT_CODES = {
    ExitCode.OK: "nothing went wrong: every request is accounted for (not: succeeded), and no threshold or gate failed",
    ExitCode.BUG: "a bug of loadlab: a traceback, which we want to see",
    ExitCode.BAD_INPUT: "bad usage, or a file that cannot be used; the message names file, key, value and what is allowed",
    ExitCode.UNREACHABLE: "the target cannot be reached, so nothing was sent",
    ExitCode.INCOMPLETE: "the run ended without knowing what became of some requests",
    ExitCode.INVALID: "the measurement is not valid: the load generator spoilt it, or there is too little to judge",
    ExitCode.THRESHOLD_FAILED: "a threshold or the gate failed, or a fit does not reproduce its trace",
    ExitCode.INTERRUPTED: "stopped by Ctrl-C; what was recorded is kept",
}


def page() -> str:
    """The whole reference of the command line."""
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    head = ["# Command line", "", "Every verb, made from the code: what `--help` says, on one page.", "", _verbs(root), exit_codes()]
    return "\n".join([*head, *(_section(path, command) for path, command in _tree(root, "loadlab"))])


def exit_codes() -> str:
    """The table of exit codes. KeyError where one has no words yet."""
    rows = [f"| {code.value} | {EXIT_CODES[code]} |" for code in ExitCode]
    return "\n".join(["## Exit codes", "", "| code | means |", "|---|---|", *rows, ""])


def _verbs(root: TyperGroup) -> str:
    rows = [f"| [`{path}`](#{path.replace(' ', '-')}) | {escaped(_first_words(command))} |" for path, command in _tree(root, "loadlab")]
    return "\n".join(["| verb | does |", "|---|---|", *rows, ""])


def _tree(group: TyperGroup, path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its whole name."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if isinstance(command, TyperGroup):
            yield from _tree(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def _section(path: str, command: Any) -> str:
    context = typer.Context(command, info_name=path)
    words = [escaped(paragraph) + "\n" for paragraph in inspect.cleandoc(command.help or "").split("\n\n")]
    lines = [f"## {path}", "", f"    {command.get_usage(context).removeprefix('Usage: ')}", "", *words]
    for title, kind in (("argument", TyperArgument), ("option", TyperOption)):
        records = [p.get_help_record(context) for p in command.params if isinstance(p, kind)]
        rows = [f"| {_flags(written)} | {escaped(words)} |" for written, words in filter(None, records)]
        if rows:
            lines += [f"| {title} | |", "|---|---|", *rows, ""]
    return "\n".join([*lines, *_examples(command), ""])


def _first_words(command: Any) -> str:
    """The first sentence of its help."""
    return re.split(r"(?<=[.:]) |\n\n", re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(command.help or "")), maxsplit=1)[0]


def _flags(written: str) -> str:
    """`--seed INTEGER` as code, in which a bar does not end the cell; lines may break at the bars of a long choice."""
    return f"`{written.strip().replace('|', ' | ')}`"


def _examples(command: Any) -> list[str]:
    """The worked examples of its help, each with what is said of it."""
    text = re.sub(r"^Examples?:\s*", "", inspect.cleandoc(command.epilog or ""))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return ["Examples:", "", "```", *lines, "```"] if lines else []
