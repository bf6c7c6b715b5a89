"""The same requests on the fast cluster and on its twin, and where they differ."""

from __future__ import annotations

import dataclasses
from typing import Any

from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import ClusterSpec
from tests.simulator.twin.cluster import TwinCluster
from tests.simulator.twin.request import TwinRequest

Arrivals = list[tuple[int, TwinRequest]]
Rows = dict[str, Any]  # what is compared: "seq 3 ended_ps" -> value


def twin_rows(spec: ClusterSpec, seed: int, arrivals: Arrivals) -> Rows:
    """Every field of every request, and every replica's totals at the end, as the twin has them."""
    twin = TwinCluster(spec, seed)
    rows: Rows = {}
    for seq, result in twin.run(arrivals).items():
        for name, value in dataclasses.asdict(result).items():
            rows[f"seq {seq} {name}"] = value
    for index, (totals, replica) in enumerate(zip(twin.totals(), twin.replicas, strict=True)):
        blocks = replica.engine.capacity.num_blocks
        rows[f"replica {index} running"] = totals.running
        rows[f"replica {index} waiting"] = totals.waiting
        rows[f"replica {index} kv_usage"] = totals.used_blocks / blocks if blocks else 0.0
        rows[f"replica {index} preemptions"] = totals.preemptions
        rows[f"replica {index} ooms"] = totals.ooms
    return rows


def fast_rows(spec: ClusterSpec, seed: int, arrivals: Arrivals, *, is_told_of_idle_faults: bool = False) -> Rows:
    """The same of the fast cluster."""
    cluster = SimulatedCluster(spec, seed=seed)
    sequences: list[Sequence] = []
    for at_ps, request in sorted(arrivals, key=lambda arrival: arrival[0]):
        while cluster.next_event_ps() <= at_ps:
            cluster.advance_to(cluster.next_event_ps())
        if is_told_of_idle_faults:
            cluster.advance_to(at_ps)
        sequence = Sequence(**{field.name: getattr(request, field.name) for field in dataclasses.fields(request)})
        sequences.append(sequence)
        cluster.submit(sequence, at_ps)
    while cluster.next_event_ps() < NEVER_PS:
        cluster.advance_to(cluster.next_event_ps())
    rows: Rows = {}
    for sequence in sequences:
        for name in ("cause", "ended_ps", "first_token_ps", "last_token_ps", "cached_tokens", "preemptions", "replica"):
            rows[f"seq {sequence.seq} {name}"] = getattr(sequence, name)
        rows[f"seq {sequence.seq} token_times_ps"] = cluster.token_times_ps(sequence)
    for index, replica in enumerate(cluster.snapshot()):
        for name in ("running", "waiting", "kv_usage", "preemptions", "ooms"):
            rows[f"replica {index} {name}"] = getattr(replica, name)
    return rows


def differences(spec: ClusterSpec, seed: int, arrivals: Arrivals, *, is_told_of_idle_faults: bool = False) -> dict[str, str]:
    """What differs, and how. Empty: they are the same."""
    twin = twin_rows(spec, seed, arrivals)
    fast = fast_rows(spec, seed, arrivals, is_told_of_idle_faults=is_told_of_idle_faults)
    return {
        key: f"twin {twin.get(key, 'nothing')}, fast {fast.get(key, 'nothing')}"
        for key in (*twin, *(key for key in fast if key not in twin))
        if key not in twin or key not in fast or twin[key] != fast[key]
    }
