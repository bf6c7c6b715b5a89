"""How many streamed tokens a second one worker and two send with lag p99 below 10 ms, the null server beside them on the same cores.

`python -m tests.bench.workers_ceiling [FIRST_RATE]`: a line per probe, one and two workers in turn at each rate, so that a drift of the
machine falls on both.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from loadlab.engines.spread import Spread
from tests.engines.null_target import NullTarget, equal_requests, null_target, percentile, replay

TOKENS, GAP_S, SECONDS = 64, 0.01, 4.0
RUNGS = 10  # each a fifth above the one before
LIMIT_MS = 10.0


def probe(target: NullTarget, rate_per_s: int, workers: int, folder: Path) -> tuple[float, float]:
    """(lag p99 in ms, streamed tokens/s) of one run."""
    scenario = equal_requests(rate_per_s, int(rate_per_s * SECONDS), TOKENS)
    rows = replay(scenario, target.port, folder, preflight=False, max_in_flight=8000, spread=Spread(workers=workers))
    lags_ms = [1e3 * (row.sent_s - row.scheduled_s) for row in rows if row.sent_s is not None and row.scheduled_s is not None]
    ends_s = np.array([row.last_token_s for row in rows if row.last_token_s is not None])
    begun_s = min(row.first_token_s for row in rows if row.first_token_s is not None)
    tokens = sum(row.output_tokens or 0 for row in rows)
    return percentile(lags_ms, 0.99), tokens / float(ends_s.max() - begun_s)


def main(first_per_s: float) -> None:
    best = {1: 0.0, 2: 0.0}
    over = set[int]()
    with null_target(ttft_s=0.05, gap_s=GAP_S) as target, tempfile.TemporaryDirectory() as folder:
        for rate in (round(first_per_s * 1.2**k) for k in range(RUNGS)):
            for workers in (1, 2):
                if workers in over:
                    continue
                p99_ms, tokens_per_s = probe(target, rate, workers, Path(folder) / f"{rate}-{workers}")
                target.truth()
                print(f"{workers} workers, {rate} streams/s: {tokens_per_s:,.0f} tokens/s, lag p99 {p99_ms:.2f} ms", flush=True)
                if p99_ms < LIMIT_MS:
                    best[workers] = max(best[workers], tokens_per_s)
                else:
                    over.add(workers)
            if len(over) == len(best):
                break
    print(f"below {LIMIT_MS:.0f} ms: one {best[1]:,.0f}, two {best[2]:,.0f} tokens/s: {best[2] / max(best[1], 1.0):.2f} times")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 100.0)
