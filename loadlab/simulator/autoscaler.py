"""How many replicas of a pool run: starts one under load, and retires the last one when there is little."""

from __future__ import annotations

from loadlab.simulator.replica import NEVER_PS, Replica
from loadlab.simulator.spec import Autoscale
from loadlab.units import PS_PER_S


class Autoscaler:
    """Looks at a pool when a sequence is to be routed, at most once every interval. Replicas beyond `min_replicas` begin off."""

    def __init__(self, rule: Autoscale, replicas: list[Replica]) -> None:
        self._rule = rule
        self._replicas = replicas
        self._interval_ps = round(rule.interval_s * PS_PER_S)
        self._startup_ps = round(rule.startup_s * PS_PER_S)
        self._looked_ps: int | None = None
        self._off = set(replicas[rule.min_replicas :])
        self._starting: set[Replica] = set()
        self._retiring: set[Replica] = set()
        for replica in self._off:
            replica.stop(NEVER_PS)

    def look(self, now_ps: int) -> None:
        """Starts a replica, or retires one, if the interval has passed and the load asks for it."""
        self._starting = {replica for replica in self._starting if not replica.service.is_up}
        for replica in [replica for replica in self._retiring if not replica.outstanding]:
            self._retiring.remove(replica)
            self._off.add(replica)
            replica.service.retire(False)
            replica.stop(NEVER_PS)
        if self._looked_ps is not None and now_ps - self._looked_ps < self._interval_ps:
            return
        self._looked_ps = now_ps
        serving = [replica for replica in self._replicas if replica.service.is_open]
        count = len(serving) + len(self._starting)
        outstanding = sum(replica.outstanding for replica in serving)
        if outstanding > self._rule.target_outstanding * count and self._off:
            first = min(self._off, key=lambda replica: replica.index)
            self._off.remove(first)
            self._starting.add(first)
            first.stop(now_ps + self._startup_ps)
        elif outstanding < self._rule.target_outstanding / 2 * count and len(serving) > self._rule.min_replicas:
            self._retiring.add(serving[-1])
            serving[-1].service.retire(True)
