"""One engine: a batcher, its memory, and a step clock that skips over steps in which nothing happens.

A *stretch* is a number of steps whose duration grows linearly, because only the contexts grow: step i of it takes
`first_ps + i * slope_ps`. A step with prefill is a stretch of one. Pure decoding runs to the next completion, block shortage,
memory limit or change of noise, unless an arrival, somebody who leaves or a fault cuts it at the first step end strictly after.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heappop, heappush

from loadlab.record.request import Cause
from loadlab.simulator.batching import DECODING, ENDED, WAITING, Batcher
from loadlab.simulator.decode_batch import ADMISSION_BITS, ADMISSION_MASK
from loadlab.simulator.draws import lognormal_factor
from loadlab.simulator.events import Event, EventKind
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import Batching, EngineLimits
from loadlab.simulator.step_time import StepTimes, StepWork
from loadlab.simulator.stretch_log import StretchLog
from loadlab.simulator.timeline import OOM, Timeline
from loadlab.units import PS_PER_S

NEVER_PS = 2**62
WAKE_PS = 1  # an idle engine starts one picosecond after an arrival, so that simultaneous arrivals share its first step
NOISE_TICKS = 64  # as many consecutive steps share a factor of step_noise_cv
NOISE = 2  # what those draws are for: docs/simulator-model.md, Draws

Emit = Callable[[Sequence], None]
STARTED_EVENT, ENDED_EVENT = EventKind


class Replica:
    """An engine, up or down; `ends[index]` says when the stretch under way ends, or when it is ready again: NEVER_PS while idle.

    Each sequence that gets its first token, or is over, is appended to `events`; or told to `hooks`, one for either, if there are.
    """

    __slots__ = (
        "_base_times",
        "_ended",
        "_ends",
        "_events",
        "_first_ps",
        "_is_plain",
        "_is_special",
        "_is_static",
        "_is_unbounded",
        "_leaving",
        "_limits",
        "_noise_cv",
        "_prefill_tokens",
        "_restart_ps",
        "_safe_step_tokens",
        "_seed",
        "_slope_ps",
        "_start_ps",
        "_started",
        "_steps",
        "_times",
        "batcher",
        "capacity",
        "index",
        "is_draining",
        "is_up",
        "log",
        "name",
        "ooms",
        "reported_kv_used_blocks",
    )

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
        events: list[Event],
        hooks: tuple[Emit, Emit] | None,
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
        self._events = events
        self._is_plain = hooks is None
        self._started, self._ended = hooks or (self._tell_started, self._tell_ended)
        self._restart_ps = round(limits.restart_s * PS_PER_S)
        self._is_static = limits.batching is Batching.STATIC
        self._is_unbounded = capacity.num_blocks is None
        self._is_special = self._is_unbounded or self._is_static or self._noise_cv > 0
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
        batcher, index = self.batcher, self.index
        sequence.replica = index
        if self._ends[index] == NEVER_PS:
            self._steps = 0
            self._ends[index] = at_ps + WAKE_PS
        elif self._steps > 1 and not batcher.num_waiting and batcher.has_room:
            self._cut(at_ps)
        batcher.waiting.append(sequence)
        batcher.num_waiting += 1

    def leave(self, sequence: Sequence, cause: Cause, at_ps: int) -> None:
        """Gives up on a sequence: it is over now. A running one holds its place until the next step end."""
        if sequence.state is WAITING:
            self.batcher.num_waiting -= 1
        else:
            if sequence.state is DECODING:
                self._emit_until(sequence, at_ps)
            self._leaving.append(sequence)
        self._cut(at_ps)  # a running one frees its place; behind a waiting one the next may fit
        sequence.close(cause, at_ps)
        self._ended(sequence)

    def set_times(self, times: StepTimes, at_ps: int) -> None:
        """Another speed, from the first step end strictly after `at_ps`."""
        self._base_times = times
        self._cut(at_ps)
        self._renew_times()

    def die(self, cause: Cause, at_ps: int, ready_ps: int) -> None:
        """The process is gone at `at_ps` with everything it had; it is back at `ready_ps`, with an empty cache."""
        dead = self.batcher
        for sequence in [*dead.running.values(), *dead.waiting]:
            if sequence.state is ENDED:
                continue
            if sequence.state is DECODING:
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

    def _tell_started(self, sequence: Sequence) -> None:
        assert sequence.first_token_ps is not None
        self._events.append((STARTED_EVENT, sequence.first_token_ps, sequence))

    def _tell_ended(self, sequence: Sequence) -> None:
        assert sequence.ended_ps is not None
        self._events.append((ENDED_EVENT, sequence.ended_ps, sequence))

    def _apply(self, steps: int) -> None:
        """Lets `steps` steps of the stretch under way have happened, as run_until does at its end."""
        batcher = self.batcher
        decoding, pool, tick = batcher.decoding, batcher.pool, batcher.tick
        pool.take(decoding.blocks_between(tick + 1, steps - 1))
        batcher.tick = tick + steps
        held = decoding.kv_tokens = decoding.kv_tokens + decoding.size * steps
        self.log.values += (
            tick, steps, self._start_ps, self._first_ps, self._slope_ps, len(batcher.running), batcher.num_waiting,
            held if self._is_unbounded else pool.used, held, self._prefill_tokens, decoding.size,
        )  # fmt: skip

    def _emit_until(self, sequence: Sequence, at_ps: int) -> None:
        """Gives a decoding sequence the tokens of step ends up to `at_ps`."""
        steps = self._steps_done(at_ps)
        sequence.emit_until(self.batcher.tick + steps, self._start_ps + self._duration_ps(steps))

    def _steps_done(self, at_ps: int) -> int:
        """Steps of the stretch under way that have ended by `at_ps`."""
        return min(self._steps, self._steps_until(at_ps) - 1) if self._steps else 0

    def _duration_ps(self, steps: int) -> int:
        return steps * self._first_ps + self._slope_ps * (steps * (steps - 1) // 2)

    def _cut(self, at_ps: int) -> None:
        """Ends the stretch under way, if there is one, at its first step end strictly after `at_ps`."""
        if self._steps > 1:
            steps = self._steps_until(at_ps)
            if steps < self._steps:
                self._steps = steps
                self._ends[self.index] = self._start_ps + steps * self._first_ps + self._slope_ps * (steps * (steps - 1) // 2)

    def _steps_until(self, at_ps: int) -> int:
        """The fewest steps that end strictly after `at_ps`: a float root, mended to the exact integer."""
        span, slope, first = at_ps - self._start_ps, self._slope_ps, self._first_ps
        if slope == 0:
            return span // first + 1
        linear = first - slope / 2
        steps = int((math.sqrt(linear * linear + 2.0 * slope * span) - linear) / slope)
        left = span - steps * first - slope * (steps * (steps - 1) // 2)  # of the span, after so many steps
        while left >= 0:
            left -= first + slope * steps
            steps += 1
        while left < -first - slope * (steps - 1):
            steps -= 1
            left += first + slope * steps
        return steps

    # The loop

    def run_until(self, limit_ps: int) -> None:
        """Ends every stretch that ends by `limit_ps`, and starts the next ones.

        The simulator spends its time here, so what happens at most boundaries is written out: a call costs as much as a line.
        What is rare has a function of its own.
        """
        ends, index = self._ends, self.index
        now = ends[index]
        if not self.is_up:
            if now <= limit_ps:  # ready again
                self.is_up = True
                ends[index] = NEVER_PS
            return
        batcher, log, is_special = self.batcher, self.log, self._is_special
        decoding, pool, running, prefilling = batcher.decoding, batcher.pool, batcher.running, batcher.prefilling
        needs, block_size, num_blocks = decoding.needs, pool.block_size, pool.num_blocks
        start_ps, steps, prefill_tokens = self._start_ps, self._steps, self._prefill_tokens
        first_ps, slope_ps = self._first_ps, self._slope_ps
        tick = batcher.tick
        while now <= limit_ps:
            if steps:
                # The stretch ends: its steps after the first take their blocks, every decoding sequence gains its tokens.
                size = decoding.size
                if steps > 1:
                    phase = (tick + 1) % block_size
                    if phase + steps <= block_size + 1:
                        pool.free -= sum(needs[phase : phase + steps - 1])
                    else:
                        pool.free -= decoding.blocks_between(tick + 1, steps - 1)
                    if pool.free < 0:
                        pool.make_up()
                held = decoding.kv_tokens = decoding.kv_tokens + size * steps
                used = held if self._is_unbounded else num_blocks - pool.free - pool.cached
                log.values += (
                    tick, steps, start_ps, first_ps, slope_ps, len(running), batcher.num_waiting, used, held, prefill_tokens, size
                )  # fmt: skip
                batcher.tick = tick = tick + steps
                if prefill_tokens:
                    self._complete_prefill(now)
                if self._leaving:
                    self._let_go()
                if decoding.next_end <= tick:
                    self._finish_ended(now)
                if is_special and batcher.padding and len(batcher.padding) == len(running):
                    batcher.clear_padding()

            # The next one begins: decodes take their blocks, then the prompt in progress goes on and the line moves up.
            if is_special and self._noise_cv and tick % NOISE_TICKS == 0:
                self._renew_times()
            batcher.has_preempted = False
            blocks = needs[tick % block_size]
            if blocks:
                if blocks > pool.free + pool.cached:
                    batcher.take_decode_blocks(now)
                else:
                    pool.free -= blocks
                    if pool.free < 0:
                        pool.make_up()
            work = batcher.schedule_prefill(now) if batcher.num_waiting or prefilling else None
            available = pool.free + pool.cached
            self.reported_kv_used_blocks = num_blocks - available
            size, times, start_ps = decoding.size, self._times, now
            if work is not None:
                steps, slope_ps, prefill_tokens = 1, 0, work[0]
                if size + prefill_tokens > self._safe_step_tokens and self._is_out_of_memory(size + prefill_tokens):
                    self._run_out_of_memory(now)
                    self.run_until(limit_ps)
                    return
                first_ps = times.mixed_ps(size, work) + times.kv_ps * decoding.kv_tokens
                now += first_ps
            elif size:
                # Pure decode steps to the next completion or block shortage; the first one's blocks are taken already.
                prefill_tokens = 0
                steps = decoding.next_end - tick
                if steps * size > available:  # more than every step's worst
                    steps = 1 + decoding.affordable_steps(tick + 1, steps - 1, available)
                if is_special:
                    steps = self._limited_steps(steps)
                    if steps < 1:
                        self._run_out_of_memory(now)
                        self.run_until(limit_ps)
                        return
                if batcher.has_preempted:  # nobody was admitted here, but somebody may be at the next boundary
                    steps = 1
                table, kv_ps = times.decode_table, times.kv_ps
                slope_ps = kv_ps * size
                first_ps = (table[size] if size < len(table) else times.decode_ps(size)) + kv_ps * decoding.kv_tokens
                now += steps * first_ps + slope_ps * (steps * (steps - 1) // 2)
            else:
                steps, now = 0, NEVER_PS
        self._start_ps, self._steps, self._prefill_tokens = start_ps, steps, prefill_tokens
        self._first_ps, self._slope_ps = first_ps, slope_ps
        ends[index] = now

    def _complete_prefill(self, now: int) -> None:
        """After a step: whose prompt it completed decodes from here on, and has emitted a token."""
        batcher = self.batcher
        decoding, prefilling, tick = batcher.decoding, batcher.prefilling, batcher.tick
        unfinished: Sequence | None = None
        for sequence in prefilling:
            computed = sequence.computed + sequence.chunk
            generated, output_tokens = sequence.generated, sequence.output_tokens
            if computed < sequence.prompt_tokens + generated:
                sequence.computed = computed
                unfinished = sequence
                continue
            sequence.first_tick = tick
            sequence.end_tick = end_tick = tick + output_tokens - generated - 1
            if decoding.counts_blocks:
                sequence.phase = phase = (tick - computed) % decoding.block_size
                decoding.needs[phase] += 1
            decoding.size += 1
            decoding.kv_tokens += computed
            heappush(decoding.ends, end_tick << ADMISSION_BITS | sequence.admission)
            if end_tick < decoding.next_end:
                decoding.next_end = end_tick
            if sequence.state is ENDED:  # its client left during the step
                sequence.first_tick = 0
                continue
            sequence.state = DECODING
            if sequence.first_token_ps is None and output_tokens:
                sequence.first_token_ps = now
                if self._is_plain:
                    self._events.append((STARTED_EVENT, now, sequence))
                else:
                    self._started(sequence)
        prefilling.clear()
        if unfinished is not None:
            prefilling.append(unfinished)

    def _let_go(self) -> None:
        """Takes out whoever was given up since the last boundary."""
        for sequence in self._leaving:
            self.batcher.retire(sequence)
        self._leaving.clear()

    def _finish_ended(self, now: int) -> None:
        """Ends the sequences whose last token has come, the oldest admission first."""
        batcher = self.batcher
        decoding, running, tick = batcher.decoding, batcher.running, batcher.tick
        ends, bound = decoding.ends, (tick + 1) << ADMISSION_BITS
        while ends[0] < bound:
            admission = heappop(ends) & ADMISSION_MASK
            sequence = running.get(admission)
            if sequence is None:
                decoding.num_stale -= 1
                continue
            output_tokens = sequence.output_tokens
            if output_tokens:
                sequence.generated = output_tokens
                sequence.last_token_ps = now
            if self._is_static:
                batcher.padding.append(sequence)
            else:
                del running[admission]
                sequence.admission = 0
                context = sequence.prompt_tokens + output_tokens - 1 + tick - sequence.end_tick
                if decoding.counts_blocks:
                    decoding.needs[sequence.phase] -= 1
                decoding.size -= 1
                decoding.kv_tokens -= context
                batcher.give_back(sequence, context)
            sequence.state = ENDED
            sequence.ended_ps = now
            if self._is_plain:
                self._events.append((ENDED_EVENT, now, sequence))
            else:
                self._ended(sequence)
        if decoding.num_stale:
            decoding.find_next_end()
        else:
            decoding.next_end = ends[0] >> ADMISSION_BITS

    def _limited_steps(self, steps: int) -> int:
        """At most `steps` decode steps: fewer where memory runs out (none, if it has already) or the noise changes."""
        batcher = self.batcher
        size = batcher.decoding.size
        if self._is_unbounded:
            steps = min(steps, (self.capacity.kv_tokens_before_oom(size) - batcher.decoding.kv_tokens) // size)
        if self._noise_cv:
            steps = min(steps, NOISE_TICKS - batcher.tick % NOISE_TICKS)
        return steps

    def _renew_times(self) -> None:
        self._times = self._base_times
        if self._noise_cv:
            block = self.batcher.tick // NOISE_TICKS
            self._times = self._base_times.scaled(lognormal_factor(self._noise_cv, self._seed, NOISE, self.index, block))

    def _is_out_of_memory(self, tokens: int) -> bool:
        return self.capacity.is_out_of_memory(tokens, self.batcher.kv_tokens + tokens)

    def _run_out_of_memory(self, now: int) -> None:
        self.ooms += 1
        self._steps, self._start_ps = 0, now
        self.log.timeline.count(OOM, now, 1)
        self.die(Cause.OOM_REPORTED, now, now + self._restart_ps)


def _timeline(capacity: KvCapacity) -> Timeline:
    if capacity.num_blocks is None:
        return Timeline(capacity.memory_left_bytes / capacity.kv_bytes_per_token, None)
    return Timeline(capacity.num_blocks, capacity.block_size_tokens)
