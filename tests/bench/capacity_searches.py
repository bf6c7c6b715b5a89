"""Searches and sweeps against the truth: `python -m tests.bench.capacity_searches 100` prints how often each errs, and what it costs.

A search: how often its certificate is too high, how far it lies below. A sweep of 8 levels, 2,000 requests each, from half of what is
served to all of it: how often its 90 % interval holds the truth. The truth of each case is the root of long runs (two seeds, up to 300,000
requests a rate), computed before and kept in TRUTHS, since no search changes it: `--truths` computes it again. That of M/M/8 is Erlang's.

`--rows FILE` keeps a line for each search and sweep as it ends: called again, the command goes on from there.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from loadlab.planning.capacity_curve import CapacityCurve, fit_capacity
from loadlab.planning.search import Ask, search
from tests.planning.slo_cases import BUDGET, CASES, Case, follow, level_at, mm8_bad_share

TOO_HIGH = 1.02
TRUTH_REQUESTS = (120_000, 300_000)
SWEEP_LEVELS, SWEEP_REQUESTS = 8, 2000
TRUTHS = {  # by `truth`, 1/s
    "p99 TTFT 0.7 s": 4.761,
    "p99 TTFT 2 s": 5.357,
    "p99 TPOT 60 ms": 4.366,
    "p99 end to end 30 s": 4.913,
    "p99 TTFT 3 s, prompts x 4": 1.475,
    "p99 wait 3 s, M/M/8": 6.674,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one search or sweep found. Rates a second; None: not proven, or open."""

    kind: str
    case: str
    seed: int
    certified: float | None = None
    requests: int = 0
    point: float | None = None
    low: float | None = None
    high: float | None = None

    def holds(self, at: float) -> bool:
        """Whether the interval does; an end that is not bracketed is open."""
        return (self.low or 0.0) <= at <= (self.high or np.inf)


def truth(case: Case) -> float:
    """The rate at which 1 % of the requests are bad in the long run, by bisection; its error is some 1 %."""
    low, high = case.first_per_s / 3, case.first_per_s * 2.5
    for step in range(9 if case.latency != "wait" else 50):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if _long_run_share(case, middle, step) <= BUDGET else (low, middle)
    return float(np.sqrt(low * high))


def _long_run_share(case: Case, rate: float, step: int) -> float:
    if case.latency == "wait":
        return mm8_bad_share(rate, case.limit_s)
    runs = [case.run(rate, TRUTH_REQUESTS[step >= 5], seed)[3000:] for seed in (1001, 1002)]
    return float((np.concatenate(runs) > case.limit_s).mean())


def one(job: tuple[str, Case, int]) -> Found:
    """A search, or a sweep, with seeds of its own."""
    kind, case, seed = job
    return one_search(case, seed) if kind == "search" else one_sweep(case, seed)


def one_search(case: Case, seed: int) -> Found:
    """From the case's first rate to a certificate."""
    count = iter(range(1000))
    result = follow(search(case.first_per_s, BUDGET), lambda ask: level_at(case, ask, 100_000 * (seed + 1) + next(count)))
    ends = {} if result.curve is None else _ends(result.curve)
    return Found(kind="search", case=case.name, seed=seed, certified=result.certified_per_s, requests=result.requests, **ends)


def one_sweep(case: Case, seed: int) -> Found:
    """Eight levels, evenly from where a search begins to twice that."""
    rates = np.linspace(case.first_per_s, 2 * case.first_per_s, SWEEP_LEVELS)
    asks = [Ask(rate_per_s=float(rate), looks=(SWEEP_REQUESTS,), judge=lambda _: None) for rate in rates]
    curve = fit_capacity([level_at(case, ask, 50_000_000 + 100 * seed + k) for k, ask in enumerate(asks)], BUDGET)
    return Found(kind="sweep", case=case.name, seed=seed, requests=SWEEP_LEVELS * SWEEP_REQUESTS, **_ends(curve))


def _ends(curve: CapacityCurve) -> dict[str, Any]:
    return {"point": curve.rate_per_s, "low": curve.low_per_s, "high": curve.high_per_s}


