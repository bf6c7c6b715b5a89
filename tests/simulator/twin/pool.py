"""Equal replicas behind one router, and the autoscaler that decides how many of them there are."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadlab.record.request import Cause
from loadlab.simulator.draws import mix64
from loadlab.simulator.spec import PoolSpec, Router
from loadlab.units import PS_PER_S
from tests.simulator.twin.blocks import longest_prefix
from tests.simulator.twin.replica import Replica
from tests.simulator.twin.request import TwinRequest


@dataclass(slots=True, eq=False)
class Pool:
    """Pool `index` of the cluster file."""

    index: int
    spec: PoolSpec
    seed: int
    replicas: list[Replica]
    num_routed: int = 0
    turn: int = 0  # of the round-robin
    last_scaled_ps: int | None = field(default=None)

    def choose(self, request: TwinRequest) -> Replica | Cause:
        """The replica for a request, or why there is none."""
        there = [replica for replica in self.replicas if replica.takes_newcomers]
        if not there:
            return Cause.NO_REPLICA
        eligible = [replica for replica in there if replica.has_free_kv()]
        if not eligible:
            return Cause.KV_EXHAUSTED
        chosen = self._route(eligible, request)
        self.num_routed += 1
        return chosen

    def _route(self, eligible: list[Replica], request: TwinRequest) -> Replica:
        m = len(eligible)
        match self.spec.router:
            case Router.ROUND_ROBIN:
                chosen = min(eligible, key=lambda replica: (replica.number - self.turn) % len(self.replicas))
                self.turn = chosen.number + 1
                return chosen
            case Router.RANDOM:
                return eligible[mix64(self.seed, 3, self.index, self.num_routed) % m]
            case Router.LEAST_OUTSTANDING:
                return min(eligible, key=lambda replica: (replica.engine.outstanding(), replica.number))
            case Router.POWER_OF_TWO:
                if m == 1:
                    return eligible[0]
                a = mix64(self.seed, 4, self.index, self.num_routed) % m
                b = mix64(self.seed, 5, self.index, self.num_routed) % (m - 1)
                if b >= a:
                    b += 1
                return min((eligible[a], eligible[b]), key=lambda replica: (replica.engine.outstanding(), replica.number))
            case Router.KV_AWARE:
                return min(eligible, key=lambda replica: (-self._known(replica, request), replica.engine.outstanding(), replica.number))

    def _known(self, replica: Replica, request: TwinRequest) -> int:
        block_size = self.spec.engine.block_size_tokens
        return len(longest_prefix(set(replica.engine.report.known), request, request.prompt_tokens, block_size))

    def scale(self, now: int) -> None:
        """Starts or retires a replica, at most once every interval."""
        rule = self.spec.autoscale
        if rule is None:
            return
        if self.last_scaled_ps is not None and now < self.last_scaled_ps + round(rule.interval_s * PS_PER_S):
            return
        self.last_scaled_ps = now
        serving = [replica for replica in self.replicas if replica.takes_newcomers]
        starting = [replica for replica in self.replicas if replica.is_starting]
        outstanding = sum(replica.engine.outstanding() for replica in serving)
        count = len(serving) + len(starting)
        if outstanding > rule.target_outstanding * count:
            for replica in self.replicas:
                if replica.is_off:
                    replica.is_off, replica.is_starting = False, True
                    replica.ready_ps = now + round(rule.startup_s * PS_PER_S)
                    break
        elif outstanding < rule.target_outstanding / 2 * count and len(serving) > rule.min_replicas:
            serving[-1].is_retiring = True
            serving[-1].turn_off_if_retired()
