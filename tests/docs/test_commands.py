"""Every command in README and docs works: lines that begin with "$ " in console blocks are run, page by page, in order."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://)([^)#]+)\)")


def commands(page: Path) -> list[str]:
    blocks = _BLOCK.findall(page.read_text())
    return [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ") and not line.startswith("$ make")]


def make_trace(folder: Path) -> None:
    """The trace that docs/traces.md is about, made up: twenty minutes in ticks of 3 s, whose prompts begin alike."""
    rng = np.random.default_rng(1)
    times, prompts = np.sort(rng.integers(0, 400, 600)) * 3000, rng.integers(600, 1500, 600)
    rows = [
        {"timestamp": time, "input_length": prompt, "output_length": 5 + k % 40, "hash_ids": [0, 3 * k + 1, 3 * k + 2][: -(-prompt // 512)]}
        for k, (time, prompt) in enumerate(zip(times.tolist(), prompts.tolist(), strict=True))
    ]
    text = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    (folder / "conversation_trace.jsonl").write_bytes(text)
    (folder / "conversation_trace.jsonl.gz").write_bytes(gzip.compress(text))


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.stem)
def test_commands_of_a_page_work_as_written(page: Path, tmp_path: Path) -> None:
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    make_trace(tmp_path)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for command in commands(page):
        answer = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert answer.returncode == 0, f"{command}\n{answer.stderr}"


@pytest.mark.parametrize("page", [*PAGES, *sorted((ROOT / "docs" / "decisions").glob("*.md"))], ids=lambda page: page.stem)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), link


def test_make_knows_every_target_that_the_pages_name() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"make ([a-z]+)`|\$ make ([a-z]+)", page.read_text())) <= {(t, "") for t in targets} | {
            ("", t) for t in targets
        }
