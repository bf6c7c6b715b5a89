"""How long a break-even takes: 10,000 draws over a 200-point curve. No verdicts; `make bench` prints it."""

from __future__ import annotations

import statistics
import time

import numpy as np

from loadlab.planning.hosting import Spread
from loadlab.planning.uncertainty import simulate
from tests.planning.examples import INPUTS, TERMS


def test_ten_thousand_draws_over_two_hundred_points() -> None:
    spreads = {name: Spread(low_share=0.7, high_share=1.4) for name in ("tokens_per_s", "peak_to_average", "rent_usd_per_gpu_hour")}
    seconds = []
    for seed in range(5):
        begun = time.process_time()
        found = simulate(INPUTS, TERMS, spreads, np.geomspace(1e6, 1e10, 200), 10_000, seed)
        seconds.append(time.process_time() - begun)
        assert found.cost_own_usd.shape == (3, 200)
    print(f"\n10,000 draws x 200 volumes: {statistics.median(seconds):.2f} CPU-s (median of 5; wanted: under 5)")
