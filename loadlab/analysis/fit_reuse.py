"""How prompts repeat earlier ones: measured on the block ids of a trace, and a law that is hit as often."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loadlab.analysis.table import FloatArray, IntArray
from loadlab.analysis.trace_seen import SeenBlocks
from loadlab.scenario.reuse import Reuse, draw_pieces
from loadlab.scenario.traces import Blocks

SHARES = 40  # quantiles of how much is repeated
COMMON = 0.5  # of the rows: a block that so many begin with is shared by all
MAX_ROWS = 20_000  # that the law is tuned on
MAX_PIECES = 5_000_000  # of a scenario as long as the trace: smaller blocks are joined, for a plan keeps every piece
ROUNDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Hits:
    """Tokens of each row's prompt that earlier rows had at their beginning, and how many rows back the deepest of them was last had."""

    tokens: IntArray
    rows_back: IntArray  # 0: nothing was repeated
    prompt_tokens: IntArray

    @property
    def ratio(self) -> float:
        """Share of prompt tokens that an infinite cache holds."""
        return float(self.tokens.sum()) / max(1, int(self.prompt_tokens.sum()))


def hits_of(blocks: Blocks, prompt_tokens: IntArray) -> Hits:
    """In the order of the rows."""
    last_had: dict[int, int] = {}
    offsets, ids = blocks.offsets.tolist(), blocks.ids.tolist()
    tokens, back = np.zeros(len(prompt_tokens), dtype=np.int64), np.zeros(len(prompt_tokens), dtype=np.int64)
    for row in range(len(prompt_tokens)):
        mine = ids[offsets[row] : offsets[row + 1]]
        count = 0
        for block in mine:
            if block not in last_had:
                break
            count += 1
        if count:
            back[row] = row - last_had[mine[count - 1]]
        tokens[row] = count * blocks.tokens
        for block in mine:
            last_had[block] = row
    return Hits(tokens=np.minimum(tokens, prompt_tokens), rows_back=back, prompt_tokens=prompt_tokens)


def common_tokens(blocks: Blocks) -> int:
    """Tokens at the beginning that more than half of the rows have."""
    counts = np.diff(blocks.offsets)
    depth, rows = 0, np.arange(len(counts))
    while True:
        rows = rows[counts[rows] > depth]
        at = blocks.ids[blocks.offsets[rows] + depth]
        if len(at) <= COMMON * len(counts):
            return depth * blocks.tokens
        values, shares = np.unique(at, return_counts=True)
        if shares.max() <= COMMON * len(counts):
            return depth * blocks.tokens
        rows = rows[at == values[shares.argmax()]]
        depth += 1


def fit_reuse(hits: Hits, blocks: Blocks) -> tuple[Reuse, float] | None:
    """A law for the rows, and the hit ratio that it generates with their lengths; None where nothing is repeated.

    How often a prompt is new is then moved until the hit ratio is the trace's.
    """
    piece = blocks.tokens * max(1, math.ceil(int(hits.prompt_tokens.sum()) / blocks.tokens / MAX_PIECES))
    shared = common_tokens(blocks)
    repeats = hits.tokens > shared
    if hits.ratio < 0.005:
        return None
    of_prompt = hits.tokens[repeats] / hits.prompt_tokens[repeats]
    shares = _quantiles(of_prompt) if len(of_prompt) else (0.0,)
    new_share = 1 - float(repeats.mean())
    recent = max(1, round(2 * float(np.median(hits.rows_back[repeats])))) if len(of_prompt) else 1
    law = Reuse(new_share=new_share, recent=min(recent, 5_000_000), shares=shares, piece_tokens=piece, shared_tokens=shared)
    prompts = hits.prompt_tokens[:MAX_ROWS]
    wanted = float(hits.tokens[:MAX_ROWS].sum()) / max(1, int(prompts.sum()))
    return _tuned(law, prompts, wanted)


def _quantiles(values: FloatArray) -> tuple[float, ...]:
    at = (np.arange(SHARES) + 0.5) / SHARES
    return tuple(float(f"{x:.4f}") for x in np.quantile(values, at))


def _tuned(law: Reuse, prompts: IntArray, wanted: float) -> tuple[Reuse, float]:
    low, high = 0.001, 0.999
    best, best_ratio = law, generated_ratio(law, prompts)
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        trial = Reuse(
            new_share=float(f"{middle:.4f}"),
            recent=law.recent,
            shares=law.shares,
            piece_tokens=law.piece_tokens,
            shared_tokens=law.shared_tokens,
        )
        ratio = generated_ratio(trial, prompts)
        if abs(ratio - wanted) < abs(best_ratio - wanted):
            best, best_ratio = trial, ratio
        low, high = (middle, high) if ratio > wanted else (low, middle)
    return best, best_ratio


def generated_ratio(law: Reuse, prompts: IntArray, seed: int = 1) -> float:
    """Hit ratio of prompts of these lengths with an infinite cache."""
    pieces, ids = draw_pieces(law, prompts, np.random.default_rng(seed))
    hit = int(SeenBlocks().leading(pieces, ids).sum())
    return hit * law.piece_tokens / max(1, int(prompts.sum()))
