"""`--to csv`: a row a request, for spreadsheets and R. RFC 4180, UTF-8, an empty cell for what is not known."""

from __future__ import annotations

import csv
from io import TextIOWrapper
from typing import Any, BinaryIO

from loadlab.export.rows import COLUMN_TYPES, exported_chunks
from loadlab.record.run_dir import RunDir

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would evaluate (OWASP, CSV injection)


def write_csv(run: RunDir, file: BinaryIO) -> int:
    """Writes every row, with a head; returns how many. A text that a spreadsheet would take for a formula begins with an apostrophe."""
    count, text = 0, TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMN_TYPES)
    for chunk in exported_chunks(run):
        writer.writerows([_cell(row[column]) for column in COLUMN_TYPES] for row in chunk)
        count += len(chunk)
    text.flush()
    text.detach()
    return count


def _cell(value: Any) -> Any:
    match value:
        case str():
            return f"'{value}" if value.startswith(_FORMULA) else value
        case bool():
            return "true" if value else "false"
        case _:
            return value
