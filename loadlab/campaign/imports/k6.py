"""`k6 run --out json=FILE` (a point a line) and `--out csv=FILE`: the durations of HTTP requests, each stamped when it ended.

Read from the k6 documentation of both outputs. What k6 knows is HTTP: no tokens, and `http_req_waiting` ends with the first byte of the
head, not with the first token, so that TTFT stays unknown. An end-of-test summary (--summary-export) holds aggregates only.
"""

from __future__ import annotations

import csv
import datetime
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from loadlab.campaign.imports.foreign import ForeignRun, Loop, failed, json_lines, numbered, text_of
from loadlab.errors import InputError
from loadlab.record.request import Outcome, RequestRecord

_DURATION = "http_req_duration"
_LOOP = "k6 does not record its executor: with VUs (its default) it is a closed loop"
_NO_TTFT = "k6 knows no tokens: TTFT, TPOT and ITL stay unknown"
_COARSE = "CSV stamps are whole seconds (K6_CSV_TIME_FORMAT=unix_milli has more): due times are good to a second"
_AGGREGATES = "holds aggregates only, as of --summary-export; run k6 again with --out json=FILE"


def read_k6(path: Path) -> list[ForeignRun]:
    """The run of a file. Raises InputError if it is none, is damaged, or holds only aggregates."""
    notes = [_LOOP, _NO_TTFT]
    if path.suffix == ".csv":
        points = list(_csv_points(path))
        if points and all(end_s == int(end_s) for _, end_s, _, _ in points):
            notes.append(_COARSE)
    else:
        points = list(_json_points(path))
    if not points:
        raise InputError(f"holds no {_DURATION}: no HTTP request was recorded", source=str(path))
    records, began = numbered([_record(*point) for point in points])
    return [ForeignRun(name="k6", records=records, loop=Loop.UNKNOWN, began_s=began, facts={}, notes=tuple(notes))]


def _record(line: int, end_s: float, duration_s: float, tags: Mapping[str, Any]) -> RequestRecord:
    status, words = str(tags.get("status")), text_of(tags.get("error"))
    code = int(status) if status.isdigit() else 0
    start_s = end_s - duration_s
    record = RequestRecord(
        seq=line, traffic_class=text_of(tags.get("scenario")), kind="http", scheduled_s=start_s, sent_s=start_s, finished_s=end_s,
        outcome=Outcome.OK, http_status=code or None,
    )  # fmt: skip
    if words is None and 200 <= code < 400 and str(tags.get("expected_response", "true")) != "false":
        return record
    return failed(record, code or None, words)


def _json_points(path: Path) -> Iterator[tuple[int, float, float, Mapping[str, Any]]]:
    for number, row in json_lines(path):
        if "metrics" in row or "root_group" in row:
            raise InputError(_AGGREGATES, source=str(path))
        if row.get("type") not in ("Metric", "Point"):
            raise InputError(f"line {number}: is no line of `k6 run --out json` (type = {row.get('type')!r})", source=str(path))
        if row["type"] != "Point" or row.get("metric") != _DURATION:
            continue
        data = row.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("tags"), dict):
            raise InputError(f"line {number}: data has no tags", source=str(path))
        yield number, _wall_s(data.get("time"), number, path), _milliseconds(data.get("value"), number, path), data["tags"]


def _wall_s(text: Any, line: int, path: Path) -> float:
    """Seconds since 1970 of "2026-01-14T10:15:00.123456789+01:00": nanoseconds, which datetime does not read, are kept to micro."""
    try:
        return datetime.datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        raise InputError(f"line {line}: time = {text!r} is not a time", source=str(path)) from None


def _milliseconds(value: Any, line: int, path: Path) -> float:
    """Seconds of a number of milliseconds."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not (math.isfinite(found) and found >= 0):
        raise InputError(f"line {line}: value = {value!r} must be milliseconds >= 0", source=str(path))
    return found / 1000


def _csv_points(path: Path) -> Iterator[tuple[int, float, float, Mapping[str, Any]]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames is None or not {"metric_name", "timestamp", "metric_value", "status"} <= set(reader.fieldnames):
                raise InputError(
                    "line 1: is no head of `k6 run --out csv` (metric_name, timestamp, metric_value, .., status)", source=str(path)
                )
            for row in reader:
                if row["metric_name"] == _DURATION:
                    yield (
                        reader.line_num,
                        _stamp_s(row["timestamp"], reader.line_num, path),
                        _milliseconds(row["metric_value"], reader.line_num, path),
                        row,
                    )
    except UnicodeDecodeError:
        raise InputError("is not text in UTF-8", source=str(path)) from None
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot be read: {error}", source=str(path)) from None


def _stamp_s(text: str | None, line: int, path: Path) -> float:
    """Seconds, or as many digits more as K6_CSV_TIME_FORMAT asks for; or RFC 3339."""
    if text and text.isdigit():
        return float(int(text) / 1000 ** max(0, (len(text) - 10) // 3))
    return _wall_s(text, line, path)
