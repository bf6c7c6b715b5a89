"""Tokens come when the simulator says that they come, whatever the speed."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest
import uvloop

from loadlab.server.realtime import RealTime, check_speed
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.sequence import Sequence
from tests.server.running import plain_cluster


class Listener:
    """Notes wall times of what it is told."""

    def __init__(self) -> None:
        self.tokens: list[tuple[int, float]] = []
        self.ended = asyncio.Event()

    def on_tokens(self, sequence: Sequence, times_ps: list[int]) -> None:
        self.tokens.append((len(times_ps), monotonic()))

    def on_end(self, sequence: Sequence) -> None:
        self.ended.set()


def ask(seq: int, prompt: int, output: int) -> Sequence:
    return Sequence(seq=seq, model="m", prompt_tokens=prompt, output_tokens=output)


@pytest.mark.parametrize("speed", [1.0, 4.0])
def test_tokens_are_told_at_their_time(speed: float) -> None:
    """Steps of 50 ms: the i-th token of a request comes i * 50 ms / speed after it."""

    async def drive() -> list[float]:
        real_time, listener = RealTime(SimulatedCluster(plain_cluster(step_s=0.05)), speed=speed), Listener()
        real_time.start()
        begin = monotonic()
        assert real_time.submit(ask(0, 5, 6), listener)
        await asyncio.wait_for(listener.ended.wait(), 5)
        assert [count for count, _ in listener.tokens] == [1] * 6
        return [at_s - begin for _, at_s in listener.tokens]

    for i, at_s in enumerate(uvloop.run(drive()), 1):
        due_s = i * 0.05 / speed
        assert due_s - 0.001 <= at_s <= due_s + 0.03, f"token {i}"


def test_who_gives_up_hears_that_it_is_over_and_frees_its_place() -> None:
    async def drive() -> None:
        real_time = RealTime(SimulatedCluster(plain_cluster(limits={"max_running": 1})), speed=10)
        real_time.start()
        first, second = Listener(), Listener()
        long = ask(0, 5, 4000)
        real_time.submit(long, first)
        real_time.submit(ask(1, 5, 2), second)
        await asyncio.sleep(0.02)
        real_time.give_up(long)
        assert first.ended.is_set()
        assert long.cause == "client_left"
        await asyncio.wait_for(second.ended.wait(), 5)
        assert real_time.under_way == 0
        await asyncio.sleep(0.01)
        assert real_time.tokens == sum(count for count, _ in (*first.tokens, *second.tokens))

    uvloop.run(drive())


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan"), float("inf")])
def test_a_speed_is_a_positive_number(speed: float) -> None:
    with pytest.raises(ValueError, match="must be a number > 0"):
        check_speed(speed)
