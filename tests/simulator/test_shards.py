from __future__ import annotations

import pytest

from loadlab.simulator.faults import SlowGpu
from loadlab.simulator.shards import shard_busy
from loadlab.simulator.timeline import Timeline, TimelineBin


def bin_at(t_s: float, busy: float = 0.8) -> TimelineBin:
    empty = Timeline(10, 4).bins()[0]
    return type(empty)(**{name: getattr(empty, name) for name in empty.__slots__} | {"t_s": t_s, "dt_s": 10.0, "gpu_busy": busy})


SLOW = SlowGpu(pool="p", replica=0, gpu=1, speed=0.25, at_s=5.0, for_s=10.0)


def test_without_a_fault_every_gpu_is_as_busy_as_its_group() -> None:
    assert shard_busy(bin_at(20.0), 4, [SLOW]) == pytest.approx((0.8, 0.8, 0.8, 0.8))


def test_the_others_wait_for_a_slow_gpu_while_it_is_slow() -> None:
    """Slow in the second half of the first bin: the others compute a quarter of that half, and all of the first."""
    assert shard_busy(bin_at(0.0), 2, [SLOW]) == pytest.approx((0.8 * (0.5 + 0.5 * 0.25), 0.8))
    assert shard_busy(bin_at(0.0), 2, []) == pytest.approx((0.8, 0.8))
