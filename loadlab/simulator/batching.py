"""Continuous batching with vLLM V1's rules: who runs in the next step, how much of a prompt it prefills, who gives way.

At each step boundary: decodes take the blocks they need, and the newest sequences are preempted while blocks are short; a
prompt in progress goes on with what the token budget leaves; then, unless somebody was preempted, waiting sequences are
admitted first come first served while batch, budget and blocks allow. At most one prompt is in progress across a step's
end: the last admitted, which used up the budget.
"""

from __future__ import annotations

from collections import deque

from loadlab.simulator.decode_batch import DecodeBatch
from loadlab.simulator.kv_cache import BlockPool
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.spec import EngineLimits
from loadlab.simulator.step_time import Work

NO_LIMIT = 2**60


class Batcher:
    """The waiting line, the running sequences and their KV blocks, at a step boundary called `tick`."""

    def __init__(self, limits: EngineLimits, num_blocks: int | None) -> None:
        self._block_size = size = limits.block_size_tokens
        self._max_running = limits.max_running or NO_LIMIT
        self._max_batched_tokens = limits.max_batched_tokens or NO_LIMIT
        self._prefix_caching = limits.prefix_caching
        self._admissions = 0
        self.pool = BlockPool(num_blocks or NO_LIMIT, size)
        self.decoding = DecodeBatch(size)
        self.prefilling: list[Sequence] = []  # with a chunk in the step under way; oldest first
        self.running: dict[int, Sequence] = {}  # by admission, so the last one is the newest
        self.waiting: deque[Sequence] = deque()  # may hold sequences that have ended meanwhile
        self.num_waiting = 0
        self.tick = 0
        self.preemptions = 0
        self.cached_tokens = 0  # of prompts, found in the cache at their first admission

    @property
    def has_room(self) -> bool:
        """Whether a sequence that arrived now might be admitted at the next step boundary."""
        return self.num_waiting == 0 and len(self.running) < self._max_running

    @property
    def kv_tokens(self) -> int:
        """KV tokens of decoding sequences and of prompts in progress, counted per sequence."""
        return self.decoding.kv_tokens + sum(s.computed for s in self.prefilling)

    def enqueue(self, sequence: Sequence) -> None:
        """Puts a sequence at the end of the line."""
        self.waiting.append(sequence)
        self.num_waiting += 1

    # One boundary

    def schedule(self, now_ps: int) -> Work | None:
        """Decides the step from this boundary on. Returns its prefill work; None if it only decodes, or if nobody runs."""
        preemptions = self.preemptions
        self._give_decodes_their_blocks(now_ps)
        budget = self._max_batched_tokens - self.decoding.size
        for sequence in list(self.prefilling):  # at most one: the newest
            budget -= self._continue_prefill(sequence, budget, now_ps)
        image_tokens = 0
        if self.num_waiting and self.preemptions == preemptions:
            image_tokens = self._admit(budget)
        return self._prefill_work(image_tokens) if self.prefilling else None

    def steps_until_change(self) -> int:
        """Pure decode steps from here to the next completion or block shortage, at least one: its blocks are taken already."""
        steps = self.decoding.next_end_tick() - self.tick
        return 1 + self.decoding.affordable_steps(self.tick + 1, steps - 1, self.pool.available)

    def apply(self, steps: int) -> list[Sequence]:
        """Moves on by `steps` steps. Returns the sequences whose prefill that completes: they emit a token at the new tick."""
        if steps > 1:
            self.pool.take(self.decoding.blocks_between(self.tick + 1, steps - 1))
        self.tick += steps
        self.decoding.kv_tokens += self.decoding.size * steps
        return self._apply_prefill() if self.prefilling else []

    def _apply_prefill(self) -> list[Sequence]:
        completed = []
        for sequence in self.prefilling:
            sequence.computed += sequence.chunk
            if sequence.computed == sequence.prefill_target:
                sequence.state = State.DECODING
                self.decoding.add(sequence, self.tick)
                completed.append(sequence)
        self.prefilling = [s for s in self.prefilling if s.state is State.PREFILLING]
        return completed

    def retire(self, sequence: Sequence, received_tokens: int) -> None:
        """Takes a running sequence out for good; `received_tokens` of its current piece count. What it computed stays cached."""
        context = self._take_out(sequence, received_tokens)
        full = context // self._block_size
        rest = -(-context // self._block_size) - full
        if self._prefix_caching:
            self._publish_answer(sequence, full)
            self.pool.release(sequence.runs, full - sequence.shared_blocks, rest)
        else:
            self.pool.release((), 0, full + rest)
        sequence.forget_blocks()

    def _take_out(self, sequence: Sequence, received_tokens: int) -> int:
        """Removes a sequence from the running ones and closes its piece. Returns its context in tokens."""
        del self.running[sequence.admission]
        sequence.admission = 0
        if sequence.state is State.PREFILLING:
            self.prefilling.remove(sequence)
            return sequence.computed
        context = self.decoding.remove(sequence, self.tick)
        sequence.close_piece(received_tokens)
        return context

    # Preemption

    def _give_decodes_their_blocks(self, now_ps: int) -> None:
        pool, decoding = self.pool, self.decoding
        while (blocks := decoding.blocks_at(self.tick)) > pool.available:
            self._preempt(next(reversed(self.running.values())), now_ps)
        if blocks:
            pool.take(blocks)

    def _preempt(self, sequence: Sequence, now_ps: int) -> None:
        """Newest first: it has the least to recompute, and service stays first come first served. Its private blocks are lost."""
        was_decoding = sequence.state is State.DECODING
        context = self._take_out(sequence, self.tick - sequence.first_tick + 1)
        if was_decoding:
            sequence.last_token_ps = now_ps
        self.pool.release(sequence.runs, 0, -(-context // self._block_size) - sequence.shared_blocks)
        sequence.forget_blocks()
        sequence.state = State.WAITING
        sequence.preemptions += 1
        self.preemptions += 1
        self.waiting.appendleft(sequence)
        self.num_waiting += 1

    # Prefill

    def _continue_prefill(self, sequence: Sequence, budget: int, now_ps: int) -> int:
        """Schedules the next chunk of a prompt in progress, or preempts it if its blocks are not there. Returns its tokens."""
        chunk = min(sequence.prefill_target - sequence.computed, budget)
        blocks = -(-(sequence.computed + chunk) // self._block_size) - -(-sequence.computed // self._block_size)
        if blocks > self.pool.available:
            self._preempt(sequence, now_ps)
            return 0
        self._schedule_chunk(sequence, chunk, blocks)
        return chunk

    def _admit(self, budget: int) -> int:
        """Admits from the line, first come first served. Returns the image tokens to be encoded in this step."""
        image_tokens, waiting = 0, self.waiting
        while waiting and budget > 0 and len(self.running) < self._max_running:
            sequence = waiting[0]
            if sequence.state is State.ENDED:
                waiting.popleft()
                continue
            chunk = self._try_admit(sequence, budget)
            if chunk == 0:
                break
            waiting.popleft()
            self.num_waiting -= 1
            budget -= chunk
            image_tokens += sequence.image_tokens
        return image_tokens

    def _try_admit(self, sequence: Sequence, budget: int) -> int:
        """Starts the prefill of a waiting sequence behind its cached prefix. Returns its first chunk; 0 if blocks are short."""
        pool, size, target = self.pool, self._block_size, sequence.prefill_target
        runs, hit_blocks = pool.match(sequence.path) if self._prefix_caching and sequence.path else ([], 0)
        computed = min(hit_blocks, (target - 1) // size) * size  # at least one token is computed, to have logits
        chunk = min(target - computed, budget)
        blocks = max(0, -(-(computed + chunk) // size) - hit_blocks)
        if blocks > pool.available - pool.unreferenced_blocks(runs):
            return 0
        pool.reference(runs)
        self._admissions += 1
        sequence.admission = self._admissions
        sequence.state = State.PREFILLING
        sequence.runs, sequence.shared_blocks, sequence.computed = runs, hit_blocks, computed
        if sequence.preemptions == 0:
            sequence.cached_tokens = computed
            self.cached_tokens += computed
        self.running[sequence.admission] = sequence
        self.prefilling.append(sequence)
        self._schedule_chunk(sequence, chunk, blocks)
        return chunk

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
            completed += computed + chunk == sequence.prefill_target
        return Work(tokens=tokens, attention=attention, completed=completed, image_tokens=image_tokens)

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
        """Shares the answer's full blocks, if a later prompt will carry it and the whole prompt is shared already."""
        prompt_end = sequence.path[-1][1] if sequence.path else 0
        if sequence.answer_key is None or sequence.shared_blocks != prompt_end or full_blocks <= prompt_end:
            return
        run = self.pool.publish(sequence.answer_key, None, full_blocks - prompt_end)
        if run is not None:
            sequence.runs.append(run)
            sequence.shared_blocks = full_blocks
