"""Which format is written by whom, and whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from loadlab.errors import InputError
from loadlab.export.csv_file import write_csv
from loadlab.export.guidellm_file import write_guidellm
from loadlab.export.otlp_file import write_otlp
from loadlab.export.parquet_file import write_parquet
from loadlab.export.prometheus_file import write_prometheus
from loadlab.record.run_dir import RunDir


class FileFormat(StrEnum):
    """A format that becomes one file. (MLflow has a store: `mlflow_run.py`.)"""

    CSV = "csv"
    PARQUET = "parquet"
    PROMETHEUS = "prometheus"
    OTLP = "otlp"
    GUIDELLM = "guidellm"


ENDINGS: Mapping[FileFormat, str] = {
    FileFormat.CSV: ".csv",
    FileFormat.PARQUET: ".parquet",
    FileFormat.PROMETHEUS: ".prom",
    FileFormat.OTLP: ".otlp.jsonl",
    FileFormat.GUIDELLM: ".guidellm.json",
}
_WRITERS: Mapping[FileFormat, Callable[[RunDir, BinaryIO], int]] = {
    FileFormat.CSV: write_csv,
    FileFormat.PARQUET: write_parquet,
    FileFormat.PROMETHEUS: write_prometheus,
    FileFormat.OTLP: write_otlp,
    FileFormat.GUIDELLM: write_guidellm,
}


def write_to(file: BinaryIO, run: RunDir, kind: FileFormat) -> int:
    """Writes the run to an open file; returns how many requests. Raises InputError on damaged rows, or a library that is missing."""
    return _WRITERS[kind](run, file)


def export_file(run: RunDir, kind: FileFormat, out: Path, *, force: bool = False) -> int:
    """Writes `out`, which appears when it is whole; returns how many requests. Raises InputError if it exists, unless `force`."""
    if out.exists() and not force:
        raise InputError("exists; --force replaces it", source=str(out))
    part = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            count = write_to(file, run, kind)
            file.flush()
            os.fsync(file.fileno())
        part.replace(out)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", source=str(out)) from None
    finally:
        part.unlink(missing_ok=True)
    return count
