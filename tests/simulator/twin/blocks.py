"""KV blocks one by one. A shared block is known by what stands before and in it: the chain of pieces up to the one that owns it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulator.twin.request import TwinRequest, Visit

Piece = tuple[int | str, int]  # content, tokens
Chain = tuple[Piece, ...]  # a piece behind all those before it
Key = tuple[Chain, int]  # of a block: its piece, and its number among the piece's blocks


@dataclass(slots=True, eq=False)
class Block:
    """`block_size` tokens of KV. Without a key it is one sequence's own."""

    key: Key | None = None


def block_keys(pieces: Chain, block_size: int) -> list[Key]:
    """The keys of the blocks that end inside `pieces`, in order."""
    keys: list[Key] = []
    end_of_piece = 0
    for depth, (_content, tokens) in enumerate(pieces):
        end_of_piece += tokens
        number = 0
        while (len(keys) + 1) * block_size <= end_of_piece:
            keys.append((pieces[: depth + 1], number))
            number += 1
    return keys


def blocks_for(tokens: int, block_size: int) -> int:
    """Blocks that a context of `tokens` holds."""
    return -(-tokens // block_size)


@dataclass(slots=True)
class BlockPool:
    """All blocks of one replica."""

    num_blocks: int
    block_size: int
    reuses_prefixes: bool
    num_free: int = 0
    shared: dict[Key, Block] = field(default_factory=dict)
    holders: dict[Chain, list[Visit]] = field(default_factory=dict)
    cached: list[Chain] = field(default_factory=list)  # pieces that nobody references, the least recently used first
    junk_pieces: int = 0

    def __post_init__(self) -> None:
        self.num_free = self.num_blocks

    def clear(self) -> None:
        """Forgets everything, as a new process does."""
        self.shared, self.holders, self.cached = {}, {}, []
        self.num_free = self.num_blocks

    # What there is

    def blocks_of(self, chain: Chain) -> list[Key]:
        """The blocks of a piece that are here, in order."""
        return sorted((key for key in self.shared if key[0] == chain), key=lambda key: key[1])

    def num_available(self, besides: list[Chain] | None = None) -> int:
        """Free blocks, and cached ones of pieces that nobody references, `besides` those named."""
        return self.num_free + sum(len(self.blocks_of(chain)) for chain in self.cached if chain not in (besides or []))

    def num_used(self) -> int:
        """Referenced blocks."""
        return self.num_blocks - self.num_available()

    def hit(self, request: TwinRequest, tokens: int) -> list[Key]:
        """The longest cached prefix of a context of `tokens`, whose last block must be computed anew."""
        return longest_prefix(set(self.shared), request, tokens, self.block_size) if self.reuses_prefixes else []

    # Taking

    def can_admit(self, hit: list[Key], tokens: int) -> bool:
        """Whether a context of `tokens` that begins with `hit` would find its blocks."""
        return blocks_for(tokens, self.block_size) - len(hit) <= self.num_available(besides=[chain for chain, _ in hit])

    def reference(self, visit: Visit, hit: list[Key]) -> None:
        """Makes the cached prefix the beginning of the visit's context."""
        for key in hit:
            self._hold(visit, key[0])
            visit.blocks.append(self.shared[key])

    def blocks_missing(self, visit: Visit, tokens: int) -> int:
        """Blocks that the visit must take to hold `tokens`."""
        return max(0, blocks_for(tokens, self.block_size) - len(visit.blocks))

    def grow(self, visit: Visit, tokens: int) -> None:
        """Gives the visit blocks for a context of `tokens`, which must be available."""
        for _ in range(self.blocks_missing(visit, tokens)):
            if self.num_free == 0:
                self._evict_one()
            self.num_free -= 1
            visit.blocks.append(Block())

    def _evict_one(self) -> None:
        oldest = self.cached[0]
        keys = self.blocks_of(oldest)
        del self.shared[keys[-1]]
        self.num_free += 1
        if len(keys) == 1:
            self.cached.remove(oldest)

    def share_prompt(self, visit: Visit, tokens: int) -> None:
        """Lets others hit the prompt's pieces, as far as `tokens` of the context are scheduled."""
        if self.reuses_prefixes:
            keys = block_keys(visit.request.prefix, self.block_size)
            self._share(visit, keys[: tokens // self.block_size])

    def _share(self, visit: Visit, keys: list[Key]) -> None:
        """Shares the blocks of these keys, up to the first that somebody else has shared meanwhile: its copy of that one stays its own."""
        for block, key in zip(visit.blocks, keys, strict=False):
            if visit.shares_no_more:
                return
            if block.key is None and key in self.shared:
                visit.shares_no_more = True
            elif block.key is None:
                block.key = key
                self.shared[key] = block
                self._hold(visit, key[0])

    def _hold(self, visit: Visit, chain: Chain) -> None:
        if chain in self.cached:
            self.cached.remove(chain)
        holders = self.holders.setdefault(chain, [])
        if visit not in holders:
            holders.append(visit)
            visit.held.append(chain)

    # Giving back

    def leave_to_cache(self, visit: Visit) -> None:
        """What a sequence leaves when it ends, or is taken out: its answer, its own full blocks, its pieces."""
        if self.reuses_prefixes:
            if not visit.comes_with_kv:
                self._share_answer(visit)
            self._cache_own(visit)
        self.give_back(visit)

    def _share_answer(self, visit: Visit) -> None:
        request = visit.request
        if request.answer is not None and sum(tokens for _, tokens in request.prefix) == request.prompt_tokens:
            keys = block_keys((*request.prefix, request.answer), self.block_size)
            self._share(visit, keys[: visit.computed // self.block_size])

    def _cache_own(self, visit: Visit) -> None:
        """Full blocks that nobody will ask for; they are older than the pieces in the eyes of whoever evicts."""
        own = [block for block in visit.blocks[: visit.computed // self.block_size] if block.key is None]
        if not own:
            return
        self.junk_pieces += 1
        nobody_asks: Chain = (("junk", self.junk_pieces),)
        for number, block in enumerate(own):
            block.key = (nobody_asks, number)
            self.shared[block.key] = block
        self.cached.append(nobody_asks)

    def give_back(self, visit: Visit) -> None:
        """Frees the visit's own blocks, and lets go of its pieces, the deepest first."""
        self.num_free += sum(1 for block in visit.blocks if block.key is None)
        visit.blocks = []
        for chain in sorted(visit.held, key=len, reverse=True):
            self.holders[chain].remove(visit)
            if not self.holders[chain]:
                del self.holders[chain]
                self.cached.append(chain)
        visit.held = []


def longest_prefix(known: set[Key], request: TwinRequest, tokens: int, block_size: int) -> list[Key]:
    """The blocks at the beginning of a prompt that are `known`, short of the last block of the `tokens` to be computed."""
    hit: list[Key] = []
    for key in block_keys(request.prefix, block_size)[: tokens // block_size]:
        if key not in known:
            break
        hit.append(key)
    return hit
