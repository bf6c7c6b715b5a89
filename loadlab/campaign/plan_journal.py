"""plan.jsonl: a header that says which question, then a line for each search that ended, so that an interrupted `plan` goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loadlab.planning.levels import Level
from loadlab.planning.plan_search import Edge, Found, Seen
from loadlab.record.journal import Journal

JOURNAL = "plan.jsonl"
SCHEMA = "loadlab/plan-searches/1"


class Searches:
    """plan.jsonl: what was searched, by stage and name. Without a folder it forgets."""

    def __init__(self, out: Path | None, header: dict[str, Any], *, resume: bool = False) -> None:
        """Raises InputError where there is a journal and `resume` is False, or none of this question and it is True."""
        self._journal = Journal(
            None if out is None else out / JOURNAL, {"schema": SCHEMA, **header}, lambda row: ((row["stage"], row["name"]), _found(row)),
            resume=resume, study="plan", row="search", question="question: scenario, model, cluster, GPUs, prices, SLO or seed",
        )  # fmt: skip
        self._known: dict[tuple[str, str], Found] = dict(self._journal.found)

    def known(self, stage: str, name: str) -> Found | None:
        """What the search of that stage found, if it ended before."""
        return self._known.get((stage, name))

    def add(self, stage: str, found: Sequence[tuple[str, Found]]) -> None:
        """Writes searches down, by name."""
        self._journal.add({"stage": stage, "name": name, **asdict(one)} for name, one in found)


def _found(row: dict[str, Any]) -> Found:
    idle = None if row["idle"] is None else _seen(row["idle"])
    return Found(replicas=row["replicas"], looks=tuple(_seen(look) for look in row["looks"]), requests=row["requests"], idle=idle)


def _seen(row: dict[str, Any]) -> Seen:
    return Seen(replicas=row["replicas"], median=_edge(row["median"]), edge=_edge(row["edge"]))


def _edge(row: dict[str, Any]) -> Edge:
    return Edge(**{**row, "level": Level(**row["level"])})
