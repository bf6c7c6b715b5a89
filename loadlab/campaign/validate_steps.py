"""Scores the step-time formulas on measured engine steps: kernels alone, without host time, as such tables are made."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from loadlab.analysis.scoring import Scored, Unpredicted
from loadlab.campaign.measured import exclusion_of, has_number, number, read_rows
from loadlab.catalog.bands import Phase, band_of
from loadlab.catalog.names import gpu_name, model_name
from loadlab.catalog.specs import Quantisation, find, gpus
from loadlab.errors import InputError
from loadlab.simulator.sharding import shard
from loadlab.simulator.spec import ShardedModel
from loadlab.simulator.step_parts import RooflineParts, Work

COLUMNS = ("model", "gpu", "tp", "dtype", "phase", "batch", "context_len", "step_ms")


def score_steps(path: Path) -> tuple[list[Scored], list[Unpredicted]]:
    """Every row predicted, or listed with why not. Raises InputError on a file that is not such a table."""
    scored, unpredicted = [], []
    for row in read_rows(path, COLUMNS):
        reason = exclusion_of(row)
        if reason is None:
            try:
                scored.append(_score(row))
                continue
            except (ValueError, InputError) as error:
                reason = str(error)
        unpredicted.append(Unpredicted(metric="step_ms", reason=reason))
    return scored, unpredicted


def _score(row: dict[str, Any]) -> Scored:
    parts = parts_of(str(row["model"]), str(row["gpu"]), int(number(row, "tp")), str(row["dtype"]))
    phase = str(row["phase"])
    if phase not in ("decode", "prefill"):
        raise ValueError(f"phase = {phase!r} must be decode or prefill")
    predicted = step_ms(
        parts,
        is_decode=phase == "decode",
        batch=int(number(row, "batch")),
        context=int(number(row, "context_len")),
        counts_elementwise=has_number(row, "other_ms"),
    )
    kind = "dense" if parts.part.model.experts is None else "moe"
    band = band_of(parts.part.gpu, kind, Phase(phase))
    return Scored(
        gpu=str(row["gpu"]),
        kind=kind,
        phase=phase,
        engine=str(row.get("engine", "")),
        metric="step_ms",
        measured=number(row, "step_ms"),
        predicted=predicted,
        low=predicted * band.low,
        high=predicted * band.high,
    )


@cache
def parts_of(model: str, gpu: str, tensor_parallel: int, dtype: str) -> RooflineParts:
    """The simulator's parts of a step, without host time, for names as a measured table has them. Raises ValueError or InputError."""
    gpu_row, model_row = gpu_name(gpu), model_name(model)
    if gpu_row is None:
        raise ValueError(f"gpu {gpu!r} is not in the catalogue; --gpus FILE adds one")
    if model_row is None:
        raise ValueError(f"model {model!r} is not in the catalogue; --models DIR adds one from its config.json")
    link = find(gpus(), gpu_row, what="gpu").link
    hardware = ShardedModel(
        model=model_row,
        gpu=gpu_row,
        quantisation=Quantisation(dtype),
        tensor_parallel=tensor_parallel,
        link=link,
        node_link=link,
        host_s=0.0,
        host_per_sequence_s=0.0,
    )
    return RooflineParts(part=shard(hardware))


def step_ms(parts: RooflineParts, *, is_decode: bool, batch: int, context: int, counts_elementwise: bool) -> float:
    """Milliseconds of a step's kernels: `batch` decodes with `context` tokens of KV each, or as many prompts of `context` tokens."""
    tokens = batch if is_decode else batch * context
    seconds = parts.compute_s(tokens) + parts.exchanges_s(tokens) + parts.head_s(batch)
    if counts_elementwise:
        seconds += parts.part.model.layers * parts.elementwise_s(tokens)
    if is_decode:
        seconds += parts.decode_floor_s() + parts.kv_s() * batch * context
    else:
        seconds += parts.prefill_s(Work(tokens=tokens, attention=batch * context**2 / 2, completed=batch, image_tokens=0))
    return float(1e3 * seconds)
