"""How far a simulated capacity may be from hardware: the band of its step times, which chance does not know of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_BAND = re.compile(r"band ([+-]\d+) to ([+-]\d+) %")


def step_band_of(study: Mapping[str, Any]) -> tuple[float, float] | None:
    """Low and high of measured / predicted step time, the widest of the study's pools; None where its interval needs no widening.

    That is so of a measured capacity, and of a hybrid one, whose interval has the band of its calibration already.
    """
    if "hybrid" in study:
        return None
    found = [_BAND.search(str(pool.get("step_time_band"))) for pool in study.get("conditions", ())]
    edges = [(1 + int(match[1]) / 100, 1 + int(match[2]) / 100) for match in found if match is not None]
    return (min(low for low, _ in edges), max(high for _, high in edges)) if edges else None


def has_simulated_edges(study: Mapping[str, Any]) -> bool:
    """Whether `loadlab capacity --band` made it."""
    return study.get("slow_edge_per_s") is not None


def edges_text(study: Mapping[str, Any]) -> str:
    """How sure the scaled ends are themselves."""
    if has_simulated_edges(study):
        return "; ".join(["simulated afresh", *study["band_edges"]["notes"]])
    return "where TPOT binds the slow edge may lie up to 30 % lower: loadlab capacity --band simulates it"


def capacity_scales(study: Mapping[str, Any]) -> tuple[float, float]:
    """What the lower and the upper end of a study's capacity are multiplied with for its band: 1, 1 where there is none.

    Simulated edges, where the study has them. Else c / k: were every time k times as long, the limits of the SLO too, that would be the
    capacity. The limits stay, so the lower end is a bound from above: close where the queue decides, 20 to 30 % too high where TPOT does
    (docs/validation.md).
    """
    band = step_band_of(study)
    if band is not None and has_simulated_edges(study):
        point = study["capacity_per_s"]["value"]
        return min(1.0, study["slow_edge_per_s"] / point), max(1.0, study["fast_edge_per_s"] / point)
    return (1.0, 1.0) if band is None else (1 / max(1.0, band[1]), 1 / min(1.0, band[0]))
