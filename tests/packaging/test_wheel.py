"""The wheel holds what a user needs and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
        "-w",
        folder,
        ROOT,
    ]
    built = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("loadlab-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_every_file_of_the_package_is_in_it(names: set[str]) -> None:
    tracked = subprocess.run(["git", "ls-files", "loadlab"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    assert set(tracked) <= names
    assert "loadlab/py.typed" in names


def test_the_shipped_scenarios_are_in_it(names: set[str]) -> None:
    scenarios = {path.relative_to(ROOT / "scenarios").as_posix() for path in (ROOT / "scenarios").rglob("*.toml")}
    assert scenarios
    assert {f"loadlab/_scenarios/{name}" for name in scenarios} <= names


def test_nothing_else_is(names: set[str]) -> None:
    assert {name.split("/")[0].split("-")[0] for name in names} == {"loadlab"}
    assert not [name for name in names if name.endswith((".pyc", ".env", ".key"))]
