"""A run directory: manifest, one row per planned request, and what the server was seen to do. Append-only until finalised.

A kill at any moment after `create` leaves a directory that `open` reads: manifest and summary are replaced whole, rows are
appended, and a last line that was torn is left out.
"""

from __future__ import annotations

import datetime
import mmap
import os
import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from loadlab.errors import ExitCode, InputError, LoadlabError
from loadlab.record.atomic_file import cannot_write, save_bytes
from loadlab.record.client import ClientFacts
from loadlab.record.manifest import MANIFEST_FILE, Manifest, Status, load_manifest, save_manifest
from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.record.rows import Columns, Row, encode_row, read_request_chunks, read_request_columns, read_timeline_chunks
from loadlab.record.shares import WORKERS_FOLDER

T = TypeVar("T")
REQUESTS_FILE, TIMELINE_FILE, SUMMARY_FILE, REPORT_FILE = "requests.jsonl", "server.jsonl", "summary.json", "report.html"
MARKDOWN_FILE, FIGURES = "report.md", "figures"
OUR_FILES = frozenset({MANIFEST_FILE, REQUESTS_FILE, TIMELINE_FILE, SUMMARY_FILE, REPORT_FILE, MARKDOWN_FILE})
_SCRATCH = frozenset({f".{name}.new" for name in OUR_FILES})
_BUFFER_BYTES = 2**18
_FLUSH_ROWS = 1024
_SORTED_AT_ONCE = 65536  # rows


class RecordingFailedError(LoadlabError):
    """Rows could not be written in mid-run: disk full, or the directory went away. What was written stays."""

    exit_code = ExitCode.INCOMPLETE


