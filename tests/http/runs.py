"""`loadlab run` in a process of its own, against a fault server; and what it left behind."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadlab.record.request import Outcome
from tests.http.fault_server import FaultServer

FAILED = ("oom", "timeout", "http_error", "connection_error", "truncated")
PROGRAM = (sys.executable, "-m", "loadlab.cli.app")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A run that has ended, by itself or not."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every whole row of the run directory, by seq."""
        lines = (self.folder / "requests.jsonl").read_bytes().split(b"\n")[:-1]
        return sorted(map(json.loads, lines), key=lambda row: row["seq"])

    @property
    def totals(self) -> dict[str, Any]:
        """The counts of summary.json."""
        found: dict[str, Any] = json.loads((self.folder / "summary.json").read_bytes())["totals"]
        return found


def write_scenario(path: Path, faults: Mapping[str, float], *, requests: int, rate_per_s: float, timeout_s: float = 5) -> Path:
    """A scenario with a class for each fault, of that share; the class's model is the fault."""
    lines = [
        'schema = "loadlab/scenario/1"\nname = "faults"',
        f"timeout_s = {timeout_s}",
        f'load = {{ kind = "open_loop", requests = {requests}, arrivals = {{ kind = "constant", rate_per_s = {rate_per_s} }} }}',
    ]
    for fault, share in faults.items():
        lines.append(f'[classes.{fault}]\nmodel = "{fault}"\nshare = {share}')
        lines.extend(f'{key} = {{ kind = "constant", value = {value} }}' for key, value in (("prompt_tokens", 8), ("output_tokens", 4)))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command(scenario: Path, url: str, folder: Path, *flags: str) -> list[str]:
    """The command line of a run without a report."""
    target = ("--target", url, "--model", "ok=ok", "--out", str(folder))
    return [*PROGRAM, "run", str(scenario), *target, "--no-report", *flags]


@contextmanager
def running(
    scenario: Path, url: str, folder: Path, *flags: str, env: Mapping[str, str] | None = None, limits: Mapping[int, int] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """A run under way, gone at the end. `limits` are resource limits (RLIMIT_..) of its processes."""

    def restrict() -> None:
        for limit, value in (limits or {}).items():
            resource.setrlimit(limit, (value, value))

    process = subprocess.Popen(
        command(scenario, url, folder, *flags),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
        preexec_fn=restrict,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str], folder: Path, timeout_s: float = 60) -> Finished:
    """Waits for its end. Raises TimeoutExpired if that does not come."""
    out, err = process.communicate(timeout=timeout_s)
    return Finished(code=process.returncode, out=out, err=err, folder=folder)


def run(scenario: Path, url: str, folder: Path, *flags: str, **options: Any) -> Finished:
    """A run from start to end."""
    with running(scenario, url, folder, *flags, **options) as process:
        return finish(process, folder)


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Until it holds. Fails after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"waited in vain for {what}"
        time.sleep(0.01)


def children_of(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # gone meanwhile
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def check_ledger(totals: Mapping[str, Any], planned: int) -> None:
    """planned = ok + failed + rejected + not_sent + unknown, whatever happened."""
    failed = sum(totals[outcome] for outcome in FAILED)
    assert totals["planned"] == planned == totals["ok"] + failed + totals["rejected"] + totals["not_sent"] + totals["unknown"]


def check_against_server(rows: Sequence[Mapping[str, Any]], server: FaultServer) -> None:
    """No request arrived twice; whatever arrived is not called unsent; whatever got an answer did arrive."""
    arrived = Counter(seq for seq in (request.headers["x-request-id"].rpartition("-")[2] for request in server.received) if seq.isdecimal())
    assert set(arrived.values()) <= {1}
    seqs = {int(seq) for seq in arrived}
    assert not {row["seq"] for row in rows if row["outcome"] == Outcome.NOT_SENT} & seqs
    assert {row["seq"] for row in rows if row["http_status"] is not None} <= seqs
