"""The replicas of a cluster file, empty and idle."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from loadlab.simulator.faults import Misconfigured
from loadlab.simulator.sharding import kv_capacity
from loadlab.simulator.spec import ClusterSpec, PoolSpec
from tests.simulator.twin.engine import Engine
from tests.simulator.twin.pool import Pool
from tests.simulator.twin.replica import Replica, nodes_of, step_times
from tests.simulator.twin.request import Visit


def build_pools(
    spec: ClusterSpec, seed: int, on_end: Callable[[Visit, int], None], on_out_of_memory: Callable[[Replica, int], None]
) -> list[Pool]:
    """All pools in the order of the file, their replicas numbered over all of them."""
    pools: list[Pool] = []
    index = 0
    for pool_index, (name, pool_spec) in enumerate(spec.pools.items()):
        nodes = nodes_of(pool_spec)
        replicas: list[Replica] = []
        for number in range(pool_spec.replicas):
            own_spec = _as_configured(spec, name, number)
            engine = Engine(
                index=index,
                seed=seed,
                limits=own_spec.engine,
                capacity=kv_capacity(own_spec, spec.name, f"pools.{name}"),
                times=step_times(own_spec),
                on_end=on_end,
                on_out_of_memory=lambda now: None,
            )
            replica = Replica(index=index, number=number, pool_spec=own_spec, engine=engine, nodes=nodes[number])
            engine.on_out_of_memory = partial(on_out_of_memory, replica)
            replica.is_off = own_spec.autoscale is not None and number >= own_spec.autoscale.min_replicas
            replicas.append(replica)
            index += 1
        pools.append(Pool(index=pool_index, spec=pool_spec, seed=seed, replicas=replicas))
    return pools


def _as_configured(spec: ClusterSpec, name: str, number: int) -> PoolSpec:
    pool = spec.pools[name]
    for fault in spec.faults:
        if isinstance(fault, Misconfigured) and (fault.pool, fault.replica) == (name, number):
            pool = dataclasses.replace(pool, engine=dataclasses.replace(pool.engine, gpu_memory_utilization=fault.gpu_memory_utilization))
    return pool
