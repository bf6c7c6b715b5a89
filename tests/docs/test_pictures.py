"""Terminal pictures of the docs show what the commands print now; numbers may differ, words may not."""

from __future__ import annotations

import html
import importlib.util
import re
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "pictures" / "terminal.py"
_SPEC = importlib.util.spec_from_file_location("terminal", SCRIPT)
assert _SPEC is not None
assert _SPEC.loader is not None
terminal = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(terminal)


def words(svg: str) -> list[str]:
    """What is written in a picture, line by line, each number as #."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return [re.sub(r"[\d.,]+", "#", html.unescape(text)).replace("\xa0", " ").strip() for text in texts]


@pytest.mark.parametrize("name", terminal.PICTURES)
def test_a_picture_is_current(name: str, tmp_path: Path) -> None:
    columns, command = terminal.PICTURES[name]
    drawn = terminal.draw(command, columns, terminal.screen_of(command, columns, tmp_path))
    assert words((SCRIPT.parent / name).read_text(encoding="utf-8")) == words(drawn), "make pictures"