class RunDir:
    """One run on disk. `create` to write it, `open` to read it; both give the same object.

    Invariant: `requests.jsonl` holds whole rows, each once; after `finalise` exactly one per planned request, by seq.
    """

    def __init__(self, path: Path, manifest: Manifest, *, is_indexed: bool, torn_tail: bool = False) -> None:
        """Use `create` or `open`. `torn_tail`: the last line of `requests.jsonl` has no end, and is left out of `rows`."""
        self.path = path
        self.manifest = manifest
        self.torn_tail = torn_tail
        self._files: dict[str, BinaryIO] = {}
        self._is_indexed = is_indexed
        self._seqs: array[int] = array("q")  # of the rows in the file, in its order
        self._sizes: array[int] = array("q")  # bytes of their lines
        self._has_unknown = False

    @classmethod
    def create(cls, path: Path, manifest: Manifest, *, replace: bool = False) -> RunDir:
        """A new run directory with `manifest.json` and no rows; parents are made.

        `replace` removes what an earlier run of loadlab left there (for a resumed campaign). Raises InputError if the folder
        holds anything else, or cannot be written; then nothing was touched.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            _make_room(path, replace)
            save_manifest(path, manifest)
            (path / REQUESTS_FILE).open("xb").close()
        except FileExistsError:
            raise _exists(path) from None
        except OSError as error:
            raise cannot_write(path, error) from None
        return cls(path, manifest, is_indexed=True)

    @classmethod
    def open(cls, path: Path) -> RunDir:
        """An existing run directory. Raises InputError if it is none, is damaged, or is of a later major version."""
        return cls(path, load_manifest(path), is_indexed=False, torn_tail=_is_torn(path / REQUESTS_FILE))

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def append(self, records: Iterable[RequestRecord]) -> None:
        """Adds rows, in any order of seq. They reach the file some thousands at a time; `flush` hurries them."""
        self.append_rows(record.as_row() for record in records)

    def append_rows(self, rows: Iterable[Row]) -> None:
        """The same for whoever makes a row as `RequestRecord.as_row` does, without the record."""
        self._index_file()
        remaining = iter(rows)
        while batch := list(islice(remaining, _FLUSH_ROWS)):
            lines = [encode_row(row) for row in batch]
            self._write(REQUESTS_FILE, lines)
            self._seqs.extend([int(row["seq"]) for row in batch])
            self._sizes.extend(map(len, lines))
            self._has_unknown |= any(row["outcome"] == Outcome.UNKNOWN for row in batch)

    def append_timeline(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Adds rows to `server.jsonl`: one per replica and time bin (columns in docs/run-directory.md)."""
        self._write(TIMELINE_FILE, map(encode_row, rows))

    def note_client(self, facts: ClientFacts, wall_s: float | None) -> None:
        """Keeps what the load generator says of itself; the manifest is written with it by `finalise`."""
        t0 = None if wall_s is None else datetime.datetime.fromtimestamp(wall_s, datetime.UTC).isoformat(timespec="milliseconds")
        self.manifest = self.manifest.with_client(asdict(facts), t0)

    def _write(self, name: str, lines: Iterable[bytes]) -> None:
        try:
            if name not in self._files:
                self._files[name] = (self.path / name).open("ab", buffering=_BUFFER_BYTES)
            self._files[name].writelines(lines)
        except OSError as error:
            raise _recording_failed(self.path / name, error) from None

    def flush(self) -> None:
        """Hands every row appended so far to the operating system."""
        for name, file in self._files.items():
            try:
                file.flush()
            except OSError as error:
                raise _recording_failed(self.path / name, error) from None

    def close(self) -> None:
        """Flushes and closes the files; the status stays as it is."""
        while self._files:
            name, file = self._files.popitem()
            try:
                file.close()
            except OSError as error:
                raise _recording_failed(self.path / name, error) from None

    def finalise(self, planned: int, *, interrupted: bool = False, incomplete: bool = False) -> Manifest:
        """Completes the rows to one per planned request, sorts them by seq, and writes the final status.

        A seq of range(planned) without a row becomes NOT_SENT (cause STOPPED) and the status `aborted` if `interrupted`,
        else UNKNOWN (cause LOST) and `incomplete`, which it is too where the caller says so.
        Works on a directory just written, or on one that was killed and opened.
        Raises InputError if a seq is there twice or lies outside range(planned).
        """
        self.close()
        path = self.path / REQUESTS_FILE
        if path.exists() and path.stat().st_size != sum(self._sizes):
            self._is_indexed = False  # an interrupt fell between writing rows and noting them
        self._index_file()
        self.append(_stand_ins(self._missing(planned), interrupted=interrupted))
        self.close()
        seqs = np.frombuffer(self._seqs, dtype=np.int64) if self._seqs else np.empty(0, dtype=np.int64)
        if np.any(seqs[1:] < seqs[:-1]):
            _rewrite_sorted(path, seqs, np.frombuffer(self._sizes, dtype=np.int64))
        self._seqs, self._sizes, self._is_indexed = array("q"), array("q"), False  # 16 bytes a row that nobody needs from here on
        finished = Status.INCOMPLETE if self._has_unknown or incomplete else Status.COMPLETE
        self.manifest = self.manifest.with_status(Status.ABORTED if interrupted else finished)
        save_manifest(self.path, self.manifest)
        return self.manifest

    def _index_file(self) -> None:
        """Takes seqs and line sizes from the file, cutting off a torn tail: once, for a directory that was opened."""
        if self._is_indexed:
            return
        self._is_indexed = True
        self._seqs, self._sizes = array("q"), array("q")
        path = self.path / REQUESTS_FILE
        for rows in read_request_chunks(path):
            self._seqs.extend(row["seq"] for row in rows)
            self._has_unknown |= any(row["outcome"] == Outcome.UNKNOWN for row in rows)
        if not path.exists():  # killed before the first row
            return
        with path.open("rb+") as file:
            self._sizes.extend(len(line) for line in file if line.endswith(b"\n"))
            file.truncate(sum(self._sizes))
        self.torn_tail = False

    def _missing(self, planned: int) -> NDArray[np.int64]:
        """Seqs of range(planned) without a row, ascending."""
        seqs = np.array(self._seqs, dtype=np.int64)
        source = str(self.path / REQUESTS_FILE)
        outside = seqs[(seqs < 0) | (seqs >= planned)]
        if len(outside):
            raise InputError(f"seq {outside[0]} is not in the plan of {planned} requests", source=source)
        counts = np.bincount(seqs, minlength=planned)
        if np.any(counts > 1):
            raise InputError(f"seq {int(np.argmax(counts > 1))} is there twice", source=source)
        return np.flatnonzero(counts == 0)

    def rows(self) -> Iterator[RequestRecord]:
        """Every row, in the order of the file. Raises InputError naming file and line."""
        return (RequestRecord.from_row(row) for rows in self.row_chunks() for row in rows)

    def row_chunks(self) -> Iterator[list[Row]]:
        """The same rows as plain tables, some hundreds at a time."""
        self.flush()
        return self._whole(read_request_chunks(self.path / REQUESTS_FILE), len)

    def column_chunks(self) -> Iterator[Columns]:
        """The same rows as columns, some hundreds at a time: the fast way for whoever wants arrays."""
        self.flush()
        return self._whole(read_request_columns(self.path / REQUESTS_FILE), lambda columns: len(columns["seq"]))

    def _whole(self, chunks: Iterator[T], size: Callable[[T], int]) -> Iterator[T]:
        """The chunks; then InputError if a run that had completed has lost rows since, or gained some."""
        count, planned = 0, self.manifest.planned
        for chunk in chunks:
            count += size(chunk)
            yield chunk
        if self.manifest.status is not Status.COMPLETE or count == planned:
            return
        ends = f"line {count + 1} has no end" if self.torn_tail else f"line {count} is the last" if count else "holds no row"
        what = f"{ends}: the file was cut off" if count < planned else f"holds {count:,} rows: the file was changed"
        raise InputError(f"{what} after the run had completed with {planned:,}", source=str(self.path / REQUESTS_FILE))

    def timeline(self) -> Iterator[Row]:
        """Every row of `server.jsonl`; none if nothing was recorded."""
        self.flush()
        return (row for rows in read_timeline_chunks(self.path / TIMELINE_FILE) for row in rows)

    def save_summary(self, summary: bytes) -> None:
        """Writes `summary.json`, whole or not at all."""
        save_bytes(self.path / SUMMARY_FILE, summary)


