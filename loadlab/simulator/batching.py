"""Who runs in the next step, how much of a prompt it prefills, who gives way: continuous batching with vLLM V1's rules.

At each step boundary: decodes take the blocks they need, and the newest sequences are preempted while blocks are short; a
prompt in progress goes on with what the token budget leaves; then, unless somebody was preempted, waiting sequences are
admitted first come first served while batch, budget and blocks allow. At most one prompt is in progress across a step's
end: the last admitted, which used up the budget.
"""

from __future__ import annotations

from collections import deque

from loadlab.simulator.decode_batch import DecodeBatch
from loadlab.simulator.kv_cache import BlockPool, Run
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.sharding import KvCapacity
from loadlab.simulator.spec import Allocation, Batching, EngineLimits
from loadlab.simulator.step_time import Work
from loadlab.simulator.timeline import CACHED, PREEMPTED, Timeline

NO_LIMIT = 2**60


class Batcher:
    """The waiting line, the running sequences and their KV blocks, at a step boundary called `tick`."""

    def __init__(self, limits: EngineLimits, capacity: KvCapacity, timeline: Timeline, tick: int = 0) -> None:
        self._timeline = timeline
        self._block_size = size = limits.block_size_tokens
        self._max_running = limits.max_running or NO_LIMIT
        self._max_batched_tokens = limits.max_batched_tokens or NO_LIMIT
        self._prefix_caching = limits.prefix_caching
        self._is_static = limits.batching is Batching.STATIC
        self._is_paged = limits.allocation is Allocation.PAGED
        # Without paging a sequence reserves its whole window (contiguous), or nothing that is counted (unbounded).
        self._reserved = -(-capacity.context_tokens // size) if limits.allocation is Allocation.CONTIGUOUS else 0
        self._admissions = 0
        self.pool = BlockPool(capacity.num_blocks or NO_LIMIT, size)
        self.decoding = DecodeBatch(size, counts_blocks=self._is_paged)
        self.prefilling: list[Sequence] = []  # with a chunk in the step under way; oldest first
        self.running: dict[int, Sequence] = {}  # by admission, so the last one is the newest
        self.padding: list[Sequence] = []  # static batching: ended, but their places are kept
        self.waiting: deque[Sequence] = deque()  # may hold sequences that have ended meanwhile
        self.num_waiting = 0
        self.tick = tick
        self.preemptions = 0
        self.has_preempted = False  # at this boundary

    @property
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

    def enqueue(self, sequence: Sequence) -> None:
        """Puts a sequence at the end of the line."""
        self.waiting.append(sequence)
        self.num_waiting += 1

    # One boundary

    def schedule(self, now_ps: int) -> Work | None:
        """Decides the step from this boundary on. Returns its prefill work; None if it only decodes, or if nobody runs."""
        decoding, pool, preemptions = self.decoding, self.pool, self.preemptions
        while (blocks := decoding.needs[self.tick % self._block_size]) > pool.free + pool.cached:
            self._preempt(next(reversed(self.running.values())), now_ps)
        if blocks:
            pool.take(blocks)
        budget = self._max_batched_tokens - decoding.size
        if self.prefilling:  # one: the newest
            budget -= self._continue_prefill(self.prefilling[0], budget, now_ps)
        image_tokens = 0
        self.has_preempted = self.preemptions > preemptions
        if self.num_waiting and not self.has_preempted and not (self._is_static and self.running):
            image_tokens = self._admit(budget, now_ps)
        return self._prefill_work(image_tokens) if self.prefilling else None

    def complete_prefill(self) -> list[Sequence]:
        """After a step: returns the sequences whose prefill it completed. They emit a token at the new tick."""
        prefilling, decoding, tick = self.prefilling, self.decoding, self.tick
        unfinished = []
        for sequence in prefilling:
            computed = sequence.computed = sequence.computed + sequence.chunk
            if computed < sequence.prompt_tokens + sequence.generated:
                unfinished.append(sequence)
                continue
            if sequence.state is not State.ENDED:  # its client may have left during the step
                sequence.state = State.DECODING
            decoding.add(sequence, tick, computed, tick)
        self.prefilling = unfinished
        return [sequence for sequence in prefilling if sequence not in unfinished] if unfinished else prefilling

    def retire(self, sequence: Sequence) -> None:
        """Takes a running sequence out for good. What it computed stays cached."""
        context = self._take_out(sequence)
        if not self._is_paged:
            self.pool.free += self._reserved
        elif not self._prefix_caching:
            self.pool.free += -(-context // self._block_size)
        else:
            if not sequence.runs and sequence.answer_key is None and self.pool.holds_no_content:
                self.pool.free += -(-context // self._block_size)
                return
            full = context // self._block_size
            rest = -(-context // self._block_size) - full
            if sequence.answer_key is not None:
                self._publish_answer(sequence, full)
            if full < sequence.shared_blocks:  # its last shared block was being computed anew
                full, rest = sequence.shared_blocks, 0
            self.pool.release(sequence.runs, full - sequence.shared_blocks, rest)
            if sequence.runs:
                sequence.forget_blocks()

    def _take_out(self, sequence: Sequence) -> int:
        """Removes a sequence from the running ones. Returns its context in tokens."""
        del self.running[sequence.admission]
        sequence.admission = 0
        if self.prefilling and sequence in self.prefilling:
            self.prefilling.remove(sequence)
            return sequence.computed
        return self.decoding.remove(sequence, self.tick)

    # Preemption

    def _preempt(self, sequence: Sequence, now_ps: int) -> None:
        """Newest first: it has the least to recompute, and service stays first come first served. Its private blocks are lost."""
        was_decoding = sequence.state is State.DECODING
        context = self._take_out(sequence)
        if was_decoding:
            sequence.emit_until(self.tick, now_ps)
        self.pool.release(sequence.runs, 0, max(0, -(-context // self._block_size) - sequence.shared_blocks))
        sequence.forget_blocks()
        sequence.state = State.WAITING
        sequence.is_resident = False
        sequence.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(sequence)
        self.num_waiting += 1
        self._timeline.count(PREEMPTED, now_ps, 1)

    # Prefill

    def _continue_prefill(self, sequence: Sequence, budget: int, now_ps: int) -> int:
        """Schedules the next chunk of a prompt in progress, or preempts it if its blocks are not there. Returns its tokens."""
        chunk = min(sequence.prefill_target - sequence.computed, budget)
        blocks = -(-(sequence.computed + chunk) // self._block_size) - -(-sequence.computed // self._block_size)
        if self._is_paged and blocks > self.pool.available:
            self._preempt(sequence, now_ps)
            return 0
        self._schedule_chunk(sequence, chunk, blocks if self._is_paged else 0)
        return chunk

    def _admit(self, budget: int, now_ps: int) -> int:
        """Admits from the line, first come first served. Returns the image tokens to be encoded in this step."""
        image_tokens, waiting, running = 0, self.waiting, self.running
        while waiting and len(running) < self._max_running:
            sequence = waiting[0]
            if sequence.state is State.ENDED:
                waiting.popleft()
                continue
            if not (self._try_admit_resident(sequence) if sequence.is_resident else self._try_admit(sequence, budget, now_ps)):
                break
            waiting.popleft()
            self.num_waiting -= 1
            if not sequence.is_resident:
                budget -= sequence.chunk
                image_tokens += sequence.image_tokens
        return image_tokens

    def _try_admit(self, sequence: Sequence, budget: int, now_ps: int) -> bool:
        """Starts the prefill of a waiting sequence behind its cached prefix. False if budget or blocks are short."""
        if budget <= 0:
            return False
        pool, size, target = self.pool, self._block_size, sequence.prompt_tokens + sequence.generated
        hit_blocks = computed = 0
        available = pool.free + pool.cached
        is_shared = self._prefix_caching and bool(sequence.path)
        if is_shared:
            runs, hit_blocks = pool.match(sequence.path)
            computed = min(hit_blocks, (target - 1) // size) * size  # at least one token is computed, to have logits
            available -= pool.unreferenced_blocks(runs)
        chunk = min(target - computed, budget)
        blocks = max(0, -(-(computed + chunk) // size) - hit_blocks) if self._is_paged else self._reserved
        # All of it must fit, not only its first chunk: else long prompts are let in to be preempted, again and again.
        if (max(blocks, -(-target // size) - hit_blocks) if self._is_paged else blocks) > available:
            return False
        if is_shared:
            self._reuse(sequence, runs, hit_blocks, now_ps)
        sequence.computed = computed
        pool.take(blocks)
        sequence.chunk = chunk
        self._run(sequence, State.PREFILLING)
        self.prefilling.append(sequence)
        if is_shared:
            self._publish_prompt(sequence, (computed + chunk) // size)
        return True

    def _reuse(self, sequence: Sequence, runs: list[Run], blocks: int, now_ps: int) -> None:
        """Lets a sequence start behind cached runs that cover `blocks`."""
        self.pool.reference(runs)
        sequence.runs, sequence.shared_blocks = runs, blocks
        if sequence.preemptions == 0:
            sequence.cached_tokens = min(blocks, (sequence.prompt_tokens - 1) // self._block_size) * self._block_size
            if sequence.cached_tokens:
                self._timeline.count(CACHED, now_ps, sequence.cached_tokens)

    def _try_admit_resident(self, sequence: Sequence) -> bool:
        """Takes blocks for a prompt whose KV came over the network; it decodes from this boundary on."""
        blocks = -(-sequence.prompt_tokens // self._block_size) if self._is_paged else self._reserved
        needed = blocks + (1 if self._is_paged and sequence.prompt_tokens % self._block_size == 0 else 0)  # its first decode's
        if needed > self.pool.available:
            return False
        self.pool.take(needed)
        self._run(sequence, State.DECODING)
        self.decoding.add(sequence, self.tick, sequence.prompt_tokens, self.tick + 1)
        return True

    def _run(self, sequence: Sequence, state: State) -> None:
        self._admissions += 1
        sequence.admission = self._admissions
        sequence.state = state
        self.running[self._admissions] = sequence

    def _schedule_chunk(self, sequence: Sequence, chunk: int, blocks: int) -> None:
        self.pool.take(blocks)
        sequence.chunk = chunk
        if self._prefix_caching and sequence.path:
            self._publish_prompt(sequence, (sequence.computed + chunk) // self._block_size)

    def _prefill_work(self, image_tokens: int) -> Work:
        tokens = completed = 0
        attention = 0.0
        for sequence in self.prefilling:
            chunk, computed = sequence.chunk, sequence.computed
            tokens += chunk
            attention += chunk * (computed + chunk / 2)
            completed += computed + chunk == sequence.prompt_tokens + sequence.generated
        return Work(tokens, attention, completed, image_tokens)

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
                sequence.runs.append(run)
            sequence.shared_blocks = upto

    def _publish_answer(self, sequence: Sequence, full_blocks: int) -> None:
        """Shares the answer's full blocks, if the whole prompt is shared already."""
        prompt_end = sequence.path[-1][1] if sequence.path else 0
        assert sequence.answer_key is not None
        if sequence.shared_blocks != prompt_end or full_blocks <= prompt_end:
            return
        run = self.pool.publish(sequence.answer_key, None, full_blocks - prompt_end)
        if run is not None:
            sequence.runs.append(run)
            sequence.shared_blocks = full_blocks
