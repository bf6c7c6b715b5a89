"""Replays a plan on the simulated cluster in virtual time: as fast as it computes, equal bytes for equal input."""

from __future__ import annotations

import gc
import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from loadlab.engines.base import Progress, RecordSink
from loadlab.errors import InputError
from loadlab.record.request import OUTCOME_OF, Cause, Outcome
from loadlab.record.rows import Row
from loadlab.scenario.plan import NOTHING, Followers, Labels, RequestPlan
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.events import ENDED
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.settling import gap_quantiles_ps, settle, split_logged
from loadlab.units import PS_PER_S

ROWS_PER_FLUSH = 2048  # what waits to be written fits a cache of a megabyte or two; twice and half as many cost more
LAST_PS = 50 * 86400 * PS_PER_S  # the simulator counts to NEVER_PS, 53 days
ITL_PERCENTS = (50, 95, 99, 100)
NO_ITL = (None,) * len(ITL_PERCENTS)

_OUTCOME: dict[Cause | None, str] = {None: Outcome.OK.value} | {cause: outcome.value for cause, outcome in OUTCOME_OF.items()}

Write = Callable[[list[Sequence]], None]  # what becomes of requests that are over


def check_plan(plan: RequestPlan, cluster: SimulatedCluster) -> None:
    """Raises InputError if the plan asks for a model that the cluster does not serve, or sends images to one without eyes."""
    for name in plan.model.names:
        if name not in cluster.serves:
            raise InputError(
                f"asks for model {name!r}, which cluster {cluster.spec.name!r} does not serve; it serves: {', '.join(cluster.serves)}. "
                f"Write one of these as `model` of the scenario's classes (`loadlab trace fit --model NAME` does)",
                source=plan.scenario_name,
            )
    with_images = np.flatnonzero(np.diff(plan.image_offsets))
    for code in np.unique(plan.model.codes[with_images]):
        cluster.image_tokens(plan.model.names[code], 28, 28)


class SimulationEngine:
    """A LoadEngine over one fresh SimulatedCluster. `itl` False leaves out the quantiles of inter-token latency, which costs less."""

    def __init__(self, cluster: SimulatedCluster, *, itl: bool = True) -> None:
        self._cluster = cluster
        self._itl = itl

    def replay(self, plan: RequestPlan, sink: RecordSink, progress: Progress) -> None:
        """See LoadEngine. Raises InputError before the first request if the plan does not suit the cluster."""
        check_plan(plan, self._cluster)
        try:
            self._run(plan, _Rows(plan, self._cluster, sink, itl=self._itl).write, progress, itl=self._itl)
        finally:
            sink.append_timeline(self._cluster.timeline_rows())

    def follow(self, plan: RequestPlan, write: Write, progress: Progress) -> None:
        """A replay that makes no rows: `write` gets the requests that are over, some thousands at a time. Raises as `replay` does."""
        check_plan(plan, self._cluster)
        self._run(plan, write, progress, itl=False)

    def count(self, plan: RequestPlan, progress: Progress) -> Counter[Outcome]:
        """The outcomes alone. Raises as `replay` does."""
        outcomes: Counter[Outcome] = Counter()
        self.follow(plan, lambda ended: outcomes.update([sequence.outcome for sequence in ended]), progress)
        return outcomes

    def _run(self, plan: RequestPlan, write: Write, progress: Progress, *, itl: bool) -> None:
        replay = _Replay(plan, self._cluster, write, progress, itl=itl)
        with collection_paused():
            try:
                replay.run()
            finally:
                replay.flush()


