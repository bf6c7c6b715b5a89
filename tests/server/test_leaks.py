"""Hours of mixed traffic leave nothing behind: neither memory nor file descriptors grow."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
from typing import Any

import pytest

from tests.cli.command import CLUSTERS
from tests.server.test_parity import served

SPEED = 20


def requests(rng: random.Random) -> dict[str, Any]:
    """One of everything: streams, whole answers, several choices, JSON, tools, sessions that go on, errors."""
    messages = [{"role": "user", "content": "word " * rng.randint(1, 400)}]
    body: dict[str, Any] = {"model": "llm-14b", "messages": messages, "max_tokens": rng.randint(1, 120)}
    match rng.randrange(8):
        case 0:
            body["stream"] = False
        case 1:
            body |= {"n": 3, "stream": True}
        case 2:
            body |= {"response_format": {"type": "json_object"}}
        case 3:
            body |= {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]}
        case 4:
            body |= {"messages": [*messages, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "and?"}], "stream": True}
        case 5:
            body |= {"max_tokens": -1}
        case _:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


async def client(port: int, seed: int, until_s: float) -> int:
    """Asks one after another, on a new connection each; one in ten leaves in the middle. Returns how many it asked."""
    rng, asked = random.Random(seed), 0
    while time.monotonic() < until_s:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        body = json.dumps(requests(rng)).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await (reader.read(300) if rng.random() < 0.1 else reader.read())
        writer.close()
        asked += 1
    return asked


async def load(port: int, clients: int, seconds: float) -> int:
    until_s = time.monotonic() + seconds
    return sum(await asyncio.gather(*[client(port, seed, until_s) for seed in range(clients)]))


def gauge(page: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", page, re.MULTILINE)
    assert found, name
    return float(found[1])


def traffic(seconds: float, windows: int) -> list[tuple[float, float]]:
    """(MB, file descriptors) of a server after each window of traffic, once everything is over."""
    from urllib.request import urlopen

    with served(CLUSTERS / "t4-14b.toml", "--speed", str(SPEED)) as url:
        port, seen = int(url.rpartition(":")[2]), []
        for _ in range(windows):
            asked = asyncio.run(load(port, 16, seconds / windows))
            assert asked > 10
            time.sleep(1.0)
            with urlopen(f"{url}/metrics", timeout=10) as answer:
                page = answer.read().decode()
            assert gauge(page, "loadlab:requests_under_way") == 0
            seen.append((gauge(page, "process_resident_memory_bytes") / 1e6, gauge(page, "process_open_fds")))
        return seen


def test_minutes_of_mixed_traffic_leave_nothing() -> None:
    """Six seconds at speed 20 are two minutes."""
    before, after = traffic(6, 2)
    assert after[0] < before[0] + 20
    assert after[1] <= before[1] + 1


@pytest.mark.slow
def test_an_hour_of_mixed_traffic_leaves_nothing() -> None:
    """Three minutes at speed 20: memory of the last third is that of the second."""
    seen = traffic(180, 6)
    print(seen)
    assert max(mb for mb, _ in seen[4:]) < max(mb for mb, _ in seen[2:4]) * 1.03 + 2
    assert len({files for _, files in seen[1:]}) == 1
