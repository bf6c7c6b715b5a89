"""Pairs of runs, base and candidate, interleaved: A B, B A, A B .. so that a drift of the machine falls on both sides alike.

Both runs of a pair replay one plan; each pair has a plan of its own. A simulated target draws its noise anew in every run, as a real one
would: with the noise shared as well, A/A would show no difference at all, and every real one would look certain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadlab.campaign.target import Target
from loadlab.campaign.trial import Trial, prepare, record
from loadlab.engines.base import Progress
from loadlab.engines.live import Watch
from loadlab.errors import InputError
from loadlab.record.manifest import HostFacts
from loadlab.record.run_dir import RunDir
from loadlab.scenario.model import Scenario

BASE, CANDIDATE = "base", "candidate"
SIDES = (BASE, CANDIDATE)
_TARGET_SEED = 0x70616972  # what the draws are for: "pair" in ASCII


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRuns:
    """What `record_pairs` left: run directories of both sides, pair by pair."""

    base: tuple[RunDir, ...]
    candidate: tuple[RunDir, ...]


def prepare_pairs(scenario: Scenario, base: Target | None, candidate: Target, seeds: Sequence[int]) -> list[tuple[str, int, Trial]]:
    """Every run in the order in which it shall be made: (side, number of the pair from 1, trial). Touches nothing.

    `base` None: only candidates, for a baseline that was saved. Raises InputError as `prepare` does.
    """
    targets = {side: target for side, target in ((BASE, base), (CANDIDATE, candidate)) if target is not None}
    order = [(side, number, seed) for number, seed in enumerate(seeds, 1) for side in sorted(targets, reverse=number % 2 == 0)]
    return [(side, number, prepare(scenario, targets[side], seed, target_seed(seed, number, side))) for side, number, seed in order]


def target_seed(seed: int, number: int, side: str) -> int:
    """The seed of a simulated target's noise in one run: another for each side and pair."""
    return int(np.random.SeedSequence([_TARGET_SEED, seed, number, SIDES.index(side)]).generate_state(1)[0])


def pair_seeds(seed: int, pairs: int) -> list[int]:
    """Seeds of the plans: `seed`, seed + 1 .., so that `loadlab run --seed` makes any of them again."""
    return [seed + k for k in range(pairs)]


def record_pairs(
    trials: Sequence[tuple[str, int, Trial]], out: Path, host: HostFacts, progress: Progress, watch: Watch | None = None
) -> PairedRuns:
    """Runs the trials one after another into `out`/base/1, `out`/candidate/1 .. `out` must not exist or be empty.

    Where a run ends early it is finalised as `record` does, and that is re-raised; whole pairs before it can be compared.
    """
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise InputError("exists and is not empty; choose another --out", source=str(out))
    planned, done = sum(len(trial.plan) for _, _, trial in trials), 0
    runs: dict[str, list[RunDir]] = {side: [] for side in SIDES}
    for side, number, trial in trials:
        runs[side].append(record(trial, out / side / str(number), host, _shifted(progress, done, planned), watch=watch))
        done += len(trial.plan)
    return PairedRuns(base=tuple(runs[BASE]), candidate=tuple(runs[CANDIDATE]))


def _shifted(progress: Progress, before: int, planned: int) -> Progress:
    return lambda done, _: progress(before + done, planned)
