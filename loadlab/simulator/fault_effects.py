"""What faults do to replicas, and when: each becomes actions at its beginning and its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import assert_never

from loadlab.record.request import Cause
from loadlab.simulator.faults import DeadReplica, Drain, Fault, LostNode, LostRegion, Misconfigured, OutOfMemory, SlowGpu, SlowLink
from loadlab.simulator.placement import Placement
from loadlab.simulator.pool import Pool
from loadlab.simulator.replica import Replica
from loadlab.simulator.spec import ClusterSpec
from loadlab.simulator.step_time import StepTimes, compile_step_times
from loadlab.units import PS_PER_S

Action = Callable[[None, int], None]  # what to do at a time in picoseconds; it concerns no request


class FaultEffects:
    """Turns faults into actions, and knows which slow parts a replica has at a time."""

    def __init__(self, spec: ClusterSpec, pools: Mapping[str, Pool], placements: Mapping[str, list[Placement]]) -> None:
        self._spec = spec
        self._pools = pools
        self._placements = placements
        self._slow: dict[int, list[SlowGpu | SlowLink]] = {}  # by replica index: faults under way
        self._draining: dict[int, int] = {}  # by replica index: how many drains are under way
        self._times: dict[tuple[str, float, float], StepTimes] = {}

    def actions(self, fault: Fault) -> Iterator[tuple[bool, int, Action]]:
        """(whether it is the beginning, when, what to do) of a fault."""
        match fault:
            case SlowGpu() | SlowLink():
                replica = self._pools[fault.pool].replicas[fault.replica]
                yield from _both(
                    fault, lambda _, now: self._slow_down(replica, fault, now), lambda _, now: self._speed_up(replica, fault, now)
                )
            case Drain():
                replica = self._pools[fault.pool].replicas[fault.replica]
                yield from _both(fault, lambda *_: self._drain(replica, 1), lambda *_: self._drain(replica, -1))
            case DeadReplica():
                yield self._kill([self._pools[fault.pool].replicas[fault.replica]], fault)
            case LostNode():
                placed = zip(self._pools[fault.pool].replicas, self._placements[fault.pool], strict=True)
                yield self._kill([replica for replica, placement in placed if fault.node in placement.nodes], fault)
            case LostRegion():
                there = [pool for pool in self._pools.values() if pool.spec.region == fault.region]
                yield self._kill([replica for pool in there for replica in pool.replicas], fault)
            case OutOfMemory():
                replica = self._pools[fault.pool].replicas[fault.replica]
                yield True, _ps(fault.at_s), lambda _, now: replica.run_out_of_memory(now)
            case Misconfigured():
                return  # it was built so
            case _:
                assert_never(fault)

    @staticmethod
    def _kill(replicas: list[Replica], fault: DeadReplica | LostNode | LostRegion) -> tuple[bool, int, Action]:
        ready_ps = _ps(fault.at_s + fault.for_s)

        def kill(_: None, now: int) -> None:
            for replica in replicas:
                replica.die(Cause.ENGINE_DIED, now, ready_ps)

        return True, _ps(fault.at_s), kill

    def _drain(self, replica: Replica, change: int) -> None:
        count = self._draining[replica.index] = self._draining.get(replica.index, 0) + change
        replica.service.drain(count > 0)

    def _slow_down(self, replica: Replica, fault: SlowGpu | SlowLink, now: int) -> None:
        self._slow.setdefault(replica.index, []).append(fault)
        replica.set_times(self._times_of(replica, fault.pool), now)

    def _speed_up(self, replica: Replica, fault: SlowGpu | SlowLink, now: int) -> None:
        self._slow[replica.index].remove(fault)
        replica.set_times(self._times_of(replica, fault.pool), now)

    def gpu_speeds(self, replica: Replica, gpus: int) -> tuple[float, ...]:
        """Of each GPU of a replica's group now: 1 where nothing is wrong with it."""
        speeds = [1.0] * gpus
        for fault in self._slow.get(replica.index, ()):
            if isinstance(fault, SlowGpu):
                speeds[fault.gpu] = min(speeds[fault.gpu], fault.speed)
        return tuple(speeds)

    def _times_of(self, replica: Replica, pool: str) -> StepTimes:
        """Step times at the lowest speeds among the faults under way: the group waits for its slowest part."""
        slow = self._slow[replica.index]
        gpu = min((fault.speed for fault in slow if isinstance(fault, SlowGpu)), default=1.0)
        link = min((fault.speed for fault in slow if isinstance(fault, SlowLink)), default=1.0)
        key = (pool, gpu, link)
        if key not in self._times:
            self._times[key] = compile_step_times(self._spec.pools[pool].hardware, gpu, link)
        return self._times[key]


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)


def _both(fault: SlowGpu | SlowLink | Drain, begin: Action, end: Action) -> Iterator[tuple[bool, int, Action]]:
    yield True, _ps(fault.at_s), begin
    yield False, _ps(fault.at_s + fault.for_s), end
