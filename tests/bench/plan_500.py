"""`plan` over some 500 configurations of a 70B: `python -m tests.bench.plan_500` prints what it took on the cores there are.

Twice: as it is used, and with every configuration that fits run at length (`--exhaustive`), 2,000 requests each at least.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from pathlib import Path

from loadlab.campaign.plan import Question, make_plan
from loadlab.campaign.plan_journal import Searches
from loadlab.campaign.plan_question import Asked, question_of
from loadlab.planning.configurations import Lattice
from loadlab.planning.plan_search import Fate
from loadlab.scenario.files import load_scenario
from tests.bench.test_simulator_speed import yardstick_s

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def question(*, is_exhaustive: bool) -> Question:
    """A chat crowd of three arrivals a second on a 70B, on three GPU types."""
    asked = Asked(
        scenario=load_scenario(SCENARIOS / "hardware" / "70b-on-l40s.toml"), model="llama-3.3-70b-instruct", cluster=None,
        gpus=("l40s", "h100", "h200"), prices=SCENARIOS / "prices" / "public-2026-11.toml", rents=(),
        lattice=Lattice(gpus=(), max_gpus=64), rate_per_s=3.0, requests=2000, seed=1, is_exhaustive=is_exhaustive,
    )  # fmt: skip
    return question_of(asked)


def main() -> None:
    """Prints wall and CPU seconds of both, beside the yardstick of the simulator's benchmark."""
    for is_exhaustive in (False, True) if "--both" in sys.argv else (False,):
        asked, begun, yard_s = question(is_exhaustive=is_exhaustive), time.perf_counter(), yardstick_s()
        outcome = make_plan(asked, Searches(None, {}), lambda *_: None)
        wall_s = time.perf_counter() - begun
        children, own = resource.getrusage(resource.RUSAGE_CHILDREN), resource.getrusage(resource.RUSAGE_SELF)
        cpu_s = children.ru_utime + children.ru_stime + own.ru_utime + own.ru_stime
        fits = [candidate for candidate in outcome.candidates if candidate.fate not in (Fate.DOES_NOT_FIT, Fate.CANNOT_SPLIT)]
        print(f"{'exhaustive' if is_exhaustive else 'pruned'}: {wall_s:.1f} s on {os.cpu_count()} cores, yardstick {yard_s:.3f} s")
        longer = sum(bool(one.looks) for one in fits)
        print(f"  {len(outcome.candidates)} configurations, {len(fits)} fit, {longer} in runs of {asked.requests:,}")
        print(f"  {sum(one.requests for one in fits):,} requests; CPU since the start {cpu_s:.1f} s")
        print(f"  chosen: {outcome.chosen and outcome.chosen.candidate.one.name}")


if __name__ == "__main__":
    main()
