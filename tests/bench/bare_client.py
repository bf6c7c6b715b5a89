"""The yardstick: the least that an asyncio client can do. Raw sockets, chunks counted and stamped, nothing kept or judged."""

from __future__ import annotations

import asyncio
import sys
import time

import orjson


class Bare(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] | None = None
        self.first_s = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        now_s = time.monotonic()
        for line in data.split(b"\r\n"):
            if line.startswith(b"data: {") and not self.first_s and b'"content"' in line:
                self.first_s = now_s
                orjson.loads(line[6:])
            elif line.startswith(b"data: {"):
                orjson.loads(line[6:])
        if data.endswith(b"0\r\n\r\n") and self.ended is not None and not self.ended.done():
            self.ended.set_result(None)


async def drive(port: int, rate_per_s: float, requests: int, tokens: int) -> list[tuple[int, float, float, float]]:
    """(seq, due, sent, first) of every request."""
    loop = asyncio.get_running_loop()
    free: list[Bare] = []
    rows = []
    text = "x" * 800
    body = orjson.dumps({"model": "null", "stream": True, "max_tokens": tokens, "messages": [{"role": "user", "content": text}]})

    async def one(seq: int, due_s: float) -> None:
        bare = free.pop() if free else (await loop.create_connection(Bare, "127.0.0.1", port))[1]
        bare.ended, bare.first_s = loop.create_future(), 0.0
        sent_s = time.monotonic()
        bare.transport.write(  # type: ignore[attr-defined]
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Request-ID: bare-%d\r\nContent-Length: %d\r\n\r\n%s"
            % (seq, len(body), body)
        )
        await bare.ended
        free.append(bare)
        rows.append((seq, due_s, sent_s, bare.first_s))

    t0_s = time.monotonic() + 0.1
    tasks = []
    for seq in range(requests):
        due_s = t0_s + seq / rate_per_s
        if (wait_s := due_s - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        tasks.append(asyncio.create_task(one(seq, due_s)))
    await asyncio.gather(*tasks)
    return rows


def main() -> None:
    """port rate requests tokens -> JSON on stdout: rows, CPU seconds, of which after imports."""
    port, rate_per_s, requests, tokens = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    rows = asyncio.run(drive(port, rate_per_s, requests, tokens))
    sys.stdout.buffer.write(orjson.dumps({"rows": rows, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    main()
