"""Clusters that differ from a healthy one by one planted thing, all of them noisy."""

from __future__ import annotations

import re
from pathlib import Path

from tests.cli.command import CLUSTERS

NOISE_CV = 0.05
SCENARIO = """schema = "loadlab/scenario/1"
name = "gated"
timeout_s = "120s"

[load]
kind = "open_loop"
requests = {requests}
arrivals = {{ kind = "poisson", rate_per_s = {rate} }}

[classes.chat]
model = "llm-14b"
prompt_tokens = {{ kind = "lognormal", median = 200, sigma = 0.6, min = 16, max = 1000 }}
output_tokens = {{ kind = "lognormal", median = 80, sigma = 0.5, min = 8, max = 256 }}
"""


def scenario(folder: Path, *, requests: int = 200, rate: float = 0.9) -> Path:
    """200 chat requests on two T4."""
    path = folder / "gated.toml"
    path.write_text(SCENARIO.format(requests=requests, rate=rate))
    return path


def cluster(folder: Path, name: str, *, limits: str = "", fault: str = "", noise_cv: float = NOISE_CV) -> Path:
    """The tuned T4 cluster with noise, more engine limits, and a fault."""
    text = (CLUSTERS / "t4-14b.toml").read_text()
    text = re.sub(r"(\[pools\.llm\.engine\]\n)", rf"\1step_noise_cv = {noise_cv}\n{limits}", text)
    path = folder / f"{name}.toml"
    path.write_text(text + fault)
    return path


def slow_gpu(speed: float, gpu: int = 0) -> str:
    """One of the two GPUs is slower from the beginning to the end: its group waits for it."""
    return f'\n[[faults]]\nkind = "slow_gpu"\npool = "llm"\nreplica = 0\ngpu = {gpu}\nspeed = {speed}\nat_s = 0\nfor_s = 100000\n'


def kv_cluster(folder: Path, kv_tokens: int) -> Path:
    """A replica in plain constants with so much KV memory, noisy; 6,000 tokens keep 200 requests at 10/s waiting for blocks."""
    path = folder / f"kv-{kv_tokens}.toml"
    path.write_text(f"""schema = "loadlab/cluster/1"
name = "kv-{kv_tokens}"

[pools.llm]
serves = ["llm-14b"]

[pools.llm.hardware]
kind = "constants"
step_s = 0.02
per_decode_s = 0.00035
per_prefill_token_s = 0.00011
kv_tokens = {kv_tokens}

[pools.llm.engine]
max_running = 64
max_batched_tokens = 1024
step_noise_cv = {NOISE_CV}
""")
    return path
