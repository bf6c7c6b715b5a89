"""Capacity of a target at an SLO: by a search, at stated rates, or from runs that exist. Probes are journalled, so that it resumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from loadlab.analysis.table import CAUSES
from loadlab.campaign.probing import Probing, level_of_table, run_probe
from loadlab.campaign.target import conditions_of, target_name
from loadlab.errors import InputError
from loadlab.planning.capacity_curve import fit_capacity
from loadlab.planning.levels import Level
from loadlab.planning.search import Answer, Ask, Finding, Probe, SearchResult, judge, not_monotone, not_monotone_text, search
from loadlab.record.journal import Journal
from loadlab.record.request import Cause
from loadlab.record.run_dir import RunDir
from loadlab.report.capacity import summarise_capacity
from loadlab.report.summary import load_table
from loadlab.scenario.build import build_plan
from loadlab.scenario.rates import mean_rate_per_s, with_rate
from loadlab.schema import as_table, shown_path
from loadlab.slo import Slos

JOURNAL = "probes.jsonl"
SCHEMA = "loadlab/probes/1"
LEVEL_REQUESTS = 2000
Say = Callable[[str, int, int], None]  # (what, requests done, requests of this probe at most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Rates that a search keeps to, arrivals a second, and where it begins; None: at the scenario's own."""

    first_per_s: float | None = None
    lowest_per_s: float = 0.0
    highest_per_s: float = float("inf")


def budget_of(slos: Slos) -> float:
    """The error budget: 1 - target."""
    return round(1 - slos.target_of(None), 12)


def find_capacity(probing: Probing, bounds: Bounds, out: Path | None, say: Say, *, resume: bool = False) -> SearchResult:
    """Searches on a target. With `out` each probe is journalled there; `resume` goes on from what the journal holds.

    Raises InputError if the journal is of another study. On KeyboardInterrupt the journal has every probe that ended.
    """
    first = bounds.first_per_s or mean_rate_per_s(probing.scenario)
    steps = search(first, budget_of(probing.slos), lowest_per_s=bounds.lowest_per_s, highest_per_s=bounds.highest_per_s)
    journal = _Probes(out, _header(probing, first, bounds), resume=resume)
    ask = next(steps)
    number = 0
    while True:
        level = journal.known(number, ask)
        if level is None:
            level = run_probe(probing, ask, number, _shown(say, ask, number))
            journal.add(level)
        number += 1
        try:
            ask = steps.send(level)
        except StopIteration as end:
            result: SearchResult = end.value
            return result


def _shown(say: Say, ask: Ask, number: int) -> Callable[[int, int], None]:
    return lambda done, most: say(f"probe {number + 1}: {ask.rate_per_s:.4g}/s", done, most)


def measure_levels(
    probing: Probing, rates: Sequence[float], requests: int, out: Path | None, say: Say, *, resume: bool = False
) -> SearchResult:
    """The curve through stated rates, `requests` at each, judged once at the end."""
    budget = budget_of(probing.slos)
    journal = _Probes(out, _header(probing, list(rates), requests), resume=resume)
    levels = []
    for number, rate in enumerate(rates):
        ask = Ask(rate_per_s=rate, looks=(requests,), judge=lambda _: None)
        level = journal.known(number, ask)
        if level is None:
            level = run_probe(probing, ask, number, _shown(say, ask, number))
            journal.add(level)
        levels.append(level)
    return from_levels(levels, budget)


def from_levels(levels: Sequence[Level], budget: float) -> SearchResult:
    """The curve through levels that exist. Its certified rate is the highest whose bad share is proven to be within the budget."""
    curve = fit_capacity(levels, budget)
    proven = [level for level in curve.levels if not level.is_overloaded and level.upper_bound(0.95) <= budget]
    certificate = proven[-1] if proven else None
    odd, dead = not_monotone(levels, budget), _dead_from(curve.levels)
    if dead is not None:
        answer, certificate = Answer.TARGET_FAILED, None
    elif odd is not None:
        answer, certificate = Answer.NOT_MONOTONE, None
    elif curve.rate_per_s is not None:
        answer = Answer.CERTIFIED if certificate else Answer.NOT_CERTIFIED
    elif all(level.is_dead for level in levels):
        answer = Answer.TARGET_FAILED
    else:
        answer = Answer.ALWAYS if (curve.fitted <= budget).all() else Answer.NEVER
    probes = tuple(Probe(level=level, finding=judge(level, budget) or Finding.UNDECIDED) for level in curve.levels)
    return SearchResult(
        answer=answer,
        budget=budget,
        certified_per_s=None if certificate is None else certificate.rate_per_s,
        certificate=certificate,
        curve=curve,
        probes=probes,
        note=_death(dead) or _note(odd) or curve.note or ("" if certificate else "no level is proven to hold: more requests a level would"),
    )


def _dead_from(levels: Sequence[Level]) -> float | None:
    """The lowest rate from which on nothing succeeded, where something did before: too slow a target still answers some."""
    served = [level.rate_per_s for level in levels if level.served_per_s]
    dead = [level.rate_per_s for level in levels if level.served_per_s == 0]
    return min(dead) if served and dead and min(dead) > max(served) else None


