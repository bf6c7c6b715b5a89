"""The only door of the simulator: submit requests, ask when something happens next, advance to a time. No clock, no I/O.

Time is integer picoseconds since the cluster's start, so that skipping over steps equals taking them one by one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from operator import itemgetter
from typing import Any

from loadlab.catalog.specs import find, links, models
from loadlab.errors import InputError
from loadlab.record.request import Cause
from loadlab.simulator.conditions import describe_pool
from loadlab.simulator.events import Event as Event
from loadlab.simulator.events import EventKind as EventKind
from loadlab.simulator.events import Outbox
from loadlab.simulator.fault_effects import FaultEffects
from loadlab.simulator.faults import Fault, Misconfigured, SlowGpu, check_faults
from loadlab.simulator.front import Front
from loadlab.simulator.gauges import ReplicaGauges, read_gauges
from loadlab.simulator.jobs import Jobs
from loadlab.simulator.kv_cache import Holders
from loadlab.simulator.placement import Placement, place
from loadlab.simulator.pool import Pool
from loadlab.simulator.replica import NEVER_PS, Replica
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.sharding import KvCapacity, kv_capacity
from loadlab.simulator.shards import shard_busy
from loadlab.simulator.spec import ClusterSpec, PlainConstants, PoolSpec
from loadlab.simulator.step_time import StepTimes, compile_step_times
from loadlab.simulator.timeline import BIN_COLUMNS, TimelineBin, values_of_bin
from loadlab.simulator.token_times import TokenClock, token_times_ps


class Due(IntEnum):
    """What may be due at a time, in the order in which it happens; step ends come before, arrivals after."""

    FAULT_BEGIN = 1
    FAULT_END = 2
    GIVE_UP = 3
    TRANSIT = 4


# (when, Due, order, number, what to do with whom then, whom). Give-ups are in order of submission, a deadline before a limit on waiting;
# the rest in order of the number, which is unlike any other's. A fault concerns nobody.
Timer = tuple[int, int, int, int, Callable[[Any, int], None], Sequence | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """One replica at a moment."""

    name: str
    is_up: bool
    running: int
    waiting: int
    kv_usage: float
    preemptions: int
    ooms: int


class SimulatedCluster:
    """Pools of replicas behind an orchestrator, driven by `submit` and `advance_to`. Deterministic; one owner."""

    def __init__(self, spec: ClusterSpec, source: str = "cluster", seed: int = 0) -> None:
        """Raises InputError if a model does not fit its GPUs, naming `source` and the pool. `seed` is for noise and drawn choices."""
        self.spec = spec
        self._seed = seed
        self._ends: list[int] = []
        self._closed: set[int] = set()  # replicas that take nothing new; mostly nobody
        self._timers: list[Timer] = []
        self._order = self._submitted = 0
        # No request waits on its way, or goes on in another pool, so engines report straight to the client.
        self.is_plain = spec.tiers is None and spec.pipeline is None and not spec.regions
        self.is_plain &= all(pool.prefill_pool is None and pool.tier is None for pool in spec.pools.values())
        self._engine_ends: list[tuple[Sequence, Sequence]] | None = None
        self._outbox = Outbox(None if self.is_plain else (self._started, self._ended))
        self.replicas: list[Replica] = []
        self._pools: dict[str, Pool] = {}
        self._placements: dict[str, list[Placement]] = {}
        for name, pool in spec.pools.items():
            self._pools[name] = self._build_pool(name, pool, source)
        self._front = Front(spec, self._pools, seed)
        self._first_pool = {model: self._front.pool_of_model(model) for model in self._front.models}
        self._jobs = Jobs(
            self._front,
            self._pools,
            accept=self._accept,
            travel=self._travel,
            started=self._outbox.note_started,
            ended=self._outbox.note_ended,
        )
        self._effects = FaultEffects(spec, self._pools, self._placements)
        self._num_fault_timers = self._num_faults = 0
        for fault in spec.faults:
            self._plan_fault(fault)

    def _plan_fault(self, fault: Fault, not_before_ps: int = 0) -> None:
        for is_begin, at_ps, action in self._effects.actions(fault):
            due = Due.FAULT_BEGIN if is_begin else Due.FAULT_END
            heapq.heappush(self._timers, (max(at_ps, not_before_ps), due, self._num_faults, self._next(), action, None))
            self._num_fault_timers += 1
        self._num_faults += 1

    def _build_pool(self, name: str, spec: PoolSpec, source: str) -> Pool:
        capacity = kv_capacity(spec, source, f"pools.{name}")
        if spec.transfer_link is not None and spec.transfer_link not in links():
            raise InputError(f"link {spec.transfer_link!r} is not in the catalogue", source=source, key=f"pools.{name}.transfer_link")
        times = compile_step_times(spec.hardware)
        self._placements[name] = place(spec)
        holders: Holders = {}
        replicas = [
            self._build_replica(name, i, spec, self._capacity_of(name, i, spec, capacity, source), times, holders)
            for i in range(spec.replicas)
        ]
        return Pool(
            name=name,
            index=len(self._pools),
            seed=self._seed,
            spec=spec,
            capacity=capacity,
            replicas=replicas,
            holders=holders,
            closed=self._closed,
        )

    def _capacity_of(self, name: str, i: int, spec: PoolSpec, capacity: KvCapacity, source: str) -> KvCapacity:
        for k, fault in enumerate(self.spec.faults):
            if isinstance(fault, Misconfigured) and (fault.pool, fault.replica) == (name, i):
                engine = replace(spec.engine, gpu_memory_utilization=fault.gpu_memory_utilization)
                return kv_capacity(replace(spec, engine=engine), source, f"faults[{k}]")
        return capacity

    def _build_replica(self, pool: str, i: int, spec: PoolSpec, capacity: KvCapacity, times: StepTimes, holders: Holders) -> Replica:
        self._ends.append(NEVER_PS)
        replica = Replica(
            name=f"{pool}/{i}",
            index=len(self.replicas),
            seed=self._seed,
            limits=spec.engine,
            capacity=capacity,
            times=times,
            ends=self._ends,
            outbox=self._outbox,
            holders=holders,
            closed=self._closed,
        )
        self.replicas.append(replica)
        return replica

    # What it serves

    @property
    def serves(self) -> tuple[str, ...]:
        """Model names that requests may ask for."""
        return self._front.models

    def image_tokens(self, model: str, width_px: int, height_px: int) -> int:
        """Prompt tokens that an image of this size costs. Raises InputError if the model takes no images."""
        hardware = self._front.pool_of_model(model).spec.hardware
        vision = None if isinstance(hardware, PlainConstants) else find(models(), hardware.model, what="model").vision
        if vision is None:
            raise InputError(f"model {model!r} of cluster {self.spec.name!r} takes no images; send them to one that does")
        return vision.image_tokens(width_px, height_px)

    def context_tokens(self, model: str) -> int:
        """The most tokens of prompt and answer together that every pool of a model takes."""
        return min(pool.capacity.context_tokens for pool in self._pools.values() if model in pool.spec.serves)

    # Driving it

    def submit(self, sequence: Sequence, at_ps: int) -> bool:
        """A request arrives, not before the last event. False if it was refused at once: it is over, `sequence.cause` says why.

        Its model must be one of `serves`, its `seq` unlike any other's.
        """
        if self._num_fault_timers and self._timers[0][0] <= at_ps:  # faults that came while nobody was there
            self._outbox.events.extend(self.advance_to(at_ps))
        sequence.arrival_ps = at_ps
        sequence.order = self._submitted = self._submitted + 2
        if not self.is_plain:
            refusal = self._jobs.submit(sequence, at_ps)
        elif (pool := self._first_pool[sequence.model]).max_queue_wait_ps is None:
            refusal = pool.accept(sequence, at_ps)
        else:
            refusal = self._accept(sequence, pool, at_ps)
        if refusal is not None:
            sequence.close(refusal, at_ps)
            return False
        if sequence.deadline_ps is not None:
            heapq.heappush(self._timers, (sequence.deadline_ps, Due.GIVE_UP, sequence.order, self._next(), self._miss_deadline, sequence))
        return True

    def _next(self) -> int:
        self._order += 1
        return self._order

    def _accept(self, sequence: Sequence, pool: Pool, at_ps: int) -> Cause | None:
        refusal = pool.accept(sequence, at_ps)
        if refusal is None and pool.max_queue_wait_ps is not None:
            limit_ps = at_ps + pool.max_queue_wait_ps
            heapq.heappush(self._timers, (limit_ps, Due.GIVE_UP, sequence.order + 1, self._next(), self._stop_waiting, sequence))
        return refusal

    def _travel(self, at_ps: int, action: Callable[[Sequence, int], None], sequence: Sequence) -> None:
        heapq.heappush(self._timers, (at_ps, Due.TRANSIT, 0, self._next(), action, sequence))

    def give_up(self, sequence: Sequence, cause: Cause, at_ps: int) -> None:
        """Its client wants it no longer: it is over at `at_ps`, to which the cluster has been advanced. Nothing if it is over already."""
        if sequence.state is State.ENDED:
            return
        if self.is_plain:
            self._leave(sequence, cause, at_ps)
        else:
            self._jobs.give_up(sequence, lambda running: self._leave(running, cause, at_ps), cause, at_ps)

    def inject(self, fault: Fault, at_ps: int) -> None:
        """One more fault, as if the cluster's file had named it; `at_ps` is now: what of it lies before happens now.

        Raises ValueError unless its pool, replica, GPU and region exist.
        """
        check_faults((fault,), self.spec.sizes, tuple(self.spec.regions))
        self._plan_fault(fault, at_ps)

    def _miss_deadline(self, sequence: Sequence, now: int) -> None:
        self.give_up(sequence, Cause.DEADLINE, now)

    def _stop_waiting(self, sequence: Sequence, now: int) -> None:
        if sequence.state is State.WAITING and sequence.preemptions == 0:
            self._leave(sequence, Cause.QUEUE_TIMEOUT, now)

    def _leave(self, sequence: Sequence, cause: Cause, now: int) -> None:
        assert sequence.replica is not None
        self.replicas[sequence.replica].leave(sequence, cause, now)

    def next_event_ps(self) -> int:
        """When something happens next; NEVER_PS if nothing will. Faults to come while nobody is there are nothing."""
        timers = self._timers
        while timers and timers[0][1] == Due.GIVE_UP and timers[0][5] is not None and timers[0][5].state is State.ENDED:
            heapq.heappop(timers)
        step_end = min(self._ends)
        if not timers:
            return step_end
        if step_end == NEVER_PS and len(timers) == self._num_fault_timers:
            return NEVER_PS
        return min(step_end, timers[0][0])

    def advance_to(self, at_ps: int) -> list[Event]:
        """Lets everything up to and including `at_ps` happen. Returns what became of requests, in order of time."""
        ends, timers, replicas = self._ends, self._timers, self.replicas
        while True:
            has_timer = timers and timers[0][0] <= at_ps
            limit = timers[0][0] if has_timer else at_ps
            if self.is_plain:  # what happens in a replica concerns no other
                for i, end_ps in enumerate(ends):
                    if end_ps <= limit:
                        replicas[i].run_until(limit)
            elif (first := min(ends)) <= limit:  # what ends in one replica may go on in another
                for i, replica in enumerate(replicas):
                    if ends[i] <= first:
                        replica.run_until(first)
                continue
            if not has_timer:
                break
            now, due, _, _, action, subject = heapq.heappop(timers)
            self._num_fault_timers -= due <= Due.FAULT_END
            action(subject, now)
        news = self._outbox.events
        if not news:
            return []
        events = news[:]
        news.clear()
        if len(replicas) > 1 and len(events) > 1:
            events.sort(key=itemgetter(1))
        return events

    def _started(self, sequence: Sequence) -> None:
        self._jobs.on_started(sequence)

    def _ended(self, sequence: Sequence) -> None:
        if self._engine_ends is not None and (client := self.client_of(sequence)) is not None:
            self._engine_ends.append((client, sequence))
        self._jobs.on_ended(sequence)

    # Who follows its tokens as they come: live_tokens.py

    def watch_engines(self) -> list[tuple[Sequence, Sequence]]:
        """A list that gets (client's request, what an engine ended for it) from now on, unless the cluster is plain: then these are one."""
        self._engine_ends = []
        return self._engine_ends

    def client_of(self, sequence: Sequence) -> Sequence | None:
        """The client's request that gets the tokens of a sequence in an engine; None if nobody sees them."""
        return self._jobs.client_of(sequence)

    # Looking at it

    def token_times_ps(self, sequence: Sequence) -> list[int]:
        """When each of its tokens came, while the replicas' logs still hold it (StretchLog.settle)."""
        clocks = [TokenClock(replica.log.table) if len(replica.log.table) else None for replica in self.replicas]
        return [int(time) for time in token_times_ps(clocks, sequence.pieces)]

    def snapshot(self) -> list[ReplicaState]:
        """Every replica now."""
        return [
            ReplicaState(
                name=replica.name,
                is_up=replica.service.is_up,
                running=len(replica.batcher.running),
                waiting=replica.batcher.num_waiting,
                kv_usage=replica.kv_usage,
                preemptions=replica.batcher.preemptions,
                ooms=replica.ooms,
            )
            for replica in self.replicas
        ]

    def gauges(self, at_ps: int) -> list[ReplicaGauges]:
        """Every replica at `at_ps`, to which the cluster has been advanced, GPU by GPU. Puts away what the logs hold of the past."""
        return [
            read_gauges(replica, pool.name, pool.spec, self._effects, at_ps) for pool in self._pools.values() for replica in pool.replicas
        ]

    def timeline(self) -> Iterator[tuple[str, TimelineBin, tuple[float, ...]]]:
        """Replica by replica, its state over time so far, and how busy each GPU of its group was."""
        slow = [fault for fault in self.spec.faults if isinstance(fault, SlowGpu)]
        for name, pool in self._pools.items():
            for i, replica in enumerate(pool.replicas):
                replica.log.settle(replica.batcher.tick)
                own = [fault for fault in slow if (fault.pool, fault.replica) == (name, i)]
                for bin_ in replica.log.timeline.bins():
                    yield replica.name, bin_, shard_busy(bin_, pool.spec.gpus_per_replica, own)

    def timeline_rows(self) -> Iterator[dict[str, Any]]:
        """The same as rows of a run directory's server.jsonl."""
        for name, bin_, busy in self.timeline():
            yield {"replica": name, **dict(zip(BIN_COLUMNS, values_of_bin(bin_), strict=True)), "shard_busy": list(busy)}

    def conditions(self) -> list[dict[str, Any]]:
        """What a report must say about this backend, a table per pool: as written, and what follows from it."""
        said = {} if self.spec.calibration is None else self.spec.calibration.words()
        return [describe_pool(name, pool.spec, pool.capacity, self._placements[name]) | said for name, pool in self._pools.items()]
