"""The whole backend, one moment after the other: what happens at one time happens in the five phases of docs/simulator-model.md."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from loadlab.record.request import Cause
from loadlab.simulator.faults import Drain, Fault, LostNode, LostRegion, Misconfigured, SlowGpu, SlowLink
from loadlab.simulator.sharding import kv_transfer_ps
from loadlab.simulator.spec import ClusterSpec
from loadlab.units import PS_PER_S
from tests.simulator.twin.build import build_pools
from tests.simulator.twin.door import Workers, pool_for, tiers_to_ask
from tests.simulator.twin.pool import Pool
from tests.simulator.twin.replica import Replica
from tests.simulator.twin.request import Job, ReplicaTotals, TwinRequest, TwinResult, Visit, Where


class Way(Enum):
    """What a job comes out of."""

    PIPELINE = auto()
    NETWORK = auto()
    TRANSFER = auto()
    POST_PROCESSING = auto()
    ESCALATION = auto()


@dataclass(slots=True)
class Traveller:
    """A job between two places."""

    job: Job
    way: Way
    out_ps: int
    number: int  # the order in which they went in; pipeline and network are one way


class TwinCluster:
    """A simulated backend that takes one step at a time."""

    def __init__(self, spec: ClusterSpec, seed: int) -> None:
        self.spec, self.seed = spec, seed
        self.pools: list[Pool] = build_pools(spec, seed, self._visit_ends, self._out_of_memory)
        self.replicas: list[Replica] = [replica for pool in self.pools for replica in pool.replicas]
        self.workers = None if spec.pipeline is None else Workers(spec.pipeline)
        self.travellers: list[Traveller] = []
        self.num_travellers = 0
        self.jobs: list[Job] = []
        self.faults_to_begin: list[Fault] = [fault for fault in spec.faults if not isinstance(fault, Misconfigured)]
        self.faults_to_end: list[Fault] = []

    def run(self, arrivals: list[tuple[int, TwinRequest]]) -> dict[int, TwinResult]:
        """Runs everything until nothing happens any more. Arrivals at one time arrive in the order given."""
        to_come = sorted(arrivals, key=lambda arrival: arrival[0])
        while (now := self._next_ps([at_ps for at_ps, _ in to_come])) is not None:
            self._boundaries(now)
            self._faults(now)
            self._give_ups(now)
            self._travellers(now)
            while to_come and to_come[0][0] == now:
                self._arrive(to_come.pop(0)[1], now)
        return {job.request.seq: job.result() for job in self.jobs}

    def totals(self) -> list[ReplicaTotals]:
        """Every replica, over all pools."""
        return [
            ReplicaTotals(
                running=len(engine.running),
                waiting=len(engine.waiting),
                used_blocks=engine.memory.num_used(),
                preemptions=engine.preemptions,
                ooms=engine.ooms,
            )
            for engine in (replica.engine for replica in self.replicas)
        ]

    # Time

    def _next_ps(self, arrivals_ps: list[int]) -> int | None:
        times = list(arrivals_ps)
        for replica in self.replicas:
            times += [time for time in (replica.engine.next_boundary_ps(), replica.ready_ps) if time is not None]
        times += [begins_ps(fault) for fault in self.faults_to_begin] + [ends_ps(fault) for fault in self.faults_to_end]
        for job in self.jobs:
            times += [time for time, _ in self._limits(job)]
        times += [traveller.out_ps for traveller in self.travellers]
        return min(times, default=None)

    def _limits(self, job: Job) -> Iterator[tuple[int, Cause]]:
        """When a job will be given up if it is still there, or still waiting."""
        if job.where is Where.OVER:
            return
        if job.request.deadline_ps is not None:
            yield job.request.deadline_ps, Cause.DEADLINE
        if job.where is Where.IN_LINE and job.give_up_waiting_ps is not None:
            yield job.give_up_waiting_ps, Cause.QUEUE_TIMEOUT

    # 1: boundaries, and replicas that become ready

    def _boundaries(self, now: int) -> None:
        for replica in self.replicas:
            if replica.ready_ps == now:
                replica.ready_ps, replica.is_starting = None, False
            if replica.engine.next_boundary_ps() == now:
                replica.engine.boundary(now)
                replica.turn_off_if_retired()

    def _visit_ends(self, visit: Visit, now: int) -> None:
        """A visit has all its tokens."""
        job = visit.job
        if visit.has_left:
            return
        job.visit, job.where = None, Where.ON_ITS_WAY
        if visit.ends_after < visit.request.output_tokens:  # it was here for its prompt
            job.replica = None
            self._travel(job, Way.TRANSFER, now + kv_transfer_ps(self.pools[job.pool].spec, job.request.prompt_tokens))
        elif len(job.tiers_left) > 1:
            job.tiers_left.pop(0)
            job.forget_answer()
            self._travel(job, Way.ESCALATION, now)
        elif self.spec.pipeline is not None and self.spec.pipeline.post_process_s > 0:
            self._travel(job, Way.POST_PROCESSING, now + round(self.spec.pipeline.post_process_s * PS_PER_S))
        else:
            self._over(job, now, None)

    def _out_of_memory(self, replica: Replica, now: int) -> None:
        replica.ready_ps = now + round(replica.pool_spec.engine.restart_s * PS_PER_S)
        self._everybody_fails(replica, now, Cause.OOM_REPORTED)

    def _everybody_fails(self, replica: Replica, now: int, cause: Cause) -> None:
        for visit in replica.engine.die():
            self._over(visit.job, now, cause)
        replica.turn_off_if_retired()

    def _over(self, job: Job, now: int, cause: Cause | None) -> None:
        job.where, job.visit = Where.OVER, None
        job.ended_ps, job.cause = now, cause
        if len(job.tiers_left) > 1:  # the client would not have seen this answer
            job.forget_answer()

    # 2: faults

    def _faults(self, now: int) -> None:
        for fault in [fault for fault in self.faults_to_begin if begins_ps(fault) == now]:
            self.faults_to_begin.remove(fault)
            self.faults_to_end.append(fault)
            self._begin(fault, now)
        for fault in [fault for fault in self.spec.faults if fault in self.faults_to_end and ends_ps(fault) == now]:
            self.faults_to_end.remove(fault)
            self._end(fault)

    def _begin(self, fault: Fault, now: int) -> None:
        for replica in self._struck_by(fault):
            match fault:
                case SlowGpu():
                    replica.slow_gpus.append(fault)
                    replica.feel_speed()
                case SlowLink():
                    replica.slow_links.append(fault)
                    replica.feel_speed()
                case Drain():
                    replica.drains += 1
                case _:
                    replica.deaths += 1
                    self._everybody_fails(replica, now, Cause.ENGINE_DIED)

    def _end(self, fault: Fault) -> None:
        for replica in self._struck_by(fault):
            match fault:
                case SlowGpu():
                    replica.slow_gpus.remove(fault)
                    replica.feel_speed()
                case SlowLink():
                    replica.slow_links.remove(fault)
                    replica.feel_speed()
                case Drain():
                    replica.drains -= 1
                case _:
                    replica.deaths -= 1

    def _struck_by(self, fault: Fault) -> list[Replica]:
        if isinstance(fault, LostRegion):
            return [replica for replica in self.replicas if replica.pool_spec.region == fault.region]
        pool = self.pools[list(self.spec.pools).index(fault.pool)]
        if isinstance(fault, LostNode):
            return [replica for replica in pool.replicas if fault.node in replica.nodes]
        return [pool.replicas[fault.replica]]

    # 3: give-ups

    def _give_ups(self, now: int) -> None:
        for job in self.jobs:  # in order of submission
            due = [cause for time, cause in self._limits(job) if time == now]
            if not due:
                continue
            if job.visit is not None and job.replica is not None:
                self.replicas[job.replica].engine.give_up(job.visit)
            self._over(job, now, due[0])

    # 4: out of the pipeline, the network, a KV transfer

    def _travel(self, job: Job, way: Way, out_ps: int) -> None:
        self.num_travellers += 1
        if way is not Way.NETWORK or job.number_on_its_way is None:
            job.number_on_its_way = self.num_travellers
        self.travellers.append(Traveller(job, way, out_ps, job.number_on_its_way))

    def _travellers(self, now: int) -> None:
        while due := [traveller for traveller in self.travellers if traveller.out_ps == now]:
            first = min(due, key=lambda traveller: traveller.number)
            self.travellers.remove(first)
            self._come_out(first.job, first.way, now)

    def _come_out(self, job: Job, way: Way, now: int) -> None:
        if way is Way.PIPELINE:
            self._free_worker(now)
        if job.where is Where.OVER:
            return
        match way:
            case Way.PIPELINE:
                assert self.workers is not None
                if self.workers.refuses(job.request):
                    self._over(job, now, Cause.FILTERED)
                else:
                    self._through_the_network(job, now)
            case Way.NETWORK:
                self._reach_pool(job, now)
            case Way.TRANSFER:
                self._to_replica(job, self.pools[job.pool], now, ends_after=job.request.output_tokens, comes_with_kv=True)
            case Way.ESCALATION:
                self._begin_tier(job)
                self._reach_pool(job, now)  # the round trip was charged on the way in
            case Way.POST_PROCESSING:
                self._over(job, now, None)

    # 5: arrivals, and the way to a replica

    def _arrive(self, request: TwinRequest, now: int) -> None:
        job = Job(request=request, order=len(self.jobs), tiers_left=tiers_to_ask(self.spec, self.seed, request))
        self.jobs.append(job)
        self._begin_tier(job)
        if self.workers is None:
            self._through_the_network(job, now)
        elif self.workers.num_busy < self.workers.spec.threads:
            self._take_worker(job, now)
        else:
            self.workers.line.append(job)

    def _begin_tier(self, job: Job) -> None:
        pool, round_trip_ps = pool_for(self.spec, self.pools, job.request, job.tiers_left[0])
        job.pool, job.round_trip_ps = pool.index, round_trip_ps
        job.forget_answer()

    def _take_worker(self, job: Job, now: int) -> None:
        assert self.workers is not None
        self.workers.num_busy += 1
        self._travel(job, Way.PIPELINE, now + self.workers.stages_ps(job.request))

    def _free_worker(self, now: int) -> None:
        assert self.workers is not None
        self.workers.num_busy -= 1
        if self.workers.line:
            self._take_worker(self.workers.line.pop(0), now)  # also for a client that has left meanwhile

    def _through_the_network(self, job: Job, now: int) -> None:
        if job.round_trip_ps > 0:
            self._travel(job, Way.NETWORK, now + job.round_trip_ps)
        else:
            self._reach_pool(job, now)

    def _reach_pool(self, job: Job, now: int) -> None:
        pool = self.pools[job.pool]
        cause = self._hopeless(job.request, pool, job.request.output_tokens)
        if cause is not None:
            self._over(job, now, cause)
        elif pool.spec.prefill_pool is None:
            self._to_replica(job, pool, now, ends_after=job.request.output_tokens, comes_with_kv=False)
        else:
            behind = self.pools[list(self.spec.pools).index(pool.spec.prefill_pool)]
            self._to_replica(job, behind, now, ends_after=min(1, job.request.output_tokens), comes_with_kv=False)

    def _hopeless(self, request: TwinRequest, pool: Pool, ends_after: int) -> Cause | None:
        """Why no replica of a pool could ever serve a request."""
        engines = [replica.engine for replica in pool.replicas]
        if request.prompt_tokens + ends_after > engines[0].capacity.context_tokens:
            return Cause.CONTEXT_LENGTH
        if not any(engine.can_ever_hold(request, ends_after) for engine in engines):
            return Cause.KV_TOO_SMALL
        return None

    def _to_replica(self, job: Job, pool: Pool, now: int, *, ends_after: int, comes_with_kv: bool) -> None:
        job.replica = None  # whoever is refused here has none
        cause = self._hopeless(job.request, pool, ends_after)
        if cause is not None:
            self._over(job, now, cause)
            return
        pool.scale(now)
        chosen = pool.choose(job.request)
        if isinstance(chosen, Cause):
            self._over(job, now, chosen)
            return
        engine, limit = chosen.engine, pool.spec.queue_limit
        if not engine.can_ever_hold(job.request, ends_after):
            self._over(job, now, Cause.KV_TOO_SMALL)
            return
        if limit is not None and len(engine.waiting) >= limit and not engine.has_place():
            self._over(job, now, Cause.QUEUE_FULL)
            return
        visit = Visit(job=job, request=job.request, ends_after=ends_after)
        if comes_with_kv:
            visit.comes_with_kv, visit.emitted = True, 1
        job.visit, job.where, job.replica = visit, Where.IN_LINE, chosen.index
        if pool.spec.max_queue_wait_s is not None:
            job.give_up_waiting_ps = now + round(pool.spec.max_queue_wait_s * PS_PER_S)
        engine.arrive(visit, now)


def begins_ps(fault: Fault) -> int:
    """When a fault begins."""
    assert not isinstance(fault, Misconfigured)
    return round(fault.at_s * PS_PER_S)


def ends_ps(fault: Fault) -> int:
    """When it ends."""
    assert not isinstance(fault, Misconfigured)
    return begins_ps(fault) + round(fault.for_s * PS_PER_S)
