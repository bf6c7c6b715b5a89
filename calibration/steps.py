"""Measured engine steps, by component, as groups that the simulator's own parts can predict at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from loadlab.catalog.names import gpu_name, model_name
from loadlab.catalog.specs import KernelSpec, LinkSpec, Quantisation, find, gpus
from loadlab.simulator.collectives import Group
from loadlab.simulator.sharding import Shard, shard
from loadlab.simulator.spec import ShardedModel
from loadlab.simulator.step_parts import RooflineParts, Work

Array = NDArray[np.float64]
COMPONENTS = ("gemm_ms", "ffn_ms", "attn_ms", "comm_ms")


@dataclass(frozen=True, kw_only=True)
class Steps:
    """Rows of one model, GPU, quantisation, tensor-parallel degree and phase: columns, and the shard that they ran on."""

    rows: pd.DataFrame
    part: Shard
    is_decode: bool

    @property
    def tokens(self) -> Array:
        """New tokens of each step."""
        batch = self.rows["batch"].to_numpy(float)
        return batch if self.is_decode else batch * self.rows["context_len"].to_numpy(float)

    def parts(self, kernels: KernelSpec | None = None, link: LinkSpec | None = None) -> RooflineParts:
        """The simulator's parts, with other constants if given."""
        part = self.part if kernels is None else replace(self.part, kernels=kernels)
        if link is not None and part.tensor_group.gpus > 1:
            part = replace(part, tensor_group=Group(gpus=part.tensor_group.gpus, nodes=1, link=link, node_link=None))
        return RooflineParts(part=part)


def load_steps(path: Path) -> pd.DataFrame:
    """The rows, each with a number of its own that survives selections."""
    return pd.read_csv(path)


def group(rows: pd.DataFrame) -> list[Steps]:
    """The rows by what ran them."""
    groups = []
    for (model, gpu, tp, dtype, phase), part in rows.groupby(["model", "gpu", "tp", "dtype", "phase"]):
        gpu_row, model_row = gpu_name(str(gpu)), model_name(str(model))
        if gpu_row is None or model_row is None:
            raise SystemExit(f"the catalogue has no {gpu} or no {model}")
        hardware = ShardedModel(
            model=model_row,
            gpu=gpu_row,
            quantisation=Quantisation(str(dtype)),
            tensor_parallel=int(tp),
            link=find(gpus(), gpu_row, what="gpu").link,
            host_s=0.0,
            host_per_sequence_s=0.0,
        )
        groups.append(Steps(rows=part, part=shard(hardware), is_decode=phase == "decode"))
    return groups


def gemm_ms(steps: Steps, parts: RooflineParts) -> Array:
    """Projections and output head."""
    batch = steps.rows["batch"].to_numpy(float)
    seconds = steps.part.model.attention_layers * parts.projections_s(steps.tokens)  # type: ignore[arg-type]
    head = parts.gemm_s(
        batch, steps.part.model.vocabulary / steps.part.hardware.tensor_parallel, steps.part.model.hidden, Quantisation.BF16
    )  # type: ignore[arg-type]
    return np.asarray(1e3 * (seconds + head))


def ffn_ms(steps: Steps, parts: RooflineParts) -> Array:
    """Feed-forwards, dense or of experts: the linear layers without projections."""
    model = steps.part.model
    seconds = model.feed_forward_layers * parts.feed_forward_s(steps.tokens, model.intermediate)  # type: ignore[arg-type]
    if model.experts is not None:
        seconds = seconds + model.experts.layers * parts.experts_s(steps.tokens)  # type: ignore[arg-type]
    return np.asarray(1e3 * seconds)


def attn_ms(steps: Steps, parts: RooflineParts) -> Array:
    """Attention."""
    batch, context = steps.rows["batch"].to_numpy(float), steps.rows["context_len"].to_numpy(float)
    if steps.is_decode:
        alone, cold = (parts.decode_attention_s(batch, context, is_alone=is_alone) for is_alone in (True, False))
        return np.asarray(1e3 * np.where(steps.rows["other_ms"] > 0, cold, alone))
    work: Any = Work(tokens=batch * context, attention=batch * context**2 / 2, completed=batch, image_tokens=0)  # type: ignore[arg-type]
    return np.asarray(1e3 * parts.prefill_s(work))


def comm_ms(steps: Steps, parts: RooflineParts) -> Array:
    """All-reduces, two a layer."""
    if steps.part.hardware.tensor_parallel == 1:
        return np.zeros(len(steps.rows))
    return np.asarray(1e3 * 2 * steps.part.model.layers * parts.exchange_s(steps.tokens))  # type: ignore[arg-type]


def other_ms(steps: Steps, parts: RooflineParts) -> Array:
    """Elementwise kernels, for the rows that count them."""
    seconds = steps.part.model.layers * parts.elementwise_s(steps.tokens)  # type: ignore[arg-type]
    return np.where(steps.rows["other_ms"].isna(), 0.0, 1e3 * seconds)


COMPONENT_MS: dict[str, Callable[[Steps, RooflineParts], Array]] = {
    "gemm_ms": gemm_ms,
    "ffn_ms": ffn_ms,
    "attn_ms": attn_ms,
    "comm_ms": comm_ms,
    "other_ms": other_ms,
}


def step_ms(steps: Steps, parts: RooflineParts) -> Array:
    """The sum of the components that a row counts."""
    return np.sum([component(steps, parts) for component in COMPONENT_MS.values()], axis=0)


def errors(groups: Iterable[Steps], kernels: dict[str, KernelSpec], links: dict[str, LinkSpec]) -> pd.DataFrame:
    """Relative error of each row's step, beside its model, GPU, kind and phase."""
    tables = []
    for steps in groups:
        hardware = steps.part.hardware
        gpu = find(gpus(), hardware.gpu, what="gpu")
        parts = steps.parts(kernels[gpu.kernels], links.get(hardware.link or ""))
        table = steps.rows[["model", "gpu", "tp", "dtype", "phase", "batch", "context_len"]].copy()
        table["kind"] = "dense" if steps.part.model.experts is None else "moe"
        table["error"] = step_ms(steps, parts) / steps.rows["step_ms"].to_numpy(float) - 1
        tables.append(table)
    return pd.concat(tables)
