from __future__ import annotations

import tomllib
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
    ('kind = "sharded"', "", "hardware.kind is missing: it must be one of constants, sharded"),
    ('kind = "sharded"', 'kind = "shared"', "did you mean 'sharded'"),
    ('model = "qwen2.5-14b-instruct"', 'model = "qwen2.5-14b"', "did you mean 'qwen2.5-14b-instruct'"),
    ('quantisation = "int4"', 'quantisation = "int3"', "must be one of bf16, fp16, fp8, fp8_block, int8, int4"),
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


CAMPAIGN = tomllib.loads((SHIPPED[0].parents[1] / "t4-study" / "campaign.toml").read_text())
STUDIED = [SHIPPED[0].with_name(Path(profile["cluster"]).name) for profile in CAMPAIGN["profiles"].values()]


@pytest.mark.parametrize("path", STUDIED, ids=lambda path: path.stem)
def test_every_cluster_of_the_study_has_a_naive_twin_on_the_same_hardware(path: Path) -> None:
    tuned, naive = load_cluster(path), load_cluster(path.with_name(f"{path.stem}-naive.toml"))
    assert [p.hardware for p in tuned.pools.values()] == [p.hardware for p in naive.pools.values()]
    for pool in naive.pools.values():
        assert (pool.queue_limit, pool.engine.max_running, pool.engine.allocation) == (None, None, "unbounded")


MORE = """
schema = "loadlab/cluster/1"
name = "more"
[tiers]
shares = { fast = 0.9, expert = 0.1 }
[regions.eu]
round_trip_s = { eu = 0, us = "80ms" }
[regions.us]
round_trip_s = { eu = "80ms", us = 0 }
[pipeline]
threads = 4
[pools.prefill]
serves = []
hardware = { kind = "constants", step_s = "20ms", kv_tokens = "60k" }
[pools.a]
serves = ["m"]
tier = "fast"
region = "eu"
replicas = 2
prefill_pool = "prefill"
transfer_link = "nvlink4"
autoscale = { min_replicas = 1, target_outstanding = 8 }
hardware = { kind = "constants", step_s = "20ms", kv_tokens = "60k" }
[pools.b]
serves = ["m"]
tier = "expert"
region = "us"
hardware = { kind = "constants", step_s = "20ms", kv_tokens = "60k" }
engine = { allocation = "contiguous", batching = "static", prefix_caching = false }
[[faults]]
kind = "slow_gpu"
pool = "a"
replica = 1
speed = 0.5
at_s = "1min"
for_s = "30s"
[[faults]]
kind = "lost_region"
region = "us"
at_s = 100
for_s = 10
"""

MORE_BROKEN = [
    ("fast = 0.9", "fast = 0.8", "shares must sum to 1, not 0.9"),
    ("fast = 0.9", "slow = 0.9", "names a tier that no pool has"),
    ("fast = 0.9", "fast = 1.9", "must be between 0 and 1"),
    ('region = "eu"', 'region = "mars"', "is not one of [regions]"),
    ('us = "80ms"', 'usa = "80ms"', "is not one of [regions]"),
    ("threads = 4", "threads = 0", "must be > 0"),
    ("threads = 4", 'filter_s = "fast"', "is not a number with a unit"),
    ('prefill_pool = "prefill"', 'prefill_pool = "a"', "must be another pool"),
    ('prefill_pool = "prefill"', 'prefill_pool = "b"', "must be empty: it computes prompts for"),
    ('prefill_pool = "prefill"', "", "must be given together"),
    ('transfer_link = "nvlink4"', 'transfer_link = "rope"', "link 'rope' is not in the catalogue"),
    ("min_replicas = 1", "min_replicas = 3", "must be at most replicas (2)"),
    ("target_outstanding = 8", "target_outstanding = 0", "must be > 0"),
    ('allocation = "contiguous"', 'allocation = "paged"', "static"),
    ("prefix_caching = false", "prefix_caching = true", "must go with allocation"),
    ("speed = 0.5", "speed = 0", "must be above 0 and at most 1"),
    ("replica = 1", "replica = 2", "must be below 2"),
    ('kind = "slow_gpu"\npool = "a"', 'kind = "slow_gpu"\npool = "z"', "is not one of [pools]"),
    ('kind = "slow_gpu"', 'kind = "slow_cpu"', "did you mean 'slow_gpu'"),
    ('kind = "slow_gpu"', 'kind = "slow_link"', "needs links to slow down: a replica of a is one GPU, or plain constants"),
    ("speed = 0.5", "speed = 0.5\ngpu = 4", "must be below 1"),
    ('region = "us"\nat_s', 'region = "moon"\nat_s', "is not one of [regions]"),
    ('for_s = "30s"', "", "for_s is missing"),
    ('serves = ["m"]\ntier = "expert"\nregion = "us"', 'serves = ["m"]\ntier = "fast"\nregion = "eu"', "already, in this tier and region"),
]


@pytest.mark.parametrize(("old", "new", "says"), MORE_BROKEN, ids=[f"{new or 'no ' + old}"[:40] for old, new, _ in MORE_BROKEN])
def test_broken_tiers_regions_pools_and_faults_give_one_clear_error(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "c.toml"
    assert old in MORE
    path.write_text(MORE.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        SimulatedCluster(load_cluster(path), str(path))
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_the_file_with_everything_is_good(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(MORE)
    assert len(SimulatedCluster(load_cluster(path), str(path)).replicas) == 4
