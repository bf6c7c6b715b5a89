from __future__ import annotations

import pytest

from loadlab.catalog.specs import Quantisation, gpus, kernels, links, models
from loadlab.simulator.sharding import shard
from loadlab.simulator.spec import PlainConstants, ShardedModel
from loadlab.simulator.step_parts import RooflineParts, Work
from loadlab.simulator.step_time import compile_step_times
from loadlab.units import PS_PER_S

T4_TP2 = ShardedModel(model="qwen2.5-14b-instruct", quantisation=Quantisation.INT4, gpu="T4", tensor_parallel=2, link="pcie3")
H100 = ShardedModel(model="llama-3.1-8b-instruct", quantisation=Quantisation.BF16, gpu="H100")


def prefill(tokens: int, past: int = 0, image_tokens: int = 0) -> Work:
    return Work(tokens=tokens, attention=tokens * (past + tokens / 2), completed=1, image_tokens=image_tokens)


def test_plain_constants_add_up() -> None:
    """20 ms + 0.35 ms a decode + 0.11 ms a prefill token: 4 decodes and a prompt of 100 tokens that completes."""
    times = compile_step_times(PlainConstants(step_s=0.02, per_decode_s=0.00035, per_prefill_token_s=0.00011, kv_tokens=1000))
    assert times.decode_ps(4) == round((0.02 + 4 * 0.00035) * PS_PER_S)
    assert times.mixed_ps(4, prefill(100)) == round((0.02 + 5 * 0.00035 + 100 * 0.00011) * PS_PER_S)


def test_a_decode_step_takes_at_least_the_time_to_read_the_weights() -> None:
    part = shard(T4_TP2)
    read_s = part.weights_bytes / (part.kernels.gemm["bits16"].memory_efficiency * part.gpu.memory_bytes_per_s)
    step_s = compile_step_times(T4_TP2).decode_ps(1) / PS_PER_S
    assert read_s * 0.75 < step_s < read_s * 2  # less than one: the input embedding is looked up, not read


def test_a_long_prefill_approaches_the_compute_limit() -> None:
    """2 FLOPs a parameter and token, at the efficiency of the catalogue: attention, floors and norms add less than a third."""
    spec, gpu = models()["llama-3.1-8b-instruct"], gpus()["H100"]
    ideal_s = (
        2 * spec.layers * spec.layer_parameters * 4096 / (kernels()["h100"].gemm["bits16"].compute_efficiency * gpu.bits16_flops_per_s)
    )
    step_s = compile_step_times(H100).mixed_ps(0, prefill(4096)) / PS_PER_S
    assert ideal_s < step_s < 1.33 * ideal_s


def test_kv_is_read_at_memory_speed() -> None:
    """A token of Llama 3.1 8B is 2 * 32 layers * 8 heads * 128 * 2 bytes = 131,072 bytes."""
    gpu = gpus()["H100"]
    assert compile_step_times(H100).kv_ps == round(
        131_072 / (kernels()["h100"].attention.kv_efficiency * gpu.memory_bytes_per_s) * PS_PER_S
    )


@pytest.mark.parametrize("running", [1, 8, 32])
def test_a_step_never_gets_faster_with_more_work(running: int) -> None:
    times = compile_step_times(T4_TP2)
    assert times.decode_ps(running) <= times.decode_ps(running + 1)
    assert times.mixed_ps(running, prefill(100)) < times.mixed_ps(running, prefill(101))
    assert times.mixed_ps(running, prefill(100)) < times.mixed_ps(running, prefill(100, past=500))


def test_images_cost_an_encoder_pass_before_their_prefill() -> None:
    hardware = ShardedModel(model="qwen2.5-vl-7b-instruct", quantisation=Quantisation.INT4, gpu="T4")
    times = compile_step_times(hardware)
    encoder_ps = times.mixed_ps(0, prefill(300, image_tokens=256)) - times.mixed_ps(0, prefill(300))
    gpu = gpus()["T4"]
    assert encoder_ps == pytest.approx(2 * 676e6 * 4 * 256 / (0.45 * gpu.bits16_flops_per_s) * PS_PER_S, rel=1e-6)


def test_an_all_reduce_follows_the_ring_model() -> None:
    link = links()["infiniband-ndr"]
    assert link.all_reduce_s(1e6, 1) == 0.0
    assert link.all_reduce_s(1e6, 4) == pytest.approx(26e-6 + 2 * 3 / 4 * 1e6 / 45e9)
    assert link.all_reduce_s(1e6, 3) > link.all_reduce_s(1e6, 2)


def test_tensor_parallelism_over_pcie_costs_two_all_reduces_a_layer() -> None:
    parts = RooflineParts(part=shard(T4_TP2))
    assert parts.exchanges_s(100) == pytest.approx(48 * 2 * links()["pcie3"].all_reduce_s(100 * 5120 * 2, 2))
    slow = RooflineParts(part=shard(T4_TP2), link_speed=0.5)
    assert slow.tokens_s(100) - parts.tokens_s(100) == pytest.approx(parts.exchanges_s(100))
