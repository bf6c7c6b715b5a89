"""Paged KV memory of one replica: a fixed pool of blocks, shared by reference count, with reuse of cached prefixes.

Blocks are counted, not listed. What can be shared is a `Run`: the consecutive blocks that one piece of content occupies
behind one exact prefix (its key is a hash chained over everything before it, as vLLM hashes blocks). A sequence holds a
reference to each run of its prefix, and a number of private blocks.

Invariant: free + cached + referenced + private == num_blocks, where `cached` are the blocks of unreferenced runs: they can
be hit, and are evicted least recently used first, last block first, when `free` is not enough. A sequence releases its
deepest run first, so a prefix always outlives what stands behind it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence as Seq
from functools import lru_cache

KEY_MASK = 2**62 - 1  # keys are not negative: negative ones name content that nothing can hit


class Run:
    """Blocks of one piece of shared content; `blocks` counts those whose KV exists."""

    __slots__ = ("blocks", "key", "references")

    def __init__(self, key: int, blocks: int = 0, references: int = 0) -> None:
        self.key = key
        self.blocks = blocks
        self.references = references


Holders = dict[int, dict[int, Run]]  # by key: the run of each replica of a pool that has one, by replica; what routers look at


class BlockPool:
    """`num_blocks` blocks of `block_size` tokens. `take` may evict; it raises nothing and is asked only for what `available` has."""

    __slots__ = ("_anonymous", "_holders", "_replica", "block_size", "cached", "evicted", "free", "num_blocks", "runs", "unreferenced")

    def __init__(self, num_blocks: int, block_size: int, holders: Holders | None = None, replica: int = 0) -> None:
        """`holders` is kept true to this pool's runs, under the number `replica`."""
        self._holders = {} if holders is None else holders
        self._replica = replica
        self.num_blocks = num_blocks
        self.block_size = block_size
        self.free = num_blocks
        self.cached = 0
        self.evicted = 0  # blocks, since the start
        self.runs: dict[int, Run] = {}  # by key, referenced or not; for others to read
        self.unreferenced: OrderedDict[int, Run] = OrderedDict()  # oldest first; for others to read
        self._anonymous = 0  # key of the newest content that nothing can hit; it ages like the rest

    @property
    def available(self) -> int:
        """Blocks that can be taken: free ones, and cached ones after eviction."""
        return self.free + self.cached

    @property
    def used(self) -> int:
        """Blocks that sequences hold now; cached ones that nobody holds are not in use."""
        return self.num_blocks - self.free - self.cached

    def take(self, blocks: int) -> None:
        """Moves `blocks` <= available out of the pool into private hands, evicting the least recently used first."""
        self.free -= blocks
        if self.free < 0:
            self.make_up()

    def make_up(self) -> None:
        """Evicts as many blocks as `free` is below zero: whoever took them wrote `take` out."""
        blocks = -self.free
        assert blocks <= self.cached, "asked for more blocks than are available"
        self.evicted += blocks
        self.cached -= blocks
        self.free = 0
        while blocks:
            key, run = next(iter(self.unreferenced.items()))
            if run.blocks > blocks and key >= 0:
                run.blocks -= blocks
                return
            gone = min(blocks, run.blocks)
            run.blocks -= gone
            blocks -= gone
            if run.blocks == 0:
                del self.unreferenced[key]
                if key >= 0:
                    self._forget(key)
        self._free_oldest()

    def _free_oldest(self) -> None:
        """Content that nothing can hit and that is older than all that can be hit is as good as free."""
        while self.unreferenced and next(iter(self.unreferenced)) < 0:
            _, run = self.unreferenced.popitem(last=False)
            self.cached -= run.blocks
            self.free += run.blocks

    def match(self, path: Seq[tuple[int, int]]) -> tuple[list[Run], int]:
        """The runs of `path` that are cached, in order, and the blocks they cover from the start of the prompt.

        `path` lists (key, end_block) of each shareable piece; a piece owns the blocks from the previous end to its own.
        Changes nothing.
        """
        hits: list[Run] = []
        covered = start = 0
        for key, end in path:
            run = self.runs.get(key)
            if run is None:
                break
            hits.append(run)
            covered = start + run.blocks
            if covered < end:
                break
            start = end
        return hits, covered

    def unreferenced_blocks(self, runs: Seq[Run]) -> int:
        """How many blocks `available` would lose if `runs` were referenced."""
        return sum(run.blocks for run in runs if run.references == 0)

    def reference(self, runs: Seq[Run]) -> None:
        """Takes a reference on each run, so that none of its blocks can be evicted."""
        for run in runs:
            if run.references == 0 and run.key in self.unreferenced:
                del self.unreferenced[run.key]
                self.cached -= run.blocks
                self._free_oldest()
            run.references += 1

    def publish(self, key: int, run: Run | None, blocks: int) -> Run | None:
        """Turns `blocks` private blocks of the caller into shared ones of the run `key`, referenced by the caller.

        `run` is the caller's own partial run of that key, if it has one. Returns the run; None if another holds that key
        already, in which case the caller's blocks stay private.
        """
        if run is not None:
            run.blocks += blocks
        elif key not in self.runs:
            run = self.runs[key] = Run(key, blocks, 1)
            self._holders.setdefault(key, {})[self._replica] = run
        return run

    def _forget(self, key: int) -> None:
        del self.runs[key], self._holders[key][self._replica]
        if not self._holders[key]:
            del self._holders[key]

    def forget_all(self) -> None:
        """The memory is gone, and nobody shall look for anything here."""
        for key in list(self.runs):
            self._forget(key)

    def release(self, runs: Seq[Run], private_full: int, private_rest: int) -> None:
        """Gives everything back: deepest first. Full private blocks stay cached as content that nothing will hit again."""
        assert private_full >= 0 <= private_rest, "a sequence gives back more than it took"
        self.free += private_rest
        if private_full:
            self._age(private_full)
        for run in reversed(runs):
            run.references -= 1
            if run.references == 0:
                self._retire(run)

    def _age(self, blocks: int) -> None:
        """Appends content that nothing can hit. Behind nothing that can be hit it is free; next to its like it joins that."""
        if not self.unreferenced:
            self.free += blocks
            return
        self.cached += blocks
        newest = next(reversed(self.unreferenced))
        if newest < 0:
            self.unreferenced[newest].blocks += blocks
        else:
            self._anonymous -= 1
            self.unreferenced[self._anonymous] = Run(self._anonymous, blocks)

    def _retire(self, run: Run) -> None:
        if run.blocks:
            self.unreferenced[run.key] = run
            self.cached += run.blocks
        else:
            self._forget(run.key)


Piece = tuple[int, int]  # (content, tokens): equal pieces behind equal prefixes have equal KV


@lru_cache(maxsize=4096)  # a prefix that many share is asked for again and again
def prefix_path(pieces: tuple[Piece, ...], answer: Piece | None, block_size: int) -> tuple[tuple[tuple[int, int], ...], int | None]:
    """The (key, end_block) path of a prompt that begins with `pieces`, and the key of its answer, if that may be shared.

    Keys chain: each hashes everything before it. A piece that completes no block of its own is left out of the path, not of
    the chain.
    """
    path: list[tuple[int, int]] = []
    key, tokens, end = 0, 0, 0
    for content, length in pieces:
        key = hash((key, content, length)) & KEY_MASK
        tokens += length
        blocks = tokens // block_size
        if blocks > end:
            path.append((key, end := blocks))
    return tuple(path), None if answer is None else hash((key, *answer)) & KEY_MASK
