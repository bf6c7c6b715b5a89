"""Runs that are killed, interrupted or starved: rows are kept, the ledger adds up, and agrees with the server's own count."""

from __future__ import annotations

import json
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadlab.record.request import Cause
from tests.http.fault_server import FaultServer
from tests.http.faults import FAULTS
from tests.http.runs import (
    PROGRAM,
    check_against_server,
    check_ledger,
    children_of,
    command,
    finish,
    run,
    start,
    wait_for,
    write_scenario,
)

CANARY = "sk-canary-4f1d0c77e6"
PLANNED = 400
RATE_PER_S = 50


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer(FAULTS) as running:
        yield running


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """8 s of answers that take 0.4 s: some twenty are in flight at any time."""
    return write_scenario(tmp_path / "s.toml", {"slow": 1}, requests=PLANNED, rate_per_s=RATE_PER_S)


def is_alive(pid: int) -> bool:
    """False for a zombie, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_requests(server: FaultServer, n: int) -> None:
    wait_for(lambda: len(server.received) >= n, f"{n} requests")


def test_a_parent_that_is_killed_takes_the_load_with_it_and_leaves_rows_that_can_be_read(
    tmp_path: Path, server: FaultServer, scenario: Path
) -> None:
    process = start(scenario, server.url, tmp_path / "run")
    wait_for_requests(server, 60)
    (child,) = children_of(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not is_alive(child), "the child to go", 5)
    at_the_end = len(server.received)
    assert at_the_end < PLANNED / 2, "nobody goes on sending"
    answer = subprocess.run(
        [*PROGRAM, "report", str(tmp_path / "run"), "--no-report", "--json"], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, "the report is made; what it says of the run is another matter"
    assert "Traceback" not in answer.stderr
    summary = json.loads(answer.stdout)
    assert summary["status"] != "complete"
    check_ledger(summary["totals"], PLANNED)
    assert summary["totals"]["ok"] >= 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_stops_sending_and_lets_answers_come(
    tmp_path: Path, server: FaultServer, scenario: Path, number: signal.Signals
) -> None:
    process = start(scenario, server.url, tmp_path / "run")
    wait_for_requests(server, 60)
    process.send_signal(number)
    done = finish(process, tmp_path / "run")
    assert done.code == 130
    check_ledger(done.totals, PLANNED)
    check_against_server(done.rows, server)
    arrived = sum(request.headers["x-request-id"].rpartition("-")[2].isdecimal() for request in server.received)
    assert done.totals["ok"] == arrived, "all that were sent came to their end"
    assert done.totals["not_sent"] == PLANNED - arrived


def test_a_disk_that_fills_up_stops_the_run_and_keeps_what_fitted(tmp_path: Path, server: FaultServer) -> None:
    """A limit on the size of files is told to a program as a full disk is: the write fails."""
    scenario = write_scenario(tmp_path / "s.toml", {"ok": 1}, requests=PLANNED, rate_per_s=200)
    done = run(scenario, server.url, tmp_path / "run", limits={resource.RLIMIT_FSIZE: 60_000})
    assert done.code == 97
    assert "Traceback" not in done.err
    assert "requests.jsonl" in done.err
    assert 20 <= len(done.rows) < PLANNED
    check_against_server(done.rows, server)


@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare to mount a small disk")
def test_a_disk_that_is_really_full_is_no_different(tmp_path: Path, server: FaultServer) -> None:
    scenario = write_scenario(tmp_path / "s.toml", {"ok": 1}, requests=PLANNED, rate_per_s=200)
    disk = tmp_path / "disk"
    disk.mkdir()
    line = " ".join(f"'{word}'" for word in command(scenario, server.url, disk / "run"))
    script = f"mount -t tmpfs -o size=64k none '{disk}' || exit 77; {line}; code=$?; cp -r '{disk}/run' '{tmp_path}/kept'; exit $code"
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine lets nobody mount a small disk")
    assert done.returncode == 97
    assert "Traceback" not in done.stderr
    lines = (tmp_path / "kept" / "requests.jsonl").read_bytes().split(b"\n")[:-1]
    assert 20 <= len([json.loads(line) for line in lines]) < PLANNED


def test_with_few_file_descriptors_what_does_not_fit_is_not_sent_and_said(tmp_path: Path, server: FaultServer) -> None:
    scenario = write_scenario(tmp_path / "s.toml", {"slow": 1}, requests=100, rate_per_s=100)
    done = run(scenario, server.url, tmp_path / "run", limits={resource.RLIMIT_NOFILE: 64})
    assert done.code in (0, 98), done.err
    assert "file descriptors" in done.out
    check_ledger(done.totals, 100)
    check_against_server(done.rows, server)
    assert {row["cause"] for row in done.rows} == {None, Cause.IN_FLIGHT_LIMIT}
    refused = run(scenario, server.url, tmp_path / "more", "--max-in-flight", "1000", limits={resource.RLIMIT_NOFILE: 64})
    assert refused.code == 2
    assert "ulimit" in refused.err


def test_an_api_key_appears_nowhere_but_in_its_header(tmp_path: Path, server: FaultServer) -> None:
    scenario = write_scenario(tmp_path / "s.toml", {"slow": 1, "quotes_key": 1}, requests=40, rate_per_s=40)
    flags = ("--api-key-env", "CANARY_KEY", "--json", "--no-preflight")
    process = start(scenario, server.url, tmp_path / "run", *flags, env={"CANARY_KEY": CANARY})
    wait_for_requests(server, 5)
    processes = [process.pid, *children_of(process.pid)]
    assert len(processes) == 2
    for pid in processes:
        assert CANARY.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
    done = finish(process, tmp_path / "run")
    assert all(request.headers["authorization"] == f"Bearer {CANARY}" for request in server.received)
    assert any("[API key]" in (row["error"] or "") for row in done.rows), "the server quoted it"
    for text in (done.out, done.err, *(path.read_text(errors="replace") for path in (tmp_path / "run").rglob("*") if path.is_file())):
        assert CANARY not in text
