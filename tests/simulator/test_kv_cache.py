from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from loadlab.simulator.kv_cache import BlockPool, Holders, Run, prefix_path

BLOCKS = 24


def share(pool: BlockPool, key: int, blocks: int) -> Run:
    pool.take(blocks)
    run = pool.publish(key, None, blocks)
    assert run is not None
    return run


def test_free_blocks_are_taken_before_cached_ones_are_evicted() -> None:
    pool = BlockPool(10, 4)
    pool.release([share(pool, 1, 4)], 0, 0)
    pool.take(6)
    assert (pool.free, pool.cached, pool.evicted) == (0, 4, 0)
    pool.take(1)
    assert (pool.free, pool.cached, pool.evicted) == (0, 3, 1)


def test_content_that_nothing_can_hit_is_evicted_in_its_turn() -> None:
    """A prefix, then eight blocks that nobody will ask for, then another prefix: the first prefix goes first, they go second."""
    pool = BlockPool(16, 4)
    pool.release([share(pool, 1, 4)], 0, 0)
    pool.take(8)
    pool.release((), 8, 0)
    pool.release([share(pool, 2, 4)], 0, 0)
    assert (pool.free, pool.cached) == (0, 16)
    pool.take(4)
    assert pool.match([(1, 4)])[1] == 0
    pool.take(8)
    assert pool.match([(2, 4)])[1] == 4
    pool.take(1)
    assert pool.match([(2, 4)])[1] == 3


def test_the_least_recently_used_prefix_is_evicted_first_and_from_its_end() -> None:
    pool = BlockPool(8, 4)
    for key in (1, 2):
        pool.release([share(pool, key, 4)], 0, 0)
    runs, covered = pool.match([(1, 4)])
    assert covered == 4
    pool.reference(runs)
    pool.release(runs, 0, 0)  # 1 was used last, so 2 goes first
    pool.take(3)
    assert pool.match([(1, 4)])[1] == 4
    assert pool.match([(2, 4)])[1] == 1


def test_a_prefix_outlives_what_stands_behind_it() -> None:
    pool = BlockPool(8, 4)
    pool.release([share(pool, 1, 4), share(pool, 2, 4)], 0, 0)
    pool.take(4)
    assert pool.match([(1, 4), (2, 8)])[1] == 4


def test_a_referenced_prefix_is_never_evicted() -> None:
    pool = BlockPool(8, 4)
    share(pool, 1, 4)
    pool.take(4)
    assert pool.available == 0
    assert pool.match([(1, 4)])[1] == 4


def test_equal_content_behind_unequal_prefixes_is_not_the_same() -> None:
    first, _ = prefix_path(((1, 16), (9, 16)), None, 4)
    second, _ = prefix_path(((2, 16), (9, 16)), None, 4)
    assert first[1] != second[1]


def test_a_piece_shorter_than_a_block_joins_the_next_one() -> None:
    path, _ = prefix_path(((1, 3), (2, 6)), None, 4)
    assert [end for _, end in path] == [2]
    other, _ = prefix_path(((5, 3), (2, 6)), None, 4)
    assert path != other


def test_evicted_blocks_are_counted_from_the_start() -> None:
    pool = BlockPool(10, 4)
    pool.release([share(pool, 1, 10)], 0, 0)
    pool.take(2)
    pool.take(3)
    assert (pool.block_size, pool.evicted, pool.free, pool.cached) == (4, 5, 0, 5)


def test_blocks_freed_at_the_front_add_to_the_free_ones() -> None:
    pool = BlockPool(12, 4)
    first = share(pool, 1, 4)
    pool.release([first], 0, 0)
    pool.take(4)
    pool.release((), 4, 0)  # behind the prefix
    assert (pool.free, pool.cached) == (4, 8)
    pool.reference([first])  # nothing stands before them now
    assert (pool.free, pool.cached) == (8, 0)


def test_a_replica_that_lost_its_memory_is_no_longer_looked_at() -> None:
    of_pool: Holders = {}
    one, other = BlockPool(8, 4, of_pool, replica=0), BlockPool(8, 4, of_pool, replica=1)
    for pool, key in ((one, 1), (one, 2), (other, 2)):
        share(pool, key, 2)
    one.forget_all()
    assert one.runs == {}
    assert {key: list(holders) for key, holders in of_pool.items()} == {2: [1]}


