"""Fits what only whole engines show, to published closed-loop runs: host time of each engine, block-wise expert kernels, recurrent layers.

    python -m calibration.fit_serving ../shared/data/fidelity/serving_closed_loop.csv    # fits, prints what engines.toml and usual.py hold

TPOT alone is fitted, by a mean field of the loop that costs a thousandth of its simulation: a step decodes all clients at their mean
context, and while a request decodes its `osl` tokens each other client brings one prompt. Runs that KV cannot hold are left out of the fit.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares

from loadlab.campaign.measured import exclusion_of, number, read_rows
from loadlab.campaign.validate_serving import COLUMNS, ServingRun, serving_run
from loadlab.catalog.kernel_spec import BY_BLOCK, ExpertKernel
from loadlab.catalog.names import engine_name
from loadlab.catalog.specs import KernelSpec
from loadlab.errors import InputError
from loadlab.simulator.sharding import kv_capacity, shard
from loadlab.simulator.spec import PoolSpec
from loadlab.simulator.step_parts import RooflineParts, Work

PULL = 0.15
ENGINE_NAMES = ("vllm", "trtllm", "sglang")
USUAL_BLOCK = ExpertKernel(
    compute_efficiency=0.45, memory_efficiency=0.8, sharpness=1.5, floor_s=40e-6, compute_half_width=100.0, memory_half_width=28.0,
    routing_exponent=0.95,
)  # fmt: skip
BLOCK_FIELDS = ("compute_efficiency", "memory_efficiency", "floor_s", "memory_half_width", "routing_exponent")
LOW = {"host_s": 1e-5, "host_per_sequence_s": 1e-6, "recurrent_floor_s": 1e-6}
HIGH = {"host_s": 6e-3, "host_per_sequence_s": 3e-4, "recurrent_floor_s": 3e-4}
BLOCK_LIMITS = {
    "compute_efficiency": (0.22, 1.0), "memory_efficiency": (0.4, 1.0), "floor_s": (5e-6, 2e-4), "memory_half_width": (1.0, 300.0),
    "routing_exponent": (0.8, 1.0),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run that is fitted to: its shard, and what was measured."""

    run: ServingRun
    engine: str
    part: Any
    measured_s: float
    name: str  # of the configuration it belongs to


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What is fitted."""

    hosts: dict[str, tuple[float, float]]
    block: ExpertKernel
    recurrent_floor_s: float


USUAL = Constants(hosts={"vllm": (8e-4, 3e-5), "trtllm": (4e-4, 3e-5), "sglang": (1.5e-3, 3e-5)}, block=USUAL_BLOCK, recurrent_floor_s=4e-5)


def runs_of(path: Path) -> list[ServingRun]:
    """Every row that can be simulated."""
    found = []
    for row in read_rows(path, COLUMNS):
        try:
            run = serving_run(row)
            kv_capacity(PoolSpec(serves=("m",), hardware=run.hardware, engine=run.limits), "row", "p")
        except (ValueError, InputError):
            continue
        if exclusion_of(row) is None:
            found.append(run)
    return found


def load(runs: list[ServingRun]) -> list[Config]:
    """Those of the three engines whose KV holds all clients."""
    configs = []
    for run in runs:
        row = run.row
        blocks = kv_capacity(PoolSpec(serves=("m",), hardware=run.hardware, engine=run.limits), "row", "p").num_blocks
        tokens = run.work.clients / run.replicas * (run.work.prompt_tokens + run.work.output_tokens)
        engine = engine_name(str(row["engine"]))
        if engine in ENGINE_NAMES and blocks is not None and tokens < 16 * blocks:
            name = configuration(run)
            configs.append(Config(run=run, engine=engine, part=shard(run.hardware), measured_s=number(row, "tpot_ms") / 1e3, name=name))
    return configs


def configuration(run: ServingRun) -> str:
    """What ran, whatever its load and lengths."""
    return "|".join(str(run.row.get(key)) for key in ("model", "gpu", "tp", "pp", "dp", "ep", "dtype", "engine", "version"))


def tpot_s(config: Config, constants: Constants) -> float:
    """Seconds a token, by the mean field of the closed loop."""
    run, part = config.run, config.part
    host_s, per_sequence_s = constants.hosts[config.engine]
    kernels = with_constants(part.kernels, constants)
    hardware = replace(run.hardware, host_s=host_s, host_per_sequence_s=per_sequence_s)
    parts = RooflineParts(part=replace(part, kernels=kernels, hardware=hardware))
    clients = max(1, round(run.work.clients / run.replicas))
    prompt, output = run.work.prompt_tokens * (1 + run.work.spread) / 2, run.work.output_tokens * (1 + run.work.spread) / 2
    decode = parts.tokens_s(clients) + parts.head_s(clients) + parts.decode_floor_s() + parts.kv_s() * clients * (prompt + output / 2)
    work = Work(tokens=round(prompt), attention=prompt**2 / 2, completed=1, image_tokens=0)
    extra = parts.tokens_s(clients + round(prompt)) - parts.tokens_s(clients) + parts.prefill_s(work)
    waits_for = 0.5 if run.work.requests == run.work.clients else 1.0  # in step: on average for half of the others' prompts
    return float(decode + waits_for * (clients - 1) / output * extra)


def with_constants(kernels: KernelSpec, constants: Constants) -> KernelSpec:
    """The same GPU with what was fitted here."""
    attention = replace(kernels.attention, recurrent_floor_s=constants.recurrent_floor_s)
    return replace(kernels, attention=attention, experts=kernels.experts | {BY_BLOCK: constants.block})


def fit(configs: list[Config]) -> Constants:
    """Least squares on log TPOT, soft L1, pulled weakly to USUAL."""
    start, limits = _pack(USUAL), _limits()
    start = np.clip(start, limits[:, 0] + 1e-6, limits[:, 1] - 1e-6)
    measured = np.log([c.measured_s for c in configs])

    def residuals(x: np.ndarray) -> np.ndarray:
        constants = _unpack(x)
        return np.concatenate([np.log([tpot_s(c, constants) for c in configs]) - measured, PULL * (x - start)])

    return _unpack(least_squares(residuals, start, bounds=limits.T, loss="soft_l1", f_scale=0.08, max_nfev=25).x)


def _pack(constants: Constants) -> np.ndarray:
    hosts = [value for engine in ENGINE_NAMES for value in constants.hosts[engine]]
    return np.log([*hosts, *(getattr(constants.block, name) for name in BLOCK_FIELDS), constants.recurrent_floor_s])


def _unpack(x: np.ndarray) -> Constants:
    values = np.exp(x).tolist()
    hosts = {engine: (values[2 * i], values[2 * i + 1]) for i, engine in enumerate(ENGINE_NAMES)}
    return Constants(
        hosts=hosts,
        block=replace(USUAL_BLOCK, **dict(zip(BLOCK_FIELDS, values[6:-1], strict=True))),
        recurrent_floor_s=values[-1],
    )


def _limits() -> np.ndarray:
    host = [(LOW["host_s"], HIGH["host_s"]), (LOW["host_per_sequence_s"], HIGH["host_per_sequence_s"])] * len(ENGINE_NAMES)
    recurrent = (LOW["recurrent_floor_s"], HIGH["recurrent_floor_s"])
    return np.log([*host, *(BLOCK_LIMITS[name] for name in BLOCK_FIELDS), recurrent])


def main() -> None:
    """Fits all, prints the constants and their errors by engine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("csv", type=Path)
    asked = parser.parse_args()
    configs = load(runs_of(asked.csv))
    constants = fit(configs)
    print(constants)
    errors = np.array([tpot_s(c, constants) / c.measured_s - 1 for c in configs])
    for name in sorted({c.name for c in configs}):
        chosen = errors[[c.name == name for c in configs]]
        print(f"{name:95s} n {len(chosen):3d} median {np.median(np.abs(chosen)):6.1%} bias {np.median(chosen):+6.1%}")
    print(f"all {len(errors)}: median {np.median(np.abs(errors)):.1%}, p90 {np.quantile(np.abs(errors), 0.9):.1%}")


if __name__ == "__main__":
    sys.exit(main())
