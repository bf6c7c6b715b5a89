"""Runs at one rate, stopped as soon as enough is known: what a search asks for, made on any target."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from loadlab.analysis.attainment import attained
from loadlab.analysis.latency import duration_s, e2e_s, order_statistic, ttft_s
from loadlab.analysis.steadiness import overload, warm_up_length
from loadlab.analysis.table import RequestTable, table_of_chunks
from loadlab.campaign.target import Target
from loadlab.campaign.trial import Trial, prepare, replay
from loadlab.planning.levels import Level, level_of
from loadlab.planning.search import Ask
from loadlab.record.client import ClientFacts
from loadlab.record.manifest import HostFacts
from loadlab.record.request import RequestRecord
from loadlab.record.rows import Row
from loadlab.record.run_dir import RunDir
from loadlab.scenario.model import Scenario
from loadlab.scenario.rates import with_rate
from loadlab.slo import Slos

Progress = Callable[[int, int], None]

# Fewer requests may all have come while the target, empty at first, still filled: a 70B that held 14 a second was called overloaded at
# 13.4 by 500. With so many the detector errs in 1 % of runs at 95 % load (docs/validation.md).
OVERLOAD_NEEDS = 2000


class EnoughError(Exception):
    """A probe has seen enough: not an error, but the one way out of an engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """What all probes of a study share."""

    scenario: Scenario
    target: Target
    slos: Slos
    seed: int
    host: HostFacts
    keep_rows_in: Path | None  # a run directory for each probe; None: rows are judged and dropped


def run_probe(probing: Probing, ask: Ask, number: int, progress: Progress) -> Level:
    """One run at a rate, until `ask.judge` answers at one of its looks, or it is over. Probe `number` draws with a seed of its own."""
    scenario = with_rate(probing.scenario, ask.rate_per_s, ask.looks[-1])
    trial = prepare(scenario, probing.target, probing.seed + number)
    sink = _Judging(trial, probing.slos, ask, progress)
    with ExitStack() as stack:
        path = None
        if probing.keep_rows_in is not None:
            path = probing.keep_rows_in / f"{number:02d}-{ask.rate_per_s:.4g}-per-s"
            sink.inner = stack.enter_context(RunDir.create(path, trial.manifest(probing.host), replace=True))
        try:
            replay(trial, sink, lambda done, _: progress(done, len(trial.plan)), itl=False)
        except EnoughError:
            pass
        finally:
            if sink.inner is not None:
                sink.inner.finalise(len(trial.plan), interrupted=True)
    level = sink.level or sink.judge_all()
    return replace(level, digest=trial.plan.digest, run=None if path is None else path.name)


class _Judging:
    """A RecordSink that judges at each look, and ends the run where that answers; hands rows on to a run directory, if there is one."""

    def __init__(self, trial: Trial, slos: Slos, ask: Ask, progress: Progress) -> None:
        self.inner: RunDir | None = None
        self.level: Level | None = None
        self._rows: list[Row] = []
        self._is_over = np.zeros(len(trial.plan), dtype=np.bool_)
        self._planned = len(trial.plan)
        self._slos, self._ask, self._progress = slos, ask, progress
        self._looks = [look for look in ask.looks if look < len(trial.plan)]

    def append(self, records: Iterable[RequestRecord]) -> None:
        self.append_rows(record.as_row() for record in records)

    def append_rows(self, rows: Iterable[Row]) -> None:
        if self.level is not None:  # an engine on its way out may still tell what it had
            return
        fresh = list(rows)
        if self.inner is not None:
            self.inner.append_rows(fresh)
        self._rows += fresh
        self._is_over[[row["seq"] for row in fresh]] = True
        while self._looks and self._is_over[: self._looks[0]].all():
            look = self._looks.pop(0)
            level = self._judged(look)
            if self._ask.judge(level) is not None:
                self.level = level
                raise EnoughError

    def append_timeline(self, rows: Iterable[Mapping[str, Any]]) -> None:
        if self.inner is not None:
            self.inner.append_timeline(rows)

    def flush(self) -> None:
        if self.inner is not None:
            self.inner.flush()

    def note_client(self, facts: ClientFacts, wall_s: float | None) -> None:
        if self.inner is not None:
            self.inner.note_client(facts, wall_s)

    def judge_all(self) -> Level:
        """The level of the whole run."""
        return self._judged(self._planned)

    def _judged(self, requests: int) -> Level:
        rows = sorted((row for row in self._rows if row["seq"] < requests), key=lambda row: row["seq"])
        return level_of_table(table_of_chunks([rows]), self._slos, self._ask.rate_per_s)


def level_of_table(table: RequestTable, slos: Slos, rate_per_s: float) -> Level:
    """What the rows of one run show, its warm-up (MSER-5 on the time in the system) left out."""
    table = table.in_due_order()
    signs = overload(table)
    spent_s = table.finished_s - table.scheduled_s
    seen = ~np.isnan(spent_s)
    cut = warm_up_length(spent_s[seen]) or 0
    warm_up = int(np.flatnonzero(seen)[cut]) if cut else 0
    kept = table.rows(np.arange(len(table)) >= warm_up)
    bad = ~attained(kept, slos)
    is_overloaded = signs is not None and signs.is_overloaded and len(table) >= OVERLOAD_NEEDS
    level = level_of(rate_per_s, bad, kept.finished_s - kept.scheduled_s, is_overloaded=is_overloaded, warm_up=warm_up)
    first, whole = ttft_s(kept), e2e_s(kept)
    seconds = duration_s(table)
    return replace(
        level,
        served_per_s=float(np.count_nonzero(table.ok)) / seconds if seconds else None,
        ttft_p50_s=order_statistic(first, 0.5),
        ttft_p99_s=order_statistic(first, 0.99),
        e2e_mean_s=float(whole.mean()) if len(whole) else None,
    )
