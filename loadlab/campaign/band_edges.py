"""A simulated capacity at both edges of its band: the same traffic afresh, every step as long, or as short, as the band allows."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from loadlab.campaign.bracketing import bracket, holds
from loadlab.campaign.capacity import Say, budget_of, from_levels
from loadlab.campaign.prediction_band import pool_bands, with_pool_steps
from loadlab.campaign.probing import Probing, run_probe
from loadlab.campaign.target import Target
from loadlab.catalog.bands import Band
from loadlab.errors import InputError
from loadlab.planning.levels import Level
from loadlab.planning.search import Ask
from loadlab.schema import as_table
from loadlab.simulator.files import CLUSTER_SCHEMA, load_cluster
from loadlab.simulator.spec import ClusterSpec

EDGE_REQUESTS = 4000  # a rate
CLOSE, WIDEN = 1.05, 1.25  # rates of the bracket, and its steps
PROBE = 1000  # every rate and edge draws with this probe's seed: differences are theirs, not chance


def check_band(target: Target) -> None:
    """Raises InputError where nothing is known of how far the target's step times may be off."""
    if not _bands_of(target):
        raise InputError("needs a simulated cluster of catalogue models, or a calibrated one: nothing else has a band", key="--band")


def _bands_of(target: Target) -> dict[str, tuple[Band, Band, str]]:
    return pool_bands(load_cluster(target)) if isinstance(target, Path) else {}


def with_band_edges(study: dict[str, Any], probing: Probing, say: Say, requests: int = EDGE_REQUESTS) -> dict[str, Any]:
    """The capacity.json with `slow_edge_per_s` and `fast_edge_per_s`, arrivals a second, and `band_edges`, which says how they were found.

    An edge is the study's point times what the edge's capacity is to that of the file's own steps, both from `requests` a rate and one
    seed. None where there is no point; `band_edges.notes` says so. The target must have a band (`check_band`).
    """
    point, bands = study["capacity_per_s"]["value"], _bands_of(probing.target)
    slow, fast = ({name: getattr(found[0], end) for name, found in bands.items()} for end in ("high", "low"))
    simulator = _Simulator(probing, requests, say)
    own, is_known = (None, False) if point is None else simulator.capacity(point, {})
    if point is None or own is None or not is_known:
        return study | _facts(None, None, slow, fast, simulator, ["no band's edges: there is no capacity to put a band around"])
    (low, has_low), (high, has_high) = (
        simulator.capacity(own / max(slow.values()), slow),
        simulator.capacity(own / min(fast.values()), fast),
    )
    low_per_s, high_per_s = low / own * point, high / own * point
    notes = [] if has_low else [f"not one rate held at the slow edge: the capacity there is below {low_per_s:.3g}/s"]
    notes += [] if has_high else [f"every rate held at the fast edge: the capacity there is above {high_per_s:.3g}/s"]
    return study | _facts(low_per_s, high_per_s, slow, fast, simulator, notes)


def _facts(
    low_per_s: float | None, high_per_s: float | None, slow: Mapping[str, float], fast: Mapping[str, float], simulator: _Simulator,
    notes: list[str],
) -> dict[str, Any]:  # fmt: skip
    scales = {"slow": dict(slow), "fast": dict(fast)}
    about = {"step_scale": scales, "requests_each": simulator.requests, "rates": simulator.rates, "notes": notes}
    return {"slow_edge_per_s": low_per_s, "fast_edge_per_s": high_per_s, "band_edges": about}


class _Simulator:
    """The cluster with each pool's steps so many times as long."""

    def __init__(self, probing: Probing, requests: int, say: Say) -> None:
        self.rates = 0
        self.requests = requests
        self._probing, self._say, self._budget = probing, say, budget_of(probing.slos)
        assert isinstance(probing.target, Path)
        self._spec = load_cluster(probing.target)

    def capacity(self, first_per_s: float, scales: dict[str, float]) -> tuple[float, bool]:
        """The point, and whether rates lie on both sides of it; else the rate that was tried last."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "cluster.toml"
            file.write_bytes(_cluster_text(with_pool_steps(self._spec, scales)))
            levels = bracket(self._at(file), first_per_s, self._budget, close=CLOSE, widen=WIDEN)
        self.rates += len(levels)
        held = [level.rate_per_s for level in levels if holds(level, self._budget)]
        curve = from_levels(levels, self._budget).curve
        if curve is not None and curve.rate_per_s is not None:
            return curve.rate_per_s, True
        if not held or len(held) == len(levels):
            return levels[-1].rate_per_s, False
        return max(held), True  # all above it were overloaded: within CLOSE of it

    def _at(self, file: Path) -> Callable[[float], Level]:
        probing = replace(self._probing, target=file, keep_rows_in=None)

        def level(rate_per_s: float) -> Level:
            ask = Ask(rate_per_s=rate_per_s, looks=(self.requests,), judge=lambda _: None)
            return run_probe(probing, ask, PROBE, lambda done, most: self._say(f"band's edges: {rate_per_s:.4g}/s", done, most))

        return level


def _cluster_text(spec: ClusterSpec) -> bytes:
    return tomli_w.dumps({"schema": CLUSTER_SCHEMA} | as_table(spec)).encode()
