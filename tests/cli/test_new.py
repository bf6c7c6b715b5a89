"""`loadlab new`: from nothing to a verdict, by the commands that it prints."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.cli.command import Command, command

__all__ = ["command"]


def test_a_newcomer_gets_from_nothing_to_a_verdict_by_what_is_printed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = command("new", "chat.toml", "--duration", "1min")
    assert made.code == 0, made.err
    shown, rehearsed, real = (line.strip().partition("   ")[0] for line in made.out.splitlines()[1:])
    assert "http://HOST:PORT" in real
    assert command(*shlex.split(shown)[1:]).code == 0
    ran = command(*shlex.split(rehearsed)[1:], "--out", "run", "--no-report")
    assert ran.code in (0, 99), ran.err
    assert "TTFT <= 2.00 s" in ran.out
    assert "2.00 s" in ran.out


def test_a_model_that_no_shipped_cluster_is_known_to_serve_gets_no_command_that_fails(command: Command, tmp_path: Path) -> None:
    made = command("new", tmp_path / "rag.toml", "--application", "rag", "--model", "mine", "--ttft", "1s")
    assert "sim:CLUSTER.toml " in made.out
    assert "--slo" not in made.out
