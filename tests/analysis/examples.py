"""Runs as numbers, made up so that a reader sees the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loadlab.analysis.readings import Reading, RunNumbers

P50 = "ttft.p50"


def run_of(values: Mapping[str, float | None] | float, plan: str = "sha256:00", **changes: Any) -> RunNumbers:
    """A run with these readings; a number is its ttft.p50."""
    found = values if isinstance(values, Mapping) else {P50: values, "success_rate": 1.0}
    readings = {name: Reading(value=value, smoothed=value) for name, value in found.items()}
    known: dict[str, Any] = {
        "label": "runs/x/1", "plan_digest": plan, "scenario_digest": "sha256:s", "seed": 1, "planned": 100, "ok": 100, "readings": readings,
    }  # fmt: skip
    return RunNumbers(**known | changes)


def sides(ratios: Sequence[float]) -> tuple[list[RunNumbers], list[RunNumbers]]:
    """Pairs of runs whose ttft.p50 differ by these log ratios; base values differ wildly from pair to pair."""
    bases = [0.1 * 3**k for k in range(len(ratios))]
    base = [run_of(x, f"sha256:{k}", deciles={"ttft": np.full(9, x)}) for k, x in enumerate(bases)]
    candidate = [
        run_of(x * math.exp(r), f"sha256:{k}", deciles={"ttft": np.full(9, x * math.exp(r))})
        for k, (x, r) in enumerate(zip(bases, ratios, strict=True))
    ]
    return base, candidate
