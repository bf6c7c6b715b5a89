"""The load generator's process as its parent holds it: started, talked to, listened to, and certainly ended."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import orjson

from loadlab.engines.messages import Job, MasterJob

MODULE = "loadlab.engines.locust_child"
END_WITHIN_S = 3.0
READ_BYTES = 2**20
WORDS_BYTES = 2000  # of its stderr, when it died
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR")


class Child:
    """One process of the load generator, in a session of its own, so that a terminal's Ctrl-C reaches only us."""

    def __init__(self) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `end`
        self._process = subprocess.Popen(  # noqa: S603  our own module
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env=_environment(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout.fileno()
        self._pending = b""
        self._is_silent = False
        self._secrets: list[str] = []

    def __enter__(self) -> Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def hand_over(self, job: Job, plan: bytes) -> None:
        """Gives the child its job. A child that is gone is noticed later, by its silence."""
        self._secrets = [secret for secret in (job.api_key, job.link and job.link.token) if secret]
        self._write(orjson.dumps({"role": "send", **dataclasses.asdict(job)}, option=orjson.OPT_APPEND_NEWLINE) + plan)

    def lead(self, job: MasterJob) -> None:
        """Makes the child a master."""
        self._secrets = [job.token]
        self._write(orjson.dumps({"role": "lead", **dataclasses.asdict(job)}, option=orjson.OPT_APPEND_NEWLINE))

    def say(self, word: bytes) -> None:
        """Sends one of the words of `messages`."""
        self._write(word)

    def _write(self, data: bytes) -> None:
        try:
            self._stdin.write(data)
            self._stdin.flush()
        except (BrokenPipeError, ValueError):
            self._is_silent = True

    def messages(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """What it said within `timeout_s`; returns at once when there is something."""
        if not self._is_silent and select.select([self._stdout], [], [], timeout_s)[0]:
            yield from self.take()

    def fileno(self) -> int:
        """Of what it says, for `select`."""
        return self._stdout

    def take(self) -> Iterator[dict[str, Any]]:
        """What it said; waits where it said nothing yet."""
        data = os.read(self._stdout, READ_BYTES)
        self._is_silent = not data
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            yield orjson.loads(line)

    @property
    def has_ended(self) -> bool:
        """True once it will never say anything again."""
        return self._is_silent

    def last_words(self) -> str:
        """How it ended, and the end of what it wrote to stderr, without the key."""
        try:
            code = self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            code = None
        how = "it does not end" if code is None else f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        self._errors.seek(max(0, self._errors.seek(0, os.SEEK_END) - WORDS_BYTES))
        words = self._errors.read().decode(errors="replace").strip()
        for secret in self._secrets:
            words = words.replace(secret, "[secret]")
        return f"{how}\n{words}" if words else how

    def end(self) -> None:
        """Closes its stdin, which ends it; kills it if that does not help."""
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        deadline_s = time.monotonic() + END_WITHIN_S
        while self._process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.005)
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()


def _environment() -> dict[str, str]:
    """Little of ours: no key, no proxy; numpy's libraries need no threads of their own there."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
