"""A worker's own copy of its rows: a file that only grows, written before anybody is told, in the form of `requests.jsonl`."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

from loadlab.engines.messages import Job
from loadlab.engines.records import Records
from loadlab.record.atomic_file import save_bytes
from loadlab.record.rows import encode_row
from loadlab.record.run_dir import REQUESTS_FILE
from loadlab.record.shares import SHARE_FILE, Share
from loadlab.scenario.plan import RequestPlan


class LocalRows:
    """The file of one worker's share, in a folder of its own."""

    def __init__(self, folder: Path, job: Job, plan: RequestPlan) -> None:
        """Makes the folder and says in it whose rows these are. Raises OSError, also where there is a file already."""
        folder.mkdir(parents=True, exist_ok=True)
        self._worker = job.worker
        self.error: str | None = None  # why rows are missing
        self._records = Records(plan, job.models, job.workers)
        self._fd = os.open(folder / REQUESTS_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        share = Share(run_id=job.run_id, plan_digest=plan.digest, planned=len(plan), worker=job.worker, workers=job.workers)
        save_bytes(folder / SHARE_FILE, share.dump())

    def add(self, row: tuple[Any, ...]) -> None:
        """One row, with the operating system when this returns. A disk that is full ends the copy, not the run: `error` says so."""
        if self.error is not None:
            return
        line = encode_row(self._records.build(list(row), self._worker).as_row())
        try:
            if os.write(self._fd, line) < len(line):
                self.error = os.strerror(errno.ENOSPC)
        except OSError as error:
            self.error = error.strerror or str(error)
