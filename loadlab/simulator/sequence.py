"""A request inside the simulator: what it asks, where it stands, and what became of it."""

from __future__ import annotations

from enum import IntEnum

from loadlab.record.request import OUTCOME_OF, Cause, Outcome
from loadlab.simulator.kv_cache import Piece, Run


class State(IntEnum):
    """WAITING -> PREFILLING -> DECODING -> ENDED, and back to WAITING when preempted."""

    WAITING = 0
    PREFILLING = 1
    DECODING = 2
    ENDED = 3


class Sequence:
    """One request and its progress. The upper fields are the caller's, the lower ones the replica's.

    Times are picoseconds since the cluster's start. Token i of a piece came at the end of engine step `first_tick + i`;
    a preempted sequence has several pieces. `prefix` is the part of its prompt that others may share, and `answer` its answer
    where a later prompt may carry it; the orchestrator turns both into keys (kv_cache.prefix_path).
    """

    __slots__ = (
        "admission",
        "answer",
        "answer_key",
        "arrival_ps",
        "cached_tokens",
        "cause",
        "chunk",
        "computed",
        "deadline_ps",
        "end_tick",
        "ended_ps",
        "first_tick",
        "first_token_ps",
        "generated",
        "image_tokens",
        "last_token_ps",
        "model",
        "output_tokens",
        "path",
        "phase",
        "pieces",
        "preemptions",
        "prefix",
        "prompt_tokens",
        "replica",
        "runs",
        "seq",
        "shared_blocks",
        "state",
    )  # fmt: skip

    def __init__(
        self,
        *,
        seq: int,
        model: str,
        prompt_tokens: int,
        output_tokens: int,
        image_tokens: int = 0,
        prefix: tuple[Piece, ...] = (),
        answer: Piece | None = None,
        deadline_ps: int | None = None,
    ) -> None:
        """`prompt_tokens` (at least one) counts image tokens too; `output_tokens` is how many it will generate, none for an embedding."""
        self.seq = seq
        self.model = model
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.image_tokens = image_tokens
        self.prefix = prefix
        self.answer = answer
        self.deadline_ps = deadline_ps
        self.arrival_ps = 0
        self.path: tuple[tuple[int, int], ...] = ()
        self.answer_key: int | None = None
        self.state = State.WAITING
        self.replica: int | None = None
        self.runs: list[Run] = []
        self.shared_blocks = 0  # of its prefix, held by reference
        self.computed = 0  # tokens whose KV exists, while prefilling
        self.chunk = 0  # tokens being prefilled in the current step
        self.generated = 0  # tokens emitted before the current piece
        self.admission = 0  # which admission this is, over the whole replica; 0 while not running
        self.first_tick = 0
        self.end_tick = 0
        self.phase = 0  # tick modulo block size at which it needs a new block
        self.pieces: list[tuple[int, int]] = []  # (first tick, last tick), closed
        self.cached_tokens = 0
        self.preemptions = 0
        self.first_token_ps: int | None = None
        self.last_token_ps: int | None = None
        self.ended_ps: int | None = None
        self.cause: Cause | None = None

    @property
    def prefill_target(self) -> int:
        """Tokens to compute before the next one can be emitted: the prompt, and after a preemption the answer so far."""
        return self.prompt_tokens + self.generated

    @property
    def outcome(self) -> Outcome:
        """OK, or what its cause belongs to."""
        return Outcome.OK if self.cause is None else OUTCOME_OF[self.cause]

    def close_piece(self, received_tokens: int) -> None:
        """Counts the tokens of the current piece that were received, and remembers their ticks."""
        if received_tokens:
            self.pieces.append((self.first_tick, self.first_tick + received_tokens - 1))
            self.generated += received_tokens

    def forget_blocks(self) -> None:
        """After the pool has them back."""
        self.runs, self.shared_blocks, self.computed, self.chunk = [], 0, 0, 0

    def close(self, cause: Cause | None, at_ps: int) -> None:
        """It is over: `cause` None means that the whole answer was delivered."""
        self.state, self.cause, self.ended_ps = State.ENDED, cause, at_ps
