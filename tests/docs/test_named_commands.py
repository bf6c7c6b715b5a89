"""Every command that a page names, in a block or in a sentence, has verbs, options and files that exist; console blocks are run, too."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from loadlab.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_COMMAND = re.compile(r"(?:^(?:\$ | {4}|# +)?|`)(loadlab(?: [^`\n\\]|\\\n)[^`\n]*)", re.MULTILINE)
_MODULE = re.compile(r"python -m ((?:tests|calibration|handbook)(?:\.\w+)+)")
_FILE = re.compile(r"(?:tests|scenarios|reports|calibration)/[\w./-]+\.(?:py|toml|md|html)\b")


def named(page: Path) -> list[str]:
    """Commands in blocks and in code of sentences; what stands behind a comment mark, a pipe or `&&` is left out."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    found = [re.split(r" # | \| | && | > |;", match)[0].strip() for match in _COMMAND.findall(text)]
    return [command for command in found if _is_command(command)]


def _is_command(command: str) -> bool:
    """A sentence that begins with loadlab is none: its second word is no verb, and no option follows."""
    words = command.split()
    return len(words) > 1 and (words[1] in _root().commands or any(word.startswith("--") for word in words))


def _root() -> TyperGroup:
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    return root


def _options(command: Any) -> set[str]:
    return {flag for p in command.params for flag in [*p.opts, *getattr(p, "secondary_opts", [])]} | {"--help", "-h"}


def check(command: str) -> None:
    """Raises AssertionError unless verb and options are there."""
    words = shlex.split(command.replace("..", "").replace("'", ""))[1:]
    node: Any = _root()
    while words and isinstance(node, TyperGroup) and words[0] in node.commands:
        node = node.commands[words.pop(0)]
    if isinstance(node, TyperGroup):
        assert not words or words[0].startswith(("-", "[")) or not words[0].islower(), f"{command}: no verb {words[0]}"
    for word in words:
        flag = re.match(r"\[?(--?[a-z][a-z0-9-]*)", word)
        assert flag is None or flag[1] in _options(node), f"{command}: no option {flag[1]}"


@pytest.mark.parametrize("page", [page for page in PAGES if named(page)], ids=lambda page: page.stem)
def test_commands_have_verbs_and_options_that_exist(page: Path) -> None:
    for command in named(page):
        check(command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_modules_and_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for module in _MODULE.findall(text):
        assert (ROOT / module.replace(".", "/")).with_suffix(".py").exists(), module
    for file in _FILE.findall(text):
        assert (ROOT / file).exists() or (page.parent / file).exists(), file


@pytest.mark.parametrize("command", ["loadlab rnu x", "loadlab run x --sede 1", "loadlab trace look x", "loadlab trace fit x --oot y"])
def test_a_slip_is_found(command: str) -> None:
    with pytest.raises(AssertionError, match=r"no verb|no option"):
        check(command)