def test_blocks_that_nothing_can_hit_join_their_like() -> None:
    pool = BlockPool(12, 4)
    pool.release([share(pool, 1, 4)], 0, 0)
    pool.take(6)
    pool.release((), 2, 0)
    pool.release((), 3, 1)
    assert [run.blocks for run in pool.unreferenced.values()] == [4, 5]
    assert (pool.free, pool.cached) == (3, 9)


def test_a_run_that_never_had_a_block_is_forgotten_with_its_last_holder() -> None:
    pool = BlockPool(4, 4)
    pool.release([share(pool, 1, 0)], 0, 0)
    assert pool.runs == {}


class Holder:
    """A sequence as the pool sees it."""

    def __init__(self, runs: list[Run], shared: int, private: int) -> None:
        self.runs, self.shared, self.private = runs, shared, private


class PoolMachine(RuleBasedStateMachine):
    """Random admissions over three shared documents, growth, release, preemption: blocks are conserved, whatever happens."""

    holders = Bundle("holders")

    def __init__(self) -> None:
        super().__init__()
        self.of_pool: Holders = {}
        self.pool = BlockPool(BLOCKS, 4, self.of_pool, replica=7)
        self.alive: list[Holder] = []

    @rule(target=holders, document=st.integers(0, 2), shared=st.integers(0, 6), private=st.integers(0, 6))
    def admit(self, document: int, shared: int, private: int) -> object:
        path = [(document * 100 + i, 2 * (i + 1)) for i in range(shared // 2)]
        runs, covered = self.pool.match(path)
        wanted = (path[-1][1] if path else 0) - covered + private
        if wanted > self.pool.available - self.pool.unreferenced_blocks(runs):
            return multiple()
        self.pool.reference(runs)
        self.pool.take(wanted)
        holder = Holder(list(runs), covered, wanted)
        for i, (key, end) in enumerate(path):
            if end > holder.shared:
                own = holder.runs[i] if i < len(holder.runs) else None
                run = self.pool.publish(key, own, end - holder.shared)
                assert run is not None, "nobody else can hold what was not matched"
                if own is None:
                    holder.runs.append(run)
                holder.private -= end - holder.shared
                holder.shared = end
        self.alive.append(holder)
        return holder

    @rule(holder=holders, blocks=st.integers(1, 4))
    def grow(self, holder: Holder, blocks: int) -> None:
        if holder in self.alive and blocks <= self.pool.available:
            self.pool.take(blocks)
            holder.private += blocks

    @rule(holder=holders, keep=st.booleans())
    def give_back(self, holder: Holder, keep: bool) -> None:
        if holder in self.alive:
            self.alive.remove(holder)
            full = holder.private if keep else 0
            self.pool.release(holder.runs, full, holder.private - full)

    @invariant()
    def blocks_are_conserved(self) -> None:
        referenced = {id(run): run.blocks for holder in self.alive for run in holder.runs}
        private = sum(holder.private for holder in self.alive)
        assert self.pool.free + self.pool.cached + sum(referenced.values()) + private == BLOCKS
        assert self.pool.used == sum(referenced.values()) + private
        assert self.pool.free >= 0
        assert self.pool.cached >= 0

    @invariant()
    def what_nobody_holds_is_counted_and_begins_with_what_can_be_hit(self) -> None:
        unreferenced = self.pool.unreferenced
        assert sum(run.blocks for run in unreferenced.values()) == self.pool.cached
        assert all(run.references == 0 and run.key == key for key, run in unreferenced.items())
        assert not unreferenced or next(iter(unreferenced)) >= 0
        assert all(0 < run.blocks <= 2 for run in self.pool.runs.values()), "as many as were published, less what was evicted"
        assert self.pool.unreferenced_blocks(list(self.pool.runs.values())) == sum(run.blocks for k, run in unreferenced.items() if k >= 0)

    @invariant()
    def routers_see_the_runs_that_there_are(self) -> None:
        assert self.of_pool == {key: {7: run} for key, run in self.pool.runs.items()}

    @invariant()
    def what_somebody_holds_stays_cached(self) -> None:
        for holder in self.alive:
            assert sum(run.blocks for run in holder.runs) >= holder.shared


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
