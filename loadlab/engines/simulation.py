"""Replays a plan on the simulated cluster in virtual time: as fast as it computes, equal bytes for equal input."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from loadlab.engines.base import Progress, RecordSink
from loadlab.errors import InputError
from loadlab.record.request import RequestRecord
from loadlab.scenario.plan import NOTHING, RequestPlan
from loadlab.simulator.cluster import EventKind, SimulatedCluster
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence, State
from loadlab.simulator.token_times import TokenClock, gap_quantiles_ps
from loadlab.units import PS_PER_S

ROWS_PER_FLUSH = 4096
LAST_PS = 50 * 86400 * PS_PER_S  # the simulator counts to NEVER_PS, 53 days
ITL_PERCENTS = (50, 95, 99, 100)


def check_plan(plan: RequestPlan, cluster: SimulatedCluster) -> None:
    """Raises InputError if the plan asks for a model that the cluster does not serve, or sends images to one without eyes."""
    for name in plan.model.names:
        if name not in cluster.serves:
            raise InputError(
                f"asks for model {name!r}, which cluster {cluster.spec.name!r} does not serve; it serves: {', '.join(cluster.serves)}",
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
        replay = _Replay(plan, self._cluster, sink, progress, itl=self._itl)
        try:
            replay.run()
        finally:
            replay.flush()
            bins = self._cluster.timeline()
            sink.append_timeline({"replica": name, **asdict(bin_), "shard_busy": list(busy)} for name, bin_, busy in bins)


class _Replay:
    """One replay under way: what is due, what ended and is not yet written."""

    def __init__(self, plan: RequestPlan, cluster: SimulatedCluster, sink: RecordSink, progress: Progress, *, itl: bool) -> None:
        self._plan = plan
        self._cluster = cluster
        self._sink = sink
        self._progress = progress
        self._itl = itl
        self._ended: list[Sequence] = []
        self._written = 0
        self._followers = _followers(plan)
        self._due: list[tuple[int, int]] = []  # (due_ps, seq) of requests that follow another
        self._content = _SharedContent(plan)

    def run(self) -> None:
        """Takes what comes first, an event of the cluster or an arrival, until nothing is left. Events precede arrivals."""
        cluster, due = self._cluster, self._due
        arrivals = self._arrivals()
        arrival = next(arrivals, None)
        while True:
            event_ps = cluster.next_event_ps()
            is_follower = bool(due) and (arrival is None or due[0] < arrival)
            first = due[0] if is_follower else arrival
            if first is None and event_ps == NEVER_PS:
                return
            if first is not None and first[0] > LAST_PS:
                raise InputError(f"request {first[1]} comes due after {LAST_PS // PS_PER_S // 86400} days; split the run")
            if first is None or event_ps <= first[0]:
                for kind, _, sequence in cluster.advance_to(event_ps):
                    if kind is EventKind.ENDED:
                        self._end(sequence)
                if len(self._ended) >= ROWS_PER_FLUSH:  # between events: a flush forgets the times of whoever is not running
                    self.flush()
                continue
            if is_follower:
                heapq.heappop(due)
            else:
                arrival = next(arrivals, None)
            sequence = self._sequence(first[1], first[0])
            if not cluster.submit(sequence, first[0]):
                self._end(sequence)

    def _arrivals(self) -> Iterator[tuple[int, int]]:
        """(due_ps, seq) of requests that are due by the clock, in order."""
        seqs = np.flatnonzero(~np.isnan(self._plan.arrival_s))
        for start in range(0, len(seqs), ROWS_PER_FLUSH):
            part = seqs[start : start + ROWS_PER_FLUSH]
            due_ps = np.rint(self._plan.arrival_s[part] * PS_PER_S).astype(np.int64)
            yield from zip(due_ps.tolist(), part.tolist(), strict=True)

    def _sequence(self, seq: int, due_ps: int) -> Sequence:
        plan = self._plan
        timeout_s = plan.timeout_s[seq]
        model = plan.model.names[plan.model.codes[seq]]
        image_tokens = self._image_tokens(seq, model)
        prefix, answer = self._content.of(seq)
        return Sequence(
            seq=seq,
            model=model,
            prompt_tokens=int(plan.prompt_tokens[seq]) + image_tokens,
            output_tokens=int(plan.output_tokens[seq]),
            image_tokens=image_tokens,
            prefix=prefix,
            answer=answer,
            traffic_class=plan.traffic_class.at(seq),
            tier=plan.tier.at(seq),
            region=plan.region.at(seq),
            deadline_ps=None if np.isnan(timeout_s) else due_ps + round(float(timeout_s) * PS_PER_S),
        )

    def _image_tokens(self, seq: int, model: str) -> int:
        first, last = self._plan.image_offsets[seq], self._plan.image_offsets[seq + 1]
        sizes = zip(self._plan.image_width_px[first:last].tolist(), self._plan.image_height_px[first:last].tolist(), strict=True)
        return sum(self._cluster.image_tokens(model, width, height) for width, height in sizes)

    def _end(self, sequence: Sequence) -> None:
        assert sequence.ended_ps is not None
        self._ended.append(sequence)
        for follower in self._followers.pop(sequence.seq, ()):
            delay_ps = round(float(self._plan.delay_after_s[follower]) * PS_PER_S)
            heapq.heappush(self._due, (sequence.ended_ps + delay_ps, follower))

    def flush(self) -> None:
        """Writes the rows of what ended and is logged, and lets the replicas forget what they logged for it."""
        replicas = self._cluster.replicas
        logged = [replica.log.last_tick for replica in replicas]
        ready = [s for s in self._ended if all(last <= logged[replica] for replica, _, last in s.pieces)] if self._itl else self._ended
        self._ended = [s for s in self._ended if any(last > logged[replica] for replica, _, last in s.pieces)] if self._itl else []
        self._sink.append(map(self._record, ready, self._itl_quantiles_s(ready)))
        self._written += len(ready)
        needed = self._ticks_needed()
        for replica in replicas:
            replica.log.settle(needed.get(replica.index, replica.batcher.tick))
        self._progress(self._written, len(self._plan))

    def _ticks_needed(self) -> dict[int, int]:
        """By replica, the first tick whose time somebody will ask for who is not written yet."""
        needed: dict[int, int] = {}
        if not self._itl:
            return needed
        for replica in self._cluster.replicas:
            open_ones = [*replica.batcher.running.values(), *replica.batcher.waiting]
            pieces = [piece for s in open_ones for piece in s.pieces]
            pieces += [(replica.index, s.first_tick, 0) for s in open_ones if s.state is State.DECODING]
            for index, first, _ in pieces:
                needed[index] = min(first, needed.get(index, first))
        for sequence in self._ended:
            for index, first, _ in sequence.pieces:
                needed[index] = min(first, needed.get(index, first))
        return needed

    def _itl_quantiles_s(self, sequences: list[Sequence]) -> list[tuple[float | None, ...]]:
        """p50, p95, p99 (order statistics ceil(p n)) and maximum of each request's own inter-token times."""
        if not self._itl:
            return [(None,) * len(ITL_PERCENTS)] * len(sequences)
        tables = [replica.log.table for replica in self._cluster.replicas]
        clocks = [TokenClock(table) if len(table) else None for table in tables]
        quantiles = gap_quantiles_ps(clocks, [sequence.pieces for sequence in sequences], ITL_PERCENTS)
        return [tuple(None if ps < 0 else ps / PS_PER_S for ps in row) for row in quantiles.tolist()]

    def _record(self, sequence: Sequence, itl: tuple[float | None, ...]) -> RequestRecord:
        plan, seq = self._plan, sequence.seq
        scheduled_s = sequence.arrival_ps / PS_PER_S
        return RequestRecord(
            seq=seq,
            worker=0,
            traffic_class=plan.traffic_class.at(seq),
            kind=plan.kind.at(seq),
            model=sequence.model,
            tier=sequence.tier,
            region=sequence.region,
            mode=plan.mode.at(seq),
            session=_int_or_none(plan.session[seq]),
            turn=_int_or_none(plan.turn[seq]),
            scheduled_s=scheduled_s,
            sent_s=scheduled_s,
            first_token_s=_seconds(sequence.first_token_ps),
            last_token_s=_seconds(sequence.last_token_ps),
            finished_s=_seconds(sequence.ended_ps),
            prompt_tokens=int(plan.prompt_tokens[seq]),
            image_tokens=sequence.image_tokens,
            cached_prompt_tokens=None if sequence.first_token_ps is None else sequence.cached_tokens,
            output_tokens=sequence.generated,
            outcome=sequence.outcome,
            cause=sequence.cause,
            replica=None if sequence.replica is None else self._cluster.replicas[sequence.replica].name,
            preemptions=None if sequence.replica is None else sequence.preemptions,
            itl_p50_s=itl[0],
            itl_p95_s=itl[1],
            itl_p99_s=itl[2],
            itl_max_s=itl[3],
        )


def _int_or_none(value: np.int64) -> int | None:
    return None if value == NOTHING else int(value)


def _seconds(ps: int | None) -> float | None:
    return None if ps is None else ps / PS_PER_S


def _followers(plan: RequestPlan) -> dict[int, list[int]]:
    followers: dict[int, list[int]] = {}
    for seq in np.flatnonzero(plan.after_seq != NOTHING).tolist():
        followers.setdefault(int(plan.after_seq[seq]), []).append(seq)
    return followers


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
