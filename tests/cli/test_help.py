"""The command line teaches itself: every verb has two examples that parse, errors name the nearest word, colours can be left out."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from loadlab.cli.app import app
from loadlab.cli.welcome import FIVE, MORE, welcome
from tests.cli.command import CLUSTERS, ROOT, Command, command

__all__ = ["command"]

_EXAMPLE = re.compile(r"^\s*(loadlab (?:[^\n]*\\\n)*[^\n]*)$", re.MULTILINE)


def _verbs(verb: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, verb
    for name, below in getattr(verb, "commands", {}).items():
        yield from _verbs(below, (*path, name))


TREE = typer.main.get_command(app)
VERBS = [pytest.param(path, verb, id=" ".join(path) or "loadlab") for path, verb in _verbs(TREE)]


def _examples(verb: Any) -> list[str]:
    return [text for block in _EXAMPLE.findall(verb.epilog or "") for text in block.replace("\\\n", " ").split("&&")]


def _parse(text: str) -> tuple[str, ...]:
    """The verb that a command line names; raises what the command line would say of it."""
    words = shlex.split(text)
    assert words.pop(0) == "loadlab"
    verb: Any = TREE
    path: list[str] = []
    while words and words[0] in getattr(verb, "commands", {}):
        path.append(words.pop(0))
        verb = verb.commands[path[-1]]
    verb.make_context(path[-1] if path else "loadlab", list(words))
    return tuple(path)


@pytest.mark.parametrize(("path", "verb"), VERBS)
def test_every_help_has_two_examples_of_its_own_that_parse(path: tuple[str, ...], verb: Any) -> None:
    examples = _examples(verb)
    own = [text for text in examples if _parse(text.strip())[: len(path)] == path]
    assert len(own) >= 2, examples


@pytest.mark.parametrize(("path", "verb"), VERBS)
def test_every_verb_and_option_says_what_it_is(path: tuple[str, ...], verb: Any) -> None:
    assert verb.help, path
    for parameter in verb.params:
        assert getattr(parameter, "help", None), f"{' '.join(path)} {parameter.name}"


def test_alone_it_shows_five_things_that_parse_in_eighty_columns(command: Command) -> None:
    answer = command()
    assert answer.code == 0
    assert [line for line in answer.out.splitlines() if re.match(r"  \d\. ", line)] == [
        f"  {i}. {what}" for i, (what, _) in enumerate(FIVE, 1)
    ]
    assert max(map(len, answer.out.splitlines())) <= 80
    for _, text in FIVE:
        _parse(text)
    _parse(MORE[0][0])
    assert welcome("1")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("rnu",), "run"),
        (("scenario", "lst"), "list"),
        (("run", "smoke", "--sed", "3"), "--seed"),
        (("run", "smok", "--target", "sim:t4-14b"), "smoke"),
        (("run", "smoke", "--target", "sim:t4-14"), "t4-14b"),
        (("run", "smoke", "--target", "sim:t4-14b", "--threshold", "tftt.p95 < 1s"), "ttft"),
        (("run", "smoke", "--target", "sim:t4-14b", "--threshold", "server.kv_usge.max < 95%"), "server.kv_usage"),
        (("run", "smoke", "--target", "sim:t4-14b", "--slo", "tfft=2s"), "ttft"),
        (("run", "smoke", "--target", "t4-14b"), "did you mean 'sim:t4-14b'?"),
        (("run", "smoke", "--target", "127.0.0.1:8000/v1"), "did you mean 'http://127.0.0.1:8000/v1'?"),
        (("run", "smoke", "--target", f"sim:{CLUSTERS / 't4-14.toml'}"), "did you mean 't4-14b.toml'?"),
        (("sweep", "smoke", "--target", "sim:t4-14b", "--over", "max_runing=1,2"), "did you mean 'max_running'?"),
        (("plan", "smoke", "--model", "qwen3-14b", "--gpus", "l40"), "did you mean 'L40S'?"),
    ],
)
def test_a_slip_is_answered_with_the_nearest_word(command: Command, words: tuple[str, ...], says: str) -> None:
    answer = command(*words)
    assert answer.code == 2
    assert says in answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize("where", ["before", "after"])
def test_no_color_anywhere_on_the_line(where: str) -> None:
    words = ["scenario", "list", str(ROOT / "scenarios" / "support")]
    words = ["--no-color", *words] if where == "before" else [*words, "--no-color"]
    code = f"import sys; sys.argv = {['loadlab', *words]!r}\nfrom loadlab.cli.app import main\nmain()\n"
    code = code.replace("main()\n", "import os\ntry:\n    main()\nfinally:\n    print(os.environ.get('NO_COLOR'))\n")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout.splitlines()[-1] == "1", found.stderr


@pytest.mark.parametrize(("path", "verb"), VERBS)
def test_what_prints_an_answer_prints_it_as_json_too(path: tuple[str, ...], verb: Any) -> None:
    """Left out: verbs that only group others, and those whose answer is a file, a picture or a server."""
    if getattr(verb, "commands", None) or path[-1] in ("serve", "new", "export", "plot"):
        return
    assert "--json" in {flag for parameter in verb.params for flag in parameter.opts}, " ".join(path)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_for_each_shell(shell: str) -> None:
    code = "import sys; sys.argv = ['loadlab']\nfrom loadlab.cli.app import main\nmain()\n"
    environment = os.environ | {"_LOADLAB_COMPLETE": f"source_{shell}"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert "_LOADLAB_COMPLETE" in found.stdout, found.stderr
