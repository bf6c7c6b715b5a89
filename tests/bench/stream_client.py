"""Opens many streams of a server at once and counts what comes, cheaply: a process of its own. Prints one JSON line.

    python -m tests.bench.stream_client PORT STREAMS TOKENS RAMP_S STEP_S..

Stream i asks model m(i mod k) of k, whose steps take STEP_S[i mod k].
"""

from __future__ import annotations

import asyncio
import json
import sys
from array import array
from time import monotonic, process_time

import uvloop

PLATEAU_S = 12.0


class Stream(asyncio.Protocol):
    """One request; notes when bytes came, and counts events."""

    def __init__(self, body: bytes, gaps: array[float], done: asyncio.Future[None]) -> None:
        self._body, self._gaps, self._done = body, gaps, done
        self.events = 0
        self._last_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        transport.write(head % len(self._body) + self._body)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now_s = monotonic()
        if self.events:
            self._gaps.append(now_s - self._last_s)
        self._last_s = now_s
        self.events += data.count(b"data: ")
        if data.endswith(b"0\r\n\r\n"):
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done.set_result(None)


async def rate(streams: list[Stream]) -> float:
    """Events a second while all streams are under way."""
    await asyncio.sleep(1)
    before, begin_s = sum(stream.events for stream in streams), monotonic()
    await asyncio.sleep(PLATEAU_S)
    return (sum(stream.events for stream in streams) - before) / (monotonic() - begin_s)


async def main(port: int, streams: int, tokens: int, ramp_s: float, steps_s: list[float]) -> None:
    loop = asyncio.get_running_loop()
    gaps = [array("d") for _ in steps_s]
    opened, waits = [], []
    begin_s = monotonic()
    for i in range(streams):
        await asyncio.sleep(max(0.0, begin_s + i * ramp_s / streams - monotonic()))
        message = {"role": "user", "content": f"stream {i:5d} says"}
        body = json.dumps(
            {"model": f"m{i % len(gaps)}", "messages": [message], "max_tokens": tokens, "ignore_eos": True, "stream": True}
        ).encode()
        done: asyncio.Future[None] = loop.create_future()
        own = gaps[i % len(gaps)]
        _, protocol = await loop.create_connection(lambda body=body, own=own, done=done: Stream(body, own, done), "127.0.0.1", port)
        opened.append(protocol)
        waits.append(done)
    plateau = asyncio.create_task(rate(opened))
    await asyncio.gather(*waits)
    took_s = monotonic() - begin_s
    late_s = sorted(gap - step_s for own, step_s in zip(gaps, steps_s, strict=True) for gap in own)
    events = sum(stream.events for stream in opened)
    print(json.dumps({
        "streams": streams, "tokens": events - 2 * streams, "took_s": took_s, "client_cpu_s": process_time(),
        "plateau_tokens_per_s": await plateau,
        "gap_excess_p50_ms": 1e3 * late_s[len(late_s) // 2], "gap_excess_p99_ms": 1e3 * late_s[int(len(late_s) * 0.99)],
    }))  # fmt: skip


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), [float(step) for step in sys.argv[5:]]))
