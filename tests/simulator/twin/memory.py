"""The three ways in which an engine gives out KV memory. All of them are asked the same questions."""

from __future__ import annotations

from typing import Protocol

from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import Allocation, EngineLimits
from tests.simulator.twin.blocks import BlockPool, Key, blocks_for
from tests.simulator.twin.request import TwinRequest, Visit


class Memory(Protocol):
    """KV memory of one replica."""

    def can_ever_hold(self, tokens: int) -> bool:
        """Whether a context of `tokens` fits a replica that holds nothing else."""

    def hit(self, request: TwinRequest, tokens: int) -> list[Key]:
        """The longest cached prefix of a context of `tokens`."""

    def can_admit(self, hit: list[Key], tokens: int) -> bool:
        """Whether a newcomer finds room for its first `tokens`, cached ones included."""

    def admit(self, visit: Visit, hit: list[Key], tokens: int) -> None:
        """Gives a newcomer its cached prefix, and room for `tokens`."""

    def num_missing(self, visit: Visit, tokens: int) -> int:
        """Blocks that the visit needs on top of its own to hold `tokens`."""

    def num_available(self) -> int:
        """Blocks that may be taken."""

    def grow(self, visit: Visit, tokens: int) -> None:
        """Room for `tokens`, which must be available."""

    def preempt(self, visit: Visit) -> None:
        """Takes everything from the visit."""

    def leave(self, visit: Visit) -> None:
        """The visit is over; what it computed may stay cached."""

    def clear(self) -> None:
        """A new process."""

    def num_used(self) -> int:
        """Blocks referenced or reserved."""

    def known(self) -> frozenset[Key]:
        """Shared blocks that a newcomer could hit."""


class Paged:
    """A pool of blocks, taken as tokens come."""

    def __init__(self, num_blocks: int, block_size: int, *, reuses_prefixes: bool) -> None:
        self.pool = BlockPool(num_blocks, block_size, reuses_prefixes)

    def can_ever_hold(self, tokens: int) -> bool:
        """See Memory."""
        return blocks_for(tokens, self.pool.block_size) <= self.pool.num_blocks

    def hit(self, request: TwinRequest, tokens: int) -> list[Key]:
        """See Memory."""
        return self.pool.hit(request, tokens)

    def can_admit(self, hit: list[Key], tokens: int) -> bool:
        """See Memory."""
        return self.pool.can_admit(hit, tokens)

    def admit(self, visit: Visit, hit: list[Key], tokens: int) -> None:
        """See Memory."""
        self.pool.reference(visit, hit)
        self.grow(visit, tokens)

    def num_missing(self, visit: Visit, tokens: int) -> int:
        """See Memory."""
        return self.pool.blocks_missing(visit, tokens)

    def num_available(self) -> int:
        """See Memory."""
        return self.pool.num_available()

    def grow(self, visit: Visit, tokens: int) -> None:
        """Shares what is scheduled of the prompt's pieces at once."""
        self.pool.grow(visit, tokens)
        if not visit.comes_with_kv:
            self.pool.share_prompt(visit, tokens)

    def preempt(self, visit: Visit) -> None:
        """See Memory."""
        self.pool.give_back(visit)

    def leave(self, visit: Visit) -> None:
        """See Memory."""
        self.pool.leave_to_cache(visit)

    def clear(self) -> None:
        """See Memory."""
        self.pool.clear()

    def num_used(self) -> int:
        """See Memory."""
        return self.pool.num_used()

    def known(self) -> frozenset[Key]:
        """See Memory."""
        return frozenset(self.pool.shared)


class Contiguous:
    """The whole context window, reserved at admission."""

    def __init__(self, num_blocks: int, block_size: int, context_tokens: int) -> None:
        self.num_blocks = num_blocks
        self.window = blocks_for(context_tokens, block_size)
        self.holders: list[Visit] = []

    def can_ever_hold(self, tokens: int) -> bool:
        """Any request takes a window."""
        return self.window <= self.num_blocks

    def hit(self, request: TwinRequest, tokens: int) -> list[Key]:
        """No reuse."""
        return []

    def can_admit(self, hit: list[Key], tokens: int) -> bool:
        """Whether there is room for a window."""
        return self.num_available() >= self.window

    def admit(self, visit: Visit, hit: list[Key], tokens: int) -> None:
        """Reserves a window."""
        self.holders.append(visit)

    def num_missing(self, visit: Visit, tokens: int) -> int:
        """A window is never too small."""
        return 0

    def num_available(self) -> int:
        """See Memory."""
        return self.num_blocks - self.num_used()

    def grow(self, visit: Visit, tokens: int) -> None:
        """Into the window."""

    def preempt(self, visit: Visit) -> None:
        """Never happens."""
        raise AssertionError("a window is never too small")

    def leave(self, visit: Visit) -> None:
        """Frees the window."""
        self.holders.remove(visit)

    def clear(self) -> None:
        """See Memory."""
        self.holders = []

    def num_used(self) -> int:
        """See Memory."""
        return self.window * len(self.holders)

    def known(self) -> frozenset[Key]:
        """See Memory."""
        return frozenset()


class Unbounded:
    """No pool: whoever comes is admitted, until the memory is out."""

    def can_ever_hold(self, tokens: int) -> bool:
        """Found out the hard way."""
        return True

    def hit(self, request: TwinRequest, tokens: int) -> list[Key]:
        """No reuse."""
        return []

    def can_admit(self, hit: list[Key], tokens: int) -> bool:
        """Always."""
        return True

    def admit(self, visit: Visit, hit: list[Key], tokens: int) -> None:
        """Nothing is reserved."""

    def num_missing(self, visit: Visit, tokens: int) -> int:
        """See Memory."""
        return 0

    def num_available(self) -> int:
        """See Memory."""
        return 0

    def grow(self, visit: Visit, tokens: int) -> None:
        """Nothing is reserved."""

    def preempt(self, visit: Visit) -> None:
        """Never happens."""
        raise AssertionError("there are no blocks to be short of")

    def leave(self, visit: Visit) -> None:
        """Nothing was reserved."""

    def clear(self) -> None:
        """See Memory."""

    def num_used(self) -> int:
        """No blocks."""
        return 0

    def known(self) -> frozenset[Key]:
        """See Memory."""
        return frozenset()


def memory_of(limits: EngineLimits, capacity: KvCapacity) -> Memory:
    """The memory of one replica, empty."""
    match limits.allocation:
        case Allocation.PAGED:
            assert capacity.num_blocks is not None
            return Paged(capacity.num_blocks, capacity.block_size_tokens, reuses_prefixes=limits.prefix_caching)
        case Allocation.CONTIGUOUS:
            assert capacity.num_blocks is not None
            return Contiguous(capacity.num_blocks, capacity.block_size_tokens, capacity.context_tokens)
        case Allocation.UNBOUNDED:
            return Unbounded()
