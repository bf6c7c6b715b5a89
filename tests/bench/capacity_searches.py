"""Searches and sweeps against the truth: `python -m tests.bench.capacity_searches 100` prints how often each errs, and what it costs.

A search: how often its certificate is too high, how far it lies below. A sweep of 8 levels, 2,000 requests each, from half of what is
served to all of it: how often its 90 % interval holds the truth. The truth of each case is the root of long runs (two seeds, up to 300,000
requests a rate); that of M/M/8 is Erlang's formula.
"""

from __future__ import annotations

import sys
from multiprocessing import Pool

import numpy as np

from loadlab.planning.capacity_curve import CapacityCurve, fit_capacity
from loadlab.planning.search import Ask, SearchResult, search
from tests.planning.slo_cases import BUDGET, CASES, Case, follow, level_at, mm8_bad_share

TOO_HIGH = 1.02
TRUTH_REQUESTS = (120_000, 300_000)
SWEEP_LEVELS, SWEEP_REQUESTS = 8, 2000


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


def one_search(job: tuple[Case, int]) -> tuple[str, SearchResult]:
    """A search with seeds of its own."""
    case, seed = job
    count = iter(range(1000))
    return case.name, follow(search(case.first_per_s, BUDGET), lambda ask: level_at(case, ask, 100_000 * (seed + 1) + next(count)))


def one_sweep(job: tuple[Case, int]) -> tuple[str, CapacityCurve]:
    """Eight levels with seeds of their own, evenly from where a search begins to twice that."""
    case, seed = job
    rates = np.linspace(case.first_per_s, 2 * case.first_per_s, SWEEP_LEVELS)
    asks = [Ask(rate_per_s=float(rate), looks=(SWEEP_REQUESTS,), judge=lambda _: None) for rate in rates]
    return case.name, fit_capacity([level_at(case, ask, 50_000_000 + 100 * seed + k) for k, ask in enumerate(asks)], BUDGET)


def holds(curve: CapacityCurve | None, at: float) -> bool:
    """Whether the interval does; an end that is not bracketed is open."""
    return curve is not None and (curve.low_per_s or 0.0) <= at <= (curve.high_per_s or np.inf)


def half_width(curves: list[CapacityCurve], at: float) -> float:
    """Half the interval's median width, as a share of the truth; infinite where an end is mostly open."""
    return float(np.median([((c.high_per_s or np.inf) - (c.low_per_s or 0.0)) / 2 for c in curves])) / at


def main(searches: int) -> None:
    """Prints two tables with a row for each case."""
    jobs = [(case, seed) for case in CASES for seed in range(searches)]
    with Pool() as pool:
        truths = dict(zip([case.name for case in CASES], pool.map(truth, CASES, chunksize=1), strict=True))
        found = pool.map(one_search, jobs, chunksize=2)
        swept = pool.map(one_sweep, jobs, chunksize=2)
    print(f"{'search':28} {'truth':>7} {'certified':>9} {'> 2 % high':>10} {'median':>7} {'interval holds':>14} {'requests':>9}")
    for case in CASES:
        results, at = [result for name, result in found if name == case.name], truths[case.name]
        certified = [r.certified_per_s / at for r in results if r.certified_per_s is not None]
        print(
            f"{case.name:28} {at:7.3f} {len(certified):9d} {sum(x > TOO_HIGH for x in certified):10d} {np.median(certified) - 1:+7.1%} "
            f"{np.mean([holds(r.curve, at) for r in results]):14.0%} {np.median([r.requests for r in results]):9,.0f}"
        )
    print(f"all searches: {np.median([result.requests for _, result in found]):,.0f} requests in the median")
    print(f"\n{'sweep of 8 x 2,000':28} {'truth':>7} {'interval holds':>14} {'half width':>10} {'point, median':>13}")
    for case in CASES:
        curves, at = [curve for name, curve in swept if name == case.name], truths[case.name]
        points = [curve.rate_per_s / at - 1 for curve in curves if curve.rate_per_s is not None]
        print(
            f"{case.name:28} {at:7.3f} {np.mean([holds(curve, at) for curve in curves]):14.0%} {half_width(curves, at):10.1%} "
            f"{np.median(points):+13.1%}"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
