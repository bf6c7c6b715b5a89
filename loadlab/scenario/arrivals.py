"""When requests arrive: every arrival law under one roof, alone, superposed, or in phases one after another.

Every law is mean-matched: its long-run rate is the rate that it states, and its first n arrivals are the same however many are
asked for. Formulas and sources: docs/traffic-models.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, TypeAlias, assert_never

import numpy as np
from numpy.random import Generator

from loadlab.errors import InputError
from loadlab.scenario import clusters, profiles, renewal, states
from loadlab.scenario.clusters import Cluster as Cluster
from loadlab.scenario.limits import Requests, Span
from loadlab.scenario.plan import FloatArray
from loadlab.scenario.profiles import Diurnal as Diurnal
from loadlab.scenario.profiles import Harmonic as Harmonic
from loadlab.scenario.profiles import Hourly as Hourly
from loadlab.scenario.profiles import Profile as Profile
from loadlab.scenario.profiles import Ramp as Ramp
from loadlab.scenario.profiles import Spike as Spike
from loadlab.scenario.profiles import Step as Step
from loadlab.scenario.profiles import Weekday as Weekday
from loadlab.scenario.renewal import Constant as Constant
from loadlab.scenario.renewal import Cv, Gaps
from loadlab.scenario.renewal import Gamma as Gamma
from loadlab.scenario.renewal import Lognormal as Lognormal
from loadlab.scenario.renewal import Poisson as Poisson
from loadlab.scenario.renewal import Weibull as Weibull
from loadlab.scenario.states import MAX_STATES as MAX_STATES
from loadlab.scenario.states import Dwell as Dwell
from loadlab.scenario.states import Mmpp as Mmpp
from loadlab.scenario.states import OnOff as OnOff

MAX_PARTS = 100  # of a superposition, and phases


@dataclass(frozen=True, slots=True, kw_only=True)
class Modulated:
    """A rate that is a function of time, and gaps more or less regular than Poisson's: the renewal process with `gaps` of mean 1,
    run through the inverse of the integrated rate. With gaps = "exponential" it is the profile by itself."""

    kind: ClassVar[str] = "modulated"
    profile: Profile
    gaps: Gaps
    cv: Annotated[float, Cv] | None = None

    def __post_init__(self) -> None:
        needs_cv = self.gaps in (Gaps.GAMMA, Gaps.WEIBULL, Gaps.LOGNORMAL)
        if needs_cv and self.cv is None:
            raise ValueError(f'cv is missing: gaps = "{self.gaps}" need one, such as cv = 3')
        if not needs_cv and self.cv is not None:
            raise ValueError(f'cv = {self.cv} must be left out with gaps = "{self.gaps}"')


SingleLaw: TypeAlias = (
    Constant | Poisson | Gamma | Weibull | Lognormal | OnOff | Mmpp | Ramp | Step | Spike | Diurnal | Hourly | Cluster | Modulated
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Superposition:
    """Independent streams, merged: such as a calm crowd and a batch job every ten minutes."""

    kind: ClassVar[str] = "superposition"
    of: tuple[SingleLaw, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.of) <= MAX_PARTS:
            raise ValueError(f"of = {len(self.of)} laws must be 1 to {MAX_PARTS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A stretch of time with a law of its own, whose clock starts with it: for duration_s, or until `requests` have come and the next
    one would."""

    arrivals: SingleLaw | Superposition
    duration_s: Annotated[float, Span] | None = None
    requests: Annotated[int, Requests] | None = None

    def __post_init__(self) -> None:
        if (self.duration_s is None) == (self.requests is None):
            raise ValueError("duration_s or requests must say when the phase ends, one of the two")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Laws one after another. After the last phase nobody comes."""

    kind: ClassVar[str] = "phases"
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.phases) <= MAX_PARTS:
            raise ValueError(f"phases = {len(self.phases)} must be 1 to {MAX_PARTS}")


Arrivals: TypeAlias = SingleLaw | Superposition | Phases


def arrival_times_s(law: Arrivals, rng: Generator, *, requests: int | None = None, duration_s: float | None = None) -> FloatArray:
    """Arrival times: the first `requests`, or those on [0, duration_s), or where both are given whichever ends first.

    Returns float64[n], ascending, seconds since the run's t0; inf may stand for a time beyond MAX_SPAN_S. Takes one number from
    `rng`, so that both end rules see the same arrivals: a longer run begins with the shorter one. Phases end by themselves, and may
    so give fewer. Raises ValueError without an end rule where the law has no end.
    """
    seed = int(rng.integers(2**63))
    if isinstance(law, Phases):
        times = _phase_times_s(law, requests, np.random.default_rng(seed))
        return times[: None if duration_s is None else int(np.searchsorted(times, duration_s, side="left"))]
    if duration_s is None:
        if requests is None:
            raise ValueError("arrival_times_s needs requests, duration_s or both")
        return first_arrivals_s(law, requests, np.random.default_rng(seed))
    size = _ample(expected_arrivals(law, duration_s))
    while True:
        size = size if requests is None else min(size, requests)
        times = first_arrivals_s(law, size, np.random.default_rng(seed))
        if size == requests or times[-1] >= duration_s:
            return times[: int(np.searchsorted(times, duration_s, side="left"))]
        size *= 2


def _ample(expected: float) -> int:
    return math.ceil(expected + 6 * math.sqrt(expected)) + 16


def first_arrivals_s(law: SingleLaw | Superposition, n: int, rng: Generator) -> FloatArray:
    """The first n arrival times of a law: float64[n], ascending, seconds; inf may stand for a time beyond MAX_SPAN_S."""
    times: FloatArray = np.maximum.accumulate(_times_s(law, n, rng))  # rounding must not reorder neighbours
    return times


def _times_s(law: SingleLaw | Superposition, n: int, rng: Generator) -> FloatArray:
    match law:
        case Constant() | Poisson() | Gamma() | Weibull() | Lognormal():
            return renewal.renewal_times_s(law, n, rng)
        case OnOff() | Mmpp():
            return states.state_times_s(law, n, rng)
        case Ramp() | Step() | Spike() | Diurnal() | Hourly():
            return profiles.times_through(law, renewal.unit_sums(Gaps.EXPONENTIAL, 1.0, n, rng))
        case Modulated():
            return profiles.times_through(law.profile, renewal.unit_sums(law.gaps, law.cv or 0.0, n, rng))
        case Cluster():
            return clusters.cluster_times_s(law, n, rng)
        case Superposition():
            return _merged_s(law, n, rng)
        case _:
            assert_never(law)


def _merged_s(law: Superposition, n: int, rng: Generator) -> FloatArray:
    """Streams are drawn until n arrivals lie before the end of what is drawn of each: those are final."""
    seeds = rng.integers(2**63, size=len(law.of)).tolist()
    size = n // len(law.of) + 16
    while True:
        size = min(size, n)
        streams = [first_arrivals_s(part, size, np.random.default_rng(seed)) for part, seed in zip(law.of, seeds, strict=True)]
        merged = np.sort(np.concatenate(streams))
        is_final = size == n or int(np.searchsorted(merged, min(float(stream[-1]) for stream in streams), side="right")) >= n
        if is_final:
            return merged[:n]
        size *= 2


def _phase_times_s(law: Phases, requests: int | None, rng: Generator) -> FloatArray:
    """The arrivals of all phases, or the first `requests` of them; each phase has a stream of its own."""
    start_s, found, times = 0.0, 0, []
    for i, (phase, seed) in enumerate(zip(law.phases, rng.integers(2**63, size=len(law.phases)).tolist(), strict=True)):
        if requests is not None and found >= requests:
            break
        phase_rng = np.random.default_rng(seed)
        if phase.duration_s is not None:
            left = None if requests is None else requests - found
            own, length_s = arrival_times_s(phase.arrivals, phase_rng, requests=left, duration_s=phase.duration_s), phase.duration_s
        else:
            assert phase.requests is not None
            drawn = arrival_times_s(phase.arrivals, phase_rng, requests=phase.requests + 1)
            own, length_s = drawn[:-1], float(drawn[-1])
            if math.isinf(length_s):
                problem = f"= {phase.requests:,} do not come within 30 days: raise the rate, or end the phase by duration_s"
                raise InputError(problem, key=f"load.arrivals.phases[{i}].requests")
        times.append(start_s + own)
        found, start_s = found + len(own), start_s + length_s
    return np.concatenate(times)[:requests]


def expected_arrivals(law: Arrivals, duration_s: float) -> float:
    """Mean number of arrivals on [0, duration_s); for on/off laws of whole cycles, rounded up to the next, and for phases that end by
    `requests` all of these: at least what is meant."""
    match law:
        case Constant() | Poisson() | Gamma() | Weibull() | Lognormal() | Cluster() | Mmpp():
            return law.rate_per_s * duration_s
        case OnOff():
            return float(np.dot(law.rates_per_s, law.dwell_s)) * math.ceil(duration_s / sum(law.dwell_s))
        case Ramp() | Step() | Spike() | Diurnal() | Hourly():
            return profiles.integrated(law, duration_s)
        case Modulated():
            return profiles.integrated(law.profile, duration_s)
        case Superposition():
            return sum(expected_arrivals(part, duration_s) for part in law.of)
        case Phases():
            return _expected_in_phases(law, duration_s)
        case _:
            assert_never(law)


def _expected_in_phases(law: Phases, duration_s: float) -> float:
    total, left_s = 0.0, duration_s
    for phase in law.phases:
        if phase.duration_s is None:
            total += phase.requests or 0
        else:
            total += expected_arrivals(phase.arrivals, min(left_s, phase.duration_s))
            left_s = max(0.0, left_s - phase.duration_s)
    return total
