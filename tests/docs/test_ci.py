"""The CI files in docs/ci do what they say: their loadlab commands are run as they stand, with the variables that the files set."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest

from loadlab.campaign.imports.locust_log import read_locust

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "docs" / "ci").glob("*.yml"))
_COMMAND = re.compile(r"^\s*(?:- )?(loadlab .*)$", re.MULTILINE)
_VARIABLE = re.compile(r"^\s+([A-Z]+): (\S+)\s*(?:#.*)?$", re.MULTILINE)


def commands(file: Path) -> list[str]:
    return _COMMAND.findall(file.read_text())


def run(file: Path, folder: Path, **changes: str) -> list[int]:
    """The exit codes of the file's commands, in order, in a folder with the bundled scenarios."""
    (folder / "scenarios").symlink_to(ROOT / "scenarios")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    variables = dict(_VARIABLE.findall(file.read_text())) | {"GITHUB_STEP_SUMMARY": "summary.md", "PATH": path} | changes
    return [
        subprocess.run(c, shell=True, cwd=folder, env=os.environ | variables, capture_output=True, timeout=300).returncode
        for c in commands(file)
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_as_it_stands_it_passes_and_leaves_what_the_ci_collects(file: Path, tmp_path: Path) -> None:
    assert len(commands(file)) == 2
    assert run(file, tmp_path) == [0, 0]
    suite = parse(tmp_path / "gate.xml").getroot()[0]
    assert int(suite.attrib["tests"]) == 7
    assert (tmp_path / "gate" / "compare" / "report.html").exists()
    assert next(tmp_path.glob("*.md")).read_text().startswith("## loadlab gate, gate-chat: passed")


def test_a_slower_candidate_fails_it(tmp_path: Path) -> None:
    (github,) = (file for file in FILES if "github" in file.name)
    assert run(github, tmp_path, CANDIDATE="sim:scenarios/clusters/t4-14b-noisy-slower.toml") == [99, 0]


def test_both_files_set_the_same_variables_and_name_files_that_ship() -> None:
    found = [dict(_VARIABLE.findall(file.read_text())) for file in FILES]
    assert found[0] == found[1]
    for name in ("SCENARIO", "CANDIDATE", "BASE"):
        assert (ROOT / found[0][name].removeprefix("sim:")).exists()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_is_sound_yaml(file: Path) -> None:
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load(file.read_text())


def test_the_listener_for_locust_writes_what_import_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippet of docs/gate.md with a stand-in for locust's events, which hand it what the real ones do."""
    (snippet,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "gate.md").read_text(), re.MULTILINE | re.DOTALL)
    stand_in = "class events:\n    class request:\n        add_listener = staticmethod(lambda f: f)\n"
    calls = "\nkeep(start_time=1768385700.0, name='/chat', response_time=250.0, exception=None, response_length=3)\nlog = None\n"
    (tmp_path / "locust.py").write_text(stand_in)
    (tmp_path / "run.py").write_text(snippet + calls)
    subprocess.run([sys.executable, "run.py"], cwd=tmp_path, check=True, timeout=60)
    (run,) = read_locust(tmp_path / "requests.csv")
    assert [(row.traffic_class, row.finished_s) for row in run.records] == [("/chat", 0.25)]
