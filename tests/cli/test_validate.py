"""`loadlab validate`: scores of small tables, and what is said of rows that cannot be predicted."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.cli.command import CLUSTERS, Command

MEASURED = Path(__file__).parents[2].parent / "shared" / "data" / "fidelity"
STEPS = """model,gpu,tp,dtype,phase,batch,context_len,other_ms,step_ms,engine
llama-3.1-8b,h100_sxm,1,bf16,decode,8,1024,,6.35,vllm
llama-3.1-8b,h100_sxm,1,bf16,prefill,1,2048,,38.9,vllm
nobody/nothing-9b,h100_sxm,1,bf16,decode,8,1024,,5,vllm
llama-3.1-8b,h100_sxm,1,bf17,decode,8,1024,,5,vllm
"""
SERVING = """model,gpu,n_gpu,tp,pp,dp,ep,dtype,engine,version,mode,isl,osl,load,ttft_ms,tpot_ms,output_tok_s,source
meta-llama/Llama-3.1-70B,h100_sxm,4,4,1,1,1,fp8,vllm,,agg,1024,1024,4,80.5,11.8,333,s
meta-llama/Llama-3.1-70B,h100_sxm,1,1,1,1,1,bf16,vllm,,agg,1024,1024,4,,11.8,333,s
nvidia/Llama-3.1-8B-Instruct-FP8,h200_sxm,1,1,1,1,1,fp8,vllm,,agg,1024,1024,4,10,4,900,s
"""
REQUESTS = """run,arrival_s,input_tokens,output_tokens,ttft_ms,tpot_ms,e2e_ms
one,0.0,1000,100,120,15,1600
one,0.5,1000,100,120,15,1600
two,0.0,10,10,20,15,160
"""


def test_steps_are_scored_and_unknown_names_are_listed(command: Command, tmp_path: Path) -> None:
    (tmp_path / "steps.csv").write_text(STEPS)
    answer = command("validate", "steps", tmp_path / "steps.csv", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert set(found) == {"schema", "groups", "total", "unpredicted"}
    assert {(g["phase"], g["kind"], g["gpu"], g["engine"]) for g in found["groups"]} == {
        ("decode", "dense", "h100_sxm", "vllm"), ("prefill", "dense", "h100_sxm", "vllm"),
    }  # fmt: skip
    assert found["total"]["step_ms"]["median"] < 10
    assert found["total"]["step_ms"]["predicted_share"] == 0.5
    assert any("'nobody/nothing-9b' is not in the catalogue; --models DIR" in missed["reason"] for missed in found["unpredicted"])


def test_a_model_from_a_config_is_scored(command: Command, tmp_path: Path) -> None:
    (tmp_path / "steps.csv.gz").write_bytes(gzip.compress(STEPS.encode()))
    (tmp_path / "models" / "nobody" / "nothing-9b").mkdir(parents=True)
    config = {
        "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
        "intermediate_size": 14336, "vocab_size": 128256,
    }  # fmt: skip
    (tmp_path / "models" / "nobody" / "nothing-9b" / "config.json").write_text(json.dumps(config))
    answer = command("validate", "steps", tmp_path / "steps.csv.gz", "--models", tmp_path / "models", "--json")
    assert json.loads(answer.out)["total"]["step_ms"]["predicted_share"] == 0.75


def test_serving_simulates_each_row_and_says_why_one_is_left_out(command: Command, tmp_path: Path) -> None:
    (tmp_path / "serving.csv").write_text(SERVING)
    found = json.loads(command("validate", "serving", tmp_path / "serving.csv", "--json").out)
    assert {g["metric"] for g in found["groups"]} == {"ttft_ms", "tpot_ms", "output_tok_s"}
    assert found["total"]["tpot_ms"]["n"] == 1
    assert found["total"]["tpot_ms"]["median"] < 15
    reasons = " ".join(missed["reason"] for missed in found["unpredicted"])
    assert "GiB short" in reasons
    assert "excluded: " in reasons
    assert sum(missed["n"] for missed in found["unpredicted"]) == 5  # two figures of the second row, three of the third


def test_requests_are_replayed_run_by_run(command: Command, tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(REQUESTS)
    both = json.loads(command("validate", "requests", tmp_path / "log.csv", "--cluster", CLUSTERS / "rtx4090-8b.toml", "--json").out)
    assert {g["phase"] for g in both["groups"]} == {"one", "two"}
    plot = tmp_path / "r.png"
    one = command("validate", "requests", tmp_path / "log.csv", "--cluster", CLUSTERS / "rtx4090-8b.toml", "--run", "one", "--plot", plot)
    assert "e2e_ms" in one.out
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("steps", "none.csv"), "does not exist"),
        (("steps", "log.csv"), "lacks the column model; it needs model, gpu"),
        (("requests", "log.csv", "--cluster", CLUSTERS / "rtx4090-8b.toml", "--run", "three"), "--run = 'three' is not a run of log.csv"),
        (("steps", "steps.csv", "--plot", "x.exe"), "--plot = 'x.exe' must end in .png"),
    ],
)
def test_bad_input_is_named(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "log.csv").write_text(REQUESTS)
    (tmp_path / "steps.csv").write_text(STEPS)
    monkeypatch.chdir(tmp_path)
    answer = command("validate", *arguments)
    assert answer.code == 2
    assert says in answer.err


@pytest.mark.skipif(not MEASURED.is_dir(), reason="the measured rows lie beside the repository, in shared/data/fidelity")
def test_measured_steps_are_met(command: Command) -> None:
    """The constants saw these rows; unseen halves and left-out models stand in docs/validation.md."""
    total = json.loads(command("validate", "steps", MEASURED / "step_times.csv", "--json").out)["total"]["step_ms"]
    assert total["median"] < 5
    assert total["predicted_share"] > 0.95


@pytest.mark.skipif(not MEASURED.is_dir(), reason="the measured rows lie beside the repository, in shared/data/fidelity")
@pytest.mark.parametrize(("cluster", "run"), [("rtx4090-8b", "RTX4090/Llama-3.1-8B"), ("rtxpro6000-8b", "RTXPRO6000/Llama-3.1-8B")])
def test_real_runs_end_when_they_ended(command: Command, cluster: str, run: str) -> None:
    arguments = ("requests", MEASURED / "serving_requests.csv", "--cluster", CLUSTERS / f"{cluster}.toml", "--run", run, "--json")
    found = json.loads(command("validate", *arguments).out)
    assert abs(found["total"]["e2e_ms"]["bias"]) < 6
    assert found["total"]["e2e_ms"]["predicted_share"] == 1
