"""One engine: a batcher, its memory, and a step clock that skips over steps in which nothing happens.

A *stretch* is a number of steps whose duration grows linearly, because only the contexts grow: step i of it takes
`first_ps + i * slope_ps`. A step with prefill is a stretch of one. Pure decoding runs to the next completion, block shortage,
memory limit or change of noise, unless an arrival, somebody who leaves or a fault cuts it at the first step end strictly after.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from loadlab.record.request import Cause
from loadlab.simulator.batching import Batcher
from loadlab.simulator.draws import lognormal_factor
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import Batching, EngineLimits
from loadlab.simulator.step_time import StepTimes, Work
from loadlab.simulator.stretch_log import StretchLog
from loadlab.simulator.timeline import OOM, Timeline
from loadlab.units import PS_PER_S

NEVER_PS = 2**62
WAKE_PS = 1  # an idle engine starts one picosecond after an arrival, so that simultaneous arrivals share its first step
NOISE_TICKS = 64  # as many consecutive steps share a factor of step_noise_cv
NOISE = 2  # what those draws are for: docs/simulator-model.md, Draws

Emit = Callable[[Sequence], None]


class Replica:
    """An engine, up or down; `ends[index]` says when the stretch under way ends, or when it is ready again: NEVER_PS while idle.

    `started` and `ended` are called with each sequence that gets its first token, or is over.
    """

    def __init__(
        self,
        *,
        name: str,
        index: int,
        seed: int,
        limits: EngineLimits,
        capacity: KvCapacity,
        times: StepTimes,
        ends: list[int],
        started: Emit,
        ended: Emit,
    ) -> None:
        self.name = name
        self.index = index
        self.capacity = capacity
        self.log = StretchLog(_timeline(capacity))
        self.batcher = Batcher(limits, capacity, self.log.timeline)
        self.is_up = True
        self.is_draining = False  # gets nothing new
        self.ooms = 0
        self.reported_kv_used_blocks = 0  # what routers know: see docs/simulator-model.md, Orchestrator
        self._ends = ends
        self._limits = limits
        self._times = self._base_times = times
        self._noise_cv = limits.step_noise_cv
        self._seed = seed
        self._started = started
        self._ended = ended
        self._restart_ps = round(limits.restart_s * PS_PER_S)
        self._is_static = limits.batching is Batching.STATIC
        self._is_unbounded = capacity.num_blocks is None
        self._safe_step_tokens = capacity.safe_step_tokens()
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
        batcher = self.batcher
        may_join = batcher.has_room
        sequence.replica = self.index
        batcher.enqueue(sequence)
        if self._ends[self.index] == NEVER_PS:
            self._steps = 0
            self._ends[self.index] = at_ps + WAKE_PS
        elif may_join:
            self._cut(at_ps)

    def leave(self, sequence: Sequence, cause: Cause, at_ps: int) -> None:
        """Gives up on a sequence: it is over now. A running one holds its place until the next step end."""
        if sequence.state is State.WAITING:
            self.batcher.num_waiting -= 1
        else:
            if sequence.state is State.DECODING:
                self._emit_until(sequence, at_ps)
            self._leaving.append(sequence)
        self._cut(at_ps)  # a running one frees its place; behind a waiting one the next may fit
        sequence.close(cause, at_ps)
        self._ended(sequence)

    def set_times(self, times: StepTimes, at_ps: int) -> None:
        """Another speed, from the first step end strictly after `at_ps`."""
        self._base_times = times
        if self._steps:
            self._cut(at_ps)
        self._renew_times()

    def die(self, cause: Cause, at_ps: int, ready_ps: int) -> None:
        """The process is gone at `at_ps` with everything it had; it is back at `ready_ps`, with an empty cache."""
        dead = self.batcher
        for sequence in [*dead.running.values(), *dead.waiting]:
            if sequence.state is State.ENDED:
                continue
            if sequence.state is State.DECODING:
                self._emit_until(sequence, at_ps)
            sequence.admission = 0
            sequence.forget_blocks()
            sequence.close(cause, at_ps)
            self._ended(sequence)
        steps = self._steps_done(at_ps)
        if steps:
            self._apply(steps)
        self.batcher = Batcher(self._limits, self.capacity, self.log.timeline, dead.tick)
        self.batcher.preemptions = dead.preemptions
        self._leaving.clear()
        self._steps = self.reported_kv_used_blocks = 0
        self.stop(ready_ps if self.is_up else max(ready_ps, self._ends[self.index]))

    def stop(self, ready_ps: int) -> None:
        """Down until `ready_ps`. It must be empty."""
        self.is_up = False
        self._ends[self.index] = ready_ps

    def _emit_until(self, sequence: Sequence, at_ps: int) -> None:
        """Gives a decoding sequence the tokens of step ends up to `at_ps`."""
        steps = self._steps_done(at_ps)
        sequence.emit_until(self.batcher.tick + steps, self._start_ps + self._duration_ps(steps))

    def _steps_done(self, at_ps: int) -> int:
        """Steps of the stretch under way that have ended by `at_ps`."""
        return min(self._steps, self._steps_until(at_ps) - 1) if self._steps else 0

    def _cut(self, at_ps: int) -> None:
        """Ends the stretch under way at its first step end strictly after `at_ps`."""
        if self._steps > 1:
            steps = self._steps_until(at_ps)
            if steps < self._steps:
                self._steps = steps
                self._ends[self.index] = self._start_ps + self._duration_ps(steps)

    def _duration_ps(self, steps: int) -> int:
        return steps * self._first_ps + self._slope_ps * (steps * (steps - 1) // 2)

    def _steps_until(self, at_ps: int) -> int:
        """The fewest steps that end strictly after `at_ps`: a float root, mended to the exact integer."""
        span, slope, first = at_ps - self._start_ps, self._slope_ps, self._first_ps
        if slope == 0:
            return span // first + 1
        linear = first - slope / 2
        steps = max(1, int((math.sqrt(linear * linear + 2.0 * slope * span) - linear) / slope))
        while steps * first + slope * (steps * (steps - 1) // 2) <= span:
            steps += 1
        while steps > 1 and (steps - 1) * first + slope * ((steps - 1) * (steps - 2) // 2) > span:
            steps -= 1
        return steps

    # The loop

    def run_until(self, limit_ps: int) -> None:
        """Ends every stretch that ends by `limit_ps`, and starts the next ones."""
        index, ends = self.index, self._ends
        while (now := ends[index]) <= limit_ps:
            if not self.is_up:  # ready again
                self.is_up = True
                ends[index] = NEVER_PS
                return
            if self._steps:
                self._finish_stretch(now)
            self._start_stretch(now)

    def _finish_stretch(self, now: int) -> None:
        batcher = self.batcher
        decoding = batcher.decoding
        was_prefilling = bool(batcher.prefilling)
        self._apply(self._steps)
        if was_prefilling:
            for sequence in batcher.complete_prefill():
                if sequence.first_token_ps is None and sequence.output_tokens and sequence.state is not State.ENDED:
                    sequence.first_token_ps = now
                    self._started(sequence)
        if self._leaving:
            for sequence in self._leaving:
                batcher.retire(sequence)
            self._leaving.clear()
        if decoding.next_end <= batcher.tick:
            self._finish_ended(now)
        if self._is_static and len(batcher.padding) == len(batcher.running):
            for sequence in batcher.padding:
                batcher.retire(sequence)
            batcher.padding.clear()

    def _finish_ended(self, now: int) -> None:
        batcher, index = self.batcher, self.index
        for sequence in batcher.decoding.pop_ended(batcher.tick):
            if sequence.output_tokens:
                sequence.pieces.append((index, sequence.first_tick, sequence.end_tick))
                sequence.generated = sequence.output_tokens
                sequence.last_token_ps = now
            if self._is_static:
                batcher.padding.append(sequence)
            else:
                batcher.retire(sequence)
            sequence.state = State.ENDED
            sequence.ended_ps = now
            self._ended(sequence)

    def _apply(self, steps: int) -> None:
        """Moves the batch on by `steps` steps of the stretch under way, and logs them. The first step's blocks are taken already."""
        batcher = self.batcher
        decoding, pool, tick = batcher.decoding, batcher.pool, batcher.tick
        if steps > 1:
            pool.take(decoding.blocks_between(tick + 1, steps - 1))
        batcher.tick = tick + steps
        held = decoding.kv_tokens = decoding.kv_tokens + decoding.size * steps
        self.log.append(
            (tick, steps, self._start_ps, self._first_ps, self._slope_ps, len(batcher.running), batcher.num_waiting,
             held if self._is_unbounded else pool.num_blocks - pool.free - pool.cached, held, self._prefill_tokens, decoding.size)
        )  # fmt: skip

    def _start_stretch(self, now: int) -> None:
        self._start_ps = now
        batcher = self.batcher
        if self._noise_cv and batcher.tick % NOISE_TICKS == 0:
            self._renew_times()
        work = batcher.schedule(now)
        pool = batcher.pool
        self.reported_kv_used_blocks = pool.num_blocks - pool.free - pool.cached
        if work is not None:
            self._start_mixed_step(work)
        elif batcher.running:
            self._start_decoding()
        else:
            self._steps = 0
            self._ends[self.index] = NEVER_PS

    def _start_mixed_step(self, work: Work) -> None:
        decoding, times = self.batcher.decoding, self._times
        tokens = decoding.size + work.tokens
        if tokens > self._safe_step_tokens and self.capacity.is_out_of_memory(tokens, self.batcher.kv_tokens + tokens):
            self._run_out_of_memory()
            return
        self._steps, self._slope_ps, self._prefill_tokens = 1, 0, work.tokens
        self._first_ps = first_ps = times.mixed_ps(decoding.size, work) + times.kv_ps * decoding.kv_tokens
        self._ends[self.index] = self._start_ps + first_ps

    def _start_decoding(self) -> None:
        """Pure decode steps to the next completion, block shortage, memory limit or noise; the first one's blocks are taken already."""
        batcher, times = self.batcher, self._times
        decoding, pool, tick = batcher.decoding, batcher.pool, batcher.tick
        size, kv_tokens = decoding.size, decoding.kv_tokens
        steps = decoding.next_end - tick
        if steps * size > pool.free + pool.cached:  # more than every step's worst
            steps = 1 + decoding.affordable_steps(tick + 1, steps - 1, pool.free + pool.cached)
        if self._is_unbounded:
            steps = min(steps, (self.capacity.kv_tokens_before_oom(size) - kv_tokens) // size)
            if steps < 1:
                self._run_out_of_memory()
                return
        if self._noise_cv:
            steps = min(steps, NOISE_TICKS - tick % NOISE_TICKS)
        if batcher.has_preempted:  # nobody was admitted here, but somebody may be at the next boundary
            steps = 1
        self._prefill_tokens = 0
        self._steps = steps
        self._slope_ps = slope = times.kv_ps * size
        self._first_ps = first = times.decode_ps(size) + times.kv_ps * kv_tokens
        self._ends[self.index] = self._start_ps + steps * first + slope * (steps * (steps - 1) // 2)

    def _renew_times(self) -> None:
        self._times = self._base_times
        if self._noise_cv:
            block = self.batcher.tick // NOISE_TICKS
            self._times = self._base_times.scaled(lognormal_factor(self._noise_cv, self._seed, NOISE, self.index, block))

    def _run_out_of_memory(self) -> None:
        self.ooms += 1
        self._steps = 0
        self.log.timeline.count(OOM, self._start_ps, 1)
        self.die(Cause.OOM_REPORTED, self._start_ps, self._start_ps + self._restart_ps)


def _timeline(capacity: KvCapacity) -> Timeline:
    if capacity.num_blocks is None:
        return Timeline(capacity.memory_left_bytes / capacity.kv_bytes_per_token, None)
    return Timeline(capacity.num_blocks, capacity.block_size_tokens)