@contextmanager
def collection_paused() -> Iterator[None]:
    """No search for garbage in reference cycles meanwhile: a replay makes millions of objects, and none in a cycle."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Replay:
    """One replay under way: what is due, what ended and is not yet written."""

    def __init__(self, plan: RequestPlan, cluster: SimulatedCluster, write: Write, progress: Progress, *, itl: bool) -> None:
        self._plan = plan
        self._cluster = cluster
        self._write = write
        self._progress = progress
        self._itl = itl
        self._ended: list[Sequence] = []
        self._written = 0
        self._followers = Followers(plan)
        self._due: list[tuple[int, int]] = []  # (due_ps, seq) of requests that follow another
        self._sequences = _Sequences(plan, cluster)

    def run(self) -> None:
        """Takes what comes first, an event of the cluster or an arrival, until nothing is left. Events precede arrivals."""
        cluster, due = self._cluster, self._due
        arrivals = self._arrivals()
        arrival = next(arrivals, None)
        while True:
            is_follower = bool(due) and (arrival is None or due[0] < arrival)
            first = due[0] if is_follower else arrival
            if first is not None and first[0] > LAST_PS:
                raise InputError(f"request {first[1]} comes due after {LAST_PS // PS_PER_S // 86400} days; split the run")
            if first is None or self._followers:  # an end may make somebody due before the next arrival: event by event
                event_ps = cluster.next_event_ps()
                if first is None and event_ps == NEVER_PS:
                    return
                if first is None or event_ps <= first[0]:
                    self._advance(event_ps)
                    continue
            else:
                self._advance(first[0])
            if is_follower:
                heapq.heappop(due)
            else:
                arrival = next(arrivals, None)
            sequence = self._sequences.build(first[1], first[0])
            if not cluster.submit(sequence, first[0]):
                self._end(sequence)

    def _advance(self, to_ps: int) -> None:
        for kind, _, sequence in self._cluster.advance_to(to_ps):
            if kind is ENDED:
                self._end(sequence)
        if len(self._ended) >= ROWS_PER_FLUSH:  # between events: a flush forgets the times of whoever is not running
            self.flush()

    def _arrivals(self) -> Iterator[tuple[int, int]]:
        """(due_ps, seq) of requests that are due by the clock, in order."""
        seqs = np.flatnonzero(~np.isnan(self._plan.arrival_s))
        for start in range(0, len(seqs), ROWS_PER_FLUSH):
            part = seqs[start : start + ROWS_PER_FLUSH]
            due_ps = np.rint(self._plan.arrival_s[part] * PS_PER_S).astype(np.int64)
            yield from zip(due_ps.tolist(), part.tolist(), strict=True)

    def _end(self, sequence: Sequence) -> None:
        assert sequence.ended_ps is not None
        self._ended.append(sequence)
        for follower in self._followers.after(sequence.seq):
            delay_ps = round(float(self._plan.delay_after_s[follower]) * PS_PER_S)
            heapq.heappush(self._due, (sequence.ended_ps + delay_ps, follower))

    def flush(self) -> None:
        """Writes what ended and is logged, and lets the replicas forget what they logged for it."""
        replicas = self._cluster.replicas
        ready, self._ended = split_logged(replicas, self._ended) if self._itl else (self._ended, [])
        self._write(ready)
        self._written += len(ready)
        if self._itl:
            settle(replicas, self._ended)
        else:
            for replica in replicas:
                replica.log.settle(replica.batcher.tick)
        self._progress(self._written, len(self._plan))


class _Sequences:
    """Planned requests as the simulator wants them. Columns are read through memory views: those give Python's own numbers."""

    def __init__(self, plan: RequestPlan, cluster: SimulatedCluster) -> None:
        self._plan = plan
        self._cluster = cluster
        self._content = _SharedContent(plan)
        self._prompt_tokens, self._output_tokens = plan.prompt_tokens.data, plan.output_tokens.data
        self._timeout_s, self._image_offsets = plan.timeout_s.data, plan.image_offsets.data
        self._model, self._traffic_class = _Names(plan.model), _Names(plan.traffic_class)
        self._tier, self._region = _Names(plan.tier), _Names(plan.region)

    def build(self, seq: int, due_ps: int) -> Sequence:
        """The sequence of request `seq`, which comes at `due_ps`."""
        timeout_s, model = self._timeout_s[seq], self._model.at(seq)
        assert model is not None
        image_tokens = self._image_tokens(seq, model) if self._image_offsets[seq] < self._image_offsets[seq + 1] else 0
        prefix, answer = self._content.of(seq)
        return Sequence(
            seq,
            model,
            self._prompt_tokens[seq] + image_tokens,
            self._output_tokens[seq],
            image_tokens,
            prefix,
            answer,
            None if math.isnan(timeout_s) else due_ps + round(timeout_s * PS_PER_S),
            self._traffic_class.at(seq),
            self._tier.at(seq),
            self._region.at(seq),
        )

    def _image_tokens(self, seq: int, model: str) -> int:
        first, last = self._image_offsets[seq], self._image_offsets[seq + 1]
        sizes = zip(self._plan.image_width_px[first:last].tolist(), self._plan.image_height_px[first:last].tolist(), strict=True)
        return sum(self._cluster.image_tokens(model, width, height) for width, height in sizes)


class _Names:
    """A column of names that is read row by row."""

    def __init__(self, labels: Labels) -> None:
        assert NOTHING == -1, "the code of nothing has to be the last place"
        self._codes = labels.codes.data
        self._names = (*labels.names, None)

    def at(self, seq: int) -> str | None:
        """The name in a row, or None."""
        return self._names[self._codes[seq]]


