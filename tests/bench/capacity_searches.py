"""Searches against the truth: `python -m tests.bench.capacity_searches 100` prints how often a certificate is too high, and its cost.

The truth of each case is the root of long runs (two seeds, up to 300,000 requests a rate); that of M/M/8 is Erlang's formula.
"""

from __future__ import annotations

import sys
from multiprocessing import Pool

import numpy as np

from loadlab.planning.search import SearchResult, search
from tests.planning.slo_cases import BUDGET, CASES, Case, follow, level_at, mm8_bad_share

TOO_HIGH = 1.02
TRUTH_REQUESTS = (120_000, 300_000)


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


def main(searches: int) -> None:
    """Prints a row for each case."""
    with Pool() as pool:
        truths = dict(zip([case.name for case in CASES], pool.map(truth, CASES), strict=True))
        found = pool.map(one_search, [(case, seed) for case in CASES for seed in range(searches)], chunksize=2)
    print(f"{'case':28} {'truth':>7} {'certified':>9} {'> 2 % high':>10} {'median':>7} {'interval holds':>14} {'requests':>9}")
    for case in CASES:
        results, at = [result for name, result in found if name == case.name], truths[case.name]
        certified = [r.certified_per_s / at for r in results if r.certified_per_s is not None]
        held = np.mean([r.curve is not None and (r.curve.low_per_s or 0) <= at <= (r.curve.high_per_s or np.inf) for r in results])
        print(
            f"{case.name:28} {at:7.3f} {len(certified):9d} {sum(x > TOO_HIGH for x in certified):10d} {np.median(certified) - 1:+7.1%} "
            f"{held:14.0%} {np.median([r.requests for r in results]):9,.0f}"
        )
    print(f"all searches: {np.median([result.requests for _, result in found]):,.0f} requests in the median")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
