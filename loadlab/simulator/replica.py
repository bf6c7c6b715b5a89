"""One engine: a batcher, its memory, and a step clock that skips over steps in which nothing happens.

A *stretch* is a number of steps whose duration grows linearly, because only the contexts grow: step i of it takes
`first_ps + i * slope_ps`. A step with prefill is a stretch of one. Pure decoding runs to the next completion, block shortage
or memory limit, unless an arrival, or a client that leaves, cuts it at the first step end strictly after.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from loadlab.record.request import Cause
from loadlab.simulator.batching import Batcher
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import EngineLimits
from loadlab.simulator.step_time import PS_PER_S, StepTimes, Work
from loadlab.simulator.stretch_log import Stretch, StretchLog

NEVER_PS = 2**62
WAKE_PS = 1  # an idle engine starts one picosecond after an arrival, so that simultaneous arrivals share its first step

Emit = Callable[[Sequence], None]


class Replica:
    """An engine and its state at `end_ps`, when the stretch under way ends; NEVER_PS while idle.

    `started` and `ended` are called with each sequence that gets its first token, or is over.
    """

    def __init__(
        self, *, name: str, index: int, limits: EngineLimits, capacity: KvCapacity, times: StepTimes, started: Emit, ended: Emit
    ) -> None:
        self.name = name
        self.index = index
        self.capacity = capacity
        self.log = StretchLog()
        self.batcher = Batcher(limits, capacity.num_blocks)
        self.end_ps = NEVER_PS
        self.is_down = False
        self.ooms = 0
        self._limits = limits
        self._times = times
        self._started = started
        self._ended = ended
        self._restart_ps = round(limits.restart_s * PS_PER_S)
        self._leaving: list[Sequence] = []
        self._start_ps = self._steps = self._first_ps = self._slope_ps = self._prefill_tokens = 0

    @property
    def outstanding(self) -> int:
        """Sequences waiting or running."""
        return self.batcher.num_waiting + len(self.batcher.running)

    @property
    def kv_usage(self) -> float:
        """Share of KV memory in use: of the blocks, or, without a budget, of the memory beside weights."""
        if self.capacity.num_blocks is not None:
            return self.batcher.pool.used / self.capacity.num_blocks
        return self.batcher.kv_tokens * self.capacity.kv_bytes_per_token / self.capacity.memory_left_bytes

    # What comes from outside

    def enqueue(self, sequence: Sequence, at_ps: int) -> None:
        """A new sequence at the end of the line. The replica must be up."""
        may_join = self.batcher.has_room
        sequence.replica = self.index
        self.batcher.enqueue(sequence)
        if self.end_ps == NEVER_PS:
            self._steps = 0
            self.end_ps = at_ps + WAKE_PS
        elif may_join:
            self._cut(at_ps)

    def leave(self, sequence: Sequence, cause: Cause, at_ps: int) -> None:
        """Its client, or the orchestrator, gives up on a sequence. A running one goes on until the next step end."""
        if sequence.state is State.WAITING:
            self.batcher.num_waiting -= 1
            sequence.close(cause, at_ps)
            self._ended(sequence)
        else:
            sequence.cause, sequence.ended_ps = cause, at_ps
            self._leaving.append(sequence)
        self._cut(at_ps)  # a running one frees its place; behind a waiting one the next may fit

    def _cut(self, at_ps: int) -> None:
        """Ends the stretch under way at its first step end strictly after `at_ps`."""
        if self._steps > 1:
            steps = self._steps_until(at_ps)
            if steps < self._steps:
                self._steps = steps
                self.end_ps = self._start_ps + self._duration_ps(steps)

    def _duration_ps(self, steps: int) -> int:
        return steps * self._first_ps + self._slope_ps * (steps * (steps - 1) // 2)

    def _steps_until(self, at_ps: int) -> int:
        """The fewest steps that end strictly after `at_ps`: a float root, mended to the exact integer."""
        span, slope = at_ps - self._start_ps, self._slope_ps
        if slope == 0:
            return span // self._first_ps + 1
        linear = self._first_ps - slope / 2
        steps = max(1, int((math.sqrt(linear * linear + 2.0 * slope * span) - linear) / slope))
        while self._duration_ps(steps) <= span:
            steps += 1
        while steps > 1 and self._duration_ps(steps - 1) > span:
            steps -= 1
        return steps

    # The end of a stretch

    def step_end(self) -> None:
        """Applies the stretch that ends at `end_ps` and starts the next one."""
        now = self.end_ps
        if self.is_down:
            self.is_down = False
            self.end_ps = NEVER_PS
            return
        if self._steps:
            self._finish_stretch(now)
        self._start_stretch(now)

    def _finish_stretch(self, now: int) -> None:
        batcher = self.batcher
        tick, decoding = batcher.tick, batcher.decoding.size
        completed = batcher.apply(self._steps)
        self.log.append(
            Stretch(
                tick, self._steps, self._start_ps, self._first_ps, self._slope_ps,
                len(batcher.running), batcher.num_waiting, self.kv_usage, self._prefill_tokens, decoding,
            )
        )  # fmt: skip
        for sequence in completed:
            if sequence.first_token_ps is None and sequence.cause is None and sequence.output_tokens:
                sequence.first_token_ps = now
                self._started(sequence)
        if self._leaving:
            self._let_leave(now)
        for sequence in batcher.decoding.pop_ended(batcher.tick):
            sequence.last_token_ps = now if sequence.output_tokens else None
            batcher.retire(sequence, sequence.end_tick - sequence.first_tick + 1)
            sequence.close(None, now)
            self._ended(sequence)

    def _let_leave(self, now: int) -> None:
        """The token of the step in which a client left came too late to count."""
        before_last = now - self._first_ps - self._slope_ps * (self._steps - 1)
        tick = self.batcher.tick
        for sequence in self._leaving:
            cause, at_ps = sequence.cause, sequence.ended_ps
            assert at_ps is not None
            received = tick - sequence.first_tick if sequence.state is State.DECODING else 0
            if received:
                sequence.last_token_ps = before_last
            self.batcher.retire(sequence, received)
            sequence.close(cause, at_ps)
            self._ended(sequence)
        self._leaving.clear()

    # The start of a stretch

    def _start_stretch(self, now: int) -> None:
        self._start_ps = now
        batcher = self.batcher
        work = batcher.schedule(now)
        if work is not None:
            self._start_mixed_step(work)
        elif batcher.running:
            self._start_decoding()
        else:
            self.end_ps = NEVER_PS

    def _start_mixed_step(self, work: Work) -> None:
        batcher = self.batcher
        decoding = batcher.decoding
        tokens = decoding.size + work.tokens
        if self.capacity.is_out_of_memory(tokens, batcher.kv_tokens + tokens):
            self._run_out_of_memory()
            return
        self._steps, self._slope_ps, self._prefill_tokens = 1, 0, work.tokens
        self._first_ps = self._times.mixed_ps(decoding.size, work) + self._times.kv_ps * decoding.kv_tokens
        self.end_ps = self._start_ps + self._first_ps

    def _start_decoding(self) -> None:
        decoding = self.batcher.decoding
        steps = self.batcher.steps_until_change()
        if self.capacity.num_blocks is None:
            steps = min(steps, (self.capacity.kv_tokens_before_oom(decoding.size) - decoding.kv_tokens) // decoding.size)
            if steps < 1:
                self._run_out_of_memory()
                return
        self._steps, self._prefill_tokens = steps, 0
        self._slope_ps = self._times.kv_ps * decoding.size
        self._first_ps = self._times.decode_ps(decoding.size) + self._times.kv_ps * decoding.kv_tokens
        self.end_ps = self._start_ps + self._duration_ps(steps)

    def _run_out_of_memory(self) -> None:
        """The process dies with everything it had, and is back after a restart with an empty cache."""
        now, dead = self._start_ps, self.batcher
        self.ooms += 1
        for sequence in [*dead.running.values(), *(s for s in dead.waiting if s.state is State.WAITING)]:
            if sequence.state is State.DECODING:
                sequence.last_token_ps = now
                sequence.close_piece(dead.tick - sequence.first_tick + 1)
            sequence.admission = 0
            sequence.forget_blocks()
            sequence.close(Cause.OOM_REPORTED, now)
            self._ended(sequence)
        self.batcher = Batcher(self._limits, self.capacity.num_blocks)
        self.batcher.tick, self.batcher.preemptions = dead.tick, dead.preemptions
        self.is_down = True
        self._steps = 0
        self.end_ps = now + self._restart_ps
