from __future__ import annotations

from pathlib import Path

import pytest

from loadlab.errors import InputError
from loadlab.simulator.cluster import SimulatedCluster
from loadlab.simulator.files import load_cluster

GOOD = """
schema = "loadlab/cluster/1"
name = "good"
[pools.p]
serves = ["m"]
queue_limit = 64
[pools.p.hardware]
kind = "sharded"
model = "qwen2.5-14b-instruct"
quantisation = "int4"
gpu = "T4"
tensor_parallel = 2
link = "pcie3"
[pools.p.engine]
max_running = 32
"""

TWIN_POOL = """[pools.q]
serves = ["m"]
hardware = { kind = "constants", step_s = 1, kv_tokens = 9 }
[pools.p.engine]"""

BROKEN = [
    ('schema = "loadlab/cluster/1"', "", "schema is missing"),
    ("cluster/1", "cluster/9", "is not one that this version reads"),
    ('name = "good"', "", "name is missing"),
    ('serves = ["m"]', "serves = []", "must name at least one model"),
    ('serves = ["m"]', 'serves = "m"', "must be an array"),
    ('serves = ["m"]', "", "pools.p.serves is missing"),
    ("queue_limit = 64", "queue_limit = -1", "must be >= 0"),
    ("queue_limit = 64", "queue_limits = 64", "did you mean 'queue_limit'"),
    ("queue_limit = 64", "queue_limit = 6.5", "must be a whole number"),
    ("queue_limit = 64", "replicas = 0", "must be > 0"),
    ("queue_limit = 64", 'router = "random-robin"', "did you mean 'round-robin'"),
    ('kind = "sharded"', "", "hardware.kind = None must be one of constants, sharded"),
    ('kind = "sharded"', 'kind = "shared"', "did you mean 'sharded'"),
    ('model = "qwen2.5-14b-instruct"', 'model = "qwen2.5-14b"', "did you mean 'qwen2.5-14b-instruct'"),
    ('quantisation = "int4"', 'quantisation = "int3"', "must be one of bf16, fp16, fp8, int4"),
    ('gpu = "T4"', 'gpu = "T5"', "gpu 'T5' is not in the catalogue"),
    ('gpu = "T4"', "gpu = 4", "must be text in quotes"),
    ("tensor_parallel = 2", "tensor_parallel = 3", "cannot split 40 heads"),
    ("tensor_parallel = 2", "tensor_parallel = 0", "must be > 0"),
    ('link = "pcie3"', "", "link is missing"),
    ('link = "pcie3"', 'link = "token-ring"', "link 'token-ring' is not in the catalogue"),
    ("max_running = 32", "max_running = 4096", "max_batched_tokens = 2048 must be >= max_running (4096)"),
    ("max_running = 32", 'max_running = "none"', "must be >= max_running (no limit)"),
    ("max_running = 32", "gpu_memory_utilization = 1.2", "must be above 0 and at most 1"),
    ("max_running = 32", "gpu_memory_utilization = 0.3", "does not fit"),
    ("max_running = 32", "max_context_tokens = 99999", "must be at most the model's own window (32768)"),
    ("max_running = 32", 'allocation = "infinite"', "must be one of paged, contiguous, unbounded"),
    ("max_running = 32", "block_size_tokens = 0", "must be > 0"),
    ("max_running = 32", 'restart_s = "soon"', "is not a number with a unit"),
    ("max_running = 32", "prefix_caching = 1", "must be true or false"),
    ("[pools.p.engine]", TWIN_POOL, "is served by pools.p already"),
    ('schema = "loadlab/cluster/1"', "schema = ", "is not valid TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "says"), BROKEN, ids=[f"{new or 'no ' + old}"[:40] for old, new, _ in BROKEN])
def test_a_broken_cluster_file_gives_one_clear_error(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "c.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        SimulatedCluster(load_cluster(path), str(path))
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_the_good_file_is_good(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(GOOD)
    cluster = SimulatedCluster(load_cluster(path), str(path))
    assert cluster.serves == ("m",)


SHIPPED = sorted((Path(__file__).parents[2] / "scenarios" / "clusters").glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_cluster_loads_under_its_own_name(path: Path) -> None:
    assert SimulatedCluster(load_cluster(path), str(path)).spec.name == path.stem


@pytest.mark.parametrize("path", [p for p in SHIPPED if not p.stem.endswith("-naive")], ids=lambda path: path.stem)
def test_every_tuned_cluster_has_a_naive_twin_on_the_same_hardware(path: Path) -> None:
    tuned, naive = load_cluster(path), load_cluster(path.with_name(f"{path.stem}-naive.toml"))
    assert [p.hardware for p in tuned.pools.values()] == [p.hardware for p in naive.pools.values()]
    for pool in naive.pools.values():
        assert (pool.queue_limit, pool.engine.max_running, pool.engine.allocation) == (None, None, "unbounded")
