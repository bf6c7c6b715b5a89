"""Writing down what ended, some thousands at a time: whose token times are logged, their gaps, and what the logs may forget then."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Seq

import numpy as np
from numpy.typing import NDArray

from loadlab.simulator.replica import Replica
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.token_times import TokenClock, gap_quantiles_of_ended_ps

IntArray = NDArray[np.int64]


def clocks_of(replicas: Iterable[Replica]) -> list[TokenClock | None]:
    """Token times of each replica, as far as its log goes back."""
    tables = (replica.log.table for replica in replicas)
    return [TokenClock(table) if len(table) else None for table in tables]


def split_logged(replicas: Seq[Replica], ended: list[Sequence]) -> tuple[list[Sequence], list[Sequence]]:
    """Sequences whose token times are all logged, and those that left in the middle of a stretch that is still under way."""
    left = [sequence for sequence in ended if sequence.cause is not None and sequence.earlier_pieces]
    if left:
        logged = [replica.log.last_tick for replica in replicas]
        left = [sequence for sequence in left if any(last > logged[index] for index, _, last in sequence.pieces)]
    return ([sequence for sequence in ended if sequence not in left], left) if left else (ended, [])


def gap_quantiles_ps(replicas: Seq[Replica], ended: Seq[Sequence], percents: Seq[int]) -> IntArray:
    """Order statistics ceil(p n) of each ended sequence's gaps between tokens: int64[sequences, percents], -1 where it has none."""
    return gap_quantiles_of_ended_ps(clocks_of(replicas), ended, percents)


def settle(replicas: Seq[Replica], unwritten: Iterable[Sequence]) -> None:
    """Lets the replicas forget all token times but those of sequences that are under way or `unwritten`."""
    needed = [replica.batcher.tick for replica in replicas]
    for replica in replicas:
        for sequence in (*replica.batcher.running.values(), *replica.batcher.waiting):
            if sequence.state is State.DECODING:
                needed[replica.index] = min(needed[replica.index], sequence.first_tick)
            for index, first, _ in sequence.earlier_pieces:
                needed[index] = min(needed[index], first)
    for sequence in unwritten:
        for index, first, _ in sequence.pieces:
            needed[index] = min(needed[index], first)
    for replica in replicas:
        replica.log.settle(needed[replica.index])
