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


TokenSpan = tuple[int, int, int]  # (replica, first tick, last tick): one token at each of these ticks


class Sequence:
    """One request and its progress. The first fields are the caller's, the others the simulator's.

    Times are picoseconds since the cluster's start. `prefix` is the part of its prompt that others may share, and `answer` its
    answer where a later prompt may carry it; the pool turns both into keys (kv_cache.prefix_path).
    """

    __slots__ = (
        "admission",
        "admitted_ps",
        "answer",
        "answer_key",
        "arrival_ps",
        "cached_tokens",
        "cause",
        "chunk",
        "computed",
        "deadline_ps",
        "earlier_pieces",
        "end_tick",
        "ended_ps",
        "entered_ps",
        "first_tick",
        "first_token_ps",
        "generated",
        "image_tokens",
        "is_filtered",
        "is_resident",
        "last_token_ps",
        "model",
        "order",
        "output_tokens",
        "parent",
        "path",
        "phase",
        "preemptions",
        "prefix",
        "prompt_tokens",
        "region",
        "replica",
        "runs",
        "seq",
        "shared_blocks",
        "state",
        "tier",
        "traffic_class",
    )

    def __init__(
        self,
        seq: int,
        model: str,
        prompt_tokens: int,
        output_tokens: int,
        image_tokens: int = 0,
        prefix: tuple[Piece, ...] = (),
        answer: Piece | None = None,
        deadline_ps: int | None = None,
        traffic_class: str | None = None,
        tier: str | None = None,
        region: str | None = None,
        parent: Sequence | None = None,
    ) -> None:
        """`prompt_tokens` (at least one) counts image tokens too; `output_tokens` is how many it will generate, none for an embedding.
        Whoever makes many says all by position: Python takes twice as long where a keyword stands.

        `parent` is the request on whose behalf this one runs: a prompt computed elsewhere, a tier of a cascade.
        """
        assert prompt_tokens > 0, "a prompt has at least one token"
        self.seq = seq
        self.model = model
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.image_tokens = image_tokens
        self.prefix = prefix
        self.answer = answer
        self.deadline_ps = deadline_ps
        self.traffic_class = traffic_class
        self.tier = tier
        self.region = region
        self.parent = parent
        self.arrival_ps = 0
        self.order = 0  # of submission, even; a child has its parent's
        self.state = State.WAITING
        self.replica: int | None = None
        self.path: tuple[tuple[int, int], ...] = ()
        self.answer_key: int | None = None
        self.runs: tuple[Run, ...] = ()
        self.shared_blocks = 0  # of its prefix, held by reference
        self.computed = 0  # tokens whose KV exists, while prefilling
        self.chunk = 0  # tokens being prefilled in the current step
        self.is_filtered = False  # the filter in front will say no, whatever its class
        self.is_resident = False  # its prompt's KV came from another pool
        self.generated = 0  # tokens emitted before the current piece, or in all once it has ended
        self.admission = 0  # which admission this is, over the whole replica; 0 while not running
        self.first_tick = 0  # of the current piece; 0 while there is none
        self.end_tick = 0  # at which its last token comes, if nothing happens to it before
        self.phase = 0  # tick modulo block size at which it needs a new block
        self.earlier_pieces: tuple[TokenSpan, ...] = ()
        self.cached_tokens = 0
        self.preemptions = 0
        self.entered_ps: int | None = None  # when it came to its replica, behind the stages before that
        self.admitted_ps: int | None = None  # when it first ran
        self.first_token_ps: int | None = None
        self.last_token_ps: int | None = None
        self.ended_ps: int | None = None
        self.cause: Cause | None = None

    @property
    def pieces(self) -> list[TokenSpan]:
        """Where and when its tokens came so far, but for those of a piece under way."""
        if self.state is State.ENDED and 0 < self.first_tick <= self.end_tick:
            assert self.replica is not None
            return [*self.earlier_pieces, (self.replica, self.first_tick, self.end_tick)]
        return list(self.earlier_pieces)

    @property
    def prefill_target(self) -> int:
        """Tokens to compute before the next one can be emitted: the prompt, and after a preemption the answer so far."""
        return self.prompt_tokens + self.generated

    @property
    def most_tokens(self) -> int:
        """The most KV tokens that it ever holds: the KV of its last token is never written."""
        return self.prompt_tokens + self.output_tokens - (self.output_tokens > 0)

    @property
    def outcome(self) -> Outcome:
        """OK, or what its cause belongs to."""
        return Outcome.OK if self.cause is None else OUTCOME_OF[self.cause]

    def emit_until(self, tick: int, at_ps: int) -> None:
        """Closes the current piece at `tick`, reached at `at_ps`, and counts its tokens. Nothing if it has none yet."""
        if tick >= self.first_tick:
            assert self.replica is not None
            self.earlier_pieces += ((self.replica, self.first_tick, tick),)
            self.generated += tick - self.first_tick + 1
            self.last_token_ps = at_ps
        self.first_tick = 0

    def forget_blocks(self) -> None:
        """After the pool has them back."""
        self.runs, self.shared_blocks, self.computed, self.chunk = (), 0, 0, 0

    def close(self, cause: Cause | None, at_ps: int) -> None:
        """It is over: `cause` None means that the whole answer was delivered."""
        self.state, self.cause, self.ended_ps = State.ENDED, cause, at_ps
