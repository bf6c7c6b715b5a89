from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from loadlab.engines.endpoint import Endpoint
from loadlab.engines.locust import LocustEngine
from loadlab.record.request import Outcome, RequestRecord
from loadlab.record.run_dir import RunDir
from loadlab.scenario.plan import RequestPlan
from tests.engines.null_target import NullTarget, null_target, open_loop
from tests.record.examples import manifest


def replay(plan: RequestPlan, target: NullTarget, folder: Path, **changes: object) -> list[RequestRecord]:
    """The rows of a plan on a null server, by seq."""
    fields = {"scheme": "http", "host": "127.0.0.1", "port": target.port} | changes
    with RunDir.create(folder, manifest(planned=len(plan))) as run:
        LocustEngine(Endpoint(**fields), "test").replay(plan, run, lambda *_: None)  # type: ignore[arg-type]
        run.finalise(len(plan))
        return list(run.rows())


def test_every_request_is_sent_once_when_it_is_due_and_the_server_agrees(tmp_path: Path) -> None:
    plan = open_loop(rate_per_s=100, requests=100)
    with null_target(ttft_s=0.02, gap_s=0.005) as target:
        rows = replay(plan, target, tmp_path / "run")
        truth = {t.seq: t for t in target.truth()}
    assert [row.outcome for row in rows] == [Outcome.OK] * 100
    assert set(truth) == {"preflight", *map(str, range(100))}
    assert [row.output_tokens for row in rows] == [truth[str(row.seq)].tokens for row in rows] == [4] * 100
    zero_s = min(truth[str(row.seq)].received_s - row.sent_s for row in rows if row.sent_s is not None)
    for row in rows:
        assert row.scheduled_s == pytest.approx(float(plan.arrival_s[row.seq]))
        assert row.scheduled_s is not None
        assert row.sent_s is not None
        assert row.sent_s >= row.scheduled_s
        seen = truth[str(row.seq)]
        assert row.first_token_s is not None
        assert row.first_token_s >= seen.first_s - zero_s - 0.002
        assert row.first_token_s - row.sent_s >= seen.first_s - seen.received_s


def test_the_parent_never_imports_gevent_or_locust() -> None:
    program = (
        "import sys, loadlab.cli.app, loadlab.campaign.trial, loadlab.engines.locust, loadlab.cli.live, loadlab.report.files\n"
        "sys.exit(bool({'gevent', 'locust', 'geventhttpclient'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
