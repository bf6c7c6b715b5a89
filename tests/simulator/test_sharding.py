from __future__ import annotations

import pytest

from loadlab.catalog.specs import Quantisation
from loadlab.errors import InputError
from loadlab.simulator.sharding import CONTEXT_BYTES, kv_capacity, shard
from loadlab.simulator.spec import Allocation, EngineLimits, PoolSpec, ShardedModel
from loadlab.units import GIB


def pool(
    model: str, gpu: str, quantisation: Quantisation = Quantisation.FP16, engine: EngineLimits | None = None, **more: object
) -> PoolSpec:
    hardware = ShardedModel(model=model, quantisation=quantisation, gpu=gpu, **more)
    return PoolSpec(serves=("m",), hardware=hardware, engine=engine or EngineLimits())


@pytest.mark.parametrize(
    ("model", "quantisation", "gigabytes"),
    [
        ("qwen2.5-14b-instruct", Quantisation.INT4, 10.0),  # its AWQ checkpoint is 9.98 GB
        ("qwen2.5-vl-7b-instruct", Quantisation.INT4, 6.9),  # its AWQ checkpoint is 6.9 GB
        ("llama-3.1-8b-instruct", Quantisation.BF16, 16.1),  # 8.03e9 parameters
        ("llama-3.1-70b-instruct", Quantisation.BF16, 141.1),  # 70.6e9 parameters
    ],
)
def test_weights_weigh_what_their_checkpoints_weigh(model: str, quantisation: Quantisation, gigabytes: float) -> None:
    part = shard(ShardedModel(model=model, quantisation=quantisation, gpu="H100"))
    assert part.weights_bytes / 1e9 == pytest.approx(gigabytes, rel=0.01)


@pytest.mark.parametrize(
    ("model", "tensor_parallel", "kib"),
    [("qwen2.5-14b-instruct", 1, 192), ("qwen2.5-14b-instruct", 2, 96), ("qwen2.5-vl-7b-instruct", 1, 56)],
)
def test_a_kv_token_has_its_known_size(model: str, tensor_parallel: int, kib: int) -> None:
    part = shard(ShardedModel(model=model, quantisation=Quantisation.INT4, gpu="T4", tensor_parallel=tensor_parallel, link="pcie3"))
    assert part.kv_bytes_per_token == kib * 1024


def test_what_utilisation_leaves_becomes_kv_blocks() -> None:
    capacity = kv_capacity(pool("qwen2.5-14b-instruct", "T4", Quantisation.INT4), "c.toml", "pools.p")
    part = shard(ShardedModel(model="qwen2.5-14b-instruct", quantisation=Quantisation.INT4, gpu="T4"))
    expected = (0.9 * 14.75 * GIB - part.weights_bytes - 1.1 * GIB) / (16 * 192 * 1024)
    assert capacity.num_blocks == int(expected)
    assert capacity.num_blocks * 16 == pytest.approx(16_000, rel=0.05)  # the design notes' estimate for this card


def test_a_model_that_does_not_fit_says_by_how_much_and_what_would_fit() -> None:
    with pytest.raises(InputError) as caught:
        kv_capacity(pool("llama-3.1-8b-instruct", "T4"), "clusters/c.toml", "pools.p")
    message = str(caught.value)
    assert "clusters/c.toml: pools.p.hardware does not fit" in message
    assert "each T4" in message
    assert "2.78 GiB short" in message
    assert "tensor_parallel = 2 would hold it" in message


def test_a_model_that_no_group_holds_says_so() -> None:
    with pytest.raises(InputError, match="No group of up to 64 of these GPUs would hold it"):
        kv_capacity(pool("moe-1.5t-a90b", "T4"), "c.toml", "pools.p")


def test_a_model_that_needs_stages_says_how_many() -> None:
    """70B in 16 bits is 132 GiB: eight T4 at 13.3 GiB each, less overhead, hold 97."""
    with pytest.raises(InputError, match="tensor_parallel = 8 with pipeline_parallel = 2 would hold it"):
        kv_capacity(pool("llama-3.1-70b-instruct", "T4"), "c.toml", "pools.p")


def test_a_split_that_heads_do_not_allow_is_refused() -> None:
    with pytest.raises(InputError, match="cannot split 28 heads and 4 KV heads evenly; allowed: 1, 2, 4"):
        kv_capacity(pool("qwen2.5-7b-instruct", "H100", tensor_parallel=8, link="nvlink4"), "c.toml", "pools.p")


def test_a_paged_pool_dies_only_of_activations() -> None:
    """What utilisation leaves free is the room of activations; KV was reserved at start, so it does not count again."""
    engine = EngineLimits(gpu_memory_utilization=0.99, max_batched_tokens=None, max_running=None)
    capacity = kv_capacity(pool("llama-3.1-8b-instruct", "H100", engine=engine), "c.toml", "pools.p")
    most = int(capacity.memory_left_bytes / capacity.activation_bytes_per_token)
    assert not capacity.is_out_of_memory(most, 10**9)
    assert capacity.is_out_of_memory(most + 1, 0)


def test_an_unbounded_pool_dies_when_weights_activations_and_kv_exceed_memory() -> None:
    engine = EngineLimits(allocation=Allocation.UNBOUNDED, prefix_caching=False, max_batched_tokens=None, max_running=None)
    capacity = kv_capacity(pool("qwen2.5-14b-instruct", "T4", Quantisation.INT4, engine), "c.toml", "pools.p")
    part = shard(ShardedModel(model="qwen2.5-14b-instruct", quantisation=Quantisation.INT4, gpu="T4"))
    room = 14.75 * GIB - part.weights_bytes - CONTEXT_BYTES - 8 * part.activation_bytes_per_token
    limit = capacity.kv_tokens_before_oom(8)
    assert limit == int(room / part.kv_bytes_per_token)
    assert not capacity.is_out_of_memory(8, limit)
    assert capacity.is_out_of_memory(8, limit + 1)


@pytest.mark.parametrize(
    ("model", "gpu", "quantisation", "tensor_parallel", "says"),
    [
        ("qwen2.5-14b-instruct", "T4", "fp8", 1, "quantisation = fp8 has no kernels on T4; it has: fp16, int8, int4"),
        ("qwen2.5-14b-instruct", "T4", "bf16", 2, "has no kernels on T4"),
        ("qwen2.5-14b-instruct", "T4", "int4", 5, "cannot split 40 heads and 8 KV heads evenly; allowed: 1, 2, 4, 8"),
        ("llama-3.1-70b-instruct", "H100", "fp8", 16, "must be at most 8, the largest group that its link is known for"),
    ],
)
def test_hardware_that_cannot_be_is_refused(model: str, gpu: str, quantisation: str, tensor_parallel: int, says: str) -> None:
    more = {"tensor_parallel": tensor_parallel, "link": "nvlink4", "gpus_per_node": 16}
    with pytest.raises(InputError) as caught:
        kv_capacity(pool(model, gpu, Quantisation(quantisation), **more), "c.toml", "pools.p")
    assert says in str(caught.value)
