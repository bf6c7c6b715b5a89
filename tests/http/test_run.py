"""Whole runs against endpoints that fail: each failure counted as what it is, and planned = ok + failed + rejected + not sent + unknown."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from loadlab.record.request import OUTCOME_OF, Cause, Outcome
from tests.http.fault_server import FaultServer, closed_port
from tests.http.faults import FAULTS, TABLE
from tests.http.runs import check_against_server, check_ledger, run, write_scenario

PATIENT = ("--no-preflight", "--idle-timeout", "400ms")


def test_every_fault_in_one_run_is_counted_as_what_it_is_and_the_server_agrees(tmp_path: Path) -> None:
    each = 2
    scenario = write_scenario(tmp_path / "s.toml", dict.fromkeys(TABLE, 1), requests=each * len(TABLE), rate_per_s=60, timeout_s=1.5)
    with FaultServer(FAULTS) as server:
        done = run(scenario, server.url, tmp_path / "run", *PATIENT)
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
    causes = {cause for cause in (fault.cause for fault in TABLE.values()) if cause is not None}
    assert len(causes) >= 12


def test_a_connection_that_went_stale_is_a_cause_of_its_own(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path / "s.toml", {"stale": 1}, requests=6, rate_per_s=5)
    with FaultServer(FAULTS) as server:
        done = run(scenario, server.url, tmp_path / "run", "--no-preflight")
    assert [row["cause"] for row in done.rows] == [None, Cause.STALE_CONNECTION] * 3
    check_ledger(done.totals, 6)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("wrong_key", "401"),
        ("forbidden", "403"),
        ("unknown_model", "does not exist"),
        ("unknown_field", "422"),
        ("redirect", "302"),
        ("html", "nginx"),
    ],
)
def test_a_target_that_refuses_the_first_request_stops_the_run(tmp_path: Path, fault: str, says: str) -> None:
    scenario = write_scenario(tmp_path / "s.toml", {fault: 1}, requests=50, rate_per_s=50)
    with FaultServer(FAULTS) as server:
        done = run(scenario, server.url, tmp_path / "run")
        assert server.counts() == {fault: 1}
    assert done.code == 96
    assert says in done.err
    assert "Traceback" not in done.err


def test_an_unreachable_target_is_said_before_the_first_request(tmp_path: Path) -> None:
    scenario = write_scenario(tmp_path / "s.toml", {"ok": 1}, requests=50, rate_per_s=50)
    done = run(scenario, f"http://127.0.0.1:{closed_port()}", tmp_path / "run")
    assert done.code == 96
    assert "refused" in done.err
    assert "Traceback" not in done.err
