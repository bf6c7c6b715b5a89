"""Requests that more than one engine works for: prompts computed in another pool, cascades of tiers; and their way to the first.

The client's request is the *parent*; what runs for it in an engine is a sequence of its own, whose `parent` it is. Where neither
is needed the request itself goes to the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from loadlab.record.request import Cause
from loadlab.simulator.front import Front
from loadlab.simulator.pool import Pool
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.sharding import kv_transfer_ps

Accept = Callable[[Sequence, Pool, int], Cause | None]  # hands a sequence to a pool; says why not
Travel = Callable[[int, Callable[[Sequence, int], None], Sequence], None]  # calls back with the sequence at a time
Emit = Callable[[Sequence], None]


class Jobs:
    """Follows each request from engine to engine. `started` and `ended` tell the client."""

    def __init__(self, front: Front, pools: Mapping[str, Pool], *, accept: Accept, travel: Travel, started: Emit, ended: Emit) -> None:
        self._front = front
        self._pools = pools
        self._accept = accept
        self._travel = travel
        self._started = started
        self._ended = ended
        self._bound_for: dict[Sequence, Pool] = {}  # where a request on its way, or whose prompt is computed elsewhere, will go
        self._children: dict[Sequence, Sequence] = {}  # what runs for a request now
        self._tiers_left: dict[Sequence, list[str | None]] = {}  # of a cascade, the present one first

    def submit(self, request: Sequence, at_ps: int) -> Cause | None:
        """Sends a request on its way. Returns why not, if it is refused at once."""
        front = self._front
        tiers = front.tiers(request)
        pool = front.pool(request, tiers[0])
        if front.is_filtered(request):
            self._travel(front.filtered_ps(request, at_ps), self._refuse_filtered, request)
            return None
        if len(tiers) > 1:
            self._tiers_left[request] = tiers
        arrives_ps = front.arrives_ps(request, pool, at_ps)
        if arrives_ps == at_ps:
            return self._enter(request, pool, at_ps)
        self._bound_for[request] = pool
        self._travel(arrives_ps, self._arrive, request)
        return None

    def _refuse_filtered(self, request: Sequence, at_ps: int) -> None:
        if request.state is not State.ENDED:
            self._close(request, Cause.FILTERED, at_ps)

    def _arrive(self, request: Sequence, at_ps: int) -> None:
        """A request, or a sequence whose KV was sent, comes to its pool."""
        pool = self._bound_for.pop(request)
        if request.state is State.ENDED:
            return
        refusal = self._accept(request, pool, at_ps) if request.is_resident else self._enter(request, pool, at_ps)
        if refusal is not None:
            self._close(request, refusal, at_ps)

    def _enter(self, request: Sequence, pool: Pool, at_ps: int) -> Cause | None:
        """Starts the first engine's work for a request, or the next tier's."""
        if request not in self._tiers_left:
            return self._compute(request, pool, at_ps)
        child = _child_of(request, request.output_tokens)
        self._children[request] = child
        return self._compute(child, pool, at_ps)

    def _compute(self, sequence: Sequence, pool: Pool, at_ps: int) -> Cause | None:
        """Hands a sequence to a pool, or its prompt to the pool that computes prompts for it."""
        if pool.spec.prefill_pool is None:
            return self._accept(sequence, pool, at_ps)
        refusal = pool.refusal(sequence)
        if refusal is not None:
            return refusal
        child = _child_of(sequence, min(1, sequence.output_tokens))
        self._children[sequence] = child
        self._bound_for[sequence] = pool
        return self._accept(child, self._pools[pool.spec.prefill_pool], at_ps)

    def give_up(self, request: Sequence, leave: Callable[[Sequence], None], cause: Cause, at_ps: int) -> None:
        """Ends a request now: `leave` takes what runs for it out of its replica."""
        running = request
        while running in self._children:
            running = self._children[running]
        if running.replica is not None:
            leave(running)
        else:
            self._close(running, cause, at_ps)

    def client_of(self, sequence: Sequence) -> Sequence | None:
        """The request on whose behalf a sequence runs; None if its client sees no token of this one: a cascade goes on behind it."""
        while sequence.parent is not None:
            sequence = sequence.parent
            if len(self._tiers_left.get(sequence, ())) > 1:
                return None
        return sequence

    # What engines report

    def on_started(self, sequence: Sequence) -> None:
        """An engine emitted the first token of a sequence."""
        parent = sequence.parent
        if parent is None:
            self._started(sequence)
        elif len(self._tiers_left.get(parent, ())) <= 1:  # a client sees the tokens of the last tier only
            parent.first_token_ps = sequence.first_token_ps
            self.on_started(parent)

    def on_ended(self, sequence: Sequence) -> None:
        """A sequence is over, in an engine or here."""
        parent = sequence.parent
        if parent is None:
            self._finish(sequence)
            return
        assert sequence.ended_ps is not None
        self._children.pop(parent, None)
        if parent in self._tiers_left:
            self._after_tier(parent, sequence, sequence.ended_ps)
        else:
            self._after_prefill(parent, sequence, sequence.ended_ps)

    def _after_tier(self, parent: Sequence, answer: Sequence, at_ps: int) -> None:
        """The next tier is asked the same; the last answer is the client's."""
        tiers = self._tiers_left[parent]
        if len(tiers) > 1 and answer.cause is None:
            tiers.pop(0)
            self._bound_for[parent] = self._front.pool(parent, tiers[0])
            self._travel(at_ps, self._arrive, parent)
            return
        if len(tiers) == 1:
            _take_over(parent, answer)
            parent.first_token_ps, parent.tier = answer.first_token_ps, tiers[0]
        del self._tiers_left[parent]
        self._close(parent, answer.cause, at_ps)

    def _after_prefill(self, parent: Sequence, prompt: Sequence, at_ps: int) -> None:
        """The KV of a computed prompt travels to the pool that decodes."""
        pool = self._bound_for[parent]
        _take_over(parent, prompt)
        if prompt.cause is not None or parent.output_tokens <= 1:
            del self._bound_for[parent]
            self._close(parent, prompt.cause, at_ps)
            return
        parent.replica, parent.preemptions, parent.is_resident = None, 0, True
        self._travel(at_ps + kv_transfer_ps(pool.spec, parent.prompt_tokens), self._arrive, parent)

    def _close(self, sequence: Sequence, cause: Cause | None, at_ps: int) -> None:
        sequence.close(cause, at_ps)
        self.on_ended(sequence)

    def _finish(self, request: Sequence) -> None:
        """Tells the client, after post-processing where there is some; that may meet the deadline."""
        self._tiers_left.pop(request, None)
        post_ps = self._front.post_process_ps
        if request.cause is not None or not post_ps:
            self._ended(request)
            return
        assert request.ended_ps is not None
        cause, end_ps = None, request.ended_ps + post_ps
        if request.deadline_ps is not None and request.deadline_ps <= end_ps:  # at one time, giving up comes first
            cause, end_ps = Cause.DEADLINE, request.deadline_ps
        request.close(cause, end_ps)
        self._travel(end_ps, lambda ready, _: self._ended(ready), request)


def _child_of(request: Sequence, output_tokens: int) -> Sequence:
    """A sequence that does a request's work, or its first part, in one engine."""
    child = Sequence(
        seq=request.seq,
        model=request.model,
        prompt_tokens=request.prompt_tokens,
        output_tokens=output_tokens,
        image_tokens=request.image_tokens,
        prefix=request.prefix,
        answer=request.answer if output_tokens == request.output_tokens else None,
        traffic_class=request.traffic_class,
        region=request.region,
        parent=request,
    )
    child.arrival_ps, child.order = request.arrival_ps, request.order
    return child


def _take_over(parent: Sequence, child: Sequence) -> None:
    """Gives a request the tokens that an engine made for it."""
    parent.earlier_pieces, parent.generated, parent.last_token_ps = tuple(child.pieces), child.generated, child.last_token_ps
    parent.entered_ps, parent.admitted_ps = child.entered_ps, child.admitted_ps
    parent.cached_tokens, parent.preemptions, parent.replica = child.cached_tokens, child.preemptions, child.replica
