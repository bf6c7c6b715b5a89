"""Prompts that begin as earlier ones did, whoever sent those: what a prefix cache finds in real traffic, without saying why."""

from __future__ import annotations

from array import array
from collections import deque
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.random import Generator

from loadlab.errors import InputError
from loadlab.scenario.lengths import AtLeastOne, Count
from loadlab.scenario.limits import MAX_SEGMENTS, Requests
from loadlab.scenario.plan import IntArray
from loadlab.schema import Share

MAX_SHARES = 1000
TRIES = 8  # earlier prompts that are looked at for one that is long enough
GOLDEN = 0.6180339887498949  # spreads the tries over all of them (Weyl)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """A share `new_share` of the prompts begins anew; each other one repeats the beginning of one of the `recent` prompts before it,
    equally likely among those that are long enough, and goes on by itself.

    How much of itself a prompt repeats is one of `shares`, equally likely. The first shared_tokens are the same in all prompts of the
    class. Texts are repeated in whole pieces of piece_tokens, as caches hold them.
    """

    new_share: Annotated[float, Share]
    recent: Annotated[int, Requests]
    shares: tuple[Annotated[float, Share], ...]
    piece_tokens: Annotated[int, AtLeastOne]
    shared_tokens: Annotated[int, Count] = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.shares) <= MAX_SHARES:
            raise ValueError(f"shares = {len(self.shares)} entries must be 1 to {MAX_SHARES}")


def draw_pieces(law: Reuse, prompt_tokens: IntArray, rng: Generator) -> tuple[IntArray, IntArray]:
    """Whole pieces of prompts in order of arrival: how many each has (at least a token of it is beside them), and the ids of all in a
    row. Equal ids are equal pieces, at equal places behind equal ones. More prompts begin with the fewer.

    Raises InputError if there are more pieces than a plan holds.
    """
    whole = (prompt_tokens - 1) // law.piece_tokens
    total = int(whole.sum())
    if total > MAX_SEGMENTS:
        problem = f"gives prompts of {total:,} pieces in all, and a plan holds {MAX_SEGMENTS:,}: raise it, or split the run"
        raise InputError(problem, key="reuse.piece_tokens")
    uniforms = rng.random((len(prompt_tokens), 3))
    shares = np.asarray(law.shares)[(uniforms[:, 2] * len(law.shares)).astype(np.int64)]
    repeated = np.where(uniforms[:, 0] < law.new_share, 0, np.minimum(whole, np.rint(shares * whole).astype(np.int64)))
    shared = law.shared_tokens // law.piece_tokens
    everybody, fresh = list(range(shared)), shared
    before: deque[list[int]] = deque(maxlen=law.recent)
    ids = array("q")
    for size, again, place in zip(whole.tolist(), repeated.tolist(), uniforms[:, 1].tolist(), strict=True):
        known = _longest(before, again, place)[:again] if again > shared else everybody[:size]
        mine = known + list(range(fresh, fresh + size - len(known)))
        fresh += size - len(known)
        before.append(mine)
        ids.extend(mine)
    return whole, np.frombuffer(ids, dtype=np.int64) if len(ids) else np.zeros(0, dtype=np.int64)


def _longest(before: deque[list[int]], pieces: int, place: float) -> list[int]:
    """The first of some earlier prompts that has so many pieces, or else the longest of them."""
    best: list[int] = []
    for k in range(TRIES if before else 0):
        found = before[int((place + k * GOLDEN) % 1 * len(before))]
        if len(found) >= pieces:
            return found
        best = found if len(found) > len(best) else best
    return best
