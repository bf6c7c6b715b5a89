"""plan.jsonl: a header that says which question, then a line for each search that ended, so that an interrupted `plan` goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from loadlab.errors import InputError
from loadlab.planning.levels import Level
from loadlab.planning.plan_search import Edge, Found, Seen
from loadlab.record.atomic_file import cannot_write
from loadlab.schema import shown_path

JOURNAL = "plan.jsonl"
SCHEMA = "loadlab/plan-searches/1"


class Journal:
    """What was searched. Without a folder it forgets."""

    def __init__(self, out: Path | None, header: dict[str, Any], *, resume: bool = False) -> None:
        """Raises InputError where there is a journal and `resume` is False, or none of this question and it is True."""
        self._path = None if out is None else out / JOURNAL
        self._known: dict[tuple[str, str], Found] = {}
        if self._path is None:
            return
        line = orjson.dumps({"schema": SCHEMA, **header}, option=orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY)
        try:
            if resume:
                self._read(self._path, line)
                return
            if self._path.exists():
                raise InputError("exists: pass --resume to go on with the plan in it, or another --out", source=shown_path(self._path))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.write_bytes(line + b"\n")
        except OSError as error:
            raise cannot_write(self._path, error) from None

    def _read(self, path: Path, header: bytes) -> None:
        if not path.exists():
            raise InputError("does not exist, so there is nothing to resume; use --out to begin", source=shown_path(path))
        lines = path.read_bytes().split(b"\n")
        if lines[0] != header:
            raise InputError("line 1: was begun with another question; give the same flags, or another --out", source=shown_path(path))
        whole = lines[1:-1]  # what follows the last newline was cut short by a kill
        for number, line in enumerate(whole, start=2):
            try:
                row = orjson.loads(line)
                self._known[row["stage"], row["name"]] = _found(row)
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise InputError(f"line {number}: is no search ({str(error)[:80]})", source=shown_path(path)) from None
        path.write_bytes(b"\n".join([header, *whole]) + b"\n")

    def known(self, stage: str, name: str) -> Found | None:
        """What the search of that stage found, if it ended before."""
        return self._known.get((stage, name))

    def add(self, stage: str, found: Sequence[tuple[str, Found]]) -> None:
        """Writes searches down, by name."""
        if self._path is not None:
            lines = [orjson.dumps({"stage": stage, "name": name, **asdict(one)}) + b"\n" for name, one in found]
            with self._path.open("ab") as file:
                file.write(b"".join(lines))


def _found(row: dict[str, Any]) -> Found:
    idle = None if row["idle"] is None else _seen(row["idle"])
    return Found(replicas=row["replicas"], looks=tuple(_seen(look) for look in row["looks"]), requests=row["requests"], idle=idle)


def _seen(row: dict[str, Any]) -> Seen:
    return Seen(replicas=row["replicas"], median=_edge(row["median"]), edge=_edge(row["edge"]))


def _edge(row: dict[str, Any]) -> Edge:
    return Edge(**{**row, "level": Level(**row["level"])})
