"""Whole runs from the command line, request by request against the server's own log. What else happens to runs: tests/engines."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from loadlab.record.request import OUTCOME_OF, Cause, Outcome
from tests.http.fault_server import FaultServer
from tests.http.faults import FAULTS, TABLE
from tests.http.runs import check_against_server, check_ledger, children_of, command, finish, run, running, wait_for, write_scenario

PLANNED = 400


def test_every_fault_in_one_run_is_counted_as_what_it_is_and_the_server_agrees(tmp_path: Path) -> None:
    each = 2
    scenario = write_scenario(tmp_path / "s.toml", dict.fromkeys(TABLE, 1), requests=each * len(TABLE), rate_per_s=60, timeout_s=1.5)
    with FaultServer(FAULTS) as server:
        done = run(scenario, server.url, tmp_path / "run", "--no-preflight", "--idle-timeout", "400ms")
        counts = server.counts()
        check_against_server(done.rows, server)
        reused = {request.headers["x-request-id"].rpartition("-")[2] for request in server.received if request.nth}
    assert done.code in (0, 98), done.err
    assert counts == Counter(dict.fromkeys(TABLE, each)), "each was sent once, and no redirect was followed"
    for row in done.rows:
        fault = TABLE[row["class"]]
        is_stale = fault.cause is Cause.RESET and str(row["seq"]) in reused  # nobody can tell a reset from a connection gone stale
        assert (row["class"], row["cause"]) == (row["class"], Cause.STALE_CONNECTION if is_stale else fault.cause)
        assert row["outcome"] == (Outcome.OK if fault.cause is None else OUTCOME_OF[fault.cause])
        assert row["http_status"] == fault.status
        if fault.tokens is not None:
            assert row["output_tokens"] == fault.tokens or row["tokens_estimated"]
            assert row["first_token_s"] is not None
    check_ledger(done.totals, each * len(TABLE))
    assert done.totals["ok"] == each * sum(fault.cause is None for fault in TABLE.values())
    assert len({fault.cause for fault in TABLE.values()}) > 12


def test_what_a_killed_load_generator_may_have_sent_is_never_called_unsent(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path / "s.toml", {"slow": 1}, requests=PLANNED, rate_per_s=100)
    with FaultServer(FAULTS) as server, running(scenario, server.url, tmp_path / "run") as process:
        wait_for(lambda: len(server.received) >= 100, "100 requests")
        (child,) = children_of(process.pid)
        os.kill(child, signal.SIGKILL)
        done = finish(process, tmp_path / "run")
        check_against_server(done.rows, server)
    assert done.code == 97
    check_ledger(done.totals, PLANNED)
    assert done.totals["ok"] >= 10
    assert done.totals["not_sent"] >= 100
    assert 1 <= done.totals["unknown"] <= 150, "what was in flight, and what came due before its end was noticed"


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount a small disk")
def test_a_disk_that_fills_up_stops_the_run_and_keeps_what_fitted(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path / "s.toml", {"ok": 1}, requests=PLANNED, rate_per_s=200)
    disk = tmp_path / "disk"
    disk.mkdir()
    with FaultServer(FAULTS) as server:
        line = " ".join(f"'{word}'" for word in command(scenario, server.url, disk / "run"))
        script = f"mount -t tmpfs -o size=64k none '{disk}' || exit 77; {line}; code=$?; cp -r '{disk}/run' '{tmp_path}/kept'; exit $code"
        shell = ["unshare", "--mount", "--map-root-user", "sh", "-c", script]
        done = subprocess.run(shell, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        if done.returncode == 77 or "unshare" in done.stderr:
            pytest.skip("this machine lets nobody mount a small disk")
        lines = (tmp_path / "kept" / "requests.jsonl").read_bytes().split(b"\n")[:-1]
        check_against_server([json.loads(line) for line in lines], server)
    assert done.returncode == 97
    assert "Traceback" not in done.stderr
    assert 20 <= len(lines) < PLANNED
