"""What a month costs at a volume: self-hosting in steps of whole replicas, an API on a line; and where the two cross.

A month is 730 hours, 30.4167 days. Every number may be an array (draws of a Monte Carlo): shapes broadcast as numpy's do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Number = float | FloatArray

HOURS_PER_MONTH = 730.0  # 365 * 24 / 12
DAYS_PER_MONTH = HOURS_PER_MONTH / 24
SECONDS_PER_DAY = 86400.0
MAX_ISLANDS = 1000  # as a price nears the marginal cost, islands grow without bound; more than these are counted, not listed
_ROUNDING = 1 - 1e-12  # 3 replicas' worth of tokens is 3 replicas, whatever the last bit of the division says


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCurve:
    """Cost of self-hosting: ceil(volume / replica_tokens_per_day) + spare_replicas whole replicas, and what does not depend on them."""

    replica_tokens_per_day: Number  # at the target utilisation, averaged over the day
    replica_usd_per_month: Number
    fixed_usd_per_month: Number = 0.0
    spare_replicas: int = 0

    def replicas(self, tokens_per_day: Number) -> Number:
        """Whole replicas that a volume needs, spare ones included; those alone at volume 0."""
        return np.ceil(np.asarray(tokens_per_day) / self.replica_tokens_per_day * _ROUNDING) + self.spare_replicas

    def usd_per_month(self, tokens_per_day: Number) -> Number:
        """The bill at a volume."""
        return self.replicas(tokens_per_day) * self.replica_usd_per_month + self.fixed_usd_per_month

    @property
    def marginal_usd_per_million(self) -> Number:
        """What a million tokens more costs in the long run: one replica's bill over what it serves, spare and fixed costs left out."""
        return self.replica_usd_per_month / (self.replica_tokens_per_day * DAYS_PER_MONTH) * 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCurve:
    """Cost of an API: a price per million tokens, input and output blended."""

    usd_per_million: Number

    def usd_per_month(self, tokens_per_day: Number) -> Number:
        """The bill at a volume."""
        return np.asarray(tokens_per_day) * self.usd_per_day_token_month

    @property
    def usd_per_day_token_month(self) -> Number:
        """Dollars a month for each token a day."""
        return self.usd_per_million * DAYS_PER_MONTH / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Island:
    """Volumes, in tokens a day, at which self-hosting costs no more than the API."""

    low_tokens_per_day: float
    high_tokens_per_day: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """Every volume at which the cheaper side changes.

    `islands`: where self-hosting wins below the permanent break-even, ascending, the API between them; `more_islands` of them are
    not listed. `permanent_tokens_per_day`: above it self-hosting always wins; None if it never does.
    """

    islands: tuple[Island, ...]
    permanent_tokens_per_day: float | None
    more_islands: int = 0

    @property
    def first_tokens_per_day(self) -> float | None:
        """The lowest volume at which self-hosting wins; None if there is none."""
        return self.islands[0].low_tokens_per_day if self.islands else self.permanent_tokens_per_day


def find_crossings(own: StepCurve, api: LineCurve) -> Crossings:
    """The crossings of a step curve and a line, exactly. Scalars only.

    With k serving replicas of C tokens a day the bill is S_k = (k + spare) r + F on ((k-1) C, k C], and the API's line q D meets it at
    D_k = S_k / q. Self-hosting wins at the end of step k once k (C q - r) >= spare r + F, and on all of it once
    k (C q - r) >= spare r + F + C q. Where r >= C q, the marginal cost is at or above the price, neither ever holds.
    """
    capacity, replica_usd = float(own.replica_tokens_per_day), float(own.replica_usd_per_month)
    slope = float(api.usd_per_day_token_month)
    standing = own.spare_replicas * replica_usd + float(own.fixed_usd_per_month)
    gain = capacity * slope - replica_usd  # what each replica saves when it is full
    if gain <= capacity * slope * 1e-12:
        return Crossings(islands=(), permanent_tokens_per_day=None)
    first = max(1, int(np.ceil(standing / gain * _ROUNDING)))
    whole = max(2, int(np.ceil((standing + capacity * slope) / gain * _ROUNDING)))

    def crossing(k: int) -> float:
        return max((k * replica_usd + standing) / slope, (k - 1) * capacity)

    listed = range(first, min(whole - 1, first + MAX_ISLANDS))
    islands = tuple(Island(low_tokens_per_day=crossing(k), high_tokens_per_day=k * capacity) for k in listed)
    return Crossings(islands=islands, permanent_tokens_per_day=crossing(whole - 1), more_islands=whole - 1 - first - len(islands))


def permanent_break_even(own: StepCurve, api: LineCurve) -> FloatArray:
    """The permanent break-even of each draw, tokens a day; infinity where self-hosting never wins. The array form of `find_crossings`."""
    capacity, replica_usd, fixed_usd, slope = np.broadcast_arrays(
        own.replica_tokens_per_day, own.replica_usd_per_month, own.fixed_usd_per_month, api.usd_per_day_token_month
    )
    standing = own.spare_replicas * replica_usd + fixed_usd
    gain = capacity * slope - replica_usd
    never = gain <= capacity * slope * 1e-12
    whole = np.maximum(2, np.ceil((standing + capacity * slope) / np.where(never, 1.0, gain) * _ROUNDING))
    volume = np.maximum(((whole - 1) * replica_usd + standing) / slope, (whole - 2) * capacity)
    return np.where(never, np.inf, volume)
