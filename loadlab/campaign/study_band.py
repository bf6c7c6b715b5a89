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


def capacity_scales(study: Mapping[str, Any]) -> tuple[float, float]:
    """What the lower and the upper end of a study's capacity are multiplied with for its band: 1, 1 where there is none.

    Were every time k times as long, the limits of the SLO too, capacity would be c / k. The limits stay, so the lower end is a bound from
    above: close where the queue decides, 20 to 30 % too high where TPOT does (docs/validation.md).
    """
    band = step_band_of(study)
    return (1.0, 1.0) if band is None else (1 / max(1.0, band[1]), 1 / min(1.0, band[0]))
