from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from loadlab.engines.endpoint import TargetUnreachableError
from loadlab.record.request import OUTCOME_OF, Cause, Outcome
from loadlab.record.run_dir import RunDir
from loadlab.scenario.model import Scenario
from loadlab.schema import read_table
from tests.engines.null_target import TABLE as TRAFFIC
from tests.engines.null_target import chat_class, equal_requests, null_target, open_loop, replay
from tests.http.fault_server import FaultServer, closed_port
from tests.http.faults import FAULTS, TABLE, TOKENS

IDLE_S, DEADLINE_S = 1.5, 1.0


def test_every_request_is_sent_once_when_it_is_due_and_the_server_agrees(tmp_path: Path) -> None:
    with null_target(ttft_s=0.02, gap_s=0.005) as target:
        rows = replay(equal_requests(rate_per_s=100, requests=100), target.port, tmp_path / "run")
        truth = {t.seq: t for t in target.truth()}
    assert [row.outcome for row in rows] == [Outcome.OK] * 100
    assert set(truth) == {"preflight", *map(str, range(100))}
    assert [row.output_tokens for row in rows] == [truth[str(row.seq)].tokens for row in rows] == [4] * 100
    for row in rows:
        assert row.scheduled_s == pytest.approx(row.seq / 100, abs=1e-9)
        assert row.sent_s is not None
        assert row.scheduled_s is not None
        assert row.sent_s >= row.scheduled_s
        seen = truth[str(row.seq)]
        assert row.first_token_s is not None
        assert row.first_token_s - row.sent_s >= seen.first_s - seen.received_s - 0.001
        assert row.last_token_s is not None
        assert row.last_token_s - row.first_token_s == pytest.approx(seen.last_s - seen.first_s, abs=0.25)


def one_class_a_fault(names: list[str], each: int, rate_per_s: float) -> Scenario:
    """As many requests of each fault in turn; those that never end by themselves have a deadline of their own."""
    timeouts = {name: {"timeout_s": DEADLINE_S} if name in TABLE and TABLE[name].needs_deadline else {} for name in names}
    classes = {name: chat_class(TOKENS, model=name, **timeouts[name]) for name in names}
    return read_table(Scenario, TRAFFIC | {"load": open_loop(rate_per_s, each * len(names)), "classes": classes}, "faults")


def test_every_fault_is_counted_as_what_it_is_and_success_is_the_true_rate(tmp_path: Path) -> None:
    """The whole fault table in one run, and the server counts the same."""
    names = list(TABLE)
    with FaultServer(FAULTS) as server:
        rows = replay(one_class_a_fault(names, 3, 40), server.port, tmp_path / "run", preflight=False, idle_s=IDLE_S)
    sent = Counter(row.model for row in rows)
    assert server.counts() == sent, "the server's own count; no redirect was followed, nothing was repeated"
    for row in rows:
        fault = TABLE[str(row.model)]
        allowed = {fault.cause, Cause.STALE_CONNECTION} if fault.cause is Cause.RESET else {fault.cause}  # on a connection used before
        assert row.cause in allowed, row.model
        assert row.outcome is (Outcome.OK if fault.cause is None else OUTCOME_OF[fault.cause])
        assert row.http_status == fault.status
        if fault.tokens is not None:
            assert row.first_token_s is not None, row.model
            assert row.output_tokens == fault.tokens or row.tokens_estimated
        assert row.finished_s is not None
    true = sum(n for name, n in sent.items() if TABLE[str(name)].cause is None)
    assert sum(row.outcome is Outcome.OK for row in rows) == true > 0
    assert len({row.cause for row in rows}) >= 12


def test_a_deadline_counts_from_the_due_time_and_a_stall_from_the_last_byte(tmp_path: Path) -> None:
    scenario = one_class_a_fault(["silence", "stall"], 4, 20)
    with FaultServer(FAULTS) as server:
        rows = replay(scenario, server.port, tmp_path / "run", preflight=False, idle_s=IDLE_S)
    for row in rows:
        assert row.finished_s is not None
        assert row.scheduled_s is not None
        if row.cause is Cause.DEADLINE:
            assert row.finished_s - row.scheduled_s == pytest.approx(DEADLINE_S, abs=0.4)
        else:
            assert row.last_token_s is not None
            assert row.finished_s - row.last_token_s == pytest.approx(IDLE_S, abs=0.4)
            assert row.output_tokens == TOKENS


def test_a_connection_is_reused_after_interim_answers_and_one_that_went_stale_has_its_own_name(tmp_path: Path) -> None:
    """100 Continue and 103 Early Hints end neither the answer nor the connection."""
    with FaultServer(FAULTS) as server:
        rows = replay(one_class_a_fault(["interim"], 4, 4), server.port, tmp_path / "a", preflight=False)
        assert [row.outcome for row in rows] == [Outcome.OK] * 4
        assert [row.output_tokens for row in rows] == [TOKENS] * 4
        assert [received.nth for received in server.received] == [0, 1, 2, 3]
        rows = replay(one_class_a_fault(["stale"], 4, 4), server.port, tmp_path / "b", preflight=False)
        assert [row.cause for row in rows] == [None, Cause.STALE_CONNECTION, None, Cause.STALE_CONNECTION]


