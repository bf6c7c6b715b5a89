"""A master and its workers as one load generator: the parent's end of all the processes that are its own."""

from __future__ import annotations

import select
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from loadlab.engines.child_process import Child
from loadlab.engines.messages import AWAY, CLOSE, JOINED, LISTENING, LOST, REFUSED, ROGUES, STARTED, Job, Link, MasterJob
from loadlab.engines.spread import LOOPBACK, Spread
from loadlab.record.shares import SHARE_FILE

LISTENS_WITHIN_S = 60.0
_OF_THE_MASTER = frozenset({LISTENING, STARTED, AWAY, ROGUES})


class Crew:
    """Speaks as `Child` does; what a worker said carries its number. Workers that are not ours join by themselves."""

    def __init__(self, spread: Spread, job: Job, plan: bytes, master: MasterJob, folder: Path | None) -> None:
        """Starts the master, and the workers if they are to run here. `folder`: where workers keep their rows; None: nowhere lasting."""
        self.workers = spread.workers
        self.port, self.web_port = 0, master.web_port
        self.rogues = {"refused": 0, "malformed": 0}
        self._scratch = Path(tempfile.mkdtemp(prefix="loadlab-")) if folder is None else None
        self._folder = folder if self._scratch is None else self._scratch
        self._locals: dict[str, Child] = {}
        self._names: dict[int, str] = {}  # by number
        self._ended: set[str] = set()
        self._master = Child()
        try:
            self._master.lead(master)
            self._await_port()
            if spread.bind_host is None:
                self._start_workers(job, plan, master)
        except BaseException:
            self.end()
            raise

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()

    def _await_port(self) -> None:
        from loadlab.engines.base import RunStoppedError
        from loadlab.errors import ExitCode

        deadline_s = time.monotonic() + LISTENS_WITHIN_S
        while self.port == 0:
            for message in self._master.messages(0.25):
                if message["kind"] == LISTENING:
                    self.port, self.web_port = message["port"], message["web_port"]
                elif message["kind"] == REFUSED:
                    raise RunStoppedError(message["reason"], ExitCode.BAD_INPUT)
            if self._master.has_ended or time.monotonic() > deadline_s:
                raise RunStoppedError(f"the master did not begin: {self._master.last_words()}", ExitCode.INCOMPLETE)

    def _start_workers(self, job: Job, plan: bytes, master: MasterJob) -> None:
        for k in range(self.workers):
            name = f"worker-{k}"
            link = Link(
                host=LOOPBACK,
                port=self.port,
                token=master.token,
                name=name,
                folder=str(self._folder_of(name)),
                version=master.version,
                join_within_s=LISTENS_WITHIN_S,
            )
            self._locals[name] = Child()
            self._locals[name].hand_over(replace(job, link=link), plan)

    def _folder_of(self, name: str) -> Path:
        assert self._folder is not None
        return self._folder / name

    def say(self, word: bytes) -> None:
        """To all workers, through the master."""
        self._master.say(word)

    def messages(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """What anybody said within `timeout_s`. A worker of ours whose process ended is LOST at once."""
        living = [child for child in (self._master, *self._locals.values()) if not child.has_ended]
        heard = select.select(living, [], [], timeout_s)[0] if living else []
        if self._master in heard:
            for message in self._master.take():
                if message["kind"] == JOINED:
                    self._names[message["worker"]] = message["name"]
                if message["kind"] == ROGUES:
                    self.rogues = {key: message[key] for key in self.rogues}
                yield message
        for name, child in self._locals.items():
            if child in heard:
                yield from self._words_of(name, child)

    def _words_of(self, name: str, child: Child) -> Iterator[dict[str, Any]]:
        """A worker of ours tells us nothing that the master does not tell, but that it cannot join, and its end."""
        number = next((k for k, known in self._names.items() if known == name), None)
        for message in child.take():
            if message["kind"] == REFUSED and number is None:
                yield message
        if child.has_ended and name not in self._ended:
            self._ended.add(name)
            yield {"kind": LOST, "worker": number, "reason": f"its process ended: {child.last_words()}", "is_dead": True}

    @property
    def has_ended(self) -> bool:
        """True once the master will never say anything again."""
        return self._master.has_ended

    def last_words(self) -> str:
        """Of the master."""
        return self._master.last_words()

    def folder_of(self, worker: int) -> Path | None:
        """Where a worker on this machine keeps its rows; None if it is elsewhere, or never began."""
        if worker not in self._names or self._names[worker] not in self._locals:
            return None
        folder = self._folder_of(self._names[worker])
        return folder if (folder / SHARE_FILE).exists() else None

    def close(self) -> None:
        """Lets the workers go; afterwards `rogues` is what the master counted."""
        self._master.say(CLOSE)
        deadline_s = time.monotonic() + 3.0
        while not self._master.has_ended and time.monotonic() < deadline_s:
            for message in self._master.messages(0.1):
                if message["kind"] == ROGUES:
                    self.rogues = {key: message[key] for key in self.rogues}

    def end(self) -> None:
        """Ends every process of ours."""
        for child in (*self._locals.values(), self._master):
            child.end()
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
