"""Who runs in the next step, how much of a prompt it prefills, who gives way: continuous batching with vLLM V1's rules.

At each step boundary: decodes take the blocks they need, and the newest sequences are preempted while blocks are short; a
prompt in progress goes on with what the token budget leaves; then, unless somebody was preempted, waiting sequences are
admitted first come first served while batch, budget and blocks allow. At most one prompt is in progress across a step's
end: the last admitted, which used up the budget.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from loadlab.simulator.decode_batch import ADMISSION_BITS, ADMISSION_MASK, DecodeBatch
from loadlab.simulator.events import ENDED as ENDED_EVENT
from loadlab.simulator.events import STARTED, Outbox
from loadlab.simulator.kv_cache import BlockPool, Holders, Run, prefix_path
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import Allocation, Batching, EngineLimits
from loadlab.simulator.step_time import StepWork
from loadlab.simulator.timeline import CACHED, PREEMPTED, Timeline

NO_LIMIT = 2**60
WAITING, PREFILLING, DECODING, ENDED = State  # looking a member up in its enum costs as much as a call


class Batcher:
    """The waiting line, the running sequences and their KV blocks, at a step boundary called `tick`."""

    def __init__(
        self, limits: EngineLimits, capacity: KvCapacity, timeline: Timeline, outbox: Outbox, holders: Holders, index: int, tick: int = 0
    ) -> None:
        """Of replica `index`; `holders`: the cached prefixes of its pool, see BlockPool."""
        self._timeline = timeline
        self._outbox = outbox
        self._block_size = size = limits.block_size_tokens
        self._max_running = limits.max_running or NO_LIMIT
        self._max_batched_tokens = limits.max_batched_tokens or NO_LIMIT
        self._prefix_caching = limits.prefix_caching
        self._is_static = limits.batching is Batching.STATIC
        self._is_paged = limits.allocation is Allocation.PAGED
        # Without paging a sequence reserves its whole window (contiguous), or nothing that is counted (unbounded).
        self._reserved = -(-capacity.context_tokens // size) if limits.allocation is Allocation.CONTIGUOUS else 0
        self._admissions = 0
        self.pool = BlockPool(capacity.num_blocks or NO_LIMIT, size, holders, index)
        self.running: dict[int, Sequence] = {}  # by admission, so the last one is the newest
        self.decoding = DecodeBatch(size, self.running, counts_blocks=self._is_paged)
        self.prefilling: list[Sequence] = []  # with a chunk in the step under way; oldest first
        self.leaving: list[Sequence] = []  # given up in mid-step: they hold their places until its end
        self.padding: list[Sequence] = []  # static batching: ended, but their places are kept
        self.waiting: deque[Sequence] = deque()  # may hold sequences that have ended meanwhile
        self.num_waiting = 0
        self.tick = tick
        self.preemptions = 0
        self.has_preempted = False  # at this boundary

    def has_room(self) -> bool:
        """Whether a sequence that arrived now might be admitted at the next step boundary."""
        if self._is_static and self.running:
            return False
        return self.num_waiting == 0 and len(self.running) < self._max_running

    @property
    def kv_tokens(self) -> int:
        """KV tokens of decoding sequences and of prompts in progress, counted per sequence."""
        tokens = self.decoding.kv_tokens
        return tokens + sum([s.computed for s in self.prefilling]) if self.prefilling else tokens

    # A stretch has ended

    def complete_prefill(self, now_ps: int) -> None:
        """After a step: whose prompt it completed decodes from here on, and has emitted a token."""
        decoding, prefilling, tick, outbox = self.decoding, self.prefilling, self.tick, self._outbox
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
                sequence.first_token_ps = now_ps
                if outbox.is_plain:
                    outbox.events.append((STARTED, now_ps, sequence))
                else:
                    outbox.started(sequence)
        prefilling.clear()
        if unfinished is not None:
            prefilling.append(unfinished)

    def let_go(self) -> None:
        """Takes out whoever was given up since the last boundary."""
        for sequence in self.leaving:
            self.retire(sequence)
        self.leaving.clear()

    def finish_ended(self, now_ps: int) -> None:
        """Ends the sequences whose last token has come, the oldest admission first."""
        decoding, running, tick, outbox = self.decoding, self.running, self.tick, self._outbox
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
                sequence.last_token_ps = now_ps
            if self._is_static:
                self.padding.append(sequence)
            else:
                del running[admission]
                sequence.admission = 0
                context = sequence.prompt_tokens + output_tokens - 1 + tick - sequence.end_tick
                if decoding.counts_blocks:
                    decoding.needs[sequence.phase] -= 1
                decoding.size -= 1
                decoding.kv_tokens -= context
                self.give_back(sequence, context)
            sequence.state = ENDED
            sequence.ended_ps = now_ps
            if outbox.is_plain:
                outbox.events.append((ENDED_EVENT, now_ps, sequence))
            else:
                outbox.ended(sequence)
        if decoding.num_stale:
            decoding.find_next_end()
        else:
            decoding.next_end = ends[0] >> ADMISSION_BITS

    def take_decode_blocks(self, now_ps: int) -> None:
        """Takes the blocks that decodes need for the next step; while there are fewer, the newest sequence gives way."""
        needs, pool = self.decoding.needs, self.pool
        phase = self.tick % self._block_size
        while (blocks := needs[phase]) > pool.available:
            self._preempt(next(reversed(self.running.values())), now_ps)
        pool.take(blocks)

    def retire(self, sequence: Sequence) -> None:
        """Takes a running sequence out for good, before its last token or after padding. What it computed stays cached."""
        self.give_back(sequence, self._take_out(sequence))

    def give_back(self, sequence: Sequence, context: int) -> None:
        """Returns the blocks of a sequence that is over, at a context of so many tokens."""
        size, pool = self._block_size, self.pool
        blocks = (context + size - 1) // size
        if not self._is_paged:
            pool.free += self._reserved
        elif not self._prefix_caching or (not sequence.runs and sequence.answer_key is None and not pool.unreferenced):
            pool.free += blocks  # nobody will ask for them, and nothing that can be hit is older
        else:
            full = context // size
            if sequence.answer_key is not None:
                self._publish_answer(sequence, full)
            if full < (shared := sequence.shared_blocks):  # its last shared block was being computed anew
                full = blocks = shared
            pool.release(sequence.runs, full - shared, blocks - full)
            if sequence.runs:
                sequence.forget_blocks()

    def clear_padding(self) -> None:
        """Static batching: the last one has ended, so all give up their places."""
        for sequence in self.padding:
            self.retire(sequence)
        self.padding.clear()

    def _take_out(self, sequence: Sequence) -> int:
        """Removes a sequence from the running ones. Returns its context in tokens."""
        del self.running[sequence.admission]
        sequence.admission = 0
        if self.prefilling and sequence in self.prefilling:
            self.prefilling.remove(sequence)
            return sequence.computed
        return self.decoding.remove(sequence, self.tick, has_ended=sequence in self.padding)

    # Preemption

    def _preempt(self, sequence: Sequence, now_ps: int) -> None:
        """Newest first: it has the least to recompute, and service stays first come first served. Its private blocks are lost."""
        was_decoding = sequence.state is DECODING
        context = self._take_out(sequence)
        if was_decoding:
            sequence.emit_until(self.tick, now_ps)
        self.pool.release(sequence.runs, 0, max(0, -(-context // self._block_size) - sequence.shared_blocks))
        sequence.forget_blocks()
        sequence.state = WAITING
        sequence.is_resident = False
        if sequence.prefix and self._prefix_caching:  # what it could not share the first time it may find shared the next
            sequence.path, sequence.answer_key = prefix_path(sequence.prefix, sequence.answer, self._block_size)
        sequence.preemptions += 1
        self.preemptions += 1
        self.has_preempted = True
        self.waiting.appendleft(sequence)
        self.num_waiting += 1
        self._timeline.count(PREEMPTED, now_ps, 1)

    # Prefill

    def schedule_prefill(self, now_ps: int) -> StepWork | None:  # noqa: C901  once a request, so written out
        """Lets the prompt in progress go on, then admits from the line. Returns the step's prefill work; None if there is none."""
        budget = self._max_batched_tokens - self.decoding.size
        prefilling = self.prefilling
        tokens = completed = image_tokens = 0
        attention = 0.0
        if prefilling:  # one: the newest
            sequence = prefilling[0]
            tokens = self._continue_prefill(sequence, budget, now_ps)
            budget -= tokens
            attention += tokens * (sequence.computed + tokens / 2)
            completed += sequence.computed + tokens == sequence.prefill_target
        if self.num_waiting and not self.has_preempted and not (self._is_static and self.running):
            waiting, running, pool, size = self.waiting, self.running, self.pool, self._block_size
            while self.num_waiting and len(running) < self._max_running:
                sequence = waiting[0]
                if sequence.state is ENDED:
                    waiting.popleft()
                    continue
                if sequence.is_resident:
                    if not self._try_admit_resident(sequence):
                        break
                    continue
                if budget <= 0:
                    break
                target = sequence.prompt_tokens + sequence.generated
                available = pool.free + pool.cached
                computed = hit_blocks = 0
                runs: list[Run] | None = None
                if sequence.path and self._prefix_caching:
                    runs, hit_blocks = pool.match(sequence.path)
                    computed = min(hit_blocks, (target - 1) // size) * size  # at least one token is computed, to have logits
                    if runs:
                        available -= pool.unreferenced_blocks(runs)
                scheduled = target if target - computed <= budget else computed + budget
                blocks = (target + size - 1) // size - hit_blocks if self._is_paged else self._reserved
                if blocks > available:
                    break  # all of it must fit, not only its first chunk: else long prompts are let in to be preempted, again and again
                if scheduled < target and self._is_paged:
                    blocks = max(0, (scheduled + size - 1) // size - hit_blocks)
                if runs:
                    self._reuse(sequence, runs, hit_blocks, now_ps)
                pool.free -= blocks
                if pool.free < 0:
                    pool.make_up()
                self._leave_line(sequence, PREFILLING)
                if sequence.admitted_ps is None:
                    sequence.admitted_ps = now_ps
                prefilling.append(sequence)
                sequence.computed = computed
                sequence.chunk = chunk = scheduled - computed
                if runs is not None:
                    self._publish_prompt(sequence, scheduled // size)
                budget -= chunk
                tokens += chunk
                attention += chunk * (computed + chunk / 2)
                completed += scheduled == target
                image_tokens += sequence.image_tokens
        return (tokens, attention, completed, image_tokens) if prefilling else None

    def _leave_line(self, sequence: Sequence, state: State) -> None:
        """The head of the line runs."""
        self.waiting.popleft()
        self.num_waiting -= 1
        self._admissions += 1
        sequence.admission = self._admissions
        sequence.state = state
        self.running[self._admissions] = sequence

    def _continue_prefill(self, sequence: Sequence, budget: int, now_ps: int) -> int:
        """Schedules the next chunk of a prompt in progress, or preempts it if its blocks are not there. Returns its tokens."""
        size = self._block_size
        chunk = min(sequence.prefill_target - sequence.computed, budget)
        if self._is_paged:
            blocks = -(-(sequence.computed + chunk) // size) - -(-sequence.computed // size)
            if blocks > self.pool.available:
                self._preempt(sequence, now_ps)
                return 0
            self.pool.take(blocks)
        sequence.chunk = chunk
        if self._prefix_caching and sequence.path:
            self._publish_prompt(sequence, (sequence.computed + chunk) // size)
        return chunk

    def _try_admit_resident(self, sequence: Sequence) -> bool:
        """Takes blocks for a prompt whose KV came over the network; it decodes from this boundary on."""
        blocks = -(-sequence.prompt_tokens // self._block_size) if self._is_paged else self._reserved
        needed = blocks + (1 if self._is_paged and sequence.prompt_tokens % self._block_size == 0 else 0)  # its first decode's
        if needed > self.pool.available:
            return False
        self.pool.take(needed)
        self._leave_line(sequence, DECODING)
        self.decoding.add(sequence, self.tick, sequence.prompt_tokens, self.tick + 1)
        return True

    def _reuse(self, sequence: Sequence, runs: list[Run], blocks: int, now_ps: int) -> None:
        """Lets a sequence start behind cached runs that cover `blocks`."""
        self.pool.reference(runs)
        sequence.runs, sequence.shared_blocks = tuple(runs), blocks
        if sequence.preemptions == 0:
            sequence.cached_tokens = min(blocks, (sequence.prompt_tokens - 1) // self._block_size) * self._block_size
            if sequence.cached_tokens:
                self._timeline.count(CACHED, now_ps, sequence.cached_tokens)

    # Sharing

    def _publish_prompt(self, sequence: Sequence, full_blocks: int) -> None:
        """Shares the prompt's full blocks as they are scheduled, so that the next sequence in line can hit them."""
        for i, (key, end) in enumerate(sequence.path):
            if end <= sequence.shared_blocks:
                continue
            upto = min(end, full_blocks)
            if upto <= sequence.shared_blocks:
                return
            own = sequence.runs[i] if i < len(sequence.runs) else None
            run = self.pool.publish(key, own, upto - sequence.shared_blocks)
            if run is None:  # somebody else holds that key: ours stay private, and so does what follows
                sequence.path, sequence.answer_key = sequence.path[:i], None
                return
            if own is None:
                sequence.runs += (run,)
            sequence.shared_blocks = upto

    def _publish_answer(self, sequence: Sequence, full_blocks: int) -> None:
        """Shares the answer's full blocks, if the whole prompt is shared already."""
        prompt_end = sequence.path[-1][1] if sequence.path else 0
        assert sequence.answer_key is not None
        if sequence.shared_blocks != prompt_end or full_blocks <= prompt_end:
            return
        run = self.pool.publish(sequence.answer_key, None, full_blocks - prompt_end)
        if run is not None:
            sequence.runs += (run,)
            sequence.shared_blocks = full_blocks
