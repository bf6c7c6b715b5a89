"""Rows of a run for other tools: every column of `requests.jsonl`, and the latencies that follow from them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from loadlab.record.request import COLUMNS, Outcome, RequestRecord
from loadlab.record.run_dir import RunDir

Row = dict[str, Any]
DERIVED = ("ttft_s", "tpot_s", "e2e_s")  # of OK rows, as in every table of ours; docs/run-directory.md
_PLAIN: Mapping[str, type] = {"int": int, "float": float, "str": str, "bool": bool}


def _column_types() -> dict[str, type]:
    """Column -> int, float, str or bool, in the order of the row, then the derived ones; any but seq and outcome may be None."""
    hints = {f.name: str(f.type).partition(" ")[0] for f in fields(RequestRecord)}
    return {column: _PLAIN.get(hints[name], str) for column, name in COLUMNS.items()} | dict.fromkeys(DERIVED, float)


COLUMN_TYPES: Mapping[str, type] = _column_types()


def exported_chunks(run: RunDir) -> Iterator[list[Row]]:
    """Rows with every column of COLUMN_TYPES, some hundreds at a time, in their order. Raises InputError naming a damaged line."""
    for chunk in run.row_chunks():
        yield [{column: row.get(column) for column in COLUMNS} | derived(row) for row in chunk]


def derived(row: Mapping[str, Any]) -> dict[str, float | None]:
    """TTFT, TPOT and end to end of a row, seconds; None where it is not OK, or lacks a stamp: `analysis/latency.py`, a row at a time."""
    if row["outcome"] != Outcome.OK:
        return dict.fromkeys(DERIVED)
    due, first, last, end = (row.get(name) for name in ("scheduled_s", "first_token_s", "last_token_s", "finished_s"))
    gaps = (row.get("output_tokens") or 0) - 1
    spent = _between(first, last)
    return {"ttft_s": _between(due, first), "tpot_s": spent / gaps if spent is not None and gaps > 0 else None, "e2e_s": _between(due, end)}


def _between(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else b - a


def began_s(run: RunDir) -> float:
    """Wall time of second 0, since 1970, to the second that a manifest keeps; of a simulated run, when it was simulated."""
    return datetime.datetime.fromisoformat(run.manifest.host.t0).timestamp()


def facts_of(run: RunDir) -> dict[str, str | int | None]:
    """What a copy of the numbers must not be without: which run they are of."""
    manifest = run.manifest
    return {
        "name": manifest.name,
        "status": manifest.status.value,
        "engine": manifest.engine,
        "target": manifest.target,
        "seed": manifest.seed,
        "scenario_digest": manifest.scenario_digest,
        "plan_digest": manifest.plan_digest,
        "t0": manifest.host.t0,
        "loadlab": manifest.versions.get("loadlab"),
    }
