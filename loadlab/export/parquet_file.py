"""`--to parquet`: a row a request, typed, for pandas, DuckDB and Spark. Needs pyarrow: the extra `parquet`."""

from __future__ import annotations

from typing import Any, BinaryIO

import orjson

from loadlab.errors import InputError
from loadlab.export.rows import COLUMN_TYPES, Row, exported_chunks, facts_of
from loadlab.record.run_dir import RunDir

ROWS_A_GROUP = 65_536
METADATA_KEY = b"loadlab"  # which run the file is of, as JSON


def write_parquet(run: RunDir, file: BinaryIO) -> int:
    """Writes every row; returns how many. Raises InputError without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise InputError("= parquet needs pyarrow: pip install 'loadlab[parquet]'", key="--to") from None
    types = {int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string(), bool: pyarrow.bool_()}
    columns = [pyarrow.field(name, types[kind], nullable=name not in ("seq", "outcome")) for name, kind in COLUMN_TYPES.items()]
    schema = pyarrow.schema(columns, metadata={METADATA_KEY: orjson.dumps(facts_of(run))})
    count = 0
    with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for rows in _groups(run):
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
            count += len(rows)
    return count


def _groups(run: RunDir) -> Any:
    rows: list[Row] = []
    for chunk in exported_chunks(run):
        rows += chunk
        if len(rows) >= ROWS_A_GROUP:
            yield rows
            rows = []
    yield rows
