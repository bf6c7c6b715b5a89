from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from loadlab.engines import simulation
from loadlab.engines.simulation import SimulationEngine
from loadlab.errors import InputError
from loadlab.record.request import Outcome, RequestRecord
from loadlab.scenario.build import build_plan
from loadlab.scenario.model import Scenario
from loadlab.scenario.plan import RequestPlan
from loadlab.schema import read_table
from tests.simulator.build import make_cluster


class Rows:
    """A sink in memory."""

    def __init__(self) -> None:
        self.records: list[RequestRecord] = []
        self.timeline: list[dict[str, Any]] = []

    def append(self, records: Iterable[RequestRecord]) -> None:
        self.records.extend(records)

    def append_rows(self, rows: Iterable[dict[str, Any]]) -> None:
        for row in rows:
            record = RequestRecord.from_row(row)
            assert list(row.items()) == list(record.as_row().items()), "a row has other columns than a record, or in another order"
            self.records.append(record)

    def append_timeline(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self.timeline.extend(map(dict, rows))

    def by_seq(self) -> list[RequestRecord]:
        return sorted(self.records, key=lambda record: record.seq)


def plan_of(load: dict[str, Any], seed: int = 1, timeout_s: float | None = None, **traffic_class: Any) -> RequestPlan:
    chat = {"model": "m", "prompt_tokens": {"kind": "constant", "value": 8}, "output_tokens": {"kind": "constant", "value": 5}}
    table = {"name": "t", "load": load, "classes": {"chat": chat | traffic_class}}
    if timeout_s is not None:
        table["timeout_s"] = timeout_s
    return build_plan(read_table(Scenario, table, "test"), seed)


def replay(plan: RequestPlan, **cluster: Any) -> Rows:
    rows = Rows()
    SimulationEngine(make_cluster(**cluster)).replay(plan, rows, lambda *_: None)
    return rows


OPEN = {"kind": "open_loop", "requests": 200, "arrivals": {"kind": "poisson", "rate_per_s": 0.5}}


def test_every_planned_request_leaves_exactly_one_row() -> None:
    rows = replay(plan_of(OPEN, timeout_s=12.0), limits={"max_running": 2}, pool={"queue_limit": 3})
    assert [record.seq for record in rows.by_seq()] == list(range(200))
    assert {record.outcome for record in rows.records} == {Outcome.OK, Outcome.TIMEOUT, Outcome.REJECTED}


def test_latency_counts_from_the_planned_arrival() -> None:
    plan = plan_of(OPEN)
    for record, arrival_s in zip(replay(plan).by_seq(), plan.arrival_s, strict=True):
        assert record.scheduled_s == pytest.approx(arrival_s, abs=1e-12)
        assert record.sent_s == record.scheduled_s


def test_writing_rows_in_many_parts_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(OPEN, timeout_s=12.0)
    whole = replay(plan, kv_tokens=40)
    monkeypatch.setattr(simulation, "ROWS_PER_FLUSH", 7)
    parts = replay(plan, kv_tokens=40)
    assert parts.by_seq() == whole.by_seq()
    for row, expected in zip(parts.timeline, whole.timeline, strict=True):
        assert row.pop("shard_busy") == pytest.approx(expected.pop("shard_busy"))
        assert row == pytest.approx(expected)
    assert any(record.preemptions for record in whole.records)


def test_itl_quantiles_are_those_of_the_requests_own_gaps() -> None:
    """One request alone: gaps of 1 s plus 0.1 s a context token, for contexts 8, 9, 10, 11."""
    plan = plan_of({"kind": "closed_loop", "users": 1, "requests": 1})
    (record,) = replay(plan, per_kv_token_s=0.1).records
    gaps_s = [1.8, 1.9, 2.0, 2.1]
    assert record.itl_p50_s == pytest.approx(gaps_s[1])
    assert record.itl_p95_s == record.itl_p99_s == record.itl_max_s == pytest.approx(gaps_s[3])
    assert record.first_token_s is not None
    assert record.last_token_s == pytest.approx(record.first_token_s + sum(gaps_s))


def test_a_closed_loop_never_has_more_in_flight_than_users() -> None:
    load = {"kind": "closed_loop", "users": 3, "requests": 30, "think_s": {"kind": "constant", "value_s": 2.0}}
    rows = replay(plan_of(load)).by_seq()
    for before, after in zip(rows, rows[3:], strict=False):
        assert after.scheduled_s == pytest.approx((before.finished_s or 0) + 2.0)
    moments = [(r.scheduled_s or 0, 1) for r in rows] + [(r.finished_s or 0, -1) for r in rows]
    in_flight = np.cumsum([change for _, change in sorted(moments)])
    assert in_flight.max() == 3


def test_a_follower_comes_due_even_if_its_predecessor_failed() -> None:
    load = {"kind": "closed_loop", "users": 1, "requests": 3}
    rows = replay(plan_of(load, timeout_s=2.5)).by_seq()
    assert [record.outcome for record in rows] == [Outcome.TIMEOUT] * 3
    assert [record.scheduled_s for record in rows] == pytest.approx([0.0, 2.5, 5.0])


def test_turns_of_a_session_reuse_the_kv_of_earlier_ones() -> None:
    sessions = {"turns": {"kind": "constant", "value": 3}, "think_s": {"kind": "constant", "value_s": 5}, "history": True}
    load = {"kind": "open_loop", "requests": 30, "arrivals": {"kind": "constant", "rate_per_s": 0.02}}
    rows = replay(plan_of(load, sessions=sessions | {"shared_prefix_tokens": 16})).by_seq()
    first = [record for record in rows if record.turn == 0]
    later = [record for record in rows if record.turn]
    assert first[0].cached_prompt_tokens == 0
    assert {record.cached_prompt_tokens for record in first[1:]} == {16}
    for record in later:
        assert record.prompt_tokens is not None
        assert record.cached_prompt_tokens is not None
        assert record.prompt_tokens - record.cached_prompt_tokens <= 8 + 4  # its own text, and a block that was not full
    cached = sum(row["cached_tokens"] for row in rows_timeline(rows_of=load, sessions=sessions))
    assert cached == sum(record.cached_prompt_tokens or 0 for record in rows)


def rows_timeline(rows_of: dict[str, Any], sessions: dict[str, Any]) -> list[Mapping[str, Any]]:
    return replay(plan_of(rows_of, sessions=sessions | {"shared_prefix_tokens": 16})).timeline


def test_the_timeline_accounts_for_every_token() -> None:
    rows = replay(plan_of(OPEN))
    assert sum(row["prefill_tokens"] for row in rows.timeline) == 200 * 8
    assert sum(row["decode_tokens"] for row in rows.timeline) == 200 * 4  # the first token of five comes with the prefill
    assert max(row["kv_usage_max"] for row in rows.timeline) <= 1


def test_a_model_that_nobody_serves_is_refused_before_the_first_request() -> None:
    with pytest.raises(InputError, match="asks for model 'x', which cluster 'test' does not serve; it serves: m"):
        replay(plan_of(OPEN, model="x"))


def test_counting_gives_the_outcomes_of_the_rows() -> None:
    plan = plan_of(OPEN, timeout_s=12.0)
    pool, limits = {"queue_limit": 3}, {"max_running": 2}
    rows = replay(plan, limits=limits, pool=pool)
    counted = SimulationEngine(make_cluster(limits=limits, pool=pool)).count(plan, lambda *_: None)
    assert counted == Counter(record.outcome for record in rows.records)
