"""Rows of a load generator beside what the plan knows of them, and records of what has no row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from loadlab.analysis.table import BoolArray
from loadlab.engines.messages import ROW
from loadlab.record.request import Cause, Outcome, RequestRecord
from loadlab.scenario.plan import NOTHING, RequestPlan

_NUMBER = (int, float)
_MAY_BE: Mapping[str, tuple[type, ...]] = {
    "seq": (int,),
    "outcome": (str,),
    "cause": (str,),
    "error": (str,),
    "tokens_estimated": (bool,),
    **dict.fromkeys(("prompt_tokens", "cached_prompt_tokens", "output_tokens", "http_status"), (int,)),
}
_NEVER_NONE = ("seq", "outcome", "tokens_estimated")


class ForgedRowError(ValueError):
    """A row that its sender cannot have: of another's share, there already, or no row at all."""


class Records:
    """Makes each planned request's record, once."""

    def __init__(self, plan: RequestPlan, models: Mapping[str, str], workers: int) -> None:
        """`models`: what is asked for in place of the plan's names."""
        self._plan, self._models, self._workers = plan, models, workers
        self._told = np.zeros(len(plan), dtype=np.bool_)

    def build(self, row: list[Any], worker: int) -> RequestRecord:
        """The record of one row of `messages.ROW` that `worker` told. Raises ForgedRowError."""
        said = _sound(row)
        seq = said["seq"]
        if not self.may_tell(seq, worker):
            raise ForgedRowError(f"request {seq} is not of worker {worker}, or was told before")
        self._told[seq] = True
        said["outcome"] = Outcome(said["outcome"])
        said["cause"] = None if said["cause"] is None else Cause(said["cause"])
        if said["prompt_tokens"] is None:
            said["prompt_tokens"] = int(self._plan.prompt_tokens[seq])
        return RequestRecord(**self._planned(seq), **said)

    def may_tell(self, seq: int, worker: int) -> bool:
        """True if request `seq` is of that worker's share and has no record yet."""
        return 0 <= seq < len(self._plan) and int(self._plan.chain[seq]) % self._workers == worker and not self._told[seq]

    def take(self, record: RequestRecord) -> None:
        """Notes a record that was made elsewhere."""
        self._told[record.seq] = True

    def untold(self, worker: int) -> int:
        """How many requests of a worker's share have no record."""
        return int(np.count_nonzero(~self._told[self._plan.shard(worker, self._workers)]))

    def without_row(self, worker: int, now_s: float | None) -> list[RequestRecord]:
        """Records of requests of which `worker` told nothing by `now_s`: due later, or after one of those, they were not sent.

        None: nobody knows when it stopped sending, so that every one of them is unknown. -inf: it said that it told all that it sent.
        """
        seqs = self._plan.shard(worker, self._workers)
        missing = seqs[~self._told[seqs]]
        is_certain = now_s is None or now_s == -math.inf
        unsent = np.full(len(self._plan), now_s is not None) if now_s is None or is_certain else self._unsent(now_s)
        ends = {True: (Outcome.NOT_SENT, Cause.STOPPED), False: (Outcome.UNKNOWN, Cause.LOST)}
        self._told[missing] = True
        return [
            RequestRecord(seq=i, outcome=ends[bool(unsent[i])][0], cause=ends[bool(unsent[i])][1], **self._planned(i))
            for i in missing.tolist()
        ]

    def _unsent(self, now_s: float) -> BoolArray:
        plan = self._plan
        unsent = ~self._told & (plan.arrival_s > now_s)
        for seq in np.flatnonzero(plan.after_seq != NOTHING).tolist():
            last = int(plan.after_seq[seq])
            unsent[seq] = unsent[last - int(plan.after_count[seq]) + 1 : last + 1].any()
        return unsent

    def _planned(self, seq: int) -> dict[str, Any]:
        plan = self._plan
        session, turn, model = int(plan.session[seq]), int(plan.turn[seq]), plan.model.at(seq)
        return {
            "worker": int(plan.chain[seq]) % self._workers,
            "traffic_class": plan.traffic_class.at(seq),
            "kind": plan.kind.at(seq),
            "model": None if model is None else self._models[model],
            "tier": plan.tier.at(seq),
            "region": plan.region.at(seq),
            "mode": plan.mode.at(seq),
            "session": None if session == NOTHING else session,
            "turn": None if turn == NOTHING else turn,
            "stages_s": float(plan.stages_s[seq]),
        }


def _sound(row: list[Any]) -> dict[str, Any]:
    """The row by name, each value of its type. Raises ForgedRowError."""
    try:
        said = dict(zip(ROW, row, strict=True))
        Outcome(said["outcome"])
        if said["cause"] is not None:
            Cause(said["cause"])
    except (TypeError, ValueError):
        raise ForgedRowError("is no row") from None
    for name, value in said.items():
        if value is None:
            if name in _NEVER_NONE:
                raise ForgedRowError(f"{name} is missing")
        elif not isinstance(value, _MAY_BE.get(name, _NUMBER)) or (isinstance(value, bool) and name != "tokens_estimated"):
            raise ForgedRowError(f"{name} is a {type(value).__name__}")
    return said
