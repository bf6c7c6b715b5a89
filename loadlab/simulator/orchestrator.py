"""What stands between clients and engines: which pool and replica gets a request, and which requests get none."""

from __future__ import annotations

from typing import assert_never

from loadlab.record.request import Cause
from loadlab.simulator.kv_cache import prefix_path
from loadlab.simulator.replica import Replica
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import PoolSpec, Router
from loadlab.simulator.step_time import PS_PER_S


class Pool:
    """Equal replicas and their admission rules."""

    def __init__(self, spec: PoolSpec, replicas: list[Replica]) -> None:
        self.spec = spec
        self.replicas = replicas
        self.capacity = replicas[0].capacity
        self.max_queue_wait_ps = None if spec.max_queue_wait_s is None else round(spec.max_queue_wait_s * PS_PER_S)
        self._turn = 0

    def accept(self, sequence: Sequence, at_ps: int) -> Cause | None:
        """Hands the sequence to a replica. Returns why not, if none takes it."""
        refusal = self._refusal(sequence)
        if refusal is not None:
            return refusal
        up = [replica for replica in self.replicas if not replica.is_down]
        if not up:
            return Cause.NO_REPLICA
        replica = self._route(up)
        if self.spec.queue_limit is not None and replica.batcher.num_waiting >= self.spec.queue_limit > 0:
            return Cause.QUEUE_FULL
        if self.spec.queue_limit == 0 and not replica.batcher.has_room:
            return Cause.QUEUE_FULL
        if sequence.prefix:
            sequence.path, sequence.answer_key = prefix_path(sequence.prefix, sequence.answer, self.capacity.block_size_tokens)
        replica.enqueue(sequence, at_ps)
        return None

    def _refusal(self, sequence: Sequence) -> Cause | None:
        """A sequence that could never run is refused at once."""
        total = sequence.prompt_tokens + sequence.output_tokens
        if total > self.capacity.context_tokens:
            return Cause.CONTEXT_LENGTH
        held = sequence.prompt_tokens + max(0, sequence.output_tokens - 1)  # the last token's KV is never written
        blocks = -(-held // self.capacity.block_size_tokens)
        if self.capacity.num_blocks is not None and blocks > self.capacity.num_blocks:
            return Cause.KV_TOO_SMALL
        return None

    def _route(self, up: list[Replica]) -> Replica:
        match self.spec.router:
            case Router.ROUND_ROBIN:
                self._turn += 1
                return up[(self._turn - 1) % len(up)]
            case Router.LEAST_OUTSTANDING:
                return up[0] if len(up) == 1 else min(up, key=_load)
            case _:
                assert_never(self.spec.router)


def _load(replica: Replica) -> int:
    return replica.outstanding
