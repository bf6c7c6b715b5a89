"""Equal replicas behind one queue rule: which of them gets a sequence, which sequences none gets, how many of them run."""

from __future__ import annotations

from typing import assert_never

from loadlab.record.request import Cause
from loadlab.simulator.autoscaler import Autoscaler
from loadlab.simulator.draws import mix64
from loadlab.simulator.kv_cache import Holders, prefix_path
from loadlab.simulator.replica import Replica
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import PoolSpec, Router
from loadlab.units import PS_PER_S

RANDOM, FIRST_OF_TWO, SECOND_OF_TWO = 3, 4, 5  # what draws are for: docs/simulator-model.md, Draws


class Pool:
    """Replicas of one kind. `accept` hands a sequence to one of them, or says why not."""

    def __init__(
        self,
        *,
        name: str,
        index: int,
        seed: int,
        spec: PoolSpec,
        capacity: KvCapacity,
        replicas: list[Replica],
        holders: Holders,
        closed: set[int],
    ) -> None:
        """`holders`: the cached prefixes of these replicas; `closed`: replicas of the cluster that take nothing new, by index."""
        self.name = name
        self.spec = spec
        self.replicas = replicas
        self.max_queue_wait_ps = None if spec.max_queue_wait_s is None else round(spec.max_queue_wait_s * PS_PER_S)
        self._index = index
        self._seed = seed
        self.capacity = capacity
        self._router = spec.router
        self._queue_limit = spec.queue_limit
        self._holders = holders
        self._closed = closed
        self._first = replicas[0].index
        self._routed = 0
        smallest = min([replica.holds_tokens for replica in replicas])
        self._fits_tokens = min(capacity.context_tokens, smallest)  # prompt and answer up to here are never refused
        self._largest_tokens = max([replica.holds_tokens for replica in replicas])
        self._free_share = 1 - spec.min_free_kv_share
        self._autoscaler = None if spec.autoscale is None else Autoscaler(spec.autoscale, replicas)
        self._last = len(replicas) - 1  # position of the replica that round-robin took last

    @property
    def is_up(self) -> bool:
        """Whether any replica takes sequences."""
        return any(replica.service.is_open for replica in self.replicas)

    def refusal(self, sequence: Sequence) -> Cause | None:
        """Why a sequence could never run here, if so."""
        if sequence.prompt_tokens + sequence.output_tokens > self.capacity.context_tokens:
            return Cause.CONTEXT_LENGTH
        return Cause.KV_TOO_SMALL if sequence.most_tokens > self._largest_tokens else None

    def accept(self, sequence: Sequence, at_ps: int) -> Cause | None:
        """Hands the sequence to a replica. Returns why not, if none takes it."""
        is_large = sequence.prompt_tokens + sequence.output_tokens > self._fits_tokens
        if is_large and (refusal := self.refusal(sequence)) is not None:
            return refusal
        if sequence.prefix and not sequence.path:
            sequence.path, sequence.answer_key = prefix_path(sequence.prefix, sequence.answer, self.capacity.block_size_tokens)
        if self._autoscaler is not None:
            self._autoscaler.look(at_ps)
        eligible = self.replicas
        if self._closed:
            eligible = [replica for replica in eligible if replica.service.is_open]
            if not eligible:
                return Cause.NO_REPLICA
        if self._free_share < 1:
            eligible = [replica for replica in eligible if self._has_free_kv(replica)]
            if not eligible:
                return Cause.KV_EXHAUSTED
        replica = eligible[0] if len(self.replicas) == 1 else self._route(sequence, eligible)
        self._routed += 1
        if is_large and sequence.most_tokens > replica.holds_tokens:  # one that was configured to be smaller
            return Cause.KV_TOO_SMALL
        limit = self._queue_limit
        if limit is not None and replica.batcher.num_waiting >= limit and (limit or not replica.batcher.has_room()):
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
                return self._next(eligible)
            case Router.RANDOM:
                return eligible[mix64(self._seed, RANDOM, self._index, self._routed) % count]
            case Router.LEAST_OUTSTANDING:
                return _least_outstanding(eligible)
            case Router.POWER_OF_TWO if count == 1:
                return eligible[0]
            case Router.POWER_OF_TWO:
                first = mix64(self._seed, FIRST_OF_TWO, self._index, self._routed) % count
                second = mix64(self._seed, SECOND_OF_TWO, self._index, self._routed) % (count - 1)
                second += second >= first
                return min(eligible[min(first, second)], eligible[max(first, second)], key=_load)
            case Router.KV_AWARE:
                return self._longest_prefix(sequence, eligible)
            case _:
                assert_never(self._router)

    def _next(self, eligible: list[Replica]) -> Replica:
        """The first eligible replica after the one that was taken last, round and round."""
        positions = [replica.index - self._first for replica in eligible]
        self._last = next((at for at in positions if at > self._last), positions[0])
        return self.replicas[self._last]

    def _longest_prefix(self, sequence: Sequence, eligible: list[Replica]) -> Replica:
        """The replica that has most of the prompt cached; among equals the least loaded."""
        path = sequence.path
        holders = self._holders.get(path[0][0]) if path else None
        if holders is None:  # nobody has as much as its first piece
            return _least_outstanding(eligible)
        if len(holders) == 1 and len(eligible) == len(self.replicas):  # most often one has
            return self.replicas[next(iter(holders)) - self._first]
        covered = {index: self.replicas[index - self._first].batcher.pool.match(path)[1] for index in holders}
        most = max([covered.get(replica.index, 0) for replica in eligible])
        return _least_outstanding([replica for replica in eligible if covered.get(replica.index, 0) == most])


def _load(replica: Replica) -> int:
    return replica.batcher.num_waiting + len(replica.batcher.running)


def _least_outstanding(eligible: list[Replica]) -> Replica:
    loads = [replica.batcher.num_waiting + len(replica.batcher.running) for replica in eligible]
    return eligible[loads.index(min(loads))]
