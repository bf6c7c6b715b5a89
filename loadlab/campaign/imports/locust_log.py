"""A log of locust's requests as CSV, a line per request, as a listener of its `request` event writes it.

Locust itself writes aggregates only (`--csv`, `--json`: counts and rounded percentiles), from which no run can be made. The columns are the
arguments of its `request` event: start_time (seconds since 1970), name, response_time (ms), exception; others are optional.
docs/gate.md has the eight lines that write it.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from loadlab.campaign.imports.foreign import ForeignRun, Loop, failed, numbered, text_of
from loadlab.errors import InputError
from loadlab.record.request import Outcome, RequestRecord

_NEEDED = ("start_time", "name", "response_time", "exception")
_AGGREGATES = frozenset({"Request Count", "Total Request Count", "Occurrences"})
_NOTES = (
    "locust's users wait for their answers: a closed loop, unless the locustfile says otherwise",
    "locust knows no tokens: TTFT, TPOT and ITL stay unknown",
)


def read_locust(path: Path) -> list[ForeignRun]:
    """The run of a file. Raises InputError if it is none, is damaged, or holds only aggregates."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            _check_head(reader.fieldnames or (), path)
            found = [_record(row, reader.line_num, path) for row in reader]
    except UnicodeDecodeError:
        raise InputError("is not text in UTF-8", source=str(path)) from None
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from None
    if not found:
        raise InputError("holds no request", source=str(path))
    records, began = numbered(found)
    return [ForeignRun(name="locust", records=records, loop=Loop.CLOSED, began_s=began, facts={}, notes=_NOTES)]


def _check_head(head: object, path: Path) -> None:
    names = set(head) if isinstance(head, list | tuple) else set()
    if names & _AGGREGATES:
        raise InputError(
            "holds aggregates only (locust --csv): percentiles of requests that it did not keep. Log each request with a listener of the "
            "`request` event (docs/gate.md), and import that file",
            source=str(path),
        )
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise InputError(f"line 1: has no column {missing[0]}; the columns are {', '.join(_NEEDED)}", source=str(path))


def _record(row: Mapping[str, str | None], line: int, path: Path) -> RequestRecord:
    start_s, duration_s = _number(row, "start_time", line, path), _number(row, "response_time", line, path) / 1000
    words, status = text_of(row.get("exception")), row.get("status_code") or ""
    record = RequestRecord(
        seq=line, traffic_class=text_of(row.get("name")), kind="http", scheduled_s=start_s, sent_s=start_s, finished_s=start_s + duration_s,
        outcome=Outcome.OK, http_status=int(status) if status.isdigit() and 100 <= int(status) < 600 else None,
    )  # fmt: skip
    return record if words is None else failed(record, record.http_status, words)


def _number(row: Mapping[str, str | None], name: str, line: int, path: Path) -> float:
    try:
        value = float(row[name] or "")
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise InputError(f"line {line}: {name} = {row[name]!r} must be a number >= 0", source=str(path))
    return value
