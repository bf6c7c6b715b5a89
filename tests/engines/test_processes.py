"""Whatever is killed, stopped or full: every planned request is in one column, the rows that were written stay, and the server agrees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.engines.null_target import NullTarget, null_target
from tests.http.fault_server import FaultServer, Peer, Received, closed_port
from tests.http.faults import ok, send_json

SCENARIO = """
schema = "loadlab/scenario/1"
name = "steady"
timeout_s = 20
load = {{ kind = "open_loop", requests = {requests}, arrivals = {{ kind = "constant", rate_per_s = {rate} }} }}
[classes.chat]
model = "m"
prompt_tokens = {{ kind = "constant", value = 20 }}
output_tokens = {{ kind = "constant", value = 10 }}
"""
KEY = "sk-canary-7f3a9b2c4d"
FAILED = ("oom", "timeout", "http_error", "connection_error", "truncated")


class Run:
    """A `loadlab run` in a process of its own, 40 requests/s for as long as it is left alone."""

    def __init__(self, folder: Path, target: str, *flags: str, requests: int = 400, rate: int = 40, **popen: Any) -> None:
        self.out, self.requests = folder / "out", requests
        (folder / "s.toml").write_text(SCENARIO.format(requests=requests, rate=rate))
        command = [sys.executable, "-m", "loadlab.cli.app", "run", str(folder / "s.toml"), "--target", target, "--model", "m"]
        self.process = subprocess.Popen(
            [*command, "--out", str(self.out), "--no-report", *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **popen
        )

    def wait_for_rows(self, n: int) -> None:
        """Until that many rows are in the file; 60 s at most."""
        deadline_s = time.monotonic() + 60
        while self.rows_in_file() < n:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline_s, "no rows"
            time.sleep(0.05)

    def rows_in_file(self) -> int:
        path = self.out / "requests.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def child(self) -> int:
        """The load generator's process."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(pid) for pid in children if b"locust_child" in Path(f"/proc/{pid}/cmdline").read_bytes())

    def end(self) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def ledger(self) -> dict[str, int]:
        """The totals, made again from the rows; every planned request is in one column."""
        command = [sys.executable, "-m", "loadlab.cli.app", "report", str(self.out), "--json", "--no-report"]
        totals = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["totals"]
        counts = {key: totals[key] for key in ("ok", "rejected", *FAILED, "not_sent", "unknown")}
        assert totals["planned"] == self.requests == sum(counts.values())
        return counts


