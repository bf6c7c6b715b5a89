"""docs/ as a site: it builds with every link sound, fetches nothing from elsewhere, and its reference has all that the code has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from handbook import commands, imports, lists
from handbook.hooks import on_page_content, on_page_markdown, reference
from handbook.keys import escaped, field_comments, takes
from loadlab.cli.app import app
from loadlab.errors import ExitCode
from loadlab.scenario.lengths import Lognormal
from loadlab.scenario.model import Scenario
from tests.report.browser import BROWSER, WHY_SKIPPED, browser_page, open_file

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` does: a broken link, anchor or page fails it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_of_docs_is_in_it(site: Path) -> None:
    for page in [*(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "decisions").glob("0*.md")]:
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").exists()
    assert "Reference" in (site / "index.html").read_text()


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        if "files" not in page.relative_to(site).parts:  # reports of our own have their own tests
            text = page.read_text()
            assert not re.findall(r"""<(?:script|img|iframe|source)[^>]+src=["']?(?:https?:)?//""", text), page
            assert not re.findall(r"""<link[^>]+rel=["']?(?:stylesheet|preconnect|preload|icon)[^>]+href=["']?(?:https?:)?//""", text), page
    for sheet in site.rglob("*.css"):
        assert not re.findall(r"""(?:url\(["']?|@import ["'])(?:https?:)?//""", sheet.read_text()), sheet


@pytest.mark.skipif(BROWSER is None, reason=WHY_SKIPPED)
def test_pages_are_as_wide_as_their_window_and_nothing_complains(site: Path) -> None:
    with browser_page() as (page, complaints):
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index", "architecture", "capacity", "reference/scenario"):
            for width in (400, 800, 1200):
                open_file(page, site / f"{name}.html", width)
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
                assert not page.evaluate("[...document.querySelectorAll('.flag')].filter(flag => flag.getClientRects().length > 1).length")
        assert not complaints
        assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}


def test_flags_are_one_word_in_sentences_only() -> None:
    found = on_page_content("<p><code>run --out x -q a-b 1--2</code> --json</p><pre><code>run --out\n</code></pre>")
    assert found.count("flag") == 2
    assert '<code>run <span class="flag">--out</span> x <span class="flag">-q</span> a-b 1--2</code> --json' in found
    assert found.endswith("<pre><code>run --out\n</code></pre>")


def test_the_reference_has_every_verb_option_and_example() -> None:
    text, root = commands.page(), typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    found = dict(commands._tree(root, "loadlab"))
    assert {"loadlab run", "loadlab trace fit", "loadlab baseline save"} <= set(found)
    for path, command in found.items():
        (section,) = re.findall(rf"^## {path}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        flags = [flag for parameter in command.params if not getattr(parameter, "hidden", False) for flag in getattr(parameter, "opts", [])]
        assert all(flag.upper() in section.upper() for flag in flags), path
        assert f"  {path} " in section or f"\n{path} " in section, f"{path} has no example"


def test_the_reference_has_every_exit_code_schema_and_key() -> None:
    assert all(f"| {code.value} |" in commands.exit_codes() for code in ExitCode)
    pages = reference()
    assert set(lists.FORMATS) <= set(lists.written_schemas())
    assert all(f"| `loadlab/{name}/1` | " in pages["reference/formats.md"] for name in lists.written_schemas())
    assert all(f"| `{name}` |" in pages["reference/scenario.md"] for name in Scenario.__dataclass_fields__)
    assert '`[classes.NAME.prompt_tokens]`, `kind = "lognormal"`' in pages["reference/scenario.md"]
    assert "| `data_parallel` | whole number, > 0 | `1` | ranks in a stage |" in pages["reference/cluster.md"]


def test_what_a_key_takes_is_told_with_unit_and_bound() -> None:
    assert takes("timeout_s", float) == 'duration, such as 60 or "60s"'
    assert takes("files", tuple[Path, ...]) == "array of path, from the folder of the file"
    assert takes("on", bool | None) == "true or false"
    assert field_comments(Lognormal) == {}
    assert escaped("a * b `c_d` <e_f>") == r"a \* b `c_d` &lt;e\_f>"


def test_the_drawing_is_that_of_the_code() -> None:
    assert imports.PICTURE.read_text(encoding="utf-8") == imports.drawing(), "make drawing"


def test_arrows_of_the_drawing_point_down_and_leave_out_what_follows() -> None:
    height = {room: row for row, rooms in enumerate(imports.layers()) for room in rooms}
    assert all(height[a] < height[b] for a, b in imports.arrows(imports.imports()))
    direct = {"a": frozenset("bc"), "b": frozenset("c"), "c": frozenset[str]()}
    assert imports.arrows(direct) == [("a", "b"), ("b", "c")]


def test_every_room_stands_in_a_layer() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    assert len(imports.layers()) == len(contract["layers"])
    assert set(imports.imports()) == {room for rooms in imports.layers() for room in rooms}


def test_lists_get_the_blank_line_that_mkdocs_needs_and_code_is_left() -> None:
    class Page:
        class file:  # noqa: N801
            src_uri = "tutorial.md"

    text = "Words:\n- one\n- two\n\n```\nWords:\n- one\n```\n[a](../CHANGELOG.md) [b](decisions/) [c](traces.md#fit)\n"
    made = on_page_markdown(text, Page())
    assert made == "Words:\n\n- one\n- two\n\n```\nWords:\n- one\n```\n[a](changes.md) [b](decisions/README.md) [c](traces.md#fit)\n"
