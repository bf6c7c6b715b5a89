"""A plan as bytes, to hand it to another process: plain columns, nothing that could run."""

from __future__ import annotations

import io
from dataclasses import fields
from typing import Any

import numpy as np

from loadlab.scenario.plan import Labels, RequestPlan

_NAMES = "names of "


def dump_plan(plan: RequestPlan) -> bytes:
    """The plan as an uncompressed npz archive. Names of labels are columns of text."""
    columns: dict[str, np.ndarray[Any, Any]] = {}
    for field in fields(plan):
        value = getattr(plan, field.name)
        match value:
            case Labels():
                columns[field.name] = value.codes
                columns[_NAMES + field.name] = np.array(value.names, dtype=np.str_)
            case np.ndarray():
                columns[field.name] = value
            case _:
                columns[field.name] = np.array(value)
    archive = io.BytesIO()
    np.savez(archive, **columns)  # type: ignore[arg-type]
    return archive.getvalue()


def load_plan(data: bytes) -> RequestPlan:
    """The plan that `dump_plan` gave; its digest is the same. Raises ValueError if the bytes hold anything else."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        columns = {name: archive[name] for name in archive.files}
    values: dict[str, Any] = {}
    for field in fields(RequestPlan):
        column = columns[field.name]
        if _NAMES + field.name in columns:
            values[field.name] = Labels(names=tuple(map(str, columns[_NAMES + field.name])), codes=column)
        else:
            values[field.name] = column if column.ndim else column.item()
    return RequestPlan(**values)
