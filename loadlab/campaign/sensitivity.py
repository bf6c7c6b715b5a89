"""A campaign's totals at each value of its sensitivity key, with no replay whose end an earlier one has told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from loadlab.analysis.table import CAUSES, RequestTable
from loadlab.analysis.totals import Totals, count_outcomes, totals_of
from loadlab.campaign.trial import Trial
from loadlab.engines.base import Progress
from loadlab.engines.simulation import SimulationEngine
from loadlab.record.request import Cause, Outcome
from loadlab.report.summary import totals_block
from loadlab.scenario.model import Sensitivity
from loadlab.scenario.plan import RequestPlan
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster
from loadlab.simulator.sequence import Sequence as SimulatedRequest
from loadlab.units import PS_PER_S

SLACK_S = 1e-6  # far more than rows lose of a picosecond, far less than anybody writes into a scenario


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How the requests of a plan ended on a simulated cluster: `lasted_s` by seq since each was due, inf where its deadline ended it."""

    plan: RequestPlan
    totals: Totals
    lasted_s: NDArray[np.float64]

    def hold_for(self, plan: RequestPlan) -> bool:
        """Whether a replay of `plan` on the same cluster would end the same: it differs in deadlines alone, and nobody met one or would.

        A deadline that nobody meets takes part in nothing that the simulator does.
        """
        timeout_s = np.where(np.isnan(plan.timeout_s), np.inf, plan.timeout_s)
        return bool(np.all(self.lasted_s + SLACK_S < timeout_s)) and plan.differences(self.plan) <= {"timeout_s"}


def ends_of_rows(plan: RequestPlan, table: RequestTable) -> Ends:
    """Of a recorded run: `table` has a row for every request, in order."""
    met = table.cause == CAUSES.index(Cause.DEADLINE)
    lasted_s = np.where(met | np.isnan(table.finished_s), np.inf, table.finished_s - table.scheduled_s)
    return Ends(plan=plan, totals=totals_of(table, len(plan)), lasted_s=lasted_s)


def ends_of_replay(trial: Trial, progress: Progress) -> Ends:
    """Of a replay on a fresh cluster, of which nothing else is kept. For simulated clusters only."""
    assert isinstance(trial.target, Path), "a load on an endpoint is never made without rows"
    outcomes: Counter[Outcome] = Counter()
    lasted_s = np.full(len(trial.plan), np.inf)

    def note(ended: list[SimulatedRequest]) -> None:
        outcomes.update([request.outcome for request in ended])
        for request in ended:
            if request.cause is not Cause.DEADLINE and request.ended_ps is not None:
                lasted_s[request.seq] = (request.ended_ps - request.arrival_ps) / PS_PER_S

    cluster = SimulatedCluster(load_cluster(trial.target), str(trial.target), trial.drawn_with)
    SimulationEngine(cluster).follow(trial.plan, note, progress)
    return Ends(plan=trial.plan, totals=count_outcomes(outcomes.elements(), len(trial.plan)), lasted_s=lasted_s)


def vary(
    spec: Sensitivity,
    varied: Mapping[float, Mapping[str, Trial]],
    recorded: Mapping[str, Ends],
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """The `sensitivity` of a campaign's summary. `varied`: its trials by value and experiment; `recorded`: how the experiments ended."""
    known: dict[str, list[Ends]] = {key: [ends] for key, ends in recorded.items()}
    rows, done = [], 0
    planned = sum(len(trial.plan) for trials in varied.values() for trial in trials.values())
    for value, trials in varied.items():
        totals = Totals(planned=0)
        for key, trial in trials.items():
            what = f"variants: {spec.key} = {value:g}, {key}"
            totals += _totals(trial, known[key], _shifted(progress, what, done, planned))
            done += len(trial.plan)
            progress(what, done, planned)
        rows.append({"value": value, "totals": totals_block(totals)})
    return {"key": spec.key, "description": spec.description, "rows": rows}


def _totals(trial: Trial, known: list[Ends], progress: Progress) -> Totals:
    """From what is known already, or from one more replay, which is known from then on."""
    ends = _found(trial.plan, known)
    if ends is None:
        known.append(ends := ends_of_replay(trial, progress))
    return ends.totals


def _found(plan: RequestPlan, known: Sequence[Ends]) -> Ends | None:
    return next((ends for ends in known if ends.hold_for(plan) or not plan.differences(ends.plan)), None)


def _shifted(progress: Callable[[str, int, int], None], what: str, before: int, planned: int) -> Progress:
    """Progress of one replay as part of the whole."""
    return lambda done, _: progress(what, before + done, planned)
