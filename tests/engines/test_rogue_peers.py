"""Whoever speaks to the master's port without its token is not heard; who has it cannot speak for another. The run goes on, and says so."""

from __future__ import annotations

import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest
import zmq

from loadlab.engines.locust_child.keys import key_pair
from loadlab.engines.messages import ROW
from loadlab.engines.records import ForgedRowError, Records
from loadlab.scenario.build import build_plan
from tests.engines.null_target import equal_requests, null_target
from tests.engines.spread_runs import TOKEN, Machines, account
from tests.engines.test_processes import wait_until
from tests.engines.test_worker_kills import free_port

FORGED = {"kind": "news", "rows": [[0, *[None] * (len(ROW) - 1)]], "sent": 10**9, "in_flight": 0, "at_s": 1.0, "worker": 0}


def peer(port: int, name: bytes, token: str | None) -> Any:
    """A ZeroMQ peer of the master, with a token or in the clear."""
    dealer = zmq.Context.instance().socket(zmq.DEALER)
    dealer.setsockopt(zmq.IDENTITY, name)
    dealer.setsockopt(zmq.LINGER, 0)
    if token is not None:
        dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
        dealer.curve_serverkey = key_pair(token)[0]
    dealer.connect(f"tcp://127.0.0.1:{port}")
    return dealer


def say(dealer: Any, kind: str, data: Any, name: str) -> None:
    dealer.send(msgpack.dumps((kind, data, name)), zmq.NOBLOCK)


def attack(port: int, victim: str, token: str | None) -> Any:
    """Everything that a peer of the name "rogue" may try. Returns its socket, so that its messages have time to go."""
    dealer = peer(port, b"rogue", token)
    for name in ("rogue", victim):
        say(dealer, "client_ready", "2.47.0", name)
        say(dealer, "quit", None, name)
        say(dealer, "stats", {"stats": "none"}, name)
        say(dealer, "exception", None, name)
        say(dealer, "loadlab", {"line": orjson.dumps(FORGED)}, name)
        say(dealer, "loadlab", {"line": b"no JSON"}, name)
        say(dealer, "loadlab", None, name)
    for garbage in (b"", b"\xc1", b"\xff" * 1000, msgpack.dumps("one"), msgpack.dumps((1, 2, 3))):
        dealer.send(garbage, zmq.NOBLOCK)
    return dealer


def speak_http(port: int) -> bytes:
    """A request of another protocol, and whatever comes back before the connection is closed."""
    with socket.create_connection(("127.0.0.1", port)) as plain, contextlib.suppress(ConnectionResetError):
        plain.settimeout(10)
        plain.sendall(b"GET / HTTP/1.1\r\n\r\n" + b"\xff" * 64)
        return plain.recv(4096)
    return b""


@pytest.mark.parametrize("token", [None, "another token, of 32 characters.", TOKEN], ids=["clear", "another", "ours"])
def test_a_rogue_peer_changes_nothing_and_is_counted(tmp_path: Path, token: str | None) -> None:
    with null_target(ttft_s=0.02) as target:
        machines = Machines(tmp_path, target.url, free_port(), requests=120)
        master, worker = machines.master(1), machines.worker("a")
        rows = machines.out / "requests.jsonl"
        wait_until(lambda: rows.exists() and rows.stat().st_size > 0)
        dealer = attack(machines.port, "vm_0", token)
        heard = speak_http(machines.port)
        _, err = master.communicate(timeout=60)
        worker.communicate(timeout=60)
        heard_by_rogue = dealer.recv() if dealer.poll(0) else b""
        dealer.close()
        found = account(machines.out, target)
    assert (master.returncode, worker.returncode) == (0, 0), err
    found.check(120)
    assert found.count("ok") == 120
    notes = " ".join(json.loads((machines.out / "manifest.json").read_text())["client"]["notes"])
    assert "had not its token: nothing that they sent was read" in notes
    assert ("were malformed, or in another's name" in notes) == (token == TOKEN)
    for secret in (TOKEN, "requests.jsonl", "seq"):
        assert secret.encode() not in heard + heard_by_rogue
    everything = " ".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert TOKEN not in everything


def test_rows_that_their_worker_cannot_have_are_refused() -> None:
    plan = build_plan(equal_requests(rate_per_s=10, requests=10), 1)
    records = Records(plan, {"m": "m"}, 2)
    seq = int(plan.shard(0, 2)[0])
    good: dict[str, Any] = dict.fromkeys(ROW) | {"seq": seq, "outcome": "ok", "tokens_estimated": False, "sent_s": 1.0}
    bad: list[tuple[dict[str, Any], int]] = [
        (good, 1),  # another's share
        (good | {"seq": 10}, 0),
        (good | {"seq": -1}, 0),
        (good | {"seq": True}, 0),
        (good | {"outcome": "fine"}, 0),
        (good | {"cause": "none"}, 0),
        (good | {"sent_s": "now"}, 0),
        (good | {"tokens_estimated": None}, 0),
        (good | {"error": ["x"]}, 0),
    ]
    for row, worker in bad:
        with pytest.raises(ForgedRowError):
            records.build([row[name] for name in ROW], worker)
    with pytest.raises(ForgedRowError):
        records.build([seq], 0)
    assert records.build([good[name] for name in ROW], 0).seq == seq
    with pytest.raises(ForgedRowError):
        records.build([good[name] for name in ROW], 0)
