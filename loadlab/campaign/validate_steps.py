"""Scores the step-time formulas on measured engine steps: kernels alone, without host time, as such tables are made."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from loadlab.analysis.scoring import Scored, Unpredicted
from loadlab.campaign.measured import exclusion_of, has_number, number, read_rows, text
from loadlab.campaign.measured_setup import named_gpu, named_model, weights_format
from loadlab.catalog.bands import Phase, band_of
from loadlab.catalog.specs import Quantisation, find, gpus, models
from loadlab.errors import InputError
from loadlab.simulator.sharding import shard
from loadlab.simulator.spec import ShardedModel
from loadlab.simulator.step_parts import RooflineParts, Work

COLUMNS = ("model", "gpu", "tp", "dtype", "phase", "batch", "context_len", "step_ms")


_PHASES = {"generation": Phase.DECODE, "context": Phase.PREFILL, "decode": Phase.DECODE, "prefill": Phase.PREFILL}


def score_steps(path: Path) -> tuple[list[Scored], list[Unpredicted]]:
    """Every row predicted, or listed with why not. Raises InputError on a file that is not such a table."""
    scored, unpredicted = [], []
    for row in read_rows(path, COLUMNS):
        if not has_number(row, "step_ms"):
            unpredicted.append(Unpredicted(metric=None, reason="nothing measured: step_ms is empty or no number above 0"))
            continue
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
    model, gpu = named_model(row), named_gpu(row)
    tensor_parallel = round(number(row, "tp", default=1.0))
    parts = parts_of(model, gpu, tensor_parallel, weights_format(text(row, "dtype"), models()[model], gpu))
    phase = _PHASES.get(text(row, "phase").lower())
    if phase is None:
        raise ValueError(f"phase = {text(row, 'phase')!r} must be decode or prefill")
    predicted = step_ms(
        parts,
        is_decode=phase is Phase.DECODE,
        batch=round(number(row, "batch")),
        context=round(number(row, "context_len")),
        counts_elementwise=has_number(row, "other_ms"),
    )
    kind = "dense" if parts.part.model.experts is None else "moe"
    band = band_of(parts.part.gpu, kind, phase)
    return Scored(
        gpu=text(row, "gpu"),
        kind=kind,
        phase=text(row, "phase"),
        engine=text(row, "engine"),
        metric="step_ms",
        measured=number(row, "step_ms"),
        predicted=predicted,
        low=predicted * band.low,
        high=predicted * band.high,
    )


@cache
def parts_of(model: str, gpu: str, tensor_parallel: int, quantisation: Quantisation) -> RooflineParts:
    """The simulator's parts of a step, without host time, for rows of the catalogue. Raises InputError."""
    link = find(gpus(), gpu, what="gpu").link
    hardware = ShardedModel(
        model=model,
        gpu=gpu,
        quantisation=quantisation,
        tensor_parallel=tensor_parallel,
        link=link,
        node_link=find(gpus(), gpu, what="gpu").node_link,
        gpus_per_node=find(gpus(), gpu, what="gpu").gpus_per_node,
        host_s=0.0,
        host_per_sequence_s=0.0,
    )
    return RooflineParts(part=shard(hardware))


def step_ms(parts: RooflineParts, *, is_decode: bool, batch: int, context: int, counts_elementwise: bool) -> float:
    """Milliseconds of a step's kernels: `batch` decodes with `context` tokens of KV each, or as many prompts of `context` tokens.

    Rows that count elementwise kernels are of whole layers; others are sums of kernels that were timed alone, their KV warm in cache.
    """
    tokens = batch if is_decode else batch * context
    seconds = parts.compute_s(tokens) + parts.exchanges_s(tokens) + parts.head_s(batch)
    if counts_elementwise:
        seconds += parts.part.model.layers * parts.elementwise_s(tokens)
    if is_decode:
        seconds += float(parts.decode_attention_s(batch, context, is_alone=not counts_elementwise))
    else:
        seconds += parts.prefill_s(Work(tokens=tokens, attention=batch * context**2 / 2, completed=batch, image_tokens=0))
    return float(1e3 * seconds)
