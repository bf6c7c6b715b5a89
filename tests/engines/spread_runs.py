"""Runs with several workers as processes, and what may be done to them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.engines.null_target import NullTarget
from tests.engines.test_processes import FAILED, SCENARIO, Run

TOKEN = "a token of tests, 32 characters.."


class SpreadRun(Run):
    """`loadlab run --workers N`: a master and N workers are its children, in this order of their start."""

    def __init__(self, folder: Path, target: str, workers: int, *flags: str, **more: Any) -> None:
        folder.mkdir(exist_ok=True)
        super().__init__(folder, target, "--workers", str(workers), *flags, **more)

    def children(self) -> list[int]:
        """Master first, then the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return sorted(int(pid) for pid in children if b"locust_child" in Path(f"/proc/{pid}/cmdline").read_bytes())


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What a run directory says of each request, beside what the server saw."""

    rows: Mapping[int, Mapping[str, Any]]
    answered: frozenset[int]
    status: str

    def check(self, planned: int) -> None:
        """Each planned request is there once; what the server answered was sent, what we call OK was answered."""
        assert sorted(self.rows) == list(range(planned))
        assert not {seq for seq in self.answered if self.rows[seq]["outcome"] == "not_sent"}
        assert {seq for seq, row in self.rows.items() if row["outcome"] == "ok"} <= self.answered

    def count(self, outcome: str) -> int:
        return sum(row["outcome"] == outcome for row in self.rows.values())


def account(out: Path, target: NullTarget) -> Account:
    """Of a run that has ended. Raises ValueError where a row is there twice."""
    rows = [json.loads(line) for line in (out / "requests.jsonl").read_bytes().splitlines()]
    by_seq = {row["seq"]: row for row in rows}
    if len(by_seq) != len(rows):
        raise ValueError("a row is there twice")
    answered = frozenset(int(truth.seq) for truth in target.truth() if truth.seq != "preflight")
    return Account(rows=by_seq, answered=answered, status=json.loads((out / "manifest.json").read_text())["status"])


def merge(out: Path, *folders: Path) -> subprocess.CompletedProcess[str]:
    """`loadlab merge`."""
    command = [sys.executable, "-m", "loadlab.cli.app", "merge", str(out), *map(str, folders)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@dataclass(slots=True)
class Machines:
    """A master and workers, each started as on a machine of its own; `prefix` runs them in other namespaces."""

    folder: Path
    target: str
    port: int
    requests: int = 200
    rate: int = 40
    host: str = "127.0.0.1"
    token: str = TOKEN

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / "s.toml").write_text(SCENARIO.format(requests=self.requests, rate=self.rate))

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def master(self, expect: int, *flags: str, prefix: tuple[str, ...] = (), **env: str) -> subprocess.Popen[str]:
        where = ("--master", "--expect-workers", str(expect), "--master-port", str(self.port), "--bind", self.host)
        return self._start(prefix, (*where, "--out", str(self.out), *flags), env)

    def worker(self, name: str, *flags: str, prefix: tuple[str, ...] = (), **env: str) -> subprocess.Popen[str]:
        where = ("--worker", "--master-host", self.host, "--master-port", str(self.port))
        return self._start(prefix, (*where, "--out", str(self.folder / name), *flags), env)

    def _start(self, prefix: tuple[str, ...], flags: tuple[str, ...], env: Mapping[str, str]) -> subprocess.Popen[str]:
        run = (sys.executable, "-m", "loadlab.cli.app", "run", str(self.folder / "s.toml"), "--target", self.target, "--model", "m")
        return subprocess.Popen(
            [*prefix, *run, "--no-report", "--yes", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"LOADLAB_CLUSTER_TOKEN": self.token} | env,
        )


def children_of(pid: int) -> list[int]:
    """Every process below `pid`, and itself."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        found += children_of(int(child))
    return found


def ledger_adds_up(out: Path, planned: int) -> dict[str, int]:
    """The totals of a run, every planned request in one of them."""
    command = [sys.executable, "-m", "loadlab.cli.app", "report", str(out), "--json", "--no-report"]
    totals = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["totals"]
    counts = {key: int(totals[key]) for key in ("ok", "rejected", *FAILED, "not_sent", "unknown")}
    assert totals["planned"] == planned == sum(counts.values())
    return counts
