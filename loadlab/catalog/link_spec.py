"""A kind of link between GPUs, and how long collectives of one process group take over it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from loadlab.schema import NonNegative, Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSpec:
    """Collectives over one kind of link, for groups of `group_sizes` GPUs (other sizes take the next larger).

    `all_reduce_s_per_sqrt_byte` bridges latency and bandwidth, where libraries change their protocol: empirical, 0 where not measured.
    """

    group_sizes: tuple[int, ...]
    all_reduce_latency_s: tuple[float, ...]
    bus_bytes_per_s: tuple[float, ...]
    all_reduce_s_per_sqrt_byte: tuple[Annotated[float, NonNegative], ...] = ()
    point_latency_s: Annotated[float, NonNegative]  # one GPU to another
    point_bytes_per_s: Annotated[float, Positive]  # one direction of one GPU
    source: str
    as_of: str

    def __post_init__(self) -> None:
        sizes = len(self.group_sizes)
        if not sizes or len(self.all_reduce_latency_s) != sizes or len(self.bus_bytes_per_s) != sizes:
            raise ValueError("group_sizes, all_reduce_latency_s and bus_bytes_per_s must have as many entries as one another")
        if self.all_reduce_s_per_sqrt_byte and len(self.all_reduce_s_per_sqrt_byte) != sizes:
            raise ValueError(f"all_reduce_s_per_sqrt_byte must have {sizes} entries, one for each of group_sizes")

    def all_reduce_s(self, payload_bytes: float, gpus: int) -> float:
        """Seconds to sum `payload_bytes` over `gpus`: latency + c sqrt(bytes) + 2(n-1)/n * bytes / bus bandwidth (NCCL's ring model)."""
        if gpus == 1:
            return 0.0
        row = self._row(gpus)
        bend = self.all_reduce_s_per_sqrt_byte[row] * payload_bytes**0.5 if self.all_reduce_s_per_sqrt_byte else 0.0
        return self.all_reduce_latency_s[row] + bend + 2 * (gpus - 1) / gpus * payload_bytes / self.bus_bytes_per_s[row]

    def all_to_all_s(self, sent_bytes: float, gpus: int) -> float:
        """Seconds in which each of `gpus` sends `sent_bytes` in all, in equal parts to every one, itself included."""
        if gpus == 1:
            return 0.0
        return self.all_reduce_latency_s[self._row(gpus)] + sent_bytes * (gpus - 1) / gpus / self.point_bytes_per_s

    def point_s(self, payload_bytes: float) -> float:
        """Seconds from one GPU to another."""
        return self.point_latency_s + payload_bytes / self.point_bytes_per_s

    def _row(self, gpus: int) -> int:
        return next(i for i, size in enumerate(self.group_sizes) if gpus <= size)
