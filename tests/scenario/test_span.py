"""No plan is longer or larger than the limits: each way to try is refused by key and with what to do."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from loadlab.errors import InputError
from loadlab.scenario import arrivals, delays, lengths, limits
from loadlab.scenario.build import build_plan
from loadlab.scenario.load import ClosedLoop, Load, OpenLoop, Replay
from loadlab.scenario.model import Images, Scenario, TrafficClass
from loadlab.scenario.sessions import Sessions
from loadlab.scenario.traces import TraceColumns
from loadlab.units import PS_PER_S

DAY_S = 86400
CHAT = TrafficClass(model="m", prompt_tokens=lengths.Constant(value=10), output_tokens=lengths.Constant(value=5))
ONCE_A_DAY = arrivals.Constant(rate_per_s=1 / DAY_S)
EACH_S = arrivals.Constant(rate_per_s=1)
FOREVER = arrivals.OnOff(rates_per_s=(0, 1e-300), dwell_s=(1, 1), dwell=arrivals.Dwell.EXPONENTIAL)

PICTURES = replace(CHAT, images=Images(count=lengths.Constant(value=10**9), sizes_px=((1, 1),)))


def talk(turns: int, think_s: float = 0, **more: int) -> TrafficClass:
    sessions = Sessions(turns=lengths.Constant(value=turns), think_s=delays.Constant(value_s=think_s), **more)  # type: ignore[arg-type]
    return replace(CHAT, sessions=sessions)


def plan(load: Load, chat: TrafficClass = CHAT, timeout_s: float | None = 60, trace: TraceColumns | None = None) -> int:
    return len(build_plan(Scenario(name="test", load=load, classes={"chat": chat}, timeout_s=timeout_s), 1, trace))


def columns(*arrival_s: float) -> TraceColumns:
    ones = np.ones(len(arrival_s), dtype=np.int64)
    return TraceColumns(arrival_s=np.array(arrival_s), prompt_tokens=ones, output_tokens=ones, line=ones)


IN_TIME: list[tuple[Load, TrafficClass, float | None, str]] = [
    (OpenLoop(arrivals=ONCE_A_DAY, requests=31), CHAT, None, "the last arrival is at 30 days exactly"),
    (OpenLoop(arrivals=ONCE_A_DAY, requests=30), CHAT, DAY_S, "and with its timeout, too"),
    (ClosedLoop(users=1, requests=31, think_s=delays.Constant(value_s=DAY_S)), CHAT, None, "30 think times of a day"),
    (ClosedLoop(users=10, requests=310, think_s=delays.Constant(value_s=DAY_S)), CHAT, None, "lanes wait side by side"),
]


@pytest.mark.parametrize(("load", "chat", "timeout_s", "why"), IN_TIME, ids=[row[3] for row in IN_TIME])
def test_a_plan_of_thirty_days_fits(load: Load, chat: TrafficClass, timeout_s: float | None, why: str) -> None:
    assert plan(load, chat, timeout_s) == load.requests, why  # type: ignore[union-attr]


TOO_LATE: list[tuple[str, Load, TrafficClass, float | None, str]] = [
    (
        "slow constant",
        OpenLoop(arrivals=ONCE_A_DAY, requests=100),
        CHAT,
        60,
        "load.arrivals puts arrival 32 of 100 31 days after t0; a plan spans at most 30 days. Raise the rate, lower load.",
    ),
    ("slow poisson", OpenLoop(arrivals=arrivals.Poisson(rate_per_s=1e-9), requests=1), CHAT, 60, "load.arrivals puts arrival 1 of 1"),
    ("states without end", OpenLoop(arrivals=FOREVER, requests=1), CHAT, 60, "load.arrivals puts arrival 1 of 1 beyond all limits"),
    (
        "timeout after the end",
        OpenLoop(arrivals=ONCE_A_DAY, requests=31),
        CHAT,
        60,
        "timeout_s lets the last request wait until 30.0007 days after t0; a plan spans at most 30 days. Lower it, or leave it out",
    ),
    (
        "think times in a lane",
        ClosedLoop(users=1, requests=32, think_s=delays.Constant(value_s=DAY_S)),
        CHAT,
        60,
        "load.think_s adds up to 31 days along one chain of requests; a plan spans",
    ),
    (
        "lognormal think times",
        ClosedLoop(users=1, requests=99, think_s=delays.Lognormal(median_s=DAY_S, sigma=5)),
        CHAT,
        60,
        "load.think_s adds up to",
    ),
    (
        "ramp and think time",
        ClosedLoop(users=2, requests=4, think_s=delays.Constant(value_s=16 * DAY_S), ramp_up_s=30 * DAY_S),
        CHAT,
        60,
        "load.think_s adds up",
    ),
    ("session of weeks", OpenLoop(arrivals=EACH_S, requests=9), talk(5, 8 * DAY_S), 60, "classes.chat.sessions.think_s adds up to 32 days"),
    (
        "ramp",
        ClosedLoop(users=4, requests=4, ramp_up_s=99 * DAY_S),
        CHAT,
        60,
        "load.ramp_up_s puts arrival 3 of 4 49.5 days after t0; a plan spans at most 30 days. Lower it",
    ),
    (
        "turns without end",
        OpenLoop(arrivals=EACH_S, duration_s=60),
        talk(10**9),
        60,
        "load.duration_s means 60,000,000,000 requests (the turns of 60 arrivals), and a plan holds 5,000,000",
    ),
    (
        "history without end",
        OpenLoop(arrivals=EACH_S, requests=10_000),
        talk(10_000),
        60,
        "sessions.history gives prompts of 100,000,000 pieces in all, and a plan holds 20,000,000: set max_context_tokens",
    ),
    (
        "images without end",
        OpenLoop(arrivals=EACH_S, requests=9),
        PICTURES,
        60,
        "classes.chat.images.count gives 9,000,000,000 images, and a plan holds 5,000,000",
    ),
]


@pytest.mark.parametrize(("why", "load", "chat", "timeout_s", "words"), TOO_LATE, ids=[row[0] for row in TOO_LATE])
def test_a_plan_beyond_the_limits_is_refused_by_key(why: str, load: Load, chat: TrafficClass, timeout_s: float | None, words: str) -> None:
    start = time.process_time()
    with pytest.raises(InputError, match=re.escape(f"test: {words}")):
        plan(load, chat, timeout_s)
    assert time.process_time() - start < 1, why


def test_a_trace_of_months_is_refused() -> None:
    with pytest.raises(InputError, match=r"load\.trace puts arrival 2 of 2 40 days after t0; .* window of it with load\.for_s or --window"):
        plan(Replay(), TrafficClass(model="m"), 60, columns(0, 40 * DAY_S))
    assert plan(Replay(), TrafficClass(model="m"), 60, columns(0, 29 * DAY_S)) == 2


def test_bounded_history_fits_where_a_whole_one_does_not() -> None:
    assert plan(OpenLoop(arrivals=EACH_S, requests=10_000), talk(10_000, max_context_tokens=100)) == 10_000


def test_the_span_leaves_the_simulator_room_for_service_times() -> None:
    assert limits.MAX_SPAN_S * PS_PER_S < 0.6 * 2**62


def test_random_states_beyond_the_span_are_not_drawn() -> None:
    law = arrivals.OnOff(rates_per_s=(0, 1e-9), dwell_s=(10, 10), dwell=arrivals.Dwell.EXPONENTIAL)
    times = arrivals.arrival_times_s(law, default_rng(1), requests=100)
    assert np.all(np.isinf(times[1:]))
