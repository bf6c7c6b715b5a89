"""One replica: an engine, whether it is there for newcomers, and the faults that it suffers."""

from __future__ import annotations

from dataclasses import dataclass, field

from loadlab.simulator.faults import SlowGpu, SlowLink
from loadlab.simulator.spec import PoolSpec
from loadlab.simulator.step_time import StepTimes, compile_step_times
from tests.simulator.twin.engine import Engine


@dataclass(slots=True, eq=False)
class Replica:
    """Replica `number` of its pool, `index` over all pools."""

    index: int
    number: int
    pool_spec: PoolSpec
    engine: Engine
    nodes: set[int]  # of its pool, that hold its GPUs
    is_off: bool = False  # by the autoscaler
    is_retiring: bool = False  # draining, by the autoscaler
    ready_ps: int | None = None  # starting, or starting anew
    is_starting: bool = False  # by the autoscaler
    deaths: int = 0  # faults by which it is dead now
    drains: int = 0  # faults by which it drains now
    slow_gpus: list[SlowGpu] = field(default_factory=list)
    slow_links: list[SlowLink] = field(default_factory=list)
    speeds: tuple[float, float] = (1.0, 1.0)  # of its slowest GPU and link

    @property
    def is_up(self) -> bool:
        """Whether its process serves."""
        return not self.is_off and self.ready_ps is None and self.deaths == 0

    @property
    def is_draining(self) -> bool:
        """Whether it gets nothing new."""
        return self.is_retiring or self.drains > 0

    @property
    def takes_newcomers(self) -> bool:
        """Whether it is up and not draining."""
        return self.is_up and not self.is_draining

    def has_free_kv(self) -> bool:
        """Whether it kept `min_free_kv_share` of its blocks, by its last report."""
        blocks = self.engine.capacity.num_blocks
        if blocks is None:
            return True
        return 1 - self.engine.report.used_blocks / blocks >= self.pool_spec.min_free_kv_share

    def feel_speed(self) -> None:
        """Tells the engine how fast it is, if that has changed."""
        gpu_speed = min([1.0] + [fault.speed for fault in self.slow_gpus])
        link_speed = min([1.0] + [fault.speed for fault in self.slow_links])
        if (gpu_speed, link_speed) != self.speeds:
            self.speeds = (gpu_speed, link_speed)
            self.engine.change_speed(step_times(self.pool_spec, gpu_speed, link_speed))

    def turn_off_if_retired(self) -> None:
        """A draining replica of an autoscaled pool is off once it is empty."""
        if self.is_retiring and self.engine.outstanding() == 0:
            self.is_retiring, self.is_off = False, True


def step_times(pool: PoolSpec, gpu_speed: float = 1.0, link_speed: float = 1.0) -> StepTimes:
    """Step times of a replica whose slowest GPU and link run at these speeds."""
    return compile_step_times(pool.hardware, gpu_speed=gpu_speed, link_speed=link_speed)


def nodes_of(pool: PoolSpec) -> list[set[int]]:
    """The nodes that each replica of the pool lies on: GPUs in order, a new node for whom the rest of one is too small."""
    gpus = 1
    for degree in ("tensor_parallel", "data_parallel", "pipeline_parallel"):
        gpus *= getattr(pool.hardware, degree, 1)
    per_node = getattr(pool.hardware, "gpus_per_node", 8)
    places: list[set[int]] = []
    next_gpu = 0
    for _ in range(pool.replicas):
        rest = per_node - next_gpu % per_node
        if rest < gpus and rest < per_node:
            next_gpu += rest
        places.append({gpu // per_node for gpu in range(next_gpu, next_gpu + gpus)})
        next_gpu += gpus
    return places
