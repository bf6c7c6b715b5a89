"""Several workers are one load generator: the same requests at the same times, each once, whoever sends them; chains stay whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from loadlab.engines.endpoint import Endpoint
from loadlab.engines.locust import LocustEngine
from loadlab.engines.spread import Spread
from loadlab.record.request import Outcome
from loadlab.record.run_dir import RunDir
from loadlab.scenario.build import build_plan
from loadlab.scenario.plan import NOTHING
from tests.engines.null_target import Truth, chat_class, equal_requests, null_target, replay
from tests.record.examples import manifest


def seqs_of(truth: list[Truth]) -> list[int]:
    """What the server's own log says was asked, in its order of arrival."""
    return [int(one.seq) for one in sorted(truth, key=lambda one: one.received_s) if one.seq != "preflight"]


def arrivals_s(truth: list[Truth]) -> dict[int, float]:
    """When each request arrived, in seconds after request 0."""
    at_s = {int(one.seq): one.received_s for one in truth if one.seq != "preflight"}
    return {seq: received_s - at_s[0] for seq, received_s in at_s.items()}


@pytest.mark.parametrize("counts", [(1, 2), pytest.param((4,), marks=pytest.mark.slow)])
def test_one_two_and_four_workers_send_the_same_requests_at_the_same_times(tmp_path: Path, counts: tuple[int, ...]) -> None:
    scenario = equal_requests(rate_per_s=50, requests=120)
    plan = build_plan(scenario, 1)
    with null_target(ttft_s=0.02, gap_s=0.001) as target:
        for workers in counts:
            records = replay(scenario, target.port, tmp_path / str(workers), spread=Spread(workers=workers))
            truth = target.truth()
            came_s = arrivals_s(truth)
            assert sorted(seqs_of(truth)) == list(range(120)), "each once"
            late_s = np.array([came_s[seq] for seq in range(120)]) - (plan.arrival_s - plan.arrival_s[0])
            assert np.median(np.abs(late_s - np.median(late_s))) < 0.01, "when the plan says, by the server's clock"
            assert [record.outcome for record in records] == [Outcome.OK] * 120
            assert [record.worker for record in records] == [int(chain) % workers for chain in plan.chain]


def test_sessions_are_never_split(tmp_path: Path) -> None:
    sessions = {"turns": {"kind": "constant", "value": 3}, "think_s": {"kind": "constant", "value_s": 0.05}, "history": True}
    scenario = equal_requests(rate_per_s=20, requests=30, classes={"chat": chat_class(sessions=sessions)})
    plan = build_plan(scenario, 1)
    with null_target(ttft_s=0.005) as target:
        records = replay(scenario, target.port, tmp_path / "run", spread=Spread(workers=2))
    assert [record.outcome for record in records] == [Outcome.OK] * len(plan)
    by_session: dict[int, set[int | None]] = {}
    for record in records:
        assert record.session is not None
        by_session.setdefault(record.session, set()).add(record.worker)
    assert len(by_session) > 4
    assert all(len(workers) == 1 for workers in by_session.values())
    assert {record.worker for record in records} == {0, 1}
    for record in records:
        before = int(plan.after_seq[record.seq])
        if before != NOTHING:
            assert record.sent_s is not None
            assert record.sent_s >= (records[before].finished_s or 0.0), "a turn follows the answer before it"


@pytest.mark.slow
def test_what_is_in_flight_at_most_is_shared(tmp_path: Path) -> None:
    plan = build_plan(equal_requests(rate_per_s=100, requests=60), 1)
    with null_target(ttft_s=0.5) as target:
        endpoint = Endpoint(scheme="http", host="127.0.0.1", port=target.port, model="m", max_in_flight=11, spread=Spread(workers=2))
        with RunDir.create(tmp_path / "run", manifest(planned=len(plan))) as run:
            LocustEngine(endpoint, {}, "test").replay(plan, run, lambda *_: None)
            outcomes = [record.outcome for record in run.rows()]
    assert outcomes.count(Outcome.OK) >= 11
    assert outcomes.count(Outcome.OK) + outcomes.count(Outcome.NOT_SENT) == 60
    assert run.manifest.client is not None
    assert run.manifest.client["most_in_flight"] == 11
