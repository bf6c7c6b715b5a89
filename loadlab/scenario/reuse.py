"""Prompts that begin as earlier ones did, whoever sent those: what a prefix cache finds in real traffic, without saying why."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """A share `new_share` of the requests begins a new text; each other one repeats the beginning of one of the `recent` newest texts,
    all equally likely, and goes on by itself.

    How much of its prompt it repeats is one of `shares`, equally likely. The first shared_tokens are the same in all prompts of the
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginnings:
    """How n prompts begin: prompt i has the first pieces[i] pieces of text text[i], of which the first shared[i] are every prompt's."""

    text: IntArray
    pieces: IntArray
    shared: IntArray


def draw_beginnings(law: Reuse, prompt_tokens: IntArray, rng: Generator) -> Beginnings:
    """For prompts in order of arrival. At least one token of each is its own. More prompts begin with the fewer."""
    n = len(prompt_tokens)
    uniforms = rng.random((n, 3))
    is_new = uniforms[:, 0] < law.new_share
    is_new[:1] = True
    started = np.cumsum(is_new)
    back = (uniforms[:, 1] * np.minimum(started, law.recent)).astype(np.int64)
    repeated = np.asarray(law.shares)[(uniforms[:, 2] * len(law.shares)).astype(np.int64)] * prompt_tokens
    whole = (prompt_tokens - 1) // law.piece_tokens
    shared = np.minimum(law.shared_tokens // law.piece_tokens, whole)
    pieces = np.maximum(np.minimum(whole, (repeated / law.piece_tokens).astype(np.int64)), shared)
    return Beginnings(text=started - 1 - np.where(is_new, 0, back), pieces=np.where(is_new, whole, pieces), shared=shared)


def piece_ids(beginnings: Beginnings) -> tuple[IntArray, IntArray]:
    """The pieces of all beginnings in a row, (text + 1, place) each; text 0 is every prompt's."""
    total = int(beginnings.pieces.sum())
    if total > MAX_SEGMENTS:
        problem = f"gives prompts of {total:,} pieces in all, and a plan holds {MAX_SEGMENTS:,}: raise it, or split the run"
        raise InputError(problem, key="reuse.piece_tokens")
    place = np.arange(total) - np.repeat(np.cumsum(beginnings.pieces) - beginnings.pieces, beginnings.pieces)
    text = np.where(place < np.repeat(beginnings.shared, beginnings.pieces), 0, np.repeat(beginnings.text, beginnings.pieces) + 1)
    return text, place
