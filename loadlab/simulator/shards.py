"""How busy each GPU of a group was: the others wait for a slow one, twice a layer, so they stand idle while it computes."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from itertools import pairwise

from loadlab.simulator.faults import SlowGpu
from loadlab.simulator.timeline import TimelineBin


def shard_busy(bin_: TimelineBin, gpus: int, slow: Seq[SlowGpu]) -> tuple[float, ...]:
    """Share of the bin that each GPU of one replica's group computed: the group's, times the slowest speed over its own.

    `slow`: the faults of this replica. Within a bin the time of a fault is told apart, the load is taken as even.
    """
    edges = {bin_.t_s, bin_.t_s + bin_.dt_s}
    for fault in slow:
        edges |= {min(max(t_s, bin_.t_s), bin_.t_s + bin_.dt_s) for t_s in (fault.at_s, fault.at_s + fault.for_s)}
    moments = sorted(edges)
    busy = [0.0] * gpus
    for start_s, end_s in pairwise(moments):
        speeds = [1.0] * gpus
        for fault in slow:
            if fault.at_s <= start_s and end_s <= fault.at_s + fault.for_s:
                speeds[fault.gpu] = min(speeds[fault.gpu], fault.speed)
        for gpu, speed in enumerate(speeds):
            busy[gpu] += (end_s - start_s) / bin_.dt_s * min(speeds) / speed
    return tuple(bin_.gpu_busy * share for share in busy)
