"""What the server bears: tokens a second of one core, memory, lateness, time to the first answer. Figures of this machine, no verdicts."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

STREAMS, TOKENS, RAMP_S = 2000, 150, 2.5
STEPS_S = [0.129 + 0.001 * i for i in range(8)]  # 250 streams each: 15,100 tokens/s; steps drift apart, as replicas' do


def cluster_file(path: Path) -> Path:
    lines = ['schema = "loadlab/cluster/1"', 'name = "eight"']
    for i, step_s in enumerate(STEPS_S):
        lines += [f"[pools.p{i}]", f'serves = ["m{i}"]', f"[pools.p{i}.hardware]", 'kind = "constants"', f"step_s = {step_s:.3f}"]
        lines += ["kv_tokens = 4000000", "context_tokens = 8192", f"[pools.p{i}.engine]", "max_running = 512", "max_batched_tokens = 8192"]
    path.write_text("\n".join(lines) + "\n")
    return path


def cpu_s(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def peak_mb(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1000


def keep_apart(server: int, client: int) -> None:
    """A core for each: a client that is woken by what it is sent would else take turns with the server on one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(server, cores[:1])
        os.sched_setaffinity(client, cores[1:])


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def first_answer(port: int) -> dict[str, Any]:
    body = json.dumps({"model": "m0", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}).encode()
    request = Request(f"http://127.0.0.1:{port}/v1/chat/completions", data=body, headers={"Content-Type": "application/json"})
    end_s = time.monotonic() + 30
    while True:
        try:
            with urlopen(request, timeout=10) as answer:
                return dict(json.load(answer))
        except URLError:
            assert time.monotonic() < end_s
            time.sleep(0.02)


def test_two_thousand_streams_over_eight_replicas(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    port = free_port()
    begin_s = time.monotonic()
    command = [sys.executable, "-m", "loadlab.cli.app", "serve", str(cluster_file(tmp_path / "eight.toml")), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        first_answer(port)
        started_s = time.monotonic() - begin_s
        before_s = cpu_s(server.pid)
        client = [sys.executable, "-m", "tests.bench.stream_client", str(port), str(STREAMS), str(TOKENS), str(RAMP_S)]
        with subprocess.Popen([*client, *map(str, STEPS_S)], stdout=subprocess.PIPE, text=True) as other:
            keep_apart(server.pid, other.pid)
            answer, _ = other.communicate(timeout=120)
        seen, used_s, memory_mb = json.loads(answer), cpu_s(server.pid) - before_s, peak_mb(server.pid)
        server.terminate()
        _, said = server.communicate(timeout=20)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    tokens = seen["tokens"]
    print(f"\nstart to first answer {started_s:.2f} s, one step of 0.13 s included")
    print(f"{tokens:,} tokens in {seen['took_s']:.1f} s; {seen['plateau_tokens_per_s']:,.0f} a second while all streams are under way")
    print(f"server: {used_s:.2f} CPU-s = {1e6 * used_s / tokens:.1f} us a token, {tokens / used_s:,.0f} tokens a CPU-second")
    print(f"memory at most {memory_mb:.0f} MB")
    print(f"client sees gaps p50 {seen['gap_excess_p50_ms']:+.2f} ms, p99 {seen['gap_excess_p99_ms']:+.2f} ms off the step")
    print(next(line for line in said.splitlines() if line.startswith("served")))
