"""The decoding sequences of a replica, as numbers that a step changes without touching any sequence.

While nobody joins or leaves, every sequence gains one token a step. So a batch needs only: how many there are, the sum of
their contexts, the tick at which each ends (a heap), and at which ticks each needs a new block. A sequence whose context
is n tokens at tick T needs a block at the ticks congruent to T - n modulo the block size: `needs[phase]` counts them.
"""

from __future__ import annotations

from heapq import heappop, heappush

from loadlab.simulator.sequence import Sequence

NEVER = 2**62


class DecodeBatch:
    """Sequences that emit one token at every step's end. Without `counts_blocks` nobody ever needs one more."""

    __slots__ = ("_block_size", "_counts_blocks", "_ends", "kv_tokens", "needs", "next_end", "size")

    def __init__(self, block_size: int, *, counts_blocks: bool) -> None:
        self._block_size = block_size
        self._counts_blocks = counts_blocks
        self.size = 0
        self.kv_tokens = 0  # contexts of all, at the current tick
        self.next_end = NEVER  # the first tick at which a sequence ends
        self._ends: list[tuple[int, int, Sequence]] = []  # (end tick, admission, sequence); stale where the admission differs
        self.needs = [0] * (2 * block_size)  # by phase, stored twice so that a window never wraps

    def add(self, sequence: Sequence, tick: int, context: int, first_tick: int) -> None:
        """A sequence whose context at `tick` is `context` tokens, and whose next token comes at `first_tick`."""
        sequence.first_tick = first_tick
        sequence.end_tick = end_tick = first_tick + sequence.output_tokens - sequence.generated - 1
        sequence.context_base = context - tick
        if self._counts_blocks:
            sequence.phase = phase = (tick - context) % self._block_size
            self.needs[phase] += 1
            self.needs[phase + self._block_size] += 1
        self.size += 1
        self.kv_tokens += context
        heappush(self._ends, (end_tick, sequence.admission, sequence))
        if end_tick < self.next_end:
            self.next_end = end_tick

    def remove(self, sequence: Sequence, tick: int) -> int:
        """Takes a sequence out at `tick`, its admission being 0 by now; returns its context in tokens."""
        context = sequence.context_base + tick
        if self._counts_blocks:
            self.needs[sequence.phase] -= 1
            self.needs[sequence.phase + self._block_size] -= 1
        self.size -= 1
        self.kv_tokens -= context
        if sequence.end_tick == self.next_end:
            self._find_next_end()
        return context

    def _find_next_end(self) -> None:
        ends = self._ends
        while ends and ends[0][1] != ends[0][2].admission:
            heappop(ends)
        self.next_end = ends[0][0] if ends else NEVER

    def pop_ended(self, tick: int) -> list[Sequence]:
        """Sequences whose last token came by `tick`, oldest admission first; the caller removes them."""
        ended: list[Sequence] = []
        ends = self._ends
        while ends and (ends[0][0] <= tick or ends[0][1] != ends[0][2].admission):
            _, admission, sequence = heappop(ends)
            if admission == sequence.admission:
                ended.append(sequence)
        self.next_end = ends[0][0] if ends else NEVER
        return ended

    def blocks_at(self, tick: int) -> int:
        """New blocks that the step from `tick` to the next needs."""
        return self.needs[tick % self._block_size]

    def blocks_between(self, tick: int, steps: int) -> int:
        """New blocks that `steps` steps from `tick` on need."""
        if not self._counts_blocks:
            return 0
        size = self._block_size
        phase = tick % size
        return steps // size * self.size + sum(self.needs[phase : phase + steps % size])

    def affordable_steps(self, tick: int, steps: int, blocks: int) -> int:
        """The most steps, up to `steps`, from `tick` on that `blocks` new blocks suffice for."""
        if (steps // self._block_size + 1) * self.size <= blocks or not self._counts_blocks:
            return steps  # each sequence needs one block a cycle
        cycles = min(steps // self._block_size, max(0, blocks // self.size - 1))
        taken, blocks = cycles * self._block_size, blocks - cycles * self.size
        while taken < steps and self.blocks_at(tick + taken) <= blocks:
            blocks -= self.blocks_at(tick + taken)
            taken += 1
        return taken
