"""Small clusters with numbers that a reader can do in the head, and a driver that returns what became of each request."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from loadlab.simulator.cluster import EventKind, SimulatedCluster
from loadlab.simulator.faults import Fault
from loadlab.simulator.replica import NEVER_PS
from loadlab.simulator.sequence import Sequence
from loadlab.simulator.spec import ClusterSpec, EngineLimits, PlainConstants, PoolSpec
from loadlab.units import PS_PER_S


def make_cluster(
    *,
    replicas: int = 1,
    pool: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    faults: tuple[Fault, ...] = (),
    **constants: Any,
) -> SimulatedCluster:
    """One pool "p" serving "m"; a step takes one second unless `constants` says otherwise. Blocks of 4 tokens, 64 of them."""
    hardware = PlainConstants(**({"step_s": 1.0, "kv_tokens": 256} | constants))
    engine = EngineLimits(**({"block_size_tokens": 4, "max_running": 8, "max_batched_tokens": 64} | (limits or {})))
    spec = PoolSpec(serves=("m",), replicas=replicas, hardware=hardware, engine=engine, **(pool or {}))
    return SimulatedCluster(ClusterSpec(name="test", pools={"p": spec}, faults=faults))


def request(seq: int, prompt: int, output: int, **more: Any) -> Sequence:
    """A sequence for the model "m"; `deadline_s` may be given instead of deadline_ps."""
    if "deadline_s" in more:
        more["deadline_ps"] = round(more.pop("deadline_s") * PS_PER_S)
    return Sequence(seq=seq, model="m", prompt_tokens=prompt, output_tokens=output, **more)


def drive(cluster: SimulatedCluster, arrivals: Iterable[tuple[float, Sequence]]) -> list[Sequence]:
    """Submits each sequence at its time in seconds, runs until idle, and returns all of them by seq."""
    done: list[Sequence] = []

    def advance(to_ps: int) -> None:
        done.extend(sequence for kind, _, sequence in cluster.advance_to(to_ps) if kind is EventKind.ENDED)

    for at_s, sequence in sorted(arrivals, key=lambda pair: (pair[0], pair[1].seq)):
        at_ps = round(at_s * PS_PER_S)
        while cluster.next_event_ps() <= at_ps:
            advance(cluster.next_event_ps())
        if not cluster.submit(sequence, at_ps):
            done.append(sequence)
    while cluster.next_event_ps() < NEVER_PS:
        advance(cluster.next_event_ps())
    return sorted(done, key=lambda sequence: sequence.seq)


def seconds(ps: int | None) -> float | None:
    """Seconds, without the picosecond that an idle engine takes to wake."""
    return None if ps is None else round(ps / PS_PER_S, 9)
