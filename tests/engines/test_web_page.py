"""Locust's own page shows what the workers told, on loopback alone; its Stop button drains the run."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from http.client import RemoteDisconnected
from pathlib import Path

import pytest

from tests.engines.null_target import null_target
from tests.engines.spread_runs import SpreadRun, account
from tests.engines.test_worker_kills import free_port


@pytest.mark.slow
def test_the_page_shows_the_run_and_stops_it(tmp_path: Path) -> None:
    port = free_port()
    with null_target(ttft_s=0.05, gap_s=0.002) as target:
        run = SpreadRun(tmp_path, target.url, 2, "--web-ui", str(port))
        run.wait_for_rows(40)
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats/requests") as answer:
            shown = json.loads(answer.read())
        with contextlib.suppress(RemoteDisconnected):  # the run may be over before the page says so
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/stop", method="POST")).close()
        code, _, err = run.end()
        found = account(run.out, target)
    assert f"0100007F:{port:04X}" in listening
    assert f"00000000:{port:04X}" not in listening
    assert shown["state"] == "running"
    assert {entry["name"] for entry in shown["stats"]} == {"worker 0", "worker 1", "Aggregated"}
    assert code == 97, err
    assert "stopped early: it was told to stop" in err
    found.check(run.requests)
    assert found.count("unknown") == 0
    assert found.count("not_sent") > 100
