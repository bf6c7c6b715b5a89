"""Reads back what a capacity study left, for what counts with it: one reader, so that break-even and fleets refuse the same files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from loadlab.errors import InputError
from loadlab.report.capacity import SCHEMA
from loadlab.schema import check_schema, shown_path


def read_study(file: Path) -> dict[str, Any]:
    """A study's capacity.json. Raises InputError where it cannot be read, is no such file, or is of a version that is not known here."""
    source = shown_path(file)
    try:
        study = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise InputError(f"line {error.lineno}: is not JSON ({error.msg})", source=source) from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=source) from None
    if not isinstance(study, dict) or "schema" not in study:
        raise InputError(f"is not the result of a capacity study (schema = {SCHEMA!r})", source=source)
    check_schema(dict(study), SCHEMA, source)
    return study
