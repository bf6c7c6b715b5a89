"""Collectives of a group of GPUs that may span nodes."""

from __future__ import annotations

from dataclasses import dataclass

from loadlab.catalog.specs import LinkSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """`gpus` that work together, spread evenly over `nodes`. `link` joins those of a node, `node_link` the nodes."""

    gpus: int
    nodes: int
    link: LinkSpec | None
    node_link: LinkSpec | None

    @property
    def gpus_on_node(self) -> int:
        """Of each node."""
        return self.gpus // self.nodes

    def all_reduce_s(self, payload_bytes: float) -> float:
        """Sum of `payload_bytes` over the group: within each node, then of each GPU's part between nodes (NCCL's hierarchical ring)."""
        local, seconds = self.gpus_on_node, 0.0
        if local > 1:
            assert self.link is not None
            seconds += self.link.all_reduce_s(payload_bytes, local)
        if self.nodes > 1:
            assert self.node_link is not None
            seconds += self.node_link.all_reduce_s(payload_bytes / local, self.nodes)
        return seconds

    def all_to_all_s(self, sent_bytes: float) -> float:
        """Each GPU sends `sent_bytes` in all, in equal parts to every one. What stays in the node and what leaves it move at once."""
        local = self.gpus_on_node
        if self.nodes == 1:
            if local == 1:
                return 0.0
            assert self.link is not None
            return self.link.all_to_all_s(sent_bytes, local)
        assert self.node_link is not None
        within = 0.0 if local == 1 or self.link is None else self.link.all_to_all_s(sent_bytes * local / self.gpus, local)
        leaving = sent_bytes * (self.gpus - local) / self.gpus
        row_latency = self.node_link.all_to_all_s(0.0, self.nodes)
        return max(within, row_latency + leaving / self.node_link.point_bytes_per_s)
