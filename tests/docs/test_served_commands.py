"""The recipe of the README that needs a server: both of its commands, as written but for the port. It takes as long as its load, 100 s."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadlab.errors import ExitCode

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```\n(loadlab serve .*)\n(loadlab run .*)\n```", re.MULTILINE)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(300):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("nobody listens")


@pytest.mark.slow
def test_an_endpoint_is_served_and_tested_as_the_readme_says(tmp_path: Path) -> None:
    ((serve, run),) = BLOCK.findall((ROOT / "README.md").read_text())
    (tmp_path / "scenarios").symlink_to(ROOT / "scenarios")
    port, environment = free_port(), os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    server = subprocess.Popen(shlex.split(serve.replace("8000", str(port))), cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        command = shlex.split(run.replace("8000", str(port)))
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(30)
    assert done.returncode in (ExitCode.OK, ExitCode.INVALID), done.stderr  # invalid where the machine was busy with other things
    assert "50" in done.stdout
    assert (tmp_path / "runs" / "real" / "report.html").exists()
