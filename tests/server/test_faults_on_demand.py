"""Injected faults arrive at a client as the outcomes that they are, counted exactly."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadlab.record.request import Cause
from loadlab.wire.answer import AnswerReader, Ending
from tests.server.running import ADMIN_TOKEN, Running, plain_cluster, running
from tests.server.test_connection import post
from tests.server.test_parity import loadlab

TWELVE = """
schema = "loadlab/scenario/1"
name = "twelve"
[load]
kind = "open_loop"
requests = 12
arrivals = { kind = "constant", rate_per_s = 20 }
[classes.chat]
model = "m"
prompt_tokens = { kind = "constant", value = 20 }
output_tokens = { kind = "constant", value = 8 }
"""
KEY = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
STREAM = (
    b'{"messages":[{"role":"user","content":"hi"}],"max_tokens":8,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}'
)


@pytest.fixture
def server() -> Iterator[Running]:
    with running(plain_cluster(replicas=2, limits={"restart_s": 1.0}), speed=10) as made:
        yield made


def outcome(server: Running, body: bytes = STREAM) -> Cause | None:
    """What our own client makes of one request, giving up on a stall after 0.3 s."""
    reader = AnswerReader()
    with server.socket() as bare:
        bare.settimeout(0.3)
        bare.sendall(post(body, b"connection: close"))
        data, how = b"", Ending.COMPLETE
        try:
            while piece := bare.recv(65536):
                data += piece
        except TimeoutError:
            how = Ending.STALL
        except ConnectionResetError:
            how = Ending.RESET
    head, _, rest = data.partition(b"\r\n\r\n")
    if head:
        lines = head.decode().split("\r\n")
        reader.head(int(lines[0].split()[1]), [tuple(line.split(": ", 1)) for line in lines[1:]], 0.0)  # type: ignore[misc]
        reader.feed(_unchunked(rest) if b"chunked" in head else rest, 0.0)
    return reader.end(how, 1.0).cause


def _unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body


def inject(server: Running, **fault: object) -> None:
    status, answer = server.post("/admin/faults", fault, **KEY)
    assert status == 200, answer


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"kind": "refuse"}, Cause.RATE_LIMITED),
        ({"kind": "refuse", "status": 503}, Cause.QUEUE_FULL),
        ({"kind": "refuse", "status": 500}, Cause.SERVER_ERROR),
        ({"kind": "cut", "after_tokens": 3}, Cause.RESET_MID_STREAM),
        ({"kind": "cut", "after_tokens": 0}, Cause.RESET),
        ({"kind": "cut", "after_tokens": 99}, Cause.RESET_MID_STREAM),
        ({"kind": "end_early", "after_tokens": 3}, Cause.CUT_SHORT),
        ({"kind": "stall", "after_tokens": 3}, Cause.STALL),
        ({"kind": "malformed", "after_tokens": 3}, Cause.PROTOCOL),
    ],
)
def test_as_many_requests_as_asked_are_struck(server: Running, fault: dict[str, object], cause: Cause) -> None:
    inject(server, requests=2, **fault)
    assert Counter(outcome(server) for _ in range(5)) == {cause: 2, None: 3}


def test_our_own_load_generator_counts_them_exactly(server: Running, tmp_path: Path) -> None:
    """Twelve requests, nine of them struck; no preflight, which would take the first blow."""
    blows = {"cut": 2, "refuse": 3, "stall": 1, "malformed": 1, "end_early": 2}
    for kind, count in blows.items():
        inject(server, kind=kind, requests=count)
    scenario = tmp_path / "twelve.toml"
    scenario.write_text(TWELVE)
    flags = ["--model", "m", "--idle-timeout", "1s", "--no-preflight", "--yes", "--no-report", "-q", "--out", str(tmp_path / "run")]
    loadlab("run", scenario, "--target", server.url, *flags)
    rows = [json.loads(line) for line in (tmp_path / "run" / "requests.jsonl").read_text().splitlines()]
    expected = {"reset_mid_stream": 2, "rate_limited": 3, "stall": 1, "protocol": 1, "cut_short": 2, None: 3}
    assert Counter(row["cause"] for row in rows) == expected


def test_a_fault_of_one_model_leaves_others_alone(server: Running) -> None:
    inject(server, kind="refuse", model="other")
    assert outcome(server) is None


def test_a_replica_out_of_memory_fails_what_it_runs(server: Running) -> None:
    long = STREAM.replace(b'"max_tokens":8', b'"max_tokens":3000')
    with server.socket() as first, server.socket() as second:
        for bare in (first, second):
            bare.sendall(post(long, b"connection: close"))
            bare.recv(65536)
        inject(server, kind="out_of_memory", pool="p", replica=0)
        dead, alive = sorted((first, second), key=lambda bare: b"CUDA out of memory" not in _read(bare))
        assert alive is not dead
    wait = server.get("/metrics")[1]
    assert b'loadlab:ooms_total{engine="0",model_name="m"} 1.0' in wait
    assert outcome(server) is None


def _read(bare: socket.socket) -> bytes:
    """What comes within a tenth of a second."""
    bare.settimeout(0.1)
    data = b""
    try:
        for _ in range(20):
            piece = bare.recv(65536)
            if not piece:
                break
            data += piece
    except TimeoutError:
        pass
    return data


def test_dead_replicas_answer_nothing_until_they_are_back(server: Running) -> None:
    for replica in (0, 1):
        inject(server, kind="dead_replica", pool="p", replica=replica, for_s=1e6)
    assert outcome(server) is Cause.NO_REPLICA


def test_only_this_machine_with_the_token_may_inject(server: Running) -> None:
    assert server.post("/admin/faults", {"kind": "cut"})[0] == 401
    assert server.post("/admin/faults", {"kind": "cut"}, Authorization="Bearer wrong")[0] == 401
    assert outcome(server) is None


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "earthquake"}, "kind must be one of refuse, cut"),
        ({"kind": "cut", "after_tokens": -1}, "after_tokens = -1 must be >= 0"),
        ({"kind": "cut", "colour": 1}, "colour is not a known key"),
        ({"kind": "slow_gpu", "pool": "q", "speed": 0.5, "for_s": 1}, "pool = 'q' is not one of"),
        ({"kind": "refuse", "status": 200}, "status = 200 must be from 400 to 599"),
    ],
)
def test_a_fault_that_cannot_be_is_explained(server: Running, fault: dict[str, object], words: str) -> None:
    status, answer = server.post("/admin/faults", fault, **KEY)
    assert (status, words in answer["error"]["message"].replace("faults[0].", "")) == (400, True), answer


def test_what_waits_is_listed_and_can_be_forgotten(server: Running) -> None:
    inject(server, kind="cut", requests=3)
    outcome(server)
    listed = json.loads(server.get("/admin/faults", **KEY)[1])
    assert (listed["waiting"][0]["kind"], listed["waiting"][0]["left"], listed["struck"]) == ("cut", 2, 1)
    server.get("/admin/faults", method="DELETE", **KEY)
    assert outcome(server) is None
