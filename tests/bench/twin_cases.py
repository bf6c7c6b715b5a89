"""Compares the simulator with its slow twin on seeded cases, and counts in how many of them each thing occurs.

`python -m tests.bench.twin_cases FIRST COUNT`: three milliseconds of CPU a case.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

from loadlab.simulator.spec import Batching, ShardedModel
from tests.simulator.test_twin import COMPARED
from tests.simulator.twin.compare import Rows, fast_rows, twin_rows
from tests.simulator.twin.workloads import Case, random_case


def occurring(case: Case, rows: Rows) -> Iterator[str]:
    """What there is in a case, and what happened in it."""
    counted = {"preemption": ("replica ", " preemptions"), "prefix reuse": ("seq ", " cached_tokens"), "OOM": ("replica ", " ooms")}
    for what, (begin, end) in counted.items():
        if any(value for key, value in rows.items() if key.startswith(begin) and key.endswith(end)):
            yield what
    yield from {f"fault {fault.kind}" for fault in case.spec.faults}
    yield from {f"cause {value}" for key, value in rows.items() if key.endswith(" cause") and value is not None}
    pools = case.spec.pools.values()
    yield from {f"router {pool.router.value}" for pool in pools if pool.replicas > 1}
    yield from {f"allocation {pool.engine.allocation.value}" for pool in pools}
    found = {
        "prefill pool": any(pool.prefill_pool for pool in pools),
        "speculation": any(isinstance(pool.hardware, ShardedModel) and pool.hardware.speculation for pool in pools),
        "static batching": any(pool.engine.batching is Batching.STATIC for pool in pools),
        "noise": any(pool.engine.step_noise_cv for pool in pools),
        "autoscaling": any(pool.autoscale for pool in pools),
        "tiers": case.spec.tiers,
        "regions": case.spec.regions,
        "pipeline": case.spec.pipeline,
    }
    yield from (what for what, is_there in found.items() if is_there)


def main(first: int, count: int) -> None:
    """Prints the counts. AssertionError names the first case in which the two differ."""
    counts: Counter[str] = Counter()
    for seed in range(first, first + count):
        case = random_case(seed, COMPARED)
        rows = twin_rows(case.spec, case.seed, case.arrivals)
        fast = fast_rows(case.spec, case.seed, case.arrivals, is_told_of_idle_faults=case.is_told_of_idle_faults)
        assert rows == fast, f"random_case({seed}, COMPARED) differs"
        counts.update(occurring(case, rows))
        counts["requests"] += len(case.arrivals)
        counts["tokens"] += sum(len(value) for key, value in rows.items() if key.endswith(" token_times_ps"))
    print(f"{count:,} cases from {first:,} on, all equal")
    for what, number in sorted(counts.items()):
        print(f"{number:9,} {what}")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
