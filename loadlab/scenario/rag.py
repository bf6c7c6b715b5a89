"""Chunks of a corpus, found for each prompt: which ones, how long they are, and in which order they stand."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from loadlab.scenario import lengths
from loadlab.scenario.applications import ChunkOrder, Rag
from loadlab.scenario.plan import IntArray
from loadlab.scenario.streams import Stream, class_rng

ROUNDS = 50  # of drawing again what was drawn twice; what is left then gets the most popular chunks that are free


def found_chunks(rag: Rag, n: int, rng: Generator) -> IntArray:
    """Ranks from 0 of the chunks of n prompts: int64[n, top_k], all different in a row, each drawn in proportion to its popularity."""
    law = lengths.Zipf(max=rag.corpus_chunks, exponent=rag.popularity)
    edges = np.cumsum(lengths.zipf_weights(law))
    edges /= edges[-1]
    ranks: IntArray = np.searchsorted(edges, rng.random((n, rag.top_k)), side="right")
    left = np.arange(n)
    for _ in range(ROUNDS):
        left = left[_has_double(ranks[left])]
        if not len(left):
            break
        again = _is_double(ranks[left])
        drawn = ranks[left]
        drawn[again] = np.searchsorted(edges, rng.random(int(again.sum())), side="right")
        ranks[left] = drawn
    for row in left[_has_double(ranks[left])].tolist():
        kept = list(dict.fromkeys(ranks[row].tolist()))
        free = (rank for rank in range(rag.corpus_chunks) if rank not in set(kept))
        ranks[row] = kept + [next(free) for _ in range(rag.top_k - len(kept))]
    return np.sort(ranks, axis=1) if rag.order is ChunkOrder.STABLE else ranks


def _has_double(ranks: IntArray) -> NDArray[np.bool_]:
    ordered = np.sort(ranks, axis=1)
    return np.asarray(np.any(ordered[:, 1:] == ordered[:, :-1], axis=1))


def _is_double(ranks: IntArray) -> NDArray[np.bool_]:
    """True where a rank stood further left in its row already."""
    order = np.argsort(ranks, axis=1, kind="stable")
    ordered = np.take_along_axis(ranks, order, axis=1)
    again: NDArray[np.bool_] = np.zeros(ranks.shape, dtype=np.bool_)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return again


def corpus(rag: Rag, seed: int, name: str) -> tuple[IntArray, IntArray]:
    """The content and the tokens of every chunk of a class's corpus: int64[corpus_chunks] each."""
    content_rng, tokens_rng = class_rng(seed, name, Stream.CORPUS).spawn(2)
    content = content_rng.integers(0, 2**63 - 1, size=rag.corpus_chunks, endpoint=True)
    return content, lengths.draw(rag.chunk_tokens, rag.corpus_chunks, tokens_rng)
