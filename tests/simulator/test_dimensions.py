"""Tokens, bytes and FLOPs of a step against counts made by hand for three models, and laws that any such formula has to keep."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadlab.catalog.kernel_spec import AttentionKernel, ElementwiseKernel, ExpertKernel, GemmKernel, KernelSpec
from loadlab.catalog.names import gpu_name, model_name
from loadlab.catalog.specs import Quantisation, gpus, links, models
from loadlab.simulator.collectives import Group
from loadlab.simulator.sharding import Shard, kv_capacity, shard
from loadlab.simulator.spec import EngineLimits, PoolSpec, ShardedModel
from loadlab.simulator.step_parts import RooflineParts, Work
from loadlab.units import GIB

MEASURED = Path(__file__).parents[2].parent / "shared" / "data" / "fidelity"

# A GPU whose kernels do exactly what is counted: compute alone, or memory alone, no floors.
IDEAL_GEMM = GemmKernel(compute_efficiency=1, memory_efficiency=1, sharpness=50, floor_s=0)
IDEAL_EXPERTS = ExpertKernel(compute_efficiency=1, memory_efficiency=1, sharpness=50, floor_s=0)
IDEAL = KernelSpec(
    gemm={"bits16": IDEAL_GEMM},
    experts={"bits16": IDEAL_EXPERTS},
    attention=AttentionKernel(
        decode_floor_s=0, kv_efficiency=1, prefill_floor_s=0, prefill_efficiency=1, prefill_io_efficiency=1e9, recurrent_floor_s=0
    ),
    elementwise=ElementwiseKernel(floor_s=0, passes=0),
    rows=0,
    source="exact",
    as_of="2026-11",
)


def ideal(model: str, *, flops_per_s: float = 1e30, bytes_per_s: float = 1e30, **hardware: object) -> RooflineParts:
    plain = ShardedModel(model=model, quantisation=Quantisation.BF16, gpu="H200", host_s=0, host_per_sequence_s=0, **hardware)  # type: ignore[arg-type]
    part = shard(plain)
    gpu = replace(part.gpu, bits16_flops_per_s=flops_per_s, memory_bytes_per_s=bytes_per_s)
    return RooflineParts(part=replace(part, gpu=gpu, kernels=IDEAL))


@pytest.mark.parametrize(
    ("model", "billions"),
    [
        # Llama 3.1 8B, a layer: q, o 2 * 4096 * 4096, k, v 2 * 4096 * 1024, feed-forward 3 * 4096 * 14336 = 218,103,808; times 32
        ("llama-3.1-8b-instruct", 6.979321856),
        # Qwen3 30B-A3B, a layer: q, o 2 * 2048 * 4096, k, v 2 * 2048 * 512, eight experts 8 * 3 * 2048 * 768 = 56,623,104; times 48
        ("qwen3-30b-a3b", 2.717908992),
        # DeepSeek-V3, a layer's attention: q 7168 * 1536 + 1536 * 24576, kv 7168 * 576 + 512 * 32768, o 16384 * 7168; 61 times.
        # Three dense layers 3 * 7168 * 18432; 58 with eight of 256 experts and one shared, 9 * 3 * 7168 * 2048
        ("deepseek-v3", 11.413422080 + 1.189085184 + 22.988980224),
    ],
)
def test_a_tokens_flops_are_two_for_each_weight_it_meets(model: str, billions: float) -> None:
    parts = ideal(model, flops_per_s=1e12)
    assert parts.compute_s(1000) == pytest.approx(1000 * 2 * billions * 1e9 / 1e12, rel=1e-6)


@pytest.mark.parametrize(
    ("model", "kib"),
    [
        ("llama-3.1-8b-instruct", 128),  # 2 * 32 layers * 8 heads * 128 * 2 bytes
        ("qwen3-30b-a3b", 96),  # 2 * 48 * 4 * 128 * 2
        ("deepseek-v3", 68.625),  # 61 layers * (512 + 64) * 2
    ],
)
def test_a_decode_reads_each_context_token_once(model: str, kib: float) -> None:
    assert ideal(model, bytes_per_s=1e9).kv_s() == pytest.approx(kib * 1024 / 1e9)


def test_one_decode_reads_every_dense_weight_once() -> None:
    """Llama 3.1 8B: 6,979,321,856 weights of two bytes, and activations of a token beside them."""
    seconds = ideal("llama-3.1-8b-instruct", bytes_per_s=1e9).compute_s(1)
    assert seconds == pytest.approx(2 * 6.979321856, rel=1e-3)


def test_one_decode_reads_the_experts_that_its_token_takes() -> None:
    """Qwen3 30B-A3B: eight of 128, 48 layers, 3 * 2048 * 768 weights each."""
    seconds = ideal("qwen3-30b-a3b", bytes_per_s=1e9).experts_s(1)
    assert 48 * seconds == pytest.approx(48 * 8 * 3 * 2048 * 768 * 2 / 1e9, rel=2e-3)


def test_many_decodes_read_nearly_all_experts() -> None:
    """128 tokens with eight of 128 each: 1 - (15/16)^128 = 99.97 % of them."""
    spec = models()["qwen3-30b-a3b"].experts
    assert spec is not None
    assert spec.experts_hit(128) == pytest.approx(127.97, abs=0.01)


def test_a_prompts_attention_is_half_a_square() -> None:
    """Llama 3.1 8B, 1000 tokens: 4 * 32 layers * 32 heads * 128 * 1000^2 / 2 FLOPs."""
    work = Work(tokens=1000, attention=1000**2 / 2, completed=1, image_tokens=0)
    assert ideal("llama-3.1-8b-instruct", flops_per_s=1e12).prefill_s(work) == pytest.approx(4 * 32 * 32 * 128 * 500_000 / 1e12)


def test_tensor_parallelism_divides_work_and_latent_kv_is_on_every_rank() -> None:
    one, eight = ideal("deepseek-v3", flops_per_s=1e12), ideal("deepseek-v3", flops_per_s=1e12, tensor_parallel=8, link="nvlink4-h200")
    assert eight.experts_s(1000) == pytest.approx(one.experts_s(1000) / 8)
    assert eight.part.kv_bytes_per_token == one.part.kv_bytes_per_token


def test_experts_dealt_out_compute_as_much_as_experts_split() -> None:
    split = ideal("deepseek-v3", flops_per_s=1e12, tensor_parallel=8, link="nvlink4-h200")
    dealt = ideal("deepseek-v3", flops_per_s=1e12, tensor_parallel=8, expert_parallel=8, link="nvlink4-h200")
    assert dealt.experts_s(1000) == pytest.approx(split.experts_s(1000))


def test_an_all_reduce_over_nodes_pays_both_links() -> None:
    fast, slow = links()["nvlink4"], links()["infiniband-ndr"]
    group = Group(gpus=16, nodes=2, link=fast, node_link=slow)
    assert group.all_reduce_s(8e6) == pytest.approx(fast.all_reduce_s(8e6, 8) + slow.all_reduce_s(1e6, 2))


HARDWARE = st.fixed_dictionaries(
    {
        "model": st.sampled_from(["llama-3.1-8b-instruct", "qwen3-30b-a3b", "deepseek-v2-lite", "gpt-oss-20b", "qwen3.5-397b-a17b"]),
        "gpu": st.sampled_from(["A100-80", "H100", "H200", "L40S", "MI300X"]),
        "tensor_parallel": st.sampled_from([1, 2, 4]),
    }
)


def step_s(part: Shard, tokens: int, context: int) -> float:
    parts = RooflineParts(part=part)
    return parts.tokens_s(tokens) + parts.head_s(tokens) + parts.decode_floor_s() + parts.kv_s() * tokens * context


@settings(max_examples=40, deadline=None)
@given(HARDWARE, st.integers(1, 4096), st.integers(1, 100_000))
def test_half_the_bandwidth_never_makes_a_step_faster(hardware: dict[str, object], tokens: int, context: int) -> None:
    gpu = gpus()[str(hardware["gpu"])]
    if hardware["model"] == "qwen3.5-397b-a17b" and hardware["tensor_parallel"] == 4:
        hardware = hardware | {"tensor_parallel": 2}
    part = shard(ShardedModel(quantisation=Quantisation.BF16, link=gpu.link, node_link=gpu.node_link, **hardware))  # type: ignore[arg-type]
    slower = replace(part, gpu=replace(part.gpu, memory_bytes_per_s=part.gpu.memory_bytes_per_s / 2))
    weaker = replace(part, gpu=replace(part.gpu, bits16_flops_per_s=part.gpu.bits16_flops_per_s / 2))
    assert step_s(slower, tokens, context) >= step_s(part, tokens, context)
    assert step_s(weaker, tokens, context) >= step_s(part, tokens, context)
    assert step_s(part, tokens + 1, context) >= step_s(part, tokens, context)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e3, 1e9), st.sampled_from(sorted(links())), st.sampled_from([2, 4, 8]))
def test_half_a_links_bandwidth_never_makes_a_collective_faster(payload: float, name: str, size: int) -> None:
    link = links()[name]
    halved = replace(link, bus_bytes_per_s=tuple(b / 2 for b in link.bus_bytes_per_s), point_bytes_per_s=link.point_bytes_per_s / 2)
    assert halved.all_reduce_s(payload, size) > link.all_reduce_s(payload, size)
    assert halved.all_to_all_s(payload, size) > link.all_to_all_s(payload, size)
    assert halved.point_s(payload) > link.point_s(payload)


@pytest.mark.skipif(not MEASURED.is_dir(), reason="the measured rows lie beside the repository, in shared/data/fidelity")
def test_kv_memory_is_what_a_real_engine_allocated() -> None:
    """Within 1.5 GiB of each GPU, for five allocations of vLLM."""
    rows = list(csv.DictReader((MEASURED / "kv_capacity.csv").read_text().splitlines()))
    assert len(rows) >= 5
    for row in rows:
        gpu, model = gpu_name(row["gpu"]), model_name(row["model"])
        assert gpu is not None
        assert model is not None
        hardware = ShardedModel(
            model=model, quantisation=Quantisation(row["dtype"]), gpu=gpu, tensor_parallel=int(row["tp"]), link=gpus()[gpu].link
        )
        engine = EngineLimits(gpu_memory_utilization=float(row["gpu_mem_util"]), block_size_tokens=int(row["block_size"]))
        capacity = kv_capacity(PoolSpec(serves=("m",), hardware=hardware, engine=engine), "kv_capacity.csv", row["model"])
        assert capacity.num_blocks is not None
        gib = capacity.num_blocks * int(row["block_size"]) * capacity.kv_bytes_per_token / GIB
        assert gib == pytest.approx(float(row["kv_gib_per_gpu"]), abs=1.5), row["model"]


def kv_read_us(gpu: str, sequences: int, context: int) -> float:
    """Decode attention of one 8B layer as tables of kernels have it, less its floor, in microseconds."""
    parts = RooflineParts(part=shard(ShardedModel(model="llama-3.1-8b-instruct", gpu=gpu, quantisation=Quantisation.BF16)))
    layers = parts.part.model.layers
    return 1e6 * (float(parts.decode_attention_s(sequences, context, is_alone=True)) - parts.decode_floor_s()) / layers


def test_kernels_timed_alone_read_kv_from_cache_while_it_fits() -> None:
    """L40S, 96 MB of cache: measured 37 and 213 us a layer, floor included, at 67 and 134 MB."""
    assert kv_read_us("L40S", 16, 1024) < kv_read_us("L40S", 16, 2048) / 5
    assert kv_read_us("L40S", 16, 1024) + 13.2 == pytest.approx(37, rel=0.15)
    assert kv_read_us("L40S", 16, 2048) + 13.2 == pytest.approx(213, rel=0.1)


@pytest.mark.parametrize("gpu", ["A100-80", "H100", "H200", "L40S"])
def test_an_engine_reads_its_kv_from_memory(gpu: str) -> None:
    """No calibrated GPU moves KV faster than its memory, and one alone takes at least as long as many do each."""
    parts = RooflineParts(part=shard(ShardedModel(model="llama-3.1-8b-instruct", gpu=gpu, quantisation=Quantisation.BF16)))
    assert parts.kv_s() >= 131_072 / parts.part.gpu.memory_bytes_per_s
    assert kv_read_us(gpu, 1, 32_768) > kv_read_us(gpu, 32, 1024 * 16) / 16
