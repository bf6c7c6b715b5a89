"""One engine: a batcher, its memory, and a step clock that skips over steps in which nothing happens.

A *stretch* is a number of steps whose duration grows linearly, because only the contexts grow: step i of it takes
`first_ps + i * slope_ps`. A step with prefill is a stretch of one. Pure decoding runs to the next completion, block shortage,
memory limit or change of noise, unless an arrival, somebody who leaves or a fault cuts it at the first step end strictly after.

The loop is flatter than other functions: the simulator's time is spent here, two or three boundaries a request, where a call costs
as much as a line. Its judge is the slow twin in tests/simulator/twin.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from loadlab.record.request import Cause
from loadlab.simulator.batching import DECODING, ENDED, WAITING, Batcher
from loadlab.simulator.draws import lognormal_factor
from loadlab.simulator.events import Outbox
from loadlab.simulator.kv_cache import Holders
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.service import Service
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import Batching, EngineLimits
from loadlab.simulator.step_time import StepTimes
from loadlab.simulator.stretch import duration_ps, steps_beyond
from loadlab.simulator.stretch_log import StretchLog, pack_stretch
from loadlab.simulator.timeline import OOM, timeline_for
from loadlab.units import PS_PER_S

NEVER_PS = 2**62
WAKE_PS = 1  # an idle engine starts one picosecond after an arrival, so that simultaneous arrivals share its first step
NOISE_TICKS = 64  # as many consecutive steps share a factor of step_noise_cv
NOISE = 2  # what those draws are for: docs/simulator-model.md, Draws


class Replica:
    """An engine, up or down; `ends[index]` says when the stretch under way ends, or when it is ready again: NEVER_PS while idle.

    Each sequence that gets its first token, or is over, goes to `outbox`.
    """

    __slots__ = (
        "_base_times", "_ends", "_first_ps", "_holders", "_is_special", "_is_static", "_is_unbounded", "_limits", "_noise_cv", "_outbox",
        "_prefill_tokens", "_restart_ps", "_safe_step_tokens", "_seed", "_slope_ps", "_start_ps", "_steps", "_times", "batcher",
        "capacity", "holds_tokens", "index", "log", "name", "ooms", "reported_kv_used_blocks", "run_until", "service",
    )  # fmt: skip

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
        outbox: Outbox,
        holders: Holders,
        closed: set[int],
    ) -> None:
        """`ends`, `outbox` and `closed` are the cluster's, `holders` the pool's."""
        self.name = name
        self.index = index
        self.capacity = capacity
        self.log = StretchLog(timeline_for(capacity))
        self._holders = holders
        self.batcher = Batcher(limits, capacity, self.log.timeline, outbox, holders, index)
        self.service = Service(index, closed)
        self.holds_tokens = capacity.holds_tokens(limits.allocation)
        self.ooms = 0
        self.reported_kv_used_blocks = 0  # what routers know: see docs/simulator-model.md, Orchestrator
        self._ends = ends
        self._limits = limits
        self._times = self._base_times = times
        self._noise_cv = limits.step_noise_cv
        self._seed = seed
        self._outbox = outbox
        self._restart_ps = round(limits.restart_s * PS_PER_S)
        self._is_static = limits.batching is Batching.STATIC
        self._is_unbounded = capacity.num_blocks is None
        self._safe_step_tokens = capacity.safe_step_tokens()
        may_run_out = self._safe_step_tokens < (limits.max_batched_tokens or NEVER_PS)
        self._is_special = self._is_unbounded or self._is_static or self._noise_cv > 0 or may_run_out
        self._start_ps = self._steps = self._first_ps = self._slope_ps = self._prefill_tokens = 0
        lives = self._lives()
        next(lives)
        self.run_until: Callable[[int], None] = lives.send  # lets happen what does up to a time

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

    @property
    def preemptions(self) -> int:
        """Since the start, those before an engine died included."""
        return self.batcher.preemptions

    def tick_times_ps(self, after_tick: int, until_ps: int) -> list[int]:
        """When each tick behind `after_tick` was reached, up to `until_ps`, which is now; the log must still hold them."""
        under_way = (self.batcher.tick, self._steps_done(until_ps), self._start_ps, self._first_ps, self._slope_ps)
        return [
            start_ps + i * first_ps + slope_ps * (i * (i - 1) // 2)
            for tick, steps, start_ps, first_ps, slope_ps in (*self.log.newest(after_tick), under_way)
            for i in range(max(1, after_tick - tick + 1), steps + 1)
        ]

    def next_tick_ps(self, now_ps: int) -> int:
        """When the step under way ends; NEVER_PS if there is none."""
        return self._start_ps + duration_ps(self._steps_done(now_ps) + 1, self._first_ps, self._slope_ps) if self._steps else NEVER_PS

    def busy_s(self, now_ps: int) -> float:
        """Time in which any work ran, up to now."""
        self.log.settle(self.batcher.tick)
        return self.log.timeline.busy_s + (max(0, now_ps - self._start_ps) / PS_PER_S if self._steps else 0.0)

    # What comes from outside

    def enqueue(self, sequence: Sequence, at_ps: int) -> None:
        """A new sequence at the end of the line. The replica must be up."""
        batcher, index = self.batcher, self.index
        sequence.replica = index
        if sequence.entered_ps is None:
            sequence.entered_ps = at_ps
        if self._ends[index] == NEVER_PS:
            self._steps = 0
            self._ends[index] = at_ps + WAKE_PS
        elif self._steps > 1 and batcher.has_room():
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
            self.batcher.leaving.append(sequence)
        self._cut(at_ps)  # a running one frees its place; behind a waiting one the next may fit
        sequence.close(cause, at_ps)
        self._outbox.ended(sequence)

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
            self._outbox.ended(sequence)
        steps = self._steps_done(at_ps)
        if steps:
            self._apply(steps)
        dead.pool.forget_all()
        self.batcher = Batcher(self._limits, self.capacity, self.log.timeline, self._outbox, self._holders, self.index, dead.tick)
        self.batcher.preemptions, self.batcher.pool.evicted = dead.preemptions, dead.pool.evicted
        self._steps = self.reported_kv_used_blocks = 0
        self.service.die(ready_ps)
        self.stop(ready_ps if self.service.is_up else max(ready_ps, self._ends[self.index]))

    def run_out_of_memory(self, at_ps: int) -> None:
        """The process dies of it, and is back after its restart."""
        self.ooms += 1
        self.log.timeline.count(OOM, at_ps, 1)
        self.die(Cause.OOM_REPORTED, at_ps, at_ps + self._restart_ps)

    def stop(self, ready_ps: int) -> None:
        """Down until `ready_ps`, and as long as it is dead. It must be empty."""
        self._ends[self.index] = self.service.stop(ready_ps)

    def _apply(self, steps: int) -> None:
        """Lets `steps` steps of the stretch under way have happened, as run_until does at its end."""
        batcher = self.batcher
        decoding, pool, tick = batcher.decoding, batcher.pool, batcher.tick
        pool.take(decoding.blocks_between(tick + 1, steps - 1))
        batcher.tick = tick + steps
        held = decoding.kv_tokens = decoding.kv_tokens + decoding.size * steps
        self.log.packed += pack_stretch(
            tick, steps, self._start_ps, self._first_ps, self._slope_ps, len(batcher.running), batcher.num_waiting,
            held if self._is_unbounded else pool.used, held, self._prefill_tokens, decoding.size, pool.evicted,
        )  # fmt: skip

    def _emit_until(self, sequence: Sequence, at_ps: int) -> None:
        """Gives a decoding sequence the tokens of step ends up to `at_ps`."""
        steps = self._steps_done(at_ps)
        sequence.emit_until(self.batcher.tick + steps, self._start_ps + duration_ps(steps, self._first_ps, self._slope_ps))

    def _steps_done(self, at_ps: int) -> int:
        """Steps of the stretch under way that have ended by `at_ps`."""
        if not self._steps:
            return 0
        return min(self._steps, steps_beyond(at_ps - self._start_ps, self._first_ps, self._slope_ps) - 1)

    def _cut(self, at_ps: int) -> None:
        """Ends the stretch under way, if there is one, at its first step end strictly after `at_ps`."""
        if self._steps > 1:
            steps = steps_beyond(at_ps - self._start_ps, self._first_ps, self._slope_ps)
            if steps < self._steps:
                self._steps = steps
                self._ends[self.index] = self._start_ps + duration_ps(steps, self._first_ps, self._slope_ps)

    # The loop

    def _lives(self) -> Generator[None, int, None]:  # noqa: C901  see below
        """The engine as a coroutine. It waits while its stretch, or its time out of service, ends after the time that it was sent last;
        once it was sent a later one it ends every stretch that ends by then, and starts the next ones.

        The simulator spends its time here, so what happens at most boundaries is written out, and what the loop works with stays in its
        frame from one call to the next. What is rare has a function of its own.
        """
        ends, index, log = self._ends, self.index, self.log.packed
        is_special, is_unbounded, safe_tokens, service = self._is_special, self._is_unbounded, self._safe_step_tokens, self.service
        limit_ps = yield
        while True:
            while not service.is_up:
                if ends[index] <= limit_ps:
                    self._get_ready()
                else:
                    limit_ps = yield
            batcher = self.batcher
            decoding, pool, running, prefilling = batcher.decoding, batcher.pool, batcher.running, batcher.prefilling
            needs, block_size, num_blocks = decoding.needs, pool.block_size, pool.num_blocks
            now, steps, tick = ends[index], self._steps, batcher.tick
            start_ps = first_ps = slope_ps = prefill_tokens = 0
            while service.is_up:
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
                        used = held if is_unbounded else num_blocks - pool.free - pool.cached
                        log += pack_stretch(
                            tick, steps, start_ps, first_ps, slope_ps, len(running), batcher.num_waiting, used, held, prefill_tokens, size,
                            pool.evicted,
                        )  # fmt: skip
                        batcher.tick = tick = tick + steps
                        if prefill_tokens:
                            batcher.complete_prefill(now)
                        if batcher.leaving:
                            batcher.let_go()
                        if decoding.next_end <= tick:
                            batcher.finish_ended(now)
                        if is_special and len(batcher.padding) == len(running):
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
                        if size + prefill_tokens > safe_tokens and self._is_out_of_memory(size + prefill_tokens):
                            self._run_out_of_memory(now)
                            break
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
                                break
                        if batcher.has_preempted:  # nobody was admitted here, but somebody may be at the next boundary
                            steps = 1
                        table, kv_ps = times.decode_table, times.kv_ps
                        slope_ps = kv_ps * size
                        first_ps = (table[size] if size < len(table) else times.decode_ps(size)) + kv_ps * decoding.kv_tokens
                        now += steps * first_ps + slope_ps * (steps * (steps - 1) // 2)
                    else:
                        steps, now = 0, NEVER_PS
                else:
                    self._start_ps, self._steps, self._prefill_tokens = start_ps, steps, prefill_tokens
                    self._first_ps, self._slope_ps, ends[index] = first_ps, slope_ps, now
                    limit_ps = yield
                    now, steps = ends[index], self._steps  # it may have been woken, cut, or taken down meanwhile

    def _get_ready(self) -> None:
        self.service.start()
        self._ends[self.index] = NEVER_PS

    def _limited_steps(self, steps: int) -> int:
        """At most `steps` decode steps: fewer where memory runs out (none, if it has already) or the noise changes."""
        batcher = self.batcher
        size = batcher.decoding.size
        if size > self._safe_step_tokens and self._is_out_of_memory(size):
            return 0
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
        self._steps, self._start_ps = 0, now
        self.run_out_of_memory(now)
