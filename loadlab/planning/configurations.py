"""What one replica of a model could be: the lattice of GPU, formats, degrees of parallelism and engine limits, as far as it is legal."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loadlab.catalog.specs import GpuSpec, KvFormat, ModelSpec, Quantisation

DEGREES = (1, 2, 4, 8)  # of tensor parallelism and stages; a group of tensor-parallel GPUs stays in its node
RANKS = (1, 2, 4)  # data-parallel ranks of a mixture of experts
WIDE, FULL_8, BLOCK_8, WHOLE_8, NARROW = (
    Quantisation.BF16, Quantisation.FP8, Quantisation.FP8_BLOCK, Quantisation.INT8, Quantisation.INT4,
)  # fmt: skip
FOUR_BITS = frozenset({Quantisation.INT4, Quantisation.MXFP4, Quantisation.NVFP4})


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One replica: its GPUs, how the model is split over them, and the engine's limits."""

    gpu: str
    quantisation: Quantisation
    kv_format: KvFormat
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: int
    max_running: int
    max_batched_tokens: int

    @property
    def gpus(self) -> int:
        """GPUs of a replica."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel

    @property
    def split(self) -> str:
        """ "tp4 pp2": the degrees above 1; "one GPU" where there are none."""
        degrees = (
            ("tp", self.tensor_parallel), ("pp", self.pipeline_parallel), ("dp", self.data_parallel), ("ep", self.expert_parallel),
        )  # fmt: skip
        return " ".join(f"{name}{degree}" for name, degree in degrees if degree > 1) or "one GPU"

    @property
    def shape(self) -> str:
        """ "L40S fp8 tp4": everything but the engine's limits, which do not decide whether it fits."""
        kv = "" if self.kv_format is KvFormat.BF16 else f" kv-{self.kv_format.value}"
        return f"{self.gpu} {self.quantisation.value}{kv} {self.split}"

    @property
    def name(self) -> str:
        """ "L40S fp8 tp4, 256 running, 2048 a step": all of it, unlike any other's."""
        return f"{self.shape}, {self.max_running} running, {self.max_batched_tokens} a step"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """What is to be searched. `quantisations` None: those that each GPU has kernels for, see `usual_quantisations`."""

    gpus: tuple[str, ...]
    max_gpus: int
    quantisations: tuple[Quantisation, ...] | None = None
    kv_formats: tuple[KvFormat, ...] = (KvFormat.BF16,)
    max_running: tuple[int, ...] = (64, 256)
    max_batched_tokens: tuple[int, ...] = (2048, 8192)


def usual_quantisations(model: ModelSpec, gpu: GpuSpec) -> tuple[Quantisation, ...]:
    """The formats worth a trial on a GPU: 16 bits, 8 bits and 4 bits, each in the GPU's own kind.

    A model that is published in 8 or 4 bits has nothing to gain from wider ones.
    """
    known = frozenset((*gpu.formats, *gpu.weight_only_formats))
    wide = (WIDE if WIDE in known else Quantisation.FP16,)
    eight = (FULL_8 if FULL_8 in gpu.formats else WHOLE_8,)
    wanted: tuple[Quantisation, ...]
    match model.quantisation:
        case None:
            wanted = (*wide, *eight, NARROW)
        case published if published in FOUR_BITS:
            wanted = (published,)
        case published:
            wanted = (published if published in known else eight[0], NARROW)
    return tuple(q for q in wanted if q in known)


def configurations(lattice: Lattice, model: ModelSpec, gpu_rows: dict[str, GpuSpec]) -> list[Configuration]:
    """Every legal replica, in an order that depends on nothing but the lattice. Whether it fits in memory is not asked here."""
    return [one for gpu in lattice.gpus for one in _on_gpu(lattice, gpu, gpu_rows[gpu], model)]


def _on_gpu(lattice: Lattice, gpu: str, row: GpuSpec, model: ModelSpec) -> Iterator[Configuration]:
    known = frozenset((*row.formats, *row.weight_only_formats))
    wanted = usual_quantisations(model, row) if lattice.quantisations is None else lattice.quantisations
    limits = tuple(_limits(lattice.max_running, lattice.max_batched_tokens))
    degrees = tuple(splits(model, row.gpus_per_node, lattice.max_gpus))
    formats = (q for q in wanted if q in known)
    for quantisation, kv_format, (tp, pp, dp, ep), (running, tokens) in itertools.product(formats, lattice.kv_formats, degrees, limits):
        yield Configuration(
            gpu=gpu, quantisation=quantisation, kv_format=kv_format, tensor_parallel=tp, pipeline_parallel=pp,
            data_parallel=dp, expert_parallel=ep, max_running=running, max_batched_tokens=tokens,
        )  # fmt: skip


def splits(model: ModelSpec, gpus_per_node: int, max_gpus: int) -> Iterator[tuple[int, int, int, int]]:
    """(tensor, pipeline, data, expert) parallel degrees with which a model can be split.

    Tensor parallelism divides heads and KV heads evenly (KV heads may be copied) inside a node; a stage has a layer at least; only
    experts make data-parallel ranks worth more than replicas. Experts are split like everything else (1), or dealt out to all GPUs
    of a stage, whole.
    """
    experts = model.experts
    for tp, pp, dp in itertools.product(DEGREES, DEGREES, RANKS if experts is not None else (1,)):
        if tp > gpus_per_node or not model.splits_over(tp) or pp > model.layers or tp * pp * dp > max_gpus:
            continue
        yield tp, pp, dp, 1
        if experts is not None and tp * dp > 1 and experts.experts % (tp * dp) == 0:
            yield tp, pp, dp, tp * dp


def _limits(running: Sequence[int], tokens: Sequence[int]) -> Iterator[tuple[int, int]]:
    """A step decodes one token for each running sequence, so its budget is no smaller than their number."""
    return ((r, t) for r, t in itertools.product(running, tokens) if t >= r)
