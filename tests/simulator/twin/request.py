"""What is asked of the twin, what became of it, and the two things in between: a client's job, and its visit to one replica."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto

from loadlab.record.request import Cause
from tests.simulator.twin.blocks import Block, Chain, Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinRequest:
    """One request. `prompt_tokens` counts its images too; `prefix` is how the prompt begins, in pieces that others may begin with."""

    seq: int
    model: str
    prompt_tokens: int
    output_tokens: int  # 0: ends with its prefill, without a token
    image_tokens: int = 0
    prefix: tuple[Piece, ...] = ()
    answer: Piece | None = None  # the piece that the answer is in later prompts
    deadline_ps: int | None = None
    traffic_class: str | None = None
    tier: str | None = None
    region: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinResult:
    """What became of a request."""

    cause: Cause | None
    ended_ps: int
    first_token_ps: int | None
    last_token_ps: int | None
    token_times_ps: list[int]
    cached_tokens: int
    preemptions: int
    replica: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaTotals:
    """One replica, now."""

    running: int
    waiting: int
    used_blocks: int
    preemptions: int
    ooms: int


class Where(Enum):
    """Where a job is."""

    ON_ITS_WAY = auto()  # in the pipeline, the network, a KV transfer or post-processing
    IN_LINE = auto()
    RUNNING = auto()
    OVER = auto()


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A client's request in the cluster, over all tiers and replicas that it visits."""

    request: TwinRequest
    order: int  # of submission
    where: Where = Where.ON_ITS_WAY
    visit: Visit | None = None
    pool: int = 0  # that serves it
    round_trip_ps: int = 0
    number_on_its_way: int | None = None
    tiers_left: list[str | None] = field(default_factory=list)  # of a cascade, the present one first
    give_up_waiting_ps: int | None = None
    cause: Cause | None = None
    ended_ps: int | None = None
    token_times_ps: list[int] = field(default_factory=list)
    cached_tokens: int | None = None
    preemptions: int = 0
    replica: int | None = None

    def forget_answer(self) -> None:
        """Another tier is asked: the client sees its answer only."""
        self.token_times_ps, self.cached_tokens, self.preemptions, self.replica = [], None, 0, None

    def result(self) -> TwinResult:
        """What the client knows, once it is over."""
        assert self.where is Where.OVER
        assert self.ended_ps is not None
        times = self.token_times_ps
        return TwinResult(
            cause=self.cause,
            ended_ps=self.ended_ps,
            first_token_ps=times[0] if times else None,
            last_token_ps=times[-1] if times else None,
            token_times_ps=times,
            cached_tokens=self.cached_tokens or 0,
            preemptions=self.preemptions,
            replica=self.replica,
        )


@dataclass(slots=True, kw_only=True, eq=False)
class Visit:
    """A job's stay at one replica, as the engine sees it: it knows of no deadline, and goes on for a client that left until it is told."""

    job: Job
    request: TwinRequest
    ends_after: int  # tokens emitted, those from elsewhere included
    emitted: int = 0
    computed: int = 0  # tokens whose KV is written, or cached
    goal: int = 0  # tokens to be computed before it decodes
    comes_with_kv: bool = False  # its prompt was computed in another pool
    blocks: list[Block] = field(default_factory=list)  # of its context, in order
    held: list[Chain] = field(default_factory=list)  # pieces that it references, the shallowest first
    has_left: bool = False
    is_padding: bool = False
    shares_no_more: bool = False

    @property
    def is_decoding(self) -> bool:
        """Whether its prompt, and the answer that it had before a preemption, are computed."""
        return self.computed >= self.goal

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to compute."""
        return self.is_decoding and self.emitted >= self.ends_after
