"""What every importer gives: the requests that another tool recorded, and what it does not say. JSON with file and line in errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from loadlab.analysis.latency import rank_of
from loadlab.errors import InputError
from loadlab.record.request import OUTCOME_OF, Cause, Outcome, RequestRecord
from loadlab.wire.outcomes import ServerError, cause_of, plain_words

MAX_BYTES = 4 * 2**30  # of a file that is read whole; JSON lines and CSV are not


class Loop(StrEnum):
    """How the other tool decided when to send."""

    OPEN = "open_loop"  # by the clock
    CLOSED = "closed_loop"  # when an earlier answer came: a slow server was asked less, so that its latencies look better than they were
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRun:
    """One run of another tool, as rows in the order sent, seconds since the first was due."""

    name: str
    records: tuple[RequestRecord, ...]
    loop: Loop
    target: str = "unknown"
    began_s: float | None = None  # wall time of second 0, seconds since 1970
    version: str | None = None
    facts: Mapping[str, Any]  # what the tool says of how it was run
    notes: tuple[str, ...] = ()  # what is not known, or only about


def load_json(path: Path) -> Any:
    """The value of a JSON file. Raises InputError naming file and line."""
    data = read_bytes(path)
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        cut = " (the file ends early: was it cut off?)" if error.pos >= len(data.rstrip()) else ""
        raise InputError(f"line {error.lineno}: is not JSON ({error.msg}){cut}", source=str(path)) from None


def read_bytes(path: Path) -> bytes:
    """The bytes of a file. Raises InputError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"is larger than {MAX_BYTES // 2**30} GiB", source=str(path))
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=str(path)) from None


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number from 1, object) of each line that is not empty. Raises InputError naming file and line."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    value = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    cut = "" if line.endswith(b"\n") else "; the file ends in it: was it cut off?"
                    raise InputError(f"line {number}: is not JSON ({error.msg}){cut}", source=str(path)) from None
                if not isinstance(value, dict):
                    raise InputError(f"line {number}: is not a JSON object", source=str(path))
                yield number, value
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=str(path)) from None


def number_at(table: Mapping[str, Any], key: str, where: str, path: Path) -> float | None:
    """A finite number >= 0 of a table, or None where it is absent or null. Raises InputError naming file and key."""
    value = table.get(key)
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise InputError(f"= {value!r} must be a number >= 0", source=str(path), key=f"{where}.{key}" if where else key)
    return float(value)


def whole(value: float | None) -> int | None:
    """A count of tokens; None of None."""
    return None if value is None else round(value)


def text_of(value: Any) -> str | None:
    """A stranger's text, without control characters and capped; None of anything else, and of nothing."""
    return plain_words(value) if isinstance(value, str) and value.strip() else None


def cause_of_failure(status: int | None, words: str | None) -> Cause | None:
    """What kind of failure it was, by status and words; None where neither says."""
    said = (words or "").lower()
    if status is not None and status >= 300:
        return cause_of(status, ServerError(message=words or ""))
    for cause, marks in _WORDS.items():
        if any(mark in said for mark in marks):
            return cause
    return None


_WORDS: Mapping[Cause, tuple[str, ...]] = {
    Cause.DEADLINE: ("timeout", "timed out", "deadline"),
    Cause.REFUSED: ("connection refused", "cannot connect", "connectionrefused"),
    Cause.RESET: ("connection reset", "disconnected", "broken pipe", "connection aborted", "eof"),
    Cause.DNS: ("name or service not known", "no such host", "getaddrinfo", "nameresolution"),
    Cause.TLS: ("ssl", "tls", "certificate"),
}


def failed(record: RequestRecord, status: int | None, words: str | None) -> RequestRecord:
    """The record of a request that the other tool counts as failed; UNKNOWN, cause LOST, where nothing says how."""
    cause = cause_of_failure(status, words)
    outcome = Outcome.UNKNOWN if cause is None else OUTCOME_OF[cause]
    known = Cause.LOST if cause is None else cause
    return replace(record, outcome=outcome, cause=known, http_status=status, error=words)


def numbered(records: Sequence[RequestRecord]) -> tuple[tuple[RequestRecord, ...], float | None]:
    """Records with wall times, in the order due, on a clock whose second 0 is when the first was due; and that second's wall time."""
    times = [record.scheduled_s for record in records if record.scheduled_s is not None]
    zero = min(times, default=0.0)
    ordered = sorted(records, key=lambda record: math.inf if record.scheduled_s is None else record.scheduled_s)

    def since(t: float | None) -> float | None:
        return None if t is None else max(0.0, t - zero)

    shifted = tuple(
        replace(
            record,
            seq=seq,
            scheduled_s=since(record.scheduled_s),
            sent_s=since(record.sent_s),
            first_token_s=since(record.first_token_s),
            last_token_s=since(record.last_token_s),
            finished_s=since(record.finished_s),
        )
        for seq, record in enumerate(ordered)
    )
    return shifted, zero if times else None


def with_gaps(record: RequestRecord, gaps_s: Sequence[float]) -> RequestRecord:
    """The record with quantiles of its gaps between tokens or chunks: order statistics ceil(p n), as the simulator's."""
    if not gaps_s:
        return record
    ordered, n = np.sort(np.asarray(gaps_s, dtype=np.float64)), len(gaps_s)
    p50, p95, p99 = (float(ordered[rank_of(p, n) - 1]) for p in (0.50, 0.95, 0.99))
    return replace(record, itl_p50_s=p50, itl_p95_s=p95, itl_p99_s=p99, itl_max_s=float(ordered[-1]))
