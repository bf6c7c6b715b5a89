"""How sure a break-even is: Monte Carlo over every unsure input, and a tornado that says which one decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator, SeedSequence

from loadlab.planning.curves import FloatArray, Number, permanent_break_even
from loadlab.planning.hosting import Spread
from loadlab.planning.inputs import SHARES, VARIABLE, Inputs, Terms, api_curve, own_curve

Z_90 = 1.6448536269514722  # the 95 % point of the standard normal: 90 % lies within +- this
VARY_BY = 0.2  # the tornado swings an input without a spread of its own by this share, and says so
BAND = (0.05, 0.5, 0.95)
_VOLUMES_AT_ONCE = 32  # so that 10,000 draws of a curve stay below 3 MB an array


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """Outcomes of n draws. `cost_*` are float64[3, volumes]: the 5 %, 50 % and 95 % quantiles of the monthly bill."""

    n: int
    break_even_tokens_per_day: FloatArray  # float64[n], ascending; infinity: never
    cost_own_usd: FloatArray
    cost_api_usd: FloatArray
    own_wins_share: FloatArray  # float64[volumes]: in how many draws self-hosting costs no more

    @property
    def never_share(self) -> float:
        """In how many draws self-hosting never wins for good."""
        return float(np.isinf(self.break_even_tokens_per_day).mean())

    def break_even_quantile(self, p: float) -> float | None:
        """The p-quantile of the permanent break-even, an order statistic; None where it is never."""
        value = self.break_even_tokens_per_day[max(0, int(np.ceil(p * self.n)) - 1)]
        return None if np.isinf(value) else float(value)

    def share_below(self, tokens_per_day: float) -> float:
        """P(permanent break-even <= tokens_per_day)."""
        return float(np.searchsorted(self.break_even_tokens_per_day, tokens_per_day, side="right") / self.n)


def draw_inputs(inputs: Inputs, spreads: Mapping[str, Spread], n: int, seed: int) -> Inputs:
    """n draws of every input that has a spread: a lognormal in two halves, so that the median is the point value and 90 % lie within.

    Each input has a stream of its own, from `seed` and its name, so a new spread leaves the other draws alone. Draws are independent
    of each other. Shares are cut at 1, and a peak to average at 1 from below.
    """
    drawn: dict[str, Number] = {}
    for name, spread in spreads.items():
        normal = _stream(seed, name).standard_normal(n)
        sigma = np.where(normal < 0, -np.log(spread.low_share), np.log(spread.high_share)) / Z_90
        values = getattr(inputs, name) * np.exp(sigma * normal)
        drawn[name] = _within_bounds(name, values)
    return replace(inputs, **drawn)


def _within_bounds(name: str, values: Number) -> Number:
    """Shares end at 1, and a peak is never below the average."""
    if name in SHARES:
        return np.minimum(values, 1.0)
    return np.maximum(values, 1.0) if name == "peak_to_average" else values


def _stream(seed: int, name: str) -> Generator:
    return np.random.default_rng(SeedSequence([seed, *name.encode()]))


def simulate(inputs: Inputs, terms: Terms, spreads: Mapping[str, Spread], volumes: FloatArray, n: int, seed: int) -> Draws:
    """`n` draws of both curves at each volume (float64[volumes], tokens a day)."""
    drawn = draw_inputs(inputs, spreads, n, seed)
    own, api = own_curve(drawn, terms), api_curve(drawn)
    break_even = np.sort(np.broadcast_to(permanent_break_even(own, api), n))
    own_usd, api_usd, wins = [], [], []
    for start in range(0, len(volumes), _VOLUMES_AT_ONCE):
        column = volumes[start : start + _VOLUMES_AT_ONCE, None]
        bill = np.broadcast_to(np.asarray(own.usd_per_month(column)), (len(column), n))
        price = np.broadcast_to(np.asarray(api.usd_per_month(column)), (len(column), n))
        own_usd.append(_band(bill))
        api_usd.append(_band(price))
        wins.append((bill <= price).mean(axis=1))
    return Draws(
        n=n,
        break_even_tokens_per_day=break_even,
        cost_own_usd=np.concatenate(own_usd, axis=1),
        cost_api_usd=np.concatenate(api_usd, axis=1),
        own_wins_share=np.concatenate(wins),
    )


def _band(values: FloatArray) -> FloatArray:
    """float64[3, volumes]: order statistics of each row."""
    n = values.shape[1]
    ranks = [max(0, int(np.ceil(p * n)) - 1) for p in BAND]
    return np.partition(values, ranks, axis=1)[:, ranks].T


@dataclass(frozen=True, slots=True, kw_only=True)
class Swing:
    """What one input does to the answer, between the ends of its spread, all others at their point."""

    name: str
    low_value: float
    high_value: float
    is_assumed: bool  # the file states no spread: swung by VARY_BY
    break_even_at_low: float | None  # permanent, tokens a day; None: never
    break_even_at_high: float | None
    saving_at_low_usd: float  # a month at the case's volume, annuity included
    saving_at_high_usd: float

    @property
    def reach_usd(self) -> float:
        """How far it moves the monthly saving."""
        return abs(self.saving_at_high_usd - self.saving_at_low_usd)


def tornado(inputs: Inputs, terms: Terms, spreads: Mapping[str, Spread], tokens_per_day: float) -> tuple[Swing, ...]:
    """Every input that is not 0, by how far it moves the monthly saving at a volume, furthest first."""
    assumed = Spread(low_share=1 - VARY_BY, high_share=1 + VARY_BY)
    names = [name for name in VARIABLE if getattr(inputs, name) != 0]
    swings = [_swing(name, inputs, terms, spreads.get(name, assumed), name not in spreads, tokens_per_day) for name in names]
    return tuple(sorted((s for s in swings if s.reach_usd > 0), key=lambda s: (-s.reach_usd, s.name)))


def _swing(name: str, inputs: Inputs, terms: Terms, spread: Spread, is_assumed: bool, tokens_per_day: float) -> Swing:
    point = float(getattr(inputs, name))
    values = [float(_within_bounds(name, point * share)) for share in (spread.low_share, spread.high_share)]
    ends = [replace(inputs, **{name: value}) for value in values]
    at = [float(permanent_break_even(own_curve(end, terms), api_curve(end))) for end in ends]
    saving = [float(api_curve(end).usd_per_month(tokens_per_day) - own_curve(end, terms).usd_per_month(tokens_per_day)) for end in ends]
    return Swing(
        name=name,
        low_value=values[0],
        high_value=values[1],
        is_assumed=is_assumed,
        break_even_at_low=None if np.isinf(at[0]) else at[0],
        break_even_at_high=None if np.isinf(at[1]) else at[1],
        saving_at_low_usd=saving[0],
        saving_at_high_usd=saving[1],
    )
