"""The only door of the simulator: submit requests, ask when something happens next, advance to a time. No clock, no I/O.

Time is integer picoseconds since the cluster's start, so that skipping over steps equals taking them one by one.
At equal times, step ends come first (lower replicas before higher), then requests that are given up, then arrivals.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

from loadlab.catalog.specs import Calibration, find, gpus, models
from loadlab.errors import InputError
from loadlab.record.request import Cause
from loadlab.schema import as_table
from loadlab.simulator.orchestrator import Pool
from loadlab.simulator.replica import Replica
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.sharding import kv_capacity
from loadlab.simulator.spec import ClusterSpec, PlainConstants, PoolSpec
from loadlab.simulator.step_time import compile_step_times
from loadlab.simulator.timeline import CACHED, OOM, PREEMPTED, TimelineBin

_CALIBRATION_WORDS = {
    Calibration.FITTED: "fitted to measured kernels",
    Calibration.DATASHEET: "from its data sheet and class, not calibrated",
}


class EventKind(IntEnum):
    """What happened to a request."""

    STARTED = 1  # its first token came
    ENDED = 2  # it is over; `sequence.cause` says how


class Event(NamedTuple):
    """One thing that happened; the sequence carries the details."""

    kind: EventKind
    at_ps: int
    sequence: Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaState:
    """One replica at a moment."""

    name: str
    is_down: bool
    running: int
    waiting: int
    kv_usage: float
    preemptions: int
    ooms: int


class SimulatedCluster:
    """Pools of replicas behind an orchestrator, driven by `submit` and `advance_to`. Deterministic; one owner."""

    def __init__(self, spec: ClusterSpec, source: str = "cluster") -> None:
        """Raises InputError if a model does not fit its GPUs, naming `source` and the pool."""
        self.spec = spec
        self._events: list[Event] = []
        self.replicas: list[Replica] = []
        self._pools: dict[str, Pool] = {}
        self._pool_of_model: dict[str, str] = {}
        for name, pool in spec.pools.items():
            self._pools[name] = self._build_pool(name, pool, source)
            self._pool_of_model.update(dict.fromkeys(pool.serves, name))
        self._deadlines: list[tuple[int, int, Sequence, Cause]] = []
        self._submitted = 0

    def _build_pool(self, name: str, spec: PoolSpec, source: str) -> Pool:
        capacity = kv_capacity(spec, source, f"pools.{name}")
        times = compile_step_times(spec.hardware)
        replicas = [
            Replica(
                name=f"{name}/{i}",
                index=len(self.replicas) + i,
                limits=spec.engine,
                capacity=capacity,
                times=times,
                started=self._emit_started,
                ended=self._emit_ended,
            )
            for i in range(spec.replicas)
        ]
        self.replicas += replicas
        return Pool(spec, replicas)

    def _emit_started(self, sequence: Sequence) -> None:
        assert sequence.first_token_ps is not None
        self._events.append(Event(EventKind.STARTED, sequence.first_token_ps, sequence))

    def _emit_ended(self, sequence: Sequence) -> None:
        assert sequence.ended_ps is not None
        self._events.append(Event(EventKind.ENDED, sequence.ended_ps, sequence))

    # What it serves

    @property
    def serves(self) -> tuple[str, ...]:
        """Model names that requests may ask for."""
        return tuple(self._pool_of_model)

    def image_tokens(self, model: str, width_px: int, height_px: int) -> int:
        """Prompt tokens that an image of this size costs. Raises InputError if the model takes no images."""
        hardware = self._pools[self._pool_of_model[model]].spec.hardware
        vision = None if isinstance(hardware, PlainConstants) else find(models(), hardware.model, what="model").vision
        if vision is None:
            raise InputError(f"model {model!r} of cluster {self.spec.name!r} takes no images; send them to one that does")
        return vision.image_tokens(width_px, height_px)

    # Driving it

    def submit(self, sequence: Sequence, at_ps: int) -> bool:
        """A request arrives, not before the last event. False if it was refused at once: it is over, `sequence.cause` says why.

        Its model must be one of `serves`.
        """
        sequence.arrival_ps = at_ps
        pool = self._pools[self._pool_of_model[sequence.model]]
        refusal = pool.accept(sequence, at_ps)
        if refusal is not None:
            sequence.close(refusal, at_ps)
            return False
        self._submitted += 1
        if sequence.deadline_ps is not None:
            heapq.heappush(self._deadlines, (sequence.deadline_ps, self._submitted, sequence, Cause.DEADLINE))
        if pool.max_queue_wait_ps is not None:
            heapq.heappush(self._deadlines, (at_ps + pool.max_queue_wait_ps, self._submitted, sequence, Cause.QUEUE_TIMEOUT))
        return True

    def next_event_ps(self) -> int:
        """When something happens next; NEVER_PS if nothing will."""
        deadlines = self._deadlines
        while deadlines and self._is_stale(deadlines[0]):
            heapq.heappop(deadlines)
        step_end = min([replica.end_ps for replica in self.replicas])
        return min(step_end, deadlines[0][0]) if deadlines else step_end

    @staticmethod
    def _is_stale(entry: tuple[int, int, Sequence, Cause]) -> bool:
        _, _, sequence, cause = entry
        if cause is Cause.QUEUE_TIMEOUT:
            return sequence.state is not State.WAITING or sequence.preemptions > 0
        return sequence.state is State.ENDED or sequence.cause is not None

    def advance_to(self, at_ps: int) -> list[Event]:
        """Lets everything up to and including `at_ps` happen. Returns it in order."""
        while (next_ps := self.next_event_ps()) <= at_ps:
            for replica in self.replicas:
                if replica.end_ps == next_ps:
                    self._step_end(replica)
            while self._deadlines and self._deadlines[0][0] == next_ps:
                entry = heapq.heappop(self._deadlines)
                if not self._is_stale(entry):
                    _, _, sequence, cause = entry
                    assert sequence.replica is not None
                    self.replicas[sequence.replica].leave(sequence, cause, next_ps)
        events, self._events[:] = self._events[:], []
        return events

    @staticmethod
    def _step_end(replica: Replica) -> None:
        """Ends a step, and counts what the timeline cannot see from its stretches."""
        now, batcher = replica.end_ps, replica.batcher
        ooms, preemptions, cached_tokens = replica.ooms, batcher.preemptions, batcher.cached_tokens
        replica.step_end()
        timeline = replica.log.timeline
        if replica.ooms > ooms:
            timeline.count(OOM, now, replica.ooms - ooms)
        if batcher.preemptions > preemptions:
            timeline.count(PREEMPTED, now, batcher.preemptions - preemptions)
        if batcher.cached_tokens > cached_tokens:
            timeline.count(CACHED, now, batcher.cached_tokens - cached_tokens)

    # Looking at it

    def snapshot(self) -> list[ReplicaState]:
        """Every replica now."""
        return [
            ReplicaState(
                name=replica.name,
                is_down=replica.is_down,
                running=len(replica.batcher.running),
                waiting=replica.batcher.num_waiting,
                kv_usage=replica.kv_usage,
                preemptions=replica.batcher.preemptions,
                ooms=replica.ooms,
            )
            for replica in self.replicas
        ]

    def timeline(self) -> list[tuple[str, TimelineBin]]:
        """Replica by replica, its state over time so far."""
        for replica in self.replicas:
            replica.log.settle(replica.batcher.tick)
        return [(replica.name, bin_) for replica in self.replicas for bin_ in replica.log.timeline.bins()]

    def conditions(self) -> list[dict[str, Any]]:
        """What a report must say about this backend, a table per pool: as written, and what follows from it."""
        return [as_table(pool.spec) | {"pool": name} | self._derived(pool) for name, pool in self._pools.items()]

    @staticmethod
    def _derived(pool: Pool) -> dict[str, Any]:
        hardware, capacity = pool.spec.hardware, pool.capacity
        blocks = capacity.num_blocks
        derived: dict[str, Any] = {
            "context_tokens": capacity.context_tokens,
            "kv_tokens": None if blocks is None else blocks * capacity.block_size_tokens,
        }
        if isinstance(hardware, PlainConstants):
            return derived | {"label": "plain constants, as given"}
        gpu, model = find(gpus(), hardware.gpu, what="gpu"), find(models(), hardware.model, what="model")
        return derived | {
            "model_version": model.version,
            "mixture_of_experts": None,
            "gpus_per_replica": hardware.tensor_parallel,
            "gpus": hardware.tensor_parallel * pool.spec.replicas,
            "label": f"{hardware.gpu}: {_CALIBRATION_WORDS[gpu.calibration]}",
            "step_time_band": gpu.band_share,
            "gpu_source": f"{gpu.source} ({gpu.as_of})",
        }
