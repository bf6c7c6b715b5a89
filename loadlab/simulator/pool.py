"""Equal replicas behind one queue rule: which of them gets a sequence, which sequences none gets, how many of them run."""

from __future__ import annotations

from typing import assert_never

from loadlab.record.request import Cause
from loadlab.simulator.draws import mix64
from loadlab.simulator.kv_cache import prefix_path
from loadlab.simulator.replica import NEVER_PS, Replica
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import PoolSpec, Router
from loadlab.units import PS_PER_S

RANDOM, FIRST_OF_TWO, SECOND_OF_TWO = 3, 4, 5  # what draws are for: docs/simulator-model.md, Draws


class Pool:
    """Replicas of one kind. `accept` hands a sequence to one of them, or says why not."""

    def __init__(self, *, name: str, index: int, seed: int, spec: PoolSpec, capacity: KvCapacity, replicas: list[Replica]) -> None:
        self.name = name
        self.spec = spec
        self.replicas = replicas
        self.max_queue_wait_ps = None if spec.max_queue_wait_s is None else round(spec.max_queue_wait_s * PS_PER_S)
        self._index = index
        self._seed = seed
        self.capacity = capacity
        self._router = spec.router
        self._queue_limit = spec.queue_limit
        self._routed = 0
        blocks = capacity.num_blocks
        in_blocks = capacity.context_tokens if blocks is None else blocks * capacity.block_size_tokens
        self._fits_tokens = min(capacity.context_tokens, in_blocks)  # prompt and answer up to here are never refused
        self._scales = spec.autoscale is not None
        self._free_share = 1 - spec.min_free_kv_share
        self._is_plain = self._free_share == 1  # every replica that is up may be chosen
        self._scaled_ps: int | None = None  # when autoscaling looked last
        self._off: set[int] = set()  # positions of replicas that autoscaling has not started
        if spec.autoscale is not None:
            self._off.update(range(spec.autoscale.min_replicas, spec.replicas))
            for i in self._off:
                replicas[i].stop(NEVER_PS)

    @property
    def is_up(self) -> bool:
        """Whether any replica takes sequences."""
        return any(replica.is_up and not replica.is_draining for replica in self.replicas)

    def refusal(self, sequence: Sequence) -> Cause | None:
        """Why a sequence could never run here, if so."""
        capacity = self.capacity
        held = sequence.prompt_tokens + sequence.output_tokens
        if held > capacity.context_tokens:
            return Cause.CONTEXT_LENGTH
        if capacity.num_blocks is not None:
            held -= sequence.output_tokens > 0  # the last token's KV is never written
            if held > capacity.num_blocks * capacity.block_size_tokens:
                return Cause.KV_TOO_SMALL
        return None

    def accept(self, sequence: Sequence, at_ps: int) -> Cause | None:
        """Hands the sequence to a replica. Returns why not, if none takes it."""
        held = sequence.prompt_tokens + sequence.output_tokens
        if held > self._fits_tokens and (refusal := self.refusal(sequence)) is not None:
            return refusal
        if sequence.prefix and not sequence.path:
            sequence.path, sequence.answer_key = prefix_path(sequence.prefix, sequence.answer, self.capacity.block_size_tokens)
        if self._scales:
            self._scale(at_ps)
        eligible = self.replicas
        if not self._is_plain or not all(replica.is_up and not replica.is_draining for replica in eligible):
            eligible = [replica for replica in eligible if replica.is_up and not replica.is_draining]
            if not eligible:
                return Cause.NO_REPLICA
            if self._free_share < 1:
                eligible = [replica for replica in eligible if self._has_free_kv(replica)]
                if not eligible:
                    return Cause.KV_EXHAUSTED
        replica = self._route(sequence, eligible) if len(eligible) > 1 else eligible[0]
        self._routed += 1
        limit = self._queue_limit
        if limit is not None and replica.batcher.num_waiting >= limit and (limit or not replica.batcher.has_room):
            return Cause.QUEUE_FULL
        replica.enqueue(sequence, at_ps)
        return None

    def _has_free_kv(self, replica: Replica) -> bool:
        blocks = replica.capacity.num_blocks
        return blocks is None or replica.reported_kv_used_blocks <= self._free_share * blocks

    def _route(self, sequence: Sequence, eligible: list[Replica]) -> Replica:
        count = len(eligible)
        match self._router:
            case Router.ROUND_ROBIN:
                return eligible[self._routed % count]
            case Router.RANDOM:
                return eligible[mix64(self._seed, RANDOM, self._index, self._routed) % count]
            case Router.LEAST_OUTSTANDING:
                return min(eligible, key=_load)
            case Router.POWER_OF_TWO:
                first = mix64(self._seed, FIRST_OF_TWO, self._index, self._routed) % count
                second = mix64(self._seed, SECOND_OF_TWO, self._index, self._routed) % (count - 1)
                second += second >= first
                return min(eligible[min(first, second)], eligible[max(first, second)], key=_load)
            case Router.KV_AWARE:
                return _longest_prefix(sequence, eligible)
            case _:
                assert_never(self._router)

    # Autoscaling

    def _scale(self, at_ps: int) -> None:
        """Starts or drains a replica, at most one every interval."""
        rule = self.spec.autoscale
        assert rule is not None
        for i, replica in enumerate(self.replicas):
            if i not in self._off and replica.is_draining and replica.is_up and not replica.outstanding:
                replica.stop(NEVER_PS)
                self._off.add(i)
        if self._scaled_ps is not None and at_ps - self._scaled_ps < round(rule.interval_s * PS_PER_S):
            return
        self._scaled_ps = at_ps
        counted = [replica for i, replica in enumerate(self.replicas) if i not in self._off and not replica.is_draining]
        load = sum(replica.outstanding for replica in counted) / max(1, len(counted))
        if load > rule.target_outstanding and self._off:
            first = min(self._off)
            self._off.remove(first)
            self.replicas[first].is_draining = False
            self.replicas[first].stop(at_ps + round(rule.startup_s * PS_PER_S))
        elif load < rule.target_outstanding / 2 and len(counted) > rule.min_replicas:
            up = [replica for replica in counted if replica.is_up]
            if up:
                up[-1].is_draining = True


def _load(replica: Replica) -> int:
    return replica.batcher.num_waiting + len(replica.batcher.running)


def _longest_prefix(sequence: Sequence, eligible: list[Replica]) -> Replica:
    """The replica that has most of the prompt cached; among equals the least loaded. Most replicas lack its first piece already."""
    path = sequence.path
    if not path:
        return min(eligible, key=_load)
    first_key, first_end = path[0]
    has_more = len(path) > 1
    best, best_blocks, best_load = eligible[0], -1, 0
    for replica in eligible:
        batcher = replica.batcher
        run = batcher.pool.runs.get(first_key)
        blocks = 0 if run is None else run.blocks
        if has_more and blocks >= first_end:
            _, blocks = batcher.pool.match(path)
        if blocks >= best_blocks:
            load = batcher.num_waiting + len(batcher.running)
            if blocks > best_blocks or load < best_load:
                best, best_blocks, best_load = replica, blocks, load
    return best
