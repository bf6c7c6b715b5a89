"""What each worker of a run keeps beside it: `workers/NAME/requests.jsonl`, and whose rows they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from loadlab.errors import InputError
from loadlab.record.request import RequestRecord
from loadlab.record.rows import read_request_chunks

WORKERS_FOLDER = "workers"
SHARE_FILE = "share.json"
SHARE_SCHEMA = "loadlab/share/1"
_ROWS = "requests.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which part of which run: chains that are `worker` modulo `workers`."""

    run_id: str
    plan_digest: str
    planned: int
    worker: int
    workers: int

    def dump(self) -> bytes:
        """The bytes of `share.json`."""
        return orjson.dumps({"schema": SHARE_SCHEMA, **asdict(self)}, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_INDENT_2)


def load_share(folder: Path) -> Share:
    """What a worker's folder says of itself. Raises InputError if it is none."""
    file = folder / SHARE_FILE
    try:
        table = orjson.loads(file.read_bytes())
        if table.pop("schema") != SHARE_SCHEMA:
            raise ValueError
        share = Share(**table)
        if not all(isinstance(getattr(share, key), int) for key in ("planned", "worker", "workers")):
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise InputError("is not the folder of a worker: its share.json is missing or damaged", source=str(file)) from None
    return share


def rows_of_share(folder: Path) -> Iterator[RequestRecord]:
    """The rows that a worker kept; a torn last line is left out. Raises InputError naming file and line."""
    return (RequestRecord.from_row(row) for rows in read_request_chunks(folder / _ROWS) for row in rows)
