"""How fast the simulator runs here, beside a fixed pure-Python loop timed in the same run, since machines differ."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from loadlab.campaign.study import prepare_study
from loadlab.campaign.trial import replay
from loadlab.scenario.files import load_campaign
from tests.engines.test_simulation import Rows

T4 = Path(__file__).parents[2] / "scenarios" / "t4-study"


def yardstick() -> None:
    """Ten million additions: what this Python does on this machine now."""
    total = 0
    for i in range(10_000_000):
        total += i


def cpu_s(work: Callable[[], None], times: int = 5) -> list[float]:
    """CPU-seconds of each of `times` calls."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return taken


def report(name: str, taken: list[float], requests: int) -> None:
    """Prints a line: median of the runs, and the yardstick beside it."""
    median, unit = statistics.median(taken), statistics.median(cpu_s(yardstick, 3))
    print(f"\n{name}: {requests / median:,.0f} requests per CPU-second (median of {len(taken)}: {median:.3f} s,")
    print(f"  from {min(taken):.3f} to {max(taken):.3f}); the yardstick took {unit:.3f} s, ratio {median / unit:.2f}")


def test_the_t4_campaign() -> None:
    study = prepare_study(load_campaign(T4), 1)

    def run() -> None:
        for trial in study.trials.values():
            replay(trial, Rows(), lambda *_: None)

    report("T4 campaign, 19 experiments, rows in memory", cpu_s(run), study.planned // (1 + len(study.sensitivity)))