def half_width(found: list[Found], at: float) -> float:
    """Half the interval's median width, as a share of the truth; infinite where an end is mostly open."""
    return float(np.median([((f.high or np.inf) - (f.low or 0.0)) / 2 for f in found])) / at


def gather(searches: int, kinds: tuple[str, ...], rows: Path | None, processes: int) -> list[Found]:
    """Every search and sweep; those that `rows` has are not run again. Turn by turn over the cases: a cut leaves as many of each."""
    kept = [] if rows is None or not rows.exists() else [Found(**orjson.loads(line)) for line in rows.read_bytes().splitlines()]
    kept = [found for found in kept if found.seed < searches]
    known = {(found.kind, found.case, found.seed) for found in kept}
    jobs = [(kind, case, seed) for seed in range(searches) for case in CASES for kind in kinds]
    todo = [job for job in jobs if (job[0], job[1].name, job[2]) not in known]
    with Pool(processes) as pool:
        return kept + list(_kept(pool.imap_unordered(one, todo), rows, len(todo)))


def _kept(found: Iterable[Found], rows: Path | None, expected: int) -> Iterable[Found]:
    for k, one_found in enumerate(found, 1):
        if rows is not None:
            with rows.open("ab") as file:
                file.write(orjson.dumps(asdict(one_found)) + b"\n")
        if k % 50 == 0:
            print(f"{k} of {expected}", file=sys.stderr, flush=True)
        yield one_found


def print_searches(found: list[Found], truths: dict[str, float]) -> None:
    """A row for each case."""
    heads = f"{'certified':>12} {'> 2 % high':>10} {'too high':>8} {'median':>7} {'interval holds':>14} {'requests':>9}"
    print(f"{'search':28} {'truth':>7} {heads}")
    for name, at in truths.items():
        mine = [f for f in found if f.case == name]
        certified = np.array([f.certified / at for f in mine if f.certified is not None])
        print(
            f"{name:28} {at:7.3f} {len(certified):4d} of {len(mine):4d} {(certified > TOO_HIGH).sum():10d} {(certified > 1).sum():8d} "
            f"{np.median(certified) - 1:+7.1%} {np.mean([f.holds(at) for f in mine]):14.0%} {np.median([f.requests for f in mine]):9,.0f}"
        )
    spent = [f.requests for f in found]
    print(f"all searches: {np.median(spent):,.0f} requests in the median, {np.mean(spent):,.0f} in the mean")


def print_sweeps(found: list[Found], truths: dict[str, float]) -> None:
    """A row for each case."""
    print(f"\n{'sweep of 8 x 2,000':28} {'truth':>7} {'interval holds':>14} {'half width':>10} {'point, median':>13}")
    for name, at in truths.items():
        mine = [f for f in found if f.case == name]
        points = [f.point / at - 1 for f in mine if f.point is not None]
        print(f"{name:28} {at:7.3f} {np.mean([f.holds(at) for f in mine]):14.0%} {half_width(mine, at):10.1%} {np.median(points):+13.1%}")


def main() -> None:
    """Prints where the truths come from, and two tables with a row for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("searches", nargs="?", type=int, default=20, help="searches, and sweeps, of each case")
    parser.add_argument("--truths", action="store_true", help="compute the truths again: minutes")
    parser.add_argument("--rows", type=Path, help="file that keeps a line for each search and sweep")
    parser.add_argument("--only", choices=("search", "sweep"), help="leave the other table out")
    parser.add_argument("--processes", type=int, default=2)
    flags = parser.parse_args()
    truths = TRUTHS
    if flags.truths:
        with Pool(flags.processes) as pool:
            truths = dict(zip([case.name for case in CASES], pool.map(truth, CASES, chunksize=1), strict=True))
    print("truths: " + ("computed now" if flags.truths else "computed before by --truths") + ", two runs of up to 300,000 requests a rate")
    kinds = ("search", "sweep") if flags.only is None else (flags.only,)
    found = gather(flags.searches, kinds, flags.rows, flags.processes)
    if "search" in kinds:
        print_searches([f for f in found if f.kind == "search"], truths)
    if "sweep" in kinds:
        print_sweeps([f for f in found if f.kind == "sweep"], truths)


if __name__ == "__main__":
    main()
