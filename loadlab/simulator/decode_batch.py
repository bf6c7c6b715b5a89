"""The decoding sequences of a replica, as numbers that a step changes without touching any sequence.

While nobody joins or leaves, every sequence gains one token a step. So a batch needs only: how many there are, the sum of
their contexts, the tick at which each ends (a heap), and at which ticks each needs a new block. A sequence whose context
is n tokens at tick T needs a block at the ticks congruent to T - n modulo the block size: `needs[phase]` counts them.
"""

from __future__ import annotations

from heapq import heappop, heappush

from loadlab.simulator.sequence import Sequence

NEVER = 2**62
ADMISSION_BITS = 40  # an end is one integer, end tick << ADMISSION_BITS | admission: it sorts by both, and costs one comparison
ADMISSION_MASK = 2**ADMISSION_BITS - 1


class DecodeBatch:
    """Sequences that emit one token at every step's end. Without `counts_blocks` nobody ever needs one more.

    Its fields are open to the replica's loop, which adds and ends sequences without a call: `add` and `remove` are the
    same for whoever is not in a hurry.
    """

    __slots__ = ("block_size", "counts_blocks", "ends", "kv_tokens", "needs", "next_end", "num_stale", "running", "size")

    def __init__(self, block_size: int, running: dict[int, Sequence], *, counts_blocks: bool) -> None:
        """`running`: the replica's sequences by admission, whether they decode or not."""
        self.block_size = block_size
        self.counts_blocks = counts_blocks
        self.running = running
        self.size = 0
        self.kv_tokens = 0  # contexts of all, at the current tick
        self.ends = [NEVER << ADMISSION_BITS]  # a heap that is never empty; an end whose admission does not run is stale
        self.num_stale = 0
        self.next_end = NEVER  # the first tick at which a sequence ends
        self.needs = [0] * block_size  # by phase

    def add(self, sequence: Sequence, tick: int, context: int, first_tick: int) -> None:
        """A sequence whose context at `tick` is `context` tokens, and whose next token comes at `first_tick`."""
        sequence.first_tick = first_tick
        sequence.end_tick = end_tick = first_tick + sequence.output_tokens - sequence.generated - 1
        if self.counts_blocks:
            sequence.phase = phase = (tick - context) % self.block_size
            self.needs[phase] += 1
        self.size += 1
        self.kv_tokens += context
        heappush(self.ends, end_tick << ADMISSION_BITS | sequence.admission)
        if end_tick < self.next_end:
            self.next_end = end_tick

    def remove(self, sequence: Sequence, tick: int, *, has_ended: bool) -> int:
        """Takes a sequence out at `tick`, after it was taken out of `running`; returns its context in tokens.

        `has_ended`: its end was popped already.
        """
        context = sequence.prompt_tokens + sequence.output_tokens - 1 + tick - sequence.end_tick
        if self.counts_blocks:
            self.needs[sequence.phase] -= 1
        self.size -= 1
        self.kv_tokens -= context
        if not has_ended:
            self.num_stale += 1
            self.find_next_end()
        return context

    def find_next_end(self) -> None:
        """After an end was popped, or has become stale."""
        ends = self.ends
        while self.num_stale and len(ends) > 1 and ends[0] & ADMISSION_MASK not in self.running:
            heappop(ends)
            self.num_stale -= 1
        self.next_end = ends[0] >> ADMISSION_BITS

    def blocks_between(self, tick: int, steps: int) -> int:
        """New blocks that `steps` steps from `tick` on need."""
        if not self.counts_blocks:
            return 0
        cycles, steps = divmod(steps, self.block_size)  # each sequence needs one block a cycle
        phase = tick % self.block_size
        wrapped = max(0, phase + steps - self.block_size)
        return cycles * self.size + sum(self.needs[phase : phase + steps]) + sum(self.needs[:wrapped])

    def affordable_steps(self, tick: int, steps: int, blocks: int) -> int:
        """The most steps, up to `steps`, from `tick` on that `blocks` new blocks suffice for."""
        block_size = self.block_size
        if (steps // block_size + 1) * self.size <= blocks or not self.counts_blocks:
            return steps
        cycles = min(steps // block_size, max(0, blocks // self.size - 1))
        taken, blocks = cycles * block_size, blocks - cycles * self.size
        while taken < steps and (needed := self.needs[(tick + taken) % block_size]) <= blocks:
            blocks -= needed
            taken += 1
        return taken
