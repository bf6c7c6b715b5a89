"""Rows that a worker kept in its own file, brought into the run that lost them."""

from __future__ import annotations

from pathlib import Path

from loadlab.errors import InputError
from loadlab.record.atomic_file import cannot_write
from loadlab.record.manifest import Status
from loadlab.record.request import Cause, RequestRecord
from loadlab.record.rows import encode_row
from loadlab.record.run_dir import REQUESTS_FILE, RunDir
from loadlab.record.shares import Share, load_share, rows_of_share

_GUESSED = frozenset({Cause.LOST, Cause.STOPPED})  # what a run says of a request of which it was told nothing


def merge_share(run: RunDir, folder: Path) -> tuple[int, int]:
    """(rows that the run had not, rows in the worker's file). The run's status stays `incomplete`: its load was not the plan's.

    Only what the run guessed (`lost`, `stopped`) is replaced; merging twice changes nothing. A run that was killed is finalised.
    Raises InputError if the folder is not of this run, or damaged.
    """
    share = load_share(folder)
    _check(run, share, folder)
    if run.manifest.status is Status.RUNNING:
        run.finalise(run.manifest.planned)
    kept = {record.seq: record for record in rows_of_share(folder)}
    if outside := [seq for seq, record in kept.items() if record.worker != share.worker or not seq < share.planned]:
        raise InputError(f"row {outside[0]} is not of worker {share.worker}", source=str(folder))
    sibling, rescued = run.path / f".{REQUESTS_FILE}.sorted", 0
    try:
        with sibling.open("wb") as new:
            for record in run.rows():
                better = kept.get(record.seq) if record.cause in _GUESSED else None
                rescued += better is not None
                new.write(encode_row(_whole(record, better).as_row()))
        sibling.replace(run.path / REQUESTS_FILE)
    except OSError as error:
        raise cannot_write(run.path, error) from None
    return rescued, len(kept)


def _whole(record: RequestRecord, better: RequestRecord | None) -> RequestRecord:
    return record if better is None else better


def _check(run: RunDir, share: Share, folder: Path) -> None:
    """Raises InputError unless the share is of this very run."""
    if share.plan_digest != run.manifest.plan_digest or share.planned != run.manifest.planned:
        raise InputError("is of another plan than the run", source=str(folder))
    run_id = (run.manifest.client or {}).get("run_id")
    is_inside = folder.resolve().is_relative_to(run.path.resolve())
    if share.run_id != run_id and not (run_id is None and is_inside):
        raise InputError(
            f"is of run {share.run_id}, not of {run_id or 'this one, which was killed before it could say its own'}", source=str(folder)
        )
