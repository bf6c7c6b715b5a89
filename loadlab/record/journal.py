"""A file of what ended, so that a search which was stopped goes on: a header that says which question, then a JSON line an answer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import orjson

from loadlab.errors import InputError
from loadlab.record.atomic_file import cannot_write
from loadlab.schema import shown_path

T = TypeVar("T")


class Journal(Generic[T]):
    """`found`: what earlier runs wrote, as `read` makes it of each line. Without a path it forgets.

    `study` is what is resumed ("sweep"), `row` what a line holds ("point"), `question` what the header says ("scenario, grid or seed"):
    words of the errors. Raises InputError where there is a file and `resume` is False, or none of this question and it is True.
    """

    def __init__(
        self, path: Path | None, header: Mapping[str, Any], read: Callable[[Any], T], *, resume: bool, study: str, row: str, question: str
    ) -> None:
        self._path = path
        self.found: list[T] = []
        if path is None:
            return
        line = orjson.dumps(header, option=orjson.OPT_SERIALIZE_NUMPY)
        try:
            if resume:
                self._resume(path, line, read, row, question)
                return
            if path.exists():
                raise InputError(f"exists: pass --resume to go on with the {study} in it, or another --out", source=shown_path(path))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(line + b"\n")
        except OSError as error:
            raise cannot_write(path, error) from None

    def _resume(self, path: Path, header: bytes, read: Callable[[Any], T], row: str, question: str) -> None:
        if not path.exists():
            raise InputError("does not exist, so there is nothing to resume; use --out to begin", source=shown_path(path))
        lines = path.read_bytes().split(b"\n")
        if lines[0] != header:
            raise InputError(f"line 1: was begun with another {question}; give those, or another --out", source=shown_path(path))
        whole = lines[1:-1]  # what follows the last newline was cut short by a kill
        for number, line in enumerate(whole, start=2):
            try:
                self.found.append(read(orjson.loads(line)))
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
                raise InputError(f"line {number}: is no {row} ({str(error)[:80]})", source=shown_path(path)) from None
        path.write_bytes(b"\n".join([header, *whole]) + b"\n")

    def add(self, rows: Iterable[Any]) -> None:
        """Writes rows down at once, so that a kill loses none that was added before."""
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(b"".join(orjson.dumps(row) + b"\n" for row in rows))
