"""Each row of the fault table over a real socket, read by AnswerReader: counted as what it is, and the ledger agrees with the server's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from loadlab.record.request import OUTCOME_OF, Cause, Outcome
from loadlab.wire.answer import Answer
from loadlab.wire.openai import OpenAIOptions, chat, completion, embedding
from tests.http.fault_server import FaultServer, closed_port
from tests.http.faults import FAULTS, TABLE, TOKENS
from tests.http.plain_client import Client

SHORT_S = 0.3


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer(FAULTS) as running:
        yield running


def ask(client: Client, fault: str) -> Answer:
    return client.ask(chat(fault, [("user", "hello")], TOKENS))


@pytest.mark.parametrize("fault", TABLE)
def test_each_fault_is_called_what_it_is_and_tokens_are_kept(server: FaultServer, fault: str) -> None:
    row = TABLE[fault]
    client = Client(server.port, idle_s=SHORT_S if row.needs_idle else 5.0, deadline_s=SHORT_S if row.needs_deadline else 10.0)
    answer = ask(client, fault)
    client.close()
    assert answer.cause == row.cause
    assert answer.outcome is (Outcome.OK if row.cause is None else OUTCOME_OF[row.cause])
    assert answer.http_status == row.status
    if row.tokens is not None:
        received = server.received[-1]
        assert received.fault == fault
        assert answer.output_tokens == row.tokens or answer.tokens_estimated
        assert answer.first_token_s is not None
        assert fault == "byte_by_byte" or 0 <= answer.first_token_s - received.token_s[0] < 1
    else:
        assert answer.first_token_s is None
    assert (answer.error is None) == (row.cause is None) or row.status in (None, 200, 302)


def test_twelve_kinds_of_failure_in_one_run_are_each_counted_and_success_is_the_true_rate() -> None:
    failures = (
        "reset_at_once", "reset_mid_stream", "fin_mid_chunk", "truncated", "malformed_sse", "rate_limited", "queue_full_in_stream",
        "server_error", "oom_in_stream", "engine_died", "context_vllm", "redirect", "html", "no_upstream",
    )  # fmt: skip
    asked = [name for i, name in enumerate(failures) for name in [name] * (i % 3 + 1) + ["ok"]]
    with FaultServer(FAULTS) as server:
        client = Client(server.port)
        answers = [ask(client, fault) for fault in asked]
        client.close()
    causes = Counter(answer.cause for answer in answers)
    assert causes == Counter(TABLE[fault].cause for fault in asked)
    assert len({cause for cause in causes if cause is not None}) >= 12
    assert sum(answer.outcome is Outcome.OK for answer in answers) == len(failures)
    assert server.counts() == Counter(asked), "the server counts the same"
    assert "trap" not in server.counts(), "no redirect was followed"


def test_a_refused_connection_is_told_apart() -> None:
    assert ask(Client(closed_port()), "ok").cause is Cause.REFUSED


def test_a_connection_that_went_stale_is_told_apart_from_a_reset(server: FaultServer) -> None:
    client = Client(server.port)
    assert [ask(client, "stale").cause for _ in range(3)] == [None, Cause.STALE_CONNECTION, None]
    client.close()


@pytest.mark.parametrize("before", ["ok", "interim", "rate_limited", "oom_in_stream"])
def test_an_answer_that_came_whole_leaves_its_connection_usable(server: FaultServer, before: str) -> None:
    client = Client(server.port)
    ask(client, before)
    assert ask(client, "ok").outcome is Outcome.OK
    client.close()
    first, second = server.received[-2:]
    assert (first.connection, first.nth, second.nth) == (second.connection, 0, 1)


def test_every_way_to_ask_is_answered(server: FaultServer) -> None:
    client = Client(server.port)
    whole = client.ask(chat("ok", [("user", "a")], TOKENS, options=OpenAIOptions(stream=False)))
    assert (whole.output_tokens, whole.first_token_s, whole.text) == (TOKENS, None, " one" * TOKENS)
    assert client.ask(completion("ok", "a", TOKENS)).output_tokens == TOKENS
    assert client.ask(embedding("ok", "a")).outcome is Outcome.OK
    client.close()