class _Rows:
    """Makes rows of requests that are over, and hands them to a sink; at last the timeline."""

    def __init__(self, plan: RequestPlan, cluster: SimulatedCluster, sink: RecordSink, *, itl: bool) -> None:
        self._plan = plan
        self._cluster = cluster
        self._sink = sink
        self._itl = itl
        self._prompt_tokens, self._session, self._turn = plan.prompt_tokens.data, plan.session.data, plan.turn.data
        self._stages_s = np.ascontiguousarray(plan.stages_s).data
        self._traffic_class, self._kind, self._mode = _Names(plan.traffic_class), _Names(plan.kind), _Names(plan.mode)
        self._replica_names = [replica.name for replica in cluster.replicas]

    def write(self, ended: list[Sequence]) -> None:
        """One row each."""
        self._sink.append_rows(map(self._row, ended, self._itl_quantiles_s(ended)))

    def _itl_quantiles_s(self, sequences: list[Sequence]) -> list[tuple[float | None, ...]]:
        """p50, p95, p99 (order statistics ceil(p n)) and maximum of each request's own inter-token times."""
        if not self._itl or not sequences:
            return [NO_ITL] * len(sequences)
        quantiles = gap_quantiles_ps(self._cluster.replicas, sequences, ITL_PERCENTS)
        return [NO_ITL if row[0] < 0 else tuple([ps / PS_PER_S for ps in row]) for row in quantiles.tolist()]

    def _row(self, sequence: Sequence, itl: tuple[float | None, ...]) -> Row:
        """The columns of RequestRecord, in its order."""
        seq, replica = sequence.seq, sequence.replica
        scheduled_s = sequence.arrival_ps / PS_PER_S
        first_ps, last_ps, ended_ps = sequence.first_token_ps, sequence.last_token_ps, sequence.ended_ps
        session, turn = self._session[seq], self._turn[seq]
        return {
            "seq": seq,
            "worker": 0,
            "class": self._traffic_class.at(seq),
            "kind": self._kind.at(seq),
            "model": sequence.model,
            "tier": sequence.tier,
            "region": sequence.region,
            "mode": self._mode.at(seq),
            "session": None if session == NOTHING else session,
            "turn": None if turn == NOTHING else turn,
            "stages_s": self._stages_s[seq],
            "scheduled_s": scheduled_s,
            "sent_s": scheduled_s,
            "first_token_s": None if first_ps is None else first_ps / PS_PER_S,
            "last_token_s": None if last_ps is None else last_ps / PS_PER_S,
            "finished_s": None if ended_ps is None else ended_ps / PS_PER_S,
            "prompt_tokens": self._prompt_tokens[seq],
            "image_tokens": sequence.image_tokens,
            "cached_prompt_tokens": None if first_ps is None else sequence.cached_tokens,
            "output_tokens": sequence.generated,
            "tokens_estimated": False,
            "outcome": _OUTCOME[sequence.cause],
            "cause": sequence.cause,
            "http_status": None,
            "error": None,
            "replica": None if replica is None else self._replica_names[replica],
            "preemptions": None if replica is None else sequence.preemptions,
            "itl_p50_s": itl[0],
            "itl_p95_s": itl[1],
            "itl_p99_s": itl[2],
            "itl_max_s": itl[3],
        }


class _SharedContent:
    """Which pieces of prompts and answers occur more than once in a plan: only those can be found in a KV cache."""

    def __init__(self, plan: RequestPlan) -> None:
        self._plan = plan
        everything = np.sort(np.concatenate([plan.segment_content, plan.output_content]))
        shared = np.unique(everything[1:][everything[1:] == everything[:-1]])
        self._any = len(shared) > 0
        if self._any:
            self._is_shared = np.isin(plan.segment_content, shared)
            self._is_answer_shared = np.isin(plan.output_content, shared)

    def of(self, seq: int) -> tuple[tuple[tuple[int, int], ...], tuple[int, int] | None]:
        """The shareable beginning of a prompt as (content, tokens) pieces; its answer, if that and the whole prompt may be shared."""
        if not self._any:
            return (), None
        plan = self._plan
        first, last = int(plan.segment_offsets[seq]), int(plan.segment_offsets[seq + 1])
        end = first
        while end < last and self._is_shared[end]:
            end += 1
        prefix = tuple(zip(plan.segment_content[first:end].tolist(), plan.segment_tokens[first:end].tolist(), strict=True))
        if end < last or not prefix or not self._is_answer_shared[seq] or plan.image_offsets[seq] != plan.image_offsets[seq + 1]:
            return prefix, None
        return prefix, (int(plan.output_content[seq]), int(plan.output_tokens[seq]))
