"""From demand to replicas: R(t) = ceil(D(t) z / (c u)), one more in each region, a lost region, and replicas that take time to start.

D is arrivals a second, z the burst factor, c the lower end of what one replica holds, u the target utilisation. Arrays are
[regions, minutes]; replicas are whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from loadlab.planning.curves import DAYS_PER_MONTH, HOURS_PER_MONTH, FloatArray
from loadlab.planning.demand import MINUTES_PER_DAY, MINUTES_PER_HOUR, SmallModel
from loadlab.planning.routing import Style

IntArray = NDArray[np.int64]
MONTHS = 12
_ROUNDING = 1 - 1e-12  # what fits three replicas needs three, whatever the last bit of the division says
P99 = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How replicas are counted. `startup_s`: boot and the loading of weights; `survives_region`: any one region may be lost."""

    low_per_s: float
    utilisation_share: float = 0.8
    burst_factor: float = 1.0
    spare_replicas: int = 1
    startup_s: float = 300.0
    survives_region: bool = True

    @property
    def startup_minutes(self) -> int:
        """Whole minutes, rounded up: the grid of the demand."""
        return int(np.ceil(self.startup_s / 60 - 1e-9))


def replicas_for(per_s: FloatArray, rule: Rule) -> IntArray:
    """ceil(D z / (c u)): what serves a demand at the target utilisation, without a spare."""
    load = np.asarray(per_s) * rule.burst_factor / (rule.low_per_s * rule.utilisation_share)
    found: IntArray = np.ceil(load * _ROUNDING).astype(np.int64)
    return found


def needed(per_s: FloatArray, rule: Rule) -> IntArray:
    """Replicas of each region at each minute: int64[regions, minutes], at least one.

    The larger of two: its own demand with the spare replicas (N + 1); and, of K >= 2 regions, its own demand with 1 / (K - 1) of that of
    any other one that is lost: ceil(D / ((K - 1) c u)) each, where all are alike.
    """
    own = replicas_for(per_s, rule) + rule.spare_replicas
    regions = len(per_s)
    if regions > 1 and rule.survives_region:
        for lost in range(regions):
            moved = per_s + per_s[lost] / (regions - 1)
            others = np.arange(regions) != lost
            own[others] = np.maximum(own[others], replicas_for(moved, rule)[others])
    return np.maximum(own, 1)


def ahead(need: IntArray, minutes: int) -> IntArray:
    """The most that is needed in the minutes [t, t + minutes]: what must be started now. The day goes round.

    Where replicas grow with the demand this is R of the highest D over the start-up time.
    """
    return _over(ndimage.maximum_filter1d, need, minutes, -((minutes + 1) // 2))


def serving(started: IntArray, minutes: int) -> IntArray:
    """Of the replicas that are started, those that have been for so many minutes: the least of [t - minutes, t]. The day goes round."""
    return _over(ndimage.minimum_filter1d, started, minutes, minutes // 2)


def _over(extreme: Callable[..., IntArray], counts: IntArray, minutes: int, origin: int) -> IntArray:
    """A running extreme over minutes + 1 entries; a window longer than the demand is the whole of it."""
    size = min(minutes + 1, counts.shape[-1])
    if size < minutes + 1:
        origin = 0
    return extreme(counts, size, axis=-1, mode="wrap", origin=origin)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """Replicas of each region over the demand's minutes: int64[regions, minutes]. Those started are paid for, those up serve.

    `late` starts a replica when the demand is there, not before: what an autoscaler does that does not look ahead.
    """

    per_s: FloatArray
    rule: Rule
    need: IntArray
    started: IntArray
    late_up: IntArray

    @property
    def static(self) -> IntArray:
        """Of each region, always on: for the highest minute."""
        most: IntArray = self.need.max(axis=1)
        return most

    @property
    def static_p99(self) -> IntArray:
        """Of each region for all but the busiest 1 % of minutes."""
        ranked = np.sort(self.need, axis=1)
        found: IntArray = ranked[:, int(np.ceil(P99 * ranked.shape[1])) - 1]
        return found

    @property
    def up(self) -> IntArray:
        """Autoscaled with the demand known a start-up time ahead."""
        return serving(self.started, self.rule.startup_minutes)

    @property
    def days(self) -> int:
        """Days that the demand covers."""
        return int(self.need.shape[1]) // MINUTES_PER_DAY

    def static_hours_per_day(self) -> float:
        """Replica-hours of a day, always on."""
        return float(self.static.sum() * 24)

    def scaled_hours_per_day(self) -> float:
        """Replica-hours of a mean day, autoscaled; starting replicas are paid for."""
        return float(self.started.sum()) / MINUTES_PER_HOUR / self.days


def plan_fleet(per_s: FloatArray, rule: Rule) -> FleetPlan:
    """The fleet for a demand. Raises ValueError unless capacity, utilisation and burst factor are positive."""
    if not (rule.low_per_s > 0 and 0 < rule.utilisation_share <= 1 and rule.burst_factor >= 1 and rule.spare_replicas >= 0):
        raise ValueError(f"{rule} must have a capacity above 0, a utilisation in (0, 1], a burst factor of 1 or more")
    need, minutes = needed(per_s, rule), rule.startup_minutes
    return FleetPlan(
        per_s=per_s, rule=rule, need=need, started=ahead(need, minutes), late_up=serving(need, minutes)
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """The fleet in one month of growth; replica-hours are those of the whole month (730 h)."""

    month: int
    factor: float
    peak_per_s: float
    static_replicas: int
    scaled_most: int
    static_hours: float
    scaled_hours: float


def over_the_year(per_s: FloatArray, rule: Rule, growth_share: float) -> list[Month]:
    """The twelve months from now on: demand times (1 + growth)^month, planned anew each month."""
    months = []
    for month in range(MONTHS):
        factor = (1 + growth_share) ** month
        plan = plan_fleet(per_s * factor, rule)
        months.append(
            Month(
                month=month,
                factor=factor,
                peak_per_s=float(plan.per_s.sum(axis=0).max()),
                static_replicas=int(plan.static.sum()),
                scaled_most=int(plan.started.sum(axis=0).max()),
                static_hours=float(plan.static.sum()) * HOURS_PER_MONTH,
                scaled_hours=plan.scaled_hours_per_day() * DAYS_PER_MONTH,
            )
        )
    return months


@dataclass(frozen=True, slots=True, kw_only=True)
class TierFleet:
    """A static fleet with a small model that answers `small_share`; `all_large` is that share 0."""

    small_share: float
    small_replicas: int
    large_replicas: int


def tier_fleets(per_s: FloatArray, rule: Rule, tiers: SmallModel) -> list[TierFleet]:
    """Fleets for each share. Routed, each tier computes its own; in a cascade the small one computes all: what it passes on pays both."""
    small_rule = Rule(
        low_per_s=tiers.capacity_per_s,
        utilisation_share=rule.utilisation_share,
        burst_factor=rule.burst_factor,
        spare_replicas=rule.spare_replicas,
        startup_s=rule.startup_s,
        survives_region=rule.survives_region,
    )
    fleets = []
    for share in tiers.small_share:
        asked = per_s if tiers.style is Style.CASCADE else per_s * share
        passed_on = per_s * (1 - share)
        large = 0 if share == 1 else int(needed(passed_on, rule).max(axis=1).sum())
        fleets.append(TierFleet(small_share=share, small_replicas=int(needed(asked, small_rule).max(axis=1).sum()), large_replicas=large))
    return fleets