def _death(rate_per_s: float | None) -> str:
    return "" if rate_per_s is None else f"from {rate_per_s:.4g}/s on not one request succeeded: the target failed, or refuses everything"


def _note(odd: tuple[float, float] | None) -> str:
    return "" if odd is None else not_monotone_text(odd)


def levels_of_runs(paths: Sequence[Path], slos: Slos) -> list[Level]:
    """One level for each run directory: its rate is that of its arrivals. Raises InputError if a run has none.

    What was planned and had not come due when a run was ended (by a search that knew enough, or Ctrl-C) says nothing of the target.
    """
    return [_level_of_run(RunDir.open(path), slos) for path in paths]


def _level_of_run(run: RunDir, slos: Slos) -> Level:
    table = load_table(run).in_due_order()
    due = table.scheduled_s[table.scheduled_s == table.scheduled_s]
    if len(due) < 2 or due[-1] <= due[0]:
        raise InputError("has fewer than two arrivals at different times, so it has no rate", source=shown_path(run.path))
    rate = (len(due) - 1) / float(due[-1] - due[0])
    came_due = table.rows(~(np.isnan(table.scheduled_s) & (table.cause == CAUSES.index(Cause.STOPPED))))  # the rest: the run was ended
    return replace(level_of_table(came_due, slos, rate), digest=run.manifest.plan_digest, run=run.path.name)


def tokens_of_runs(paths: Sequence[Path]) -> float | None:
    """Tokens, prompt and answer, of a successful request of these runs on average; None where they were not counted of every one."""
    tables = [load_table(RunDir.open(path)) for path in paths]
    tokens = np.concatenate([(table.prompt_tokens + table.output_tokens)[table.ok] for table in tables])
    return float(tokens.mean()) if len(tokens) and not np.isnan(tokens).any() else None


def tokens_per_arrival(probing: Probing) -> float:
    """Planned tokens, prompt and answer, that an arrival brings on average, over 1,000 of them or so."""
    plan = build_plan(with_rate(probing.scenario, mean_rate_per_s(probing.scenario), 1000), probing.seed)
    arrivals = int((plan.arrival_s == plan.arrival_s).sum())
    return float(plan.prompt_tokens.sum() + plan.output_tokens.sum()) / arrivals


def summarise_study(result: SearchResult, probing: Probing, note: str, versions: Mapping[str, str], command: str) -> dict[str, Any]:
    """`capacity.json` of a study that was measured, with the conditions of its target. `note`: see `rate_note`."""
    plan = build_plan(with_rate(probing.scenario, mean_rate_per_s(probing.scenario), 100), probing.seed)
    return summarise_capacity(
        result,
        name=probing.scenario.name,
        target=target_name(probing.target),
        conditions=conditions_of(probing.target, plan, probing.seed),
        slos=probing.slos,
        seed=probing.seed,
        rate_note=note,
        tokens_per_arrival=tokens_per_arrival(probing),
        versions=versions,
        command=command,
    )


def rate_note(probing: Probing) -> str:
    """What a rate counts where arrivals are not requests: sessions and the like; empty where they are."""
    plan = build_plan(with_rate(probing.scenario, mean_rate_per_s(probing.scenario), 1000), probing.seed)
    arrivals = int((plan.arrival_s == plan.arrival_s).sum())
    return "" if arrivals == len(plan) else f"rates count arrivals; here each brings {len(plan) / arrivals:.2f} requests on average"


def _header(probing: Probing, *more: Any) -> dict[str, Any]:
    """What makes two studies the same."""
    plan = build_plan(with_rate(probing.scenario, mean_rate_per_s(probing.scenario), 100), probing.seed)
    return {
        "schema": SCHEMA,
        "scenario": as_table(probing.scenario),
        "slo": {"default": asdict(probing.slos.default), "by_class": {name: asdict(slo) for name, slo in probing.slos.by_class.items()}},
        "target": target_name(probing.target),
        "conditions": [dict(table) for table in conditions_of(probing.target, plan, probing.seed)],
        "seed": probing.seed,
        "search": [asdict(item) if isinstance(item, Bounds) else item for item in more],
    }


class _Probes:
    """probes.jsonl: the probes that ended, in the order of asking."""

    def __init__(self, out: Path | None, header: dict[str, Any], *, resume: bool) -> None:
        self._journal = Journal(
            None if out is None else out / JOURNAL, header, lambda row: Level(**row), resume=resume,
            study="study", row="probe", question="scenario, target, SLO, seed or search",
        )  # fmt: skip
        self._levels = self._journal.found

    def known(self, number: int, ask: Ask) -> Level | None:
        """The level of probe `number`, if it was made already."""
        if number >= len(self._levels):
            return None
        level = self._levels[number]
        assert level.rate_per_s == ask.rate_per_s, "a search asks the same of the same answers"
        return level

    def add(self, level: Level) -> None:
        """Writes the probe down."""
        self._levels.append(level)
        self._journal.add([asdict(level)])
