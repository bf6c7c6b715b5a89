"""The constants of a cluster that runs can correct: where each stands in its file, what is plausible, and the cluster with others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

from loadlab.errors import InputError
from loadlab.planning.calibration import Constant
from loadlab.simulator.calibrated import Tuning
from loadlab.simulator.sharding import kv_capacity
from loadlab.simulator.spec import Allocation, ClusterSpec, EngineLimits, Hardware, Pipeline, PlainConstants, PoolSpec, ShardedModel

WORDS = {
    "compute_scale": "compute efficiency, of the catalogue's",
    "bandwidth_scale": "bandwidth efficiency, of the catalogue's",
    "host_s": "host time a step",
    "host_per_sequence_s": "host time a step and sequence",
    "prefill_step_s": "prefill interference: of each step with prompt tokens",
    "step_s": "step",
    "per_decode_s": "a decode",
    "per_prefill_token_s": "a prompt token",
    "per_kv_token_s": "reading a KV token",
    "request_s": "a request's way to the scheduler and back",
    "kv_blocks": "KV blocks of a replica",
    "max_batched_tokens": "token budget of a step",
}
TOKEN_BUDGETS = (256, 512, 1024, 2048, 4096, 8192, 16384)  # what engines are set to: powers of two
KV_FACTORS = (0.5, 0.6, 0.7, 0.84, 1.2, 1.4, 1.7, 2.0)  # of the blocks that the file leaves; between the best and its neighbours it goes on
MANY_THREADS = 1024  # a request's way is no queue of ours
LEAST, MOST = 0.2, 5.0  # of a scale: beyond, the cluster file is of another machine


def pools_to_fit(spec: ClusterSpec, pool: str | None, source: str) -> tuple[str, ...]:
    """The pools that share the fitted constants: `pool`, or all, which have to be alike. Raises InputError."""
    if pool is not None:
        if pool not in spec.pools:
            raise InputError(f"= {pool!r} is not a pool of {source}; it has: {', '.join(spec.pools)}", key="--pool")
        return (pool,)
    first = next(iter(spec.pools.values()))
    if any((other.hardware, other.engine) != (first.hardware, first.engine) for other in spec.pools.values()):
        raise InputError(
            f"has pools of different hardware or limits ({', '.join(spec.pools)}), and one set of constants cannot be theirs; "
            "say whose by --pool NAME",
            source=source,
        )
    return tuple(spec.pools)


def constants_of(spec: ClusterSpec, pools: Sequence[str], source: str, *, has_network: bool, knows_kv: bool) -> tuple[Constant, ...]:
    """What runs may correct. `has_network`: the runs went over HTTP, so a request's way counts.

    `knows_kv`: the server said how full its KV memory was. That falls as blocks are added, so they have a slope; else they act
    by a threshold.
    """
    name = pools[0]
    pool = spec.pools[name]
    found = [*_of_hardware(pool.hardware)]
    if has_network:
        start = 0.0 if spec.pipeline is None else spec.pipeline.tokenise_s
        found.append(Constant(name="request_s", start=start, low=0.0, high=2.0, unit=0.02))
    blocks = kv_capacity(pool, source, f"pools.{name}").num_blocks
    if blocks is not None and pool.engine.allocation is Allocation.PAGED:
        choices = () if knows_kv else tuple(float(round(blocks * factor)) for factor in KV_FACTORS)
        found.append(
            Constant(
                name="kv_blocks", start=float(blocks), low=blocks / 4, high=blocks * 4.0, spread=1.0, choices=choices, is_fine=not knows_kv
            )
        )
    budget = pool.engine.max_batched_tokens
    if budget is not None:
        least = pool.engine.max_running or 1
        others = tuple(float(b) for b in TOKEN_BUDGETS if b != budget and b >= least)
        found.append(Constant(name="max_batched_tokens", start=float(budget), low=1.0, high=2.0**20, choices=others))
    return tuple(found)


def _of_hardware(hardware: Hardware) -> list[Constant]:
    match hardware:
        case ShardedModel():
            tuning = hardware.tuning or Tuning()
            return [
                Constant(name="compute_scale", start=tuning.compute_scale, low=LEAST, high=MOST),
                Constant(name="bandwidth_scale", start=tuning.bandwidth_scale, low=LEAST, high=MOST),
                Constant(name="host_s", start=hardware.host_s, low=0.0, high=1.0, unit=2e-3),
                Constant(name="host_per_sequence_s", start=hardware.host_per_sequence_s, low=0.0, high=0.01, unit=40e-6),
                Constant(name="prefill_step_s", start=tuning.prefill_step_s, low=0.0, high=1.0, unit=5e-3),
            ]
        case PlainConstants(step_s=step_s):
            return [
                Constant(name="step_s", start=step_s, low=LEAST * step_s, high=MOST * step_s),
                Constant(name="per_decode_s", start=hardware.per_decode_s, low=0.0, high=step_s, unit=step_s / 50),
                Constant(name="per_prefill_token_s", start=hardware.per_prefill_token_s, low=0.0, high=step_s, unit=step_s / 150),
                Constant(name="per_kv_token_s", start=hardware.per_kv_token_s, low=0.0, high=step_s, unit=step_s / 5e5),
            ]
        case _:
            assert_never(hardware)


def with_values(spec: ClusterSpec, pools: Sequence[str], values: Mapping[str, float]) -> ClusterSpec:
    """The cluster with other constants in `pools`."""
    changed = {name: _with_values(spec.pools[name], values) for name in pools}
    pipeline = spec.pipeline
    if values.get("request_s", 0.0) or (pipeline is not None and "request_s" in values):
        pipeline = replace(pipeline or Pipeline(threads=MANY_THREADS), tokenise_s=values["request_s"])
    return replace(spec, pools=spec.pools | changed, pipeline=pipeline)


def _with_values(pool: PoolSpec, values: Mapping[str, float]) -> PoolSpec:
    limits: dict[str, Any] = {name: round(values[name]) for name in ("kv_blocks", "max_batched_tokens") if name in values}
    engine: EngineLimits = replace(pool.engine, **limits)
    hardware: Hardware
    match pool.hardware:
        case ShardedModel():
            tuning = Tuning(**{name: values[name] for name in ("compute_scale", "bandwidth_scale", "prefill_step_s")})
            hardware = replace(pool.hardware, host_s=values["host_s"], host_per_sequence_s=values["host_per_sequence_s"], tuning=tuning)
        case PlainConstants():
            hardware = replace(
                pool.hardware,
                step_s=values["step_s"],
                per_decode_s=values["per_decode_s"],
                per_prefill_token_s=values["per_prefill_token_s"],
                per_kv_token_s=values["per_kv_token_s"],
            )
        case _:
            assert_never(pool.hardware)
    return replace(pool, hardware=hardware, engine=engine)


def patched(table: Mapping[str, Any], pools: Sequence[str], values: Mapping[str, float]) -> dict[str, Any]:
    """A cluster file's table with the constants of `values` written in, and nothing else of it changed."""
    found: dict[str, Any] = dict(table) | {"pools": dict(table["pools"])}
    for name in pools:
        pool = dict(table["pools"][name])
        hardware, engine = dict(pool["hardware"]), dict(pool.get("engine", {}))
        for key, value in values.items():
            if key in ("kv_blocks", "max_batched_tokens"):
                engine[key] = round(value)
            elif key in ("compute_scale", "bandwidth_scale", "prefill_step_s"):
                hardware["tuning"] = dict(hardware.get("tuning", {})) | {key: _digits(value)}
            elif key != "request_s":
                hardware[key] = _digits(value)
        found["pools"][name] = pool | {"hardware": hardware} | ({"engine": engine} if engine else {})
    if "request_s" in values:
        pipeline = table.get("pipeline", {"threads": MANY_THREADS})
        found["pipeline"] = dict(pipeline) | {"tokenise_s": _digits(values["request_s"])}
    return found


def _digits(value: float) -> float:
    """Six digits: more would pretend."""
    return float(f"{value:.6g}")


def with_steps(spec: ClusterSpec, factor: float) -> ClusterSpec:
    """The cluster with every step so many times as long."""
    return replace(spec, pools={name: replace(pool, hardware=slower(pool.hardware, factor)) for name, pool in spec.pools.items()})


def slower(hardware: Hardware, factor: float) -> Hardware:
    """Every step so many times as long."""
    match hardware:
        case ShardedModel():
            return replace(hardware, step_scale=hardware.step_scale * factor)
        case PlainConstants():
            return replace(
                hardware,
                step_s=hardware.step_s * factor,
                per_decode_s=hardware.per_decode_s * factor,
                per_prefill_token_s=hardware.per_prefill_token_s * factor,
                per_kv_token_s=hardware.per_kv_token_s * factor,
            )
        case _:
            assert_never(hardware)