def _make_room(path: Path, replace: bool) -> None:
    """Empties the folder of loadlab's own files if asked; FileExistsError if anything would stay."""
    present = {entry.name for entry in path.iterdir()}
    if not replace and present:
        raise FileExistsError
    foreign = present - OUR_FILES - _SCRATCH - {f".{REQUESTS_FILE}.sorted", "figures", WORKERS_FOLDER}
    if foreign:
        raise InputError(f"holds {sorted(foreign)[0]!r}, which is not loadlab's; choose another --out", source=str(path))
    for name in sorted(present - {"figures", WORKERS_FOLDER}, key=lambda name: name != MANIFEST_FILE):
        (path / name).unlink()
    shutil.rmtree(path / WORKERS_FOLDER, ignore_errors=True)


def _exists(path: Path) -> InputError:
    if path.is_file():
        return InputError("exists and is a file; choose another --out", source=str(path))
    return InputError("exists and is not empty; choose another --out: a run is made anew, only a campaign can be resumed", source=str(path))


def _recording_failed(path: Path, error: OSError) -> RecordingFailedError:
    return RecordingFailedError(f"{path}: cannot be written: {error.strerror or os.strerror(error.errno or 0)}. Rows up to here are kept")


def _is_torn(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return False
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:
        return False  # absent: killed before the first row. Unreadable: said when rows are asked for


def _stand_ins(seqs: NDArray[np.int64], *, interrupted: bool) -> Iterator[RequestRecord]:
    outcome, cause = (Outcome.NOT_SENT, Cause.STOPPED) if interrupted else (Outcome.UNKNOWN, Cause.LOST)
    return (RequestRecord(seq=int(seq), outcome=outcome, cause=cause) for seq in seqs)


def _rewrite_sorted(path: Path, seqs: NDArray[np.int64], sizes: NDArray[np.int64]) -> None:
    """Puts the lines in order of seq through a sibling and a rename; some 32 bytes of memory a row, whatever the file's size."""
    starts = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    sibling = path.with_name(f".{path.name}.sorted")
    try:
        with path.open("rb") as old, sibling.open("wb", buffering=_BUFFER_BYTES) as new:
            lines = mmap.mmap(old.fileno(), 0, access=mmap.ACCESS_READ)
            order = np.argsort(seqs, kind="stable")
            for part in np.array_split(order, -(-len(order) // _SORTED_AT_ONCE)):
                ends = (starts[part] + sizes[part]).tolist()
                new.writelines([lines[start:end] for start, end in zip(starts[part].tolist(), ends, strict=True)])
                lines.madvise(mmap.MADV_DONTNEED)  # else the whole file counts as our memory in the end
            lines.close()
        sibling.replace(path)
    except OSError as error:
        raise _recording_failed(path, error) from None