def test_turns_follow_each_other_and_carry_the_answers_that_were_received(tmp_path: Path) -> None:
    sessions = {"turns": {"kind": "constant", "value": 3}, "think_s": {"kind": "constant", "value_s": 0.05}, "history": True}
    classes = {"chat": chat_class(TOKENS, model="ok", sessions=sessions)}
    scenario = read_table(Scenario, TRAFFIC | {"load": open_loop(20, 12), "classes": classes}, "turns")
    with FaultServer(FAULTS) as server:
        rows = {(row.session, row.turn): row for row in replay(scenario, server.port, tmp_path / "run", preflight=False)}
        bodies = {received.headers["x-request-id"]: received.json for received in server.received}
    assert len(rows) == 12
    for (session, turn), row in rows.items():
        assert row.outcome is Outcome.OK
        assert row.scheduled_s is not None
        messages = bodies[f"test-{row.seq}"]["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"] * int(turn or 0) + ["user"]
        assert all(message["content"] == " one" * TOKENS for message in messages[1::2]), "what the server really said"
        if turn:
            before = rows[session, turn - 1]
            assert before.finished_s is not None
            assert row.scheduled_s == pytest.approx(before.finished_s + 0.05, abs=1e-6)


def test_what_is_due_above_the_limit_is_not_sent_and_counted(tmp_path: Path) -> None:
    with null_target(ttft_s=0.5) as target:
        rows = replay(equal_requests(rate_per_s=100, requests=60), target.port, tmp_path / "run", max_in_flight=10, preflight=False)
        assert len(target.truth()) == sum(row.outcome is Outcome.OK for row in rows)
    causes = Counter(row.cause for row in rows)
    assert causes[Cause.IN_FLIGHT_LIMIT] == 60 - sum(row.outcome is Outcome.OK for row in rows) >= 40
    assert all(row.sent_s is None for row in rows if row.outcome is Outcome.NOT_SENT)


def test_more_rows_than_a_pipe_holds_arrive_whole(tmp_path: Path) -> None:
    """A thousand requests refused at once are some 200 kB in one message."""
    rows = replay(equal_requests(rate_per_s=20_000, requests=1500), closed_port(), tmp_path / "run", preflight=False, max_in_flight=1500)
    assert Counter(row.cause for row in rows) == {Cause.REFUSED: 1500}


def test_any_json_endpoint_can_be_loaded_by_a_template(tmp_path: Path) -> None:
    template = {"path": "/ask/ok", "body": '{"q": "{prompt}", "n": {seq}}', "size_field": "usage.completion_tokens"}
    classes = {"web": chat_class(1, kind="http", http=template)}
    scenario = read_table(Scenario, TRAFFIC | {"load": open_loop(20, 5), "classes": classes}, "web")
    with FaultServer(FAULTS) as server:
        rows = replay(scenario, server.port, tmp_path / "run")
    assert [row.outcome for row in rows] == [Outcome.OK] * 5
    assert [row.output_tokens for row in rows] == [TOKENS] * 5
    assert sorted(received.json["n"] for received in server.received) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("wrong_key", "HTTP 401.*--api-key-env"),
        ("forbidden", "HTTP 403"),
        ("unknown_model", "HTTP 404.*does not exist"),
        ("unknown_field", "HTTP 422.*not permitted"),
        ("redirect", "HTTP 302"),
        ("reset_at_once", "reset"),
        ("not_implemented", "HTTP 501.*does not support embeddings"),
    ],
)
def test_a_preflight_that_is_refused_stops_the_run_before_its_first_request(tmp_path: Path, fault: str, says: str) -> None:
    with FaultServer(FAULTS) as server, pytest.raises(TargetUnreachableError, match=says):
        replay(one_class_a_fault([fault], 5, 50), server.port, tmp_path / "run")
    assert len(server.received) == 1


def test_a_failure_that_may_pass_is_noted_with_what_may_be_behind_it(tmp_path: Path) -> None:
    with FaultServer(FAULTS) as server:
        replay(one_class_a_fault(["server_error", "queue_full"], 2, 50), server.port, tmp_path / "run")
    notes = (RunDir.open(tmp_path / "run").manifest.client or {})["notes"]
    assert sorted(("--api-key-env" in note, "HTTP 5" in note) for note in notes) == [(False, True), (True, True)]


def test_a_field_that_the_target_refuses_is_left_out(tmp_path: Path) -> None:
    from tests.http.faults import ok, says

    refusal = says(422, {"detail": [{"loc": ["body", "ignore_eos"], "msg": "Extra inputs are not permitted"}]})
    faults = {"picky": lambda peer, request: refusal(peer, request) if "ignore_eos" in request.json else ok(peer, request)}
    with FaultServer(faults) as server:
        scenario = read_table(Scenario, TRAFFIC | {"load": open_loop(50, 5), "classes": {"a": chat_class(4, model="picky")}}, "picky")
        rows = replay(scenario, server.port, tmp_path / "run")
    assert [row.outcome for row in rows] == [Outcome.OK] * 5
    assert len(server.received) == 7


def test_nobody_listening_is_said_before_the_first_request(tmp_path: Path) -> None:
    with pytest.raises(TargetUnreachableError, match="refused"):
        replay(equal_requests(10, 5), closed_port(), tmp_path / "run")


def test_the_parent_never_imports_gevent_or_locust() -> None:
    program = (
        "import pkgutil, sys, importlib, loadlab\n"
        "for module in pkgutil.walk_packages(loadlab.__path__, 'loadlab.'):\n"
        "    if not module.name.startswith('loadlab.engines.locust_child') and not module.name.endswith('__main__'):\n"
        "        importlib.import_module(module.name)\n"
        "sys.exit(bool({'gevent', 'locust', 'geventhttpclient'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
