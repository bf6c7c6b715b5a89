"""One replica's engine: a line, a batch, and what is done at each step boundary, in the order of docs/simulator-model.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from loadlab.simulator.draws import lognormal_factor
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import Batching, EngineLimits
from loadlab.simulator.step_time import StepTimes, Work
from tests.simulator.twin.blocks import Key
from tests.simulator.twin.memory import Memory, memory_of
from tests.simulator.twin.request import TwinRequest, Visit, Where

TICKS_PER_NOISE_FACTOR = 64


@dataclass(slots=True)
class Step:
    """What is computed until the next boundary."""

    decoding: list[Visit]
    chunks: list[tuple[Visit, int]]  # prompt tokens of this step
    ends_ps: int
    new_images: int = 0


@dataclass(slots=True)
class Report:
    """What the router knows of this replica's KV."""

    used_blocks: int = 0
    known: frozenset[Key] = frozenset()


@dataclass(slots=True)
class Engine:
    """`on_end(visit, now)` is called when a visit has all its tokens, `on_out_of_memory(now)` when the process dies of a step."""

    index: int  # of the replica, over all pools
    seed: int
    limits: EngineLimits
    capacity: KvCapacity
    times: StepTimes  # at the present speed
    on_end: Callable[[Visit, int], None]
    on_out_of_memory: Callable[[int], None]
    memory: Memory = field(init=False)
    waiting: list[Visit] = field(default_factory=list)
    running: list[Visit] = field(default_factory=list)
    leavers: list[Visit] = field(default_factory=list)  # since the last boundary
    step: Step | None = None
    wakes_ps: int | None = None
    tick: int = 0  # of the next step
    preemptions: int = 0
    ooms: int = 0
    report: Report = field(default_factory=Report)
    has_news: bool = False  # something that makes it report at the next boundary

    def __post_init__(self) -> None:
        self.memory = memory_of(self.limits, self.capacity)

    # From outside

    def next_boundary_ps(self) -> int | None:
        """When its step ends, or it wakes."""
        return self.step.ends_ps if self.step is not None else self.wakes_ps

    def outstanding(self) -> int:
        """Waiting plus running."""
        return len(self.waiting) + len(self.running)

    def can_ever_hold(self, request: TwinRequest, ends_after: int) -> bool:
        """Whether a request fits when nobody else is here; the KV of its last token is never written."""
        return self.memory.can_ever_hold(request.prompt_tokens + max(0, ends_after - 1))

    def has_place(self) -> bool:
        """Whether there is no line and a place free, so that a newcomer waits for the next boundary at most, if there are blocks."""
        return not self.waiting and self._takes_another()

    def _takes_another(self) -> bool:
        if self.limits.batching is Batching.STATIC and self.step is not None:
            return False
        return self.limits.max_running is None or len(self.running) < self.limits.max_running

    def arrive(self, visit: Visit, now: int) -> None:
        """A visit joins the line."""
        if self.has_place():
            self.has_news = True
        self.waiting.append(visit)
        if self.step is None and self.wakes_ps is None:
            self.wakes_ps = now + 1

    def give_up(self, visit: Visit) -> None:
        """A client leaves: out of the line at once, out of the batch at the next boundary."""
        if visit in self.waiting:
            self.waiting.remove(visit)
            self.has_news = True
        else:
            visit.has_left = True
            self.leavers.append(visit)

    def change_speed(self, times: StepTimes) -> None:
        """Takes effect at the next boundary."""
        self.times = times
        self.has_news = True

    def die(self) -> list[Visit]:
        """The process is gone. Returns whom it had promised something, in order: running, then waiting."""
        lost = [visit for visit in self.running if not visit.has_left and not visit.is_padding] + self.waiting
        self.running, self.waiting, self.leavers = [], [], []
        if self.step is not None:
            self.tick -= 1  # a step that never ended is not counted
        self.step, self.wakes_ps = None, None
        self.memory.clear()
        self.report = Report()
        return lost

    # A boundary

    def boundary(self, now: int) -> None:
        """Everything that a replica does between two steps."""
        self.wakes_ps = None
        has_news, self.has_news = self.has_news, False
        if self.step is not None:
            has_news |= bool(self.step.chunks)
            self._emit(self.step, now)
            self.step = None
        has_news |= self._take_out(now)
        was_preempted, chunks = self._continue_running()
        has_news |= was_preempted
        decoding = [visit for visit in self.running if visit.is_decoding]
        new_images = 0
        if not was_preempted:
            new_images = self._admit(len(decoding), chunks)
            decoding = [visit for visit in self.running if visit.is_decoding]
        if self.limits.step_noise_cv > 0 and self.tick % TICKS_PER_NOISE_FACTOR == 0:
            has_news = True
        self.has_news = was_preempted  # whoever was preempted here may come back at the next boundary
        if has_news:
            self.report = Report(self.memory.num_used(), self.memory.known())
        if decoding or chunks:
            self._start_step(decoding, chunks, new_images, now)

    def _emit(self, step: Step, now: int) -> None:
        for visit in step.decoding:
            visit.computed += 1
            self._emit_token(visit, now)
        for visit, tokens in step.chunks:
            visit.computed += tokens
            if visit.is_decoding and visit.emitted < visit.ends_after:
                self._emit_token(visit, now)

    def _emit_token(self, visit: Visit, now: int) -> None:
        visit.emitted += 1
        if not visit.has_left and not visit.is_padding:
            visit.job.token_times_ps.append(now)

    def _take_out(self, now: int) -> bool:
        """Takes out who left, then who has its last token. Returns whether there was anybody."""
        gone = False
        for visit in self.leavers:
            gone = True
            self._remove(visit)
        self.leavers = []
        done = [visit for visit in self.running if visit.is_done and not visit.is_padding]
        done.sort(key=lambda visit: visit.ends_after > 0)  # who asked for no answer first, else in order of admission
        for visit in done:
            gone = True
            if self.limits.batching is Batching.STATIC:
                visit.is_padding = True
            else:
                self._remove(visit)
            self.on_end(visit, now)
        if self.running and all(visit.is_padding for visit in self.running):
            for visit in list(self.running):
                self._remove(visit)
        return gone

    def _remove(self, visit: Visit) -> None:
        self.running.remove(visit)
        self.memory.leave(visit)

    def _continue_running(self) -> tuple[bool, list[tuple[Visit, int]]]:
        """Blocks for the decodes, a chunk for the prompt in progress. Returns whether anybody was preempted, and the chunk."""
        was_preempted = False
        while True:
            decoding = [visit for visit in self.running if visit.is_decoding]
            missing = sum(self.memory.num_missing(visit, visit.computed + 1) for visit in decoding)
            if missing == 0 or missing <= self.memory.num_available():
                break
            self._preempt(self.running[-1])
            was_preempted = True
        for visit in decoding:
            self.memory.grow(visit, visit.computed + 1)
        for visit in [visit for visit in self.running if not visit.is_decoding]:
            chunk = self._chunk(visit, len(decoding))
            missing = self.memory.num_missing(visit, visit.computed + chunk)
            if missing > 0 and missing > self.memory.num_available():
                self._preempt(visit)
                return True, []
            self.memory.grow(visit, visit.computed + chunk)
            return was_preempted, [(visit, chunk)]
        return was_preempted, []

    def _chunk(self, visit: Visit, tokens_taken: int) -> int:
        left = visit.goal - visit.computed
        budget = self.limits.max_batched_tokens
        return left if budget is None else min(left, budget - tokens_taken)

    def _preempt(self, visit: Visit) -> None:
        self.running.remove(visit)
        self.memory.preempt(visit)
        self.preemptions += 1
        visit.computed = visit.goal = 0
        visit.comes_with_kv = visit.shares_no_more = False
        visit.job.preemptions += 1
        visit.job.where = Where.IN_LINE
        self.waiting.insert(0, visit)

    def _admit(self, num_decoding: int, chunks: list[tuple[Visit, int]]) -> int:
        """Admits from the head of the line. Returns the image tokens that they brought."""
        if self.limits.batching is Batching.STATIC and self.running:
            return 0
        new_images = 0
        while self.waiting and (self.limits.max_running is None or len(self.running) < self.limits.max_running):
            visit = self.waiting[0]
            context = visit.request.prompt_tokens + visit.emitted
            if visit.comes_with_kv:
                context = visit.request.prompt_tokens
            hit = [] if visit.comes_with_kv else self.memory.hit(visit.request, context)
            visit.computed, visit.goal = (
                min(len(hit), (context - 1) // self.capacity.block_size_tokens) * self.capacity.block_size_tokens,
                context,
            )
            chunk = self._chunk(visit, num_decoding + sum(tokens for _, tokens in chunks))
            if visit.comes_with_kv:
                chunk = context + 1 - visit.computed  # it decodes in this very step
            if chunk <= 0 or not self.memory.can_admit(hit, max(context, visit.computed + chunk)):
                break
            self.waiting.pop(0)
            self.running.append(visit)
            self.memory.admit(visit, hit, visit.computed + chunk)
            visit.job.where, visit.job.give_up_waiting_ps = Where.RUNNING, None
            if visit.job.cached_tokens is None:
                visit.job.cached_tokens = visit.computed
            if visit.comes_with_kv:
                visit.computed = context
                num_decoding += 1
            else:
                chunks.append((visit, chunk))
                new_images += visit.request.image_tokens
        return new_images

    # A step

    def _start_step(self, decoding: list[Visit], chunks: list[tuple[Visit, int]], new_images: int, now: int) -> None:
        step_tokens = len(decoding) + sum(tokens for _, tokens in chunks)
        kv_tokens = sum(visit.computed + 1 for visit in decoding) + sum(visit.computed + tokens for visit, tokens in chunks)
        if self.capacity.is_out_of_memory(step_tokens, kv_tokens):
            self.ooms += 1
            self.on_out_of_memory(now)
            return
        self.step = Step(decoding, chunks, now + self._step_ps(decoding, chunks, new_images))
        self.tick += 1

    def _step_ps(self, decoding: list[Visit], chunks: list[tuple[Visit, int]], new_images: int) -> int:
        times = self.times
        cv = self.limits.step_noise_cv
        if cv > 0:
            times = times.scaled(lognormal_factor(cv, self.seed, 2, self.index, self.tick // TICKS_PER_NOISE_FACTOR))
        kv_ps = times.kv_ps * sum(visit.computed for visit in decoding)
        if not chunks:
            return times.decode_ps(len(decoding)) + kv_ps
        work = Work(
            tokens=sum(tokens for _, tokens in chunks),
            attention=sum(tokens * (visit.computed + tokens / 2) for visit, tokens in chunks),
            completed=sum(1 for visit, tokens in chunks if visit.computed + tokens == visit.goal),
            image_tokens=new_images,
        )
        return times.mixed_ps(len(decoding), work) + kv_ps
