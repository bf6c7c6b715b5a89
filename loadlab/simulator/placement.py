"""Which GPUs of which nodes a pool's replicas take."""

from __future__ import annotations

from dataclasses import dataclass

from loadlab.simulator.spec import PlainConstants, PoolSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One replica's shards: (node, GPU of that node) of each, in order of their rank in the group."""

    shards: tuple[tuple[int, int], ...]

    @property
    def nodes(self) -> frozenset[int]:
        """Nodes that hold a part of it."""
        return frozenset(node for node, _ in self.shards)


def place(pool: PoolSpec) -> list[Placement]:
    """GPUs in order, `gpus_per_node` to a node; a replica begins a new node where the rest of one does not hold it.

    A replica in plain constants counts as one GPU, eight to a node.
    """
    hardware = pool.hardware
    per_node, size = (8, 1) if isinstance(hardware, PlainConstants) else (hardware.gpus_per_node, hardware.gpus)
    placements, taken = [], 0
    for _ in range(pool.replicas):
        if taken % per_node and taken % per_node + size > per_node:
            taken += per_node - taken % per_node
        placements.append(Placement(shards=tuple(divmod(gpu, per_node) for gpu in range(taken, taken + size))))
        taken += size
    return placements
