"""Looking at a cluster now and then tells every token once, at the time at which the slow twin says that it came."""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict

from loadlab.simulator.cluster import EventKind, SimulatedCluster
from loadlab.simulator.live_tokens import LiveTokens
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence
from tests.simulator.build import make_cluster, request
from tests.simulator.twin import TwinCluster
from tests.simulator.twin.clusters import CORNERS, FEATURES
from tests.simulator.twin.workloads import Case, random_case

PS = 10**12


def told(nasty: Case, rng: random.Random) -> dict[int, list[int]]:
    """When each request's tokens came, as looks at random times tell it; each client has all of them when it is told of its end."""
    cluster = SimulatedCluster(nasty.spec, seed=nasty.seed)
    live = LiveTokens(cluster)
    times: dict[int, list[int]] = defaultdict(list)
    now = 0

    def look(at_ps: int) -> None:
        tokens, events = live.advance_to(at_ps)
        for client, new in tokens:
            times[client.seq].extend(new)
        for kind, _, client in events:
            assert kind is EventKind.STARTED or len(times[client.seq]) == client.generated

    for at_ps, asked in sorted(nasty.arrivals, key=lambda arrival: arrival[0]):
        while rng.random() < 0.7:
            now = rng.randint(now, at_ps)
            look(now)
        if rng.random() < 0.7:
            look(now := at_ps)
        while cluster.next_event_ps() <= at_ps:
            look(cluster.next_event_ps())
        cluster.submit(Sequence(**{field.name: getattr(asked, field.name) for field in dataclasses.fields(asked)}), at_ps)
        now = at_ps
    while cluster.next_event_ps() < NEVER_PS:
        now = live.next_ps() if rng.random() < 0.3 else max(now, cluster.next_event_ps() - rng.choice((0, 0, 1, 10**9)))
        look(now)
    return times


def test_looks_tell_every_token_once_at_its_time() -> None:
    """All features: preemption, out-of-memory, deadlines, faults, prompts computed elsewhere, cascades, post-processing."""
    for seed in range(600):
        nasty = random_case(seed, FEATURES | CORNERS)
        results = TwinCluster(nasty.spec, nasty.seed).run(nasty.arrivals)
        expected = {seq: result.token_times_ps for seq, result in results.items() if result.token_times_ps}
        found = {seq: times for seq, times in told(nasty, random.Random(seed)).items() if times}
        assert found == expected, f"random_case({seed}, FEATURES | CORNERS)"


def test_a_look_in_mid_stretch_tells_the_steps_that_have_ended() -> None:
    cluster = make_cluster()
    live, asked = LiveTokens(cluster), request(0, 4, 9)
    cluster.submit(asked, 0)
    assert live.advance_to(PS // 2) == ([], [])
    assert live.next_ps() == PS + 1
    tokens, events = live.advance_to(int(3.5 * PS))
    assert tokens == [(asked, [PS + 1, 2 * PS + 1, 3 * PS + 1])]
    assert [kind for kind, _, _ in events] == [EventKind.STARTED]
    assert live.next_ps() == 4 * PS + 1
    assert live.advance_to(int(3.6 * PS)) == ([], [])
    assert live.advance_to(9 * PS + 1)[0] == [(asked, [i * PS + 1 for i in range(4, 10)])]


def test_memory_does_not_grow_with_what_was_told() -> None:
    cluster = make_cluster(limits={"max_running": 4})
    live = LiveTokens(cluster)
    for i in range(20_000):
        if i % 5 == 0:
            cluster.submit(request(i, 4, 5), i * PS)
        live.advance_to(i * PS)
    log = cluster.replicas[0].log
    assert len(log.packed) <= 2**16 + 100
    assert len(log.table) < 1000