def is_gone(pid: int) -> bool:
    """True once the process is no more, or is a zombie that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def agree(target: NullTarget, counts: dict[str, int]) -> None:
    """The server answered what we call OK, and nothing that we call not sent."""
    answered = sum(truth.seq != "preflight" for truth in target.truth())
    assert counts["ok"] <= answered <= counts["ok"] + counts["unknown"] + sum(counts[key] for key in FAILED)


def test_a_killed_load_generator_leaves_its_rows_and_what_it_had_is_unknown(tmp_path: Path) -> None:
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        run = Run(tmp_path, target.url)
        run.wait_for_rows(30)
        os.kill(run.child(), signal.SIGKILL)
        code, _, err = run.end()
        counts = run.ledger()
        agree(target, counts)
    assert code == 97
    assert "the load generator died: signal SIGKILL" in err
    assert counts["ok"] >= 30
    assert counts["not_sent"] > 100, "what was not due yet was certainly not sent"
    assert 0 < counts["unknown"] <= 40
    assert json.loads((run.out / "manifest.json").read_text())["status"] == "incomplete"


def test_a_killed_parent_takes_the_load_with_it_and_the_rows_stay(tmp_path: Path) -> None:
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        run = Run(tmp_path, target.url)
        run.wait_for_rows(30)
        child = run.child()
        run.process.kill()
        run.process.communicate()
        wait_until(lambda: is_gone(child))
        counts = run.ledger()
        agree(target, counts)
        assert target.truth() == [], "nobody goes on sending"
    assert counts["ok"] >= 30
    assert counts["unknown"] == run.requests - counts["ok"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_first_signal_waits_for_what_is_in_flight(tmp_path: Path, number: signal.Signals) -> None:
    with null_target(ttft_s=0.5, gap_s=0.002) as target:
        run = Run(tmp_path, target.url)
        run.wait_for_rows(10)
        run.process.send_signal(number)
        code, _, err = run.end()
        counts = run.ledger()
        answered = sum(truth.seq != "preflight" for truth in target.truth())
    assert (code, "interrupted" in err) == (130, True)
    assert counts["ok"] == answered
    assert counts["ok"] + counts["not_sent"] == run.requests
    assert counts["not_sent"] > 0
    assert json.loads((run.out / "manifest.json").read_text())["status"] == "aborted"


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    with null_target(ttft_s=8.0) as target:
        run = Run(tmp_path, target.url, "--no-preflight", requests=200)
        wait_until(lambda: target.received() > 20)
        run.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        began_s = time.monotonic()
        run.process.send_signal(signal.SIGINT)
        code, _, _ = run.end()
        took_s = time.monotonic() - began_s
        counts = run.ledger()
    assert code == 130
    assert took_s < 6
    assert counts["unknown"] > 0, "in flight: what the server made of them is not known"
    assert counts["unknown"] + counts["not_sent"] == run.requests


def test_a_full_disk_stops_the_load_and_keeps_what_was_written(tmp_path: Path) -> None:
    """A limit on the size of files is the full disk of a process: the write fails in the middle of a row."""
    import resource

    def no_space() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))

    with null_target(ttft_s=0.02, gap_s=0.001) as target:
        run = Run(tmp_path, target.url, preexec_fn=no_space)
        code, _, err = run.end()
        counts = run.ledger()
        answered = sum(truth.seq != "preflight" for truth in target.truth())
    assert code == 97
    assert "cannot be written" in err
    assert "Traceback" not in err
    assert 20 < counts["ok"] <= answered < run.requests, "it stopped sending"


def test_a_low_limit_of_descriptors_lowers_what_may_be_in_flight_and_says_so(tmp_path: Path) -> None:
    import resource

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    with null_target(ttft_s=1.0) as target:
        run = Run(tmp_path, target.url, requests=80, preexec_fn=few_files)
        code, out, _ = run.end()
        counts = run.ledger()
        agree(target, counts)
        assert Run(tmp_path, target.url, "--max-in-flight", "64", preexec_fn=few_files).end()[0] == 2
    assert code == 98, "what was due could not be sent"
    assert "16 requests in flight at most" in out
    assert counts["ok"] + counts["not_sent"] == 80
    assert counts["ok"] >= 16


def test_a_load_generator_that_could_not_keep_up_spoils_the_run(tmp_path: Path) -> None:
    with null_target() as target:
        run = Run(tmp_path, target.url, requests=120)
        run.wait_for_rows(30)
        child = run.child()
        os.kill(child, signal.SIGSTOP)
        time.sleep(1.0)  # forty requests come due while nobody can send them
        os.kill(child, signal.SIGCONT)
        code, out, _ = run.end()
        counts = run.ledger()
        agree(target, counts)
    assert code == 98
    assert "INVALID: the load generator spoilt it" in out
    assert "requests left late: dispatch lag p99" in out
    assert counts["ok"] == 120, "late, and sent all the same"


def test_an_output_directory_that_cannot_be_written_is_refused_before_any_request(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file stands in the way")
    with null_target() as target:
        code, _, err = Run(tmp_path, target.url, requests=5).end()
        assert target.received() == 0, "not even a preflight"
    assert (code, "exists and is a file" in err) == (2, True)


def test_a_target_that_cannot_be_reached_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    run = Run(tmp_path, f"http://127.0.0.1:{closed_port()}")
    code, _, err = run.end()
    assert (code, "refused" in err, "Traceback" in err) == (96, True, False)
    assert run.ledger()["not_sent"] == run.requests


def test_a_rule_stops_a_run_of_failures(tmp_path: Path) -> None:
    run = Run(tmp_path, f"http://127.0.0.1:{closed_port()}", "--no-preflight", "--abort-on", "error_rate > 50% for 1s")
    code, out, err = run.end()
    counts = run.ledger()
    assert code == 97
    assert "stopped by --abort-on error_rate > 50% for 1.00 s" in err
    assert "INCOMPLETE" in out
    assert counts["connection_error"] + counts["not_sent"] == run.requests
    assert counts["not_sent"] > 200


def quotes_the_key(peer: Peer, request: Received) -> None:
    """A server that repeats what it was told, in an error and in an answer."""
    send_json(peer, 500, {"error": {"message": f"bad {request.headers['authorization']}"}}) if request.nth % 2 else ok(peer, request)


def test_an_api_key_is_sent_and_found_nowhere_else(tmp_path: Path) -> None:
    """Not in the run directory, the streams, the command line or the environment of the child; not even where the server quotes it."""
    with FaultServer({"m": quotes_the_key}) as server:
        run = Run(tmp_path, server.url, "--api-key-env", "CANARY", requests=60, env=os.environ | {"CANARY": KEY})
        run.wait_for_rows(10)
        child = Path(f"/proc/{run.child()}")
        seen = (child / "cmdline").read_bytes() + (child / "environ").read_bytes()
        _, out, err = run.end()
    assert {received.headers["authorization"] for received in server.received} == {f"Bearer {KEY}"}
    everything = [out, err, *(path.read_text() for path in run.out.rglob("*") if path.is_file())]
    assert len(everything) >= 5
    assert any("bad Bearer [API key]" in text for text in everything)
    assert KEY.encode() not in seen
    assert not [text for text in everything if KEY in text]


@pytest.mark.slow
def test_a_target_that_goes_away_for_good_stops_the_run(tmp_path: Path) -> None:
    with FaultServer({"m": ok}) as server:
        run = Run(tmp_path, server.url, requests=1200)
        run.wait_for_rows(30)
    code, _, err = run.end()
    counts = run.ledger()
    assert code == 96
    assert "nobody listens any more" in err
    assert counts["ok"] >= 30
    assert counts["connection_error"] >= 100
    assert counts["not_sent"] > 200
