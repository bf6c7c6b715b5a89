"""A cluster driven in real time: each look tells who got tokens since the last one, and when exactly each came.

Whoever serves the simulator over HTTP drives it through here, and submits to the cluster as ever. What was told is forgotten: memory
does not grow with the run.
"""

from __future__ import annotations

from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.events import Event, EventKind
from loadlab.simulator.replica import Replica
from loadlab.simulator.sequence import Sequence, State

Tokens = tuple[Sequence, list[int]]  # who got some, and when each came, in picoseconds, ascending
KEPT_BYTES = 2**16  # of a log, some 750 stretches, before it is put away: that costs a third of a millisecond


class LiveTokens:
    """Advances a cluster and tells each token of each request once. Nobody else advances the cluster meanwhile.

    A look costs some microseconds a replica, and a tenth of one for each request that got tokens.
    """

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._at_ps = 0
        self._told = [replica.batcher.tick for replica in cluster.replicas]  # the last tick of each that was told
        self._preemptions = [0] * len(cluster.replicas)
        self._ended = cluster.watch_engines()

    def advance_to(self, at_ps: int) -> tuple[list[Tokens], list[Event]]:
        """Lets everything up to and including `at_ps` happen. Returns the tokens that came, and then what became of requests.

        A request may be named more than once, its times ascending; requests of one batch share a list of times, so read it only. Of a
        cascade of tiers the client sees the last tier's tokens. The last token of a request is told no later than its end.
        """
        self._at_ps = at_ps
        events = self._cluster.advance_to(at_ps)
        times = [replica.tick_times_ps(told, at_ps) for replica, told in zip(self._cluster.replicas, self._told, strict=True)]
        ended = [(s, s) for kind, _, s in events if kind is EventKind.ENDED] if self._cluster.is_plain else self._ended
        tokens = [(client, found) for client, engine_s in ended for found in self._closed(engine_s, times)]
        self._ended.clear()
        for replica, new in zip(self._cluster.replicas, times, strict=True):
            if new:
                self._look_at(replica, times, tokens)
                self._told[replica.index] += len(new)
            if len(replica.log.packed) > KEPT_BYTES:
                replica.log.settle(replica.batcher.tick)
        return tokens, events

    def next_ps(self) -> int:
        """When the next token may come, or anything else happen: the end of the first step under way, NEVER_PS if nothing will."""
        ends = [replica.next_tick_ps(self._at_ps) for replica in self._cluster.replicas]
        return min(self._cluster.next_event_ps(), *ends)

    def _look_at(self, replica: Replica, times: list[list[int]], tokens: list[Tokens]) -> None:
        """Adds what came to the sequences of a replica that has reached new ticks."""
        batcher, told, new = replica.batcher, self._told[replica.index], times[replica.index]
        if replica.preemptions != self._preemptions[replica.index]:  # what somebody got before it gave way
            self._preemptions[replica.index] = replica.preemptions
            for sequence in (*batcher.running.values(), *batcher.waiting):
                if sequence.state is not State.ENDED and (client := self._cluster.client_of(sequence)) is not None:
                    tokens.extend((client, found) for found in self._closed(sequence, times))
        reached = told + len(new)
        for sequence in batcher.running.values():
            if sequence.state is not State.DECODING or sequence.first_tick > reached:
                continue
            client = sequence if sequence.parent is None else self._cluster.client_of(sequence)
            if client is not None:
                tokens.append((client, new if sequence.first_tick <= told + 1 else new[sequence.first_tick - told - 1 :]))

    def _closed(self, sequence: Sequence, times: list[list[int]]) -> list[list[int]]:
        """New tokens of a sequence's closed pieces in the replica that it is, or was last, in."""
        found = []
        for index, first, last in sequence.pieces:
            if index == sequence.replica and last > self._told[index]:
                found.append(times[index][max(0, first - self._told[index] - 1) : last - self._told[index]])
        return found
