"""Multi-turn sessions: how many turns there are, and what the prompt of each turn is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.random import Generator

from loadlab.errors import InputError
from loadlab.scenario import delays, distribution, lengths
from loadlab.scenario.limits import MAX_SEGMENTS
from loadlab.scenario.plan import IntArray

NO_LIMIT = 2**62  # tokens; in the column of context limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Sessions:
    """An arrival starts a session of several turns; each turn follows the end of the last one by a think time.

    The prompt of turn j is the shared prefix, then (with `history`) all earlier user texts and planned answers, then its own text.
    With `max_context_tokens` the oldest turns leave the history, whole, until prompt and planned answer fit, or only the prefix and
    the turn's own text are left; without it the context grows, and a target may refuse it.
    """

    turns: lengths.CountLaw
    think_s: delays.DelayLaw = delays.NO_DELAY
    shared_prefix_tokens: Annotated[int, lengths.Count] = 0
    history: bool = True
    max_context_tokens: Annotated[int, lengths.AtLeastOne] | None = None

    def __post_init__(self) -> None:
        if distribution.smallest(self.turns) < 1:
            raise ValueError("turns = 0 must not be possible: set its min, value or values to 1 or more")


def turns_for_requests(law: lengths.CountLaw, requests: int, rng: Generator, more: int = 0) -> IntArray:
    """Turns of as many sessions as `requests` needs, each drawn from the law and `more`: int64[sessions], each >= 1, sum exactly
    `requests`; the last session is cut."""
    turns = lengths.draw(law, requests, rng) + more
    totals = np.cumsum(turns)
    last = int(np.searchsorted(totals, requests, side="left"))
    turns = turns[: last + 1]
    if requests:
        turns[last] -= totals[last] - requests
    return turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """What each of n requests says for itself: columns int64[n], where the turns of a session are consecutive rows.

    `contents` is int64[n, 2]: the content of the request's own text and of its answer. `prefix_tokens` is 0 where there is none.
    """

    own_tokens: IntArray
    output_tokens: IntArray
    contents: IntArray
    first_row: IntArray  # the row whose text the history begins with; the row itself where there is no history
    prefix_tokens: IntArray
    prefix_content: IntArray
    max_context_tokens: IntArray


def segments(texts: Texts) -> tuple[IntArray, IntArray, IntArray]:
    """The prompts as ragged columns (offsets int64[n + 1], content, tokens): prefix, earlier texts and answers, own text.

    Raises InputError if there are more than MAX_SEGMENTS pieces.
    """
    tokens = np.column_stack((texts.own_tokens, texts.output_tokens)).ravel()  # user, answer, user, answer ...
    rows = np.arange(len(texts.own_tokens))
    first_row = np.maximum(texts.first_row, _first_row_that_fits(texts, tokens))
    has_prefix = texts.prefix_tokens > 0
    counts = has_prefix + 2 * (rows - first_row) + 1
    offsets = np.concatenate(([0], np.cumsum(counts)))
    if offsets[-1] > MAX_SEGMENTS:
        problem = f"gives prompts of {offsets[-1]:,} pieces in all, and a plan holds {MAX_SEGMENTS:,}"
        raise InputError(f"{problem}: set max_context_tokens, ask for fewer turns, or split the run", key="sessions.history")
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)
    source = np.repeat(2 * first_row - has_prefix, counts) + within  # for a prefix one too low, replaced below
    segment_content, segment_tokens = texts.contents.ravel()[source], tokens[source]
    at = offsets[:-1][has_prefix]
    segment_content[at], segment_tokens[at] = texts.prefix_content[has_prefix], texts.prefix_tokens[has_prefix]
    return offsets, segment_content, segment_tokens


def _first_row_that_fits(texts: Texts, tokens: IntArray) -> IntArray:
    """The earliest row from which on the history fits: there the running total must reach the prompt's end less its budget."""
    totals = np.concatenate(([0], np.cumsum(tokens)))
    budget = texts.max_context_tokens - texts.prefix_tokens - texts.output_tokens
    first = np.searchsorted(totals[:-1:2], totals[1::2] - budget, side="left")
    fits: IntArray = np.minimum(first, np.arange(len(first)))
    return fits
