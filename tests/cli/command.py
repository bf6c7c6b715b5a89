"""Runs the command line in this process, as a shell would: arguments in, exit code and both streams out."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from loadlab.cli.app import main

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "scenarios"
CLUSTERS = SCENARIOS / "clusters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Command:
    """`command("run", ...)`; usable as a fixture through `capfd` and `monkeypatch`."""

    def __init__(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capfd, self._monkeypatch = capfd, monkeypatch

    def __call__(self, *arguments: str | Path) -> Answer:
        self._monkeypatch.setattr(sys, "argv", ["loadlab", *map(str, arguments)])
        self._capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        captured = self._capfd.readouterr()
        return Answer(code=code, out=captured.out, err=captured.err)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line of this process."""
    return Command(capfd, monkeypatch)
