"""Measured rows as CSV or CSV.gz, and the written list of rows that are not to be scored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loadlab.errors import InputError
from loadlab.schema import shown, shown_path

ROWS_AT_MOST = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """Rows that no model can be judged by, and why. `matches`: what columns are equal to."""

    matches: dict[str, str]
    reason: str

    def holds(self, row: dict[str, Any]) -> bool:
        """Whether `row` is one of them."""
        return all(str(row.get(column, "")) == value for column, value in self.matches.items())


# Each with its reason, none in silence: they count as unpredicted, under that reason.
EXCLUSIONS = (
    Exclusion(
        matches={"model": "nvidia/Llama-3.1-8B-Instruct-FP8", "engine": "vllm"},
        reason="excluded: rows of this source have about half the TPOT that reading the weights takes elsewhere, or twice the throughput",
    ),
)


def exclusion_of(row: dict[str, Any]) -> str | None:
    """Why `row` is not scored, or None."""
    return next((exclusion.reason for exclusion in EXCLUSIONS if exclusion.holds(row)), None)


def read_rows(path: Path, required: tuple[str, ...]) -> list[dict[str, Any]]:
    """The rows of a CSV or CSV.gz. Raises InputError if it cannot be read or lacks a column."""
    import pandas as pd

    source = shown_path(path)
    try:
        table = pd.read_csv(path, nrows=ROWS_AT_MOST + 1, low_memory=False)
    except FileNotFoundError:
        raise InputError("does not exist", source=source) from None
    except (OSError, EOFError, ValueError) as error:  # pandas' own errors are ValueErrors
        raise InputError(f"cannot be read as CSV: {str(error).splitlines()[0][:200]}", source=source) from None
    if len(table) > ROWS_AT_MOST:
        raise InputError(f"has more than {ROWS_AT_MOST:,} rows; split it", source=source)
    table.columns = table.columns.str.strip()
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise InputError(f"lacks the column {missing[0]}; it needs {', '.join(required)}", source=source)
    if table.empty:
        raise InputError("has no rows", source=source)
    return table.to_dict("records")  # type: ignore[return-value]


def text(row: dict[str, Any], column: str, default: str = "") -> str:
    """What stands in a cell; `default` for an empty one."""
    value = row.get(column)
    return default if _is_blank(value) else str(value).strip()


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or (isinstance(value, str) and not value.strip())


def number(row: dict[str, Any], column: str, default: float | None = None) -> float:
    """A positive number of a row. Raises ValueError naming column and value; an empty cell is `default`, if there is one."""
    value = row.get(column)
    if _is_blank(value):
        if default is not None:
            return default
        raise ValueError(f"{column} is empty")
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ValueError(f"{column} = {shown(value)} is not a number") from None
    if not math.isfinite(found) or found <= 0:
        raise ValueError(f"{column} = {shown(value)} must be above 0")
    return found


def has_number(row: dict[str, Any], column: str) -> bool:
    """Whether a row has a positive number there."""
    try:
        return number(row, column) > 0
    except ValueError:
        return False
