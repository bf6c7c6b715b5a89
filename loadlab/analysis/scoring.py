"""How far predictions lie from measurements: errors and coverage of bands by group, in the shape that `loadlab validate --json` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

VALIDATION_SCHEMA = "loadlab/validation/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """One measured figure and its prediction with the band from 10 to 90 %, in the unit of `metric`."""

    gpu: str
    kind: str  # dense or moe
    phase: str
    engine: str
    metric: str
    measured: float
    predicted: float
    low: float | None = None
    high: float | None = None

    @property
    def error(self) -> float:
        """Relative, signed."""
        return self.predicted / self.measured - 1

    @property
    def is_inside(self) -> bool | None:
        """Whether the band holds the measured figure; None without one."""
        return None if self.low is None or self.high is None else self.low <= self.measured <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpredicted:
    """A measured figure without a prediction, and why; or a row without a figure, which counts in no share."""

    metric: str | None
    reason: str


def score(scored: Sequence[Scored], unpredicted: Sequence[Unpredicted]) -> dict[str, Any]:
    """Errors in percent, shares from 0 to 1. `predicted_share`: of the figures measured, excluded ones included."""
    keys = sorted({(s.gpu, s.kind, s.phase, s.engine, s.metric) for s in scored})
    groups = []
    for gpu, kind, phase, engine, metric in keys:
        rows = [s for s in scored if (s.gpu, s.kind, s.phase, s.engine, s.metric) == (gpu, kind, phase, engine, metric)]
        groups.append({"gpu": gpu, "kind": kind, "phase": phase, "engine": engine, "metric": metric} | errors_of(rows))
    total = {}
    for metric in sorted({s.metric for s in scored} | {u.metric for u in unpredicted if u.metric}):
        rows = [s for s in scored if s.metric == metric]
        missed = sum(u.metric == metric for u in unpredicted)
        total[metric] = errors_of(rows) | {"predicted_share": len(rows) / (len(rows) + missed)}
    reasons = Counter(u.reason for u in unpredicted)
    return {
        "schema": VALIDATION_SCHEMA,
        "groups": groups,
        "total": total,
        "unpredicted": [{"reason": reason, "n": n} for reason, n in sorted(reasons.items())],
    }


def errors_of(rows: Iterable[Scored]) -> dict[str, Any]:
    """n; median, mean and 90 % quantile of |error|, and bias, the mean error with its sign, in percent; share of bands that hold."""
    scored = list(rows)
    if not scored:
        return {"n": 0, "median": None, "mean": None, "p90": None, "bias": None, "band_coverage": None}
    signed = 100 * np.array([s.error for s in scored])
    absolute = np.abs(signed)
    inside = [s.is_inside for s in scored if s.is_inside is not None]
    return {
        "n": len(scored),
        "median": float(np.median(absolute)),
        "mean": float(absolute.mean()),
        "p90": float(np.quantile(absolute, 0.9)),
        "bias": float(signed.mean()),
        "band_coverage": sum(inside) / len(inside) if inside else None,
    }
