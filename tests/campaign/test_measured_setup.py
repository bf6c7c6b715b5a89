"""Measured rows as others write them: formats, names, degrees and cells that are empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loadlab.analysis.scoring import score
from loadlab.campaign.measured_setup import named_gpu, weights_format
from loadlab.campaign.validate_serving import score_serving, serving_run
from loadlab.campaign.validate_steps import score_steps
from loadlab.catalog.quantisation import Quantisation
from loadlab.catalog.specs import models

ROW = {
    "model": "meta-llama/Llama-3.1-70B", "gpu": "h100_sxm", "n_gpu": 8, "tp": 8, "pp": 1, "dp": 1, "ep": 1, "dtype": "fp8",
    "engine": "vllm",
    "isl": 1024, "osl": 128, "load": 4, "load_kind": "concurrency", "ttft_ms": 80, "tpot_ms": 9, "output_tok_s": 400,
}  # fmt: skip


def hardware(**changes: Any) -> Any:
    return serving_run(ROW | changes).hardware


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("float16", "fp16"), ("BFloat16", "bf16"), ("fp8_static", "fp8"), ("w8a8-fp8", "fp8"), ("awq", "int4"), ("gptq", "int4"),
        ("w4a16", "int4"), ("fp4", "nvfp4"), ("w4a16_mxfp4", "mxfp4"), ("block_fp8", "fp8_block"), ("w8a8", "int8"), ("", "bf16"),
        ("auto", "bf16"),
    ],
)  # fmt: skip
def test_formats_go_by_the_names_that_engines_give_them(dtype: str, expected: str) -> None:
    assert weights_format(dtype, models()["llama-3.1-8b-instruct"], "H100") == expected


def test_a_checkpoint_published_block_wise_runs_block_wise() -> None:
    assert weights_format("fp8", models()["deepseek-v3"], "H200") is Quantisation.FP8_BLOCK
    assert hardware(model="Qwen/Qwen3-235B-A22B-FP8").quantisation is Quantisation.FP8_BLOCK
    assert weights_format("bf16", models()["deepseek-v3"], "H200") is Quantisation.BF16
    assert weights_format("", models()["deepseek-v3"], "H200") is Quantisation.FP8_BLOCK


def test_sixteen_bits_are_those_that_the_gpu_has() -> None:
    assert weights_format("bf16", models()["llama-3.1-8b-instruct"], "T4") is Quantisation.FP16


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"), ("NVIDIA A100-SXM4-80GB", "A100-80"), ("a100_pcie_40gb", "A100-40-PCIe"), ("Tesla T4", "T4"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"), ("RTX PRO 6000 Blackwell Server Edition", "RTXPRO6000"), ("b200_sxm", "B200"),
        ("AMD Instinct MI300X", "MI300X"),
    ],
)  # fmt: skip
def test_gpus_go_by_the_names_that_drivers_give_them(name: str, ours: str) -> None:
    assert named_gpu({"gpu": name}) == ours


@pytest.mark.parametrize("name", ["gh200", "H20", "", "rtx_6000_ada"])
def test_another_gpu_is_not_taken_for_one_of_ours(name: str) -> None:
    with pytest.raises(ValueError, match="is not in the catalogue; --gpus FILE adds one"):
        named_gpu({"gpu": name})


@pytest.mark.parametrize(
    ("written", "degrees"),
    [
        ({"tp": 8, "ep": 8}, (8, 1, 1, 8)),
        ({"tp": 8, "dp": 8, "ep": 8}, (1, 1, 8, 8)),  # data-parallel attention: --tp counts all GPUs
        ({"tp": 1, "dp": None, "ep": 8}, (1, 1, 8, 8)),
        ({"tp": 1, "dp": 1, "ep": 8}, (1, 1, 8, 8)),  # experts over all GPUs
        ({"tp": 64, "ep": 8, "n_gpu": 64}, (8, 1, 1, 8)),  # listed as MoE tensor times expert parallel
        ({"tp": 16, "ep": 16, "n_gpu": 16}, (16, 1, 1, 16)),
        ({"tp": 8, "pp": 2, "ep": 0, "n_gpu": 16}, (8, 2, 1, 1)),
    ],
)
def test_degrees_of_experts_are_read_as_they_are_written(written: dict[str, Any], degrees: tuple[int, ...]) -> None:
    found = hardware(model="deepseek-ai/DeepSeek-V3", gpu="h200_sxm", **written)
    assert (found.tensor_parallel, found.pipeline_parallel, found.data_parallel, found.expert_parallel) == degrees


def test_dense_ranks_are_replicas() -> None:
    run = serving_run(ROW | {"tp": 4, "dp": 2})
    assert (run.replicas, run.hardware.data_parallel) == (2, 1)


def test_a_load_that_is_no_closed_loop_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="load_kind = 'request_rate' is not simulated"):
        serving_run(ROW | {"load_kind": "request_rate"})


def test_weights_that_the_matrix_units_do_not_know_are_computed_in_16_bits() -> None:
    run = serving_run(ROW | {"gpu": "a100_sxm", "dtype": "fp8"})
    assert run.cluster().serves == ("m",)


def test_long_requests_widen_the_window_and_empty_rows_are_listed(tmp_path: Path) -> None:
    header = list(ROW)
    rows = [
        ROW | {"model": "qwen3-32b", "isl": 60000, "osl": 4, "load": 1},
        ROW | {"ttft_ms": "", "tpot_ms": None, "output_tok_s": -1},
        ROW | {"dtype": "bf17"},
        ROW | {"gpu": "h20"},
    ]
    lines = [",".join(str("" if row[key] is None else row[key]) for key in header) for row in rows]
    (tmp_path / "rows.csv").write_text("\ufeff" + "\n".join([" ,".join(header), *lines]))
    found = score(*score_serving(tmp_path / "rows.csv"))
    assert found["total"]["ttft_ms"]["n"] == 1
    assert found["total"]["ttft_ms"]["predicted_share"] == pytest.approx(1 / 3)
    assert sorted(missed["n"] for missed in found["unpredicted"]) == [1, 3, 3]
    assert any("nothing measured" in missed["reason"] for missed in found["unpredicted"])


def test_step_tables_may_say_less_and_more(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text(
        "note,step_ms,context_len,batch,phase,dtype,tp,gpu,model\n"
        "x,6.35,1024,8.0,Decode,float16,,H100 SXM,meta-llama/Llama-3.1-8B-Instruct\n"
        "x,6.35,1024,8.0,generation,bfloat16,1.0,h100,llama-3.1-8b\n"
        ",,1024,8,decode,bf16,1,h100,llama-3.1-8b\n"
    )
    found = score(*score_steps(tmp_path / "s.csv"))
    assert found["total"]["step_ms"]["n"] == 2
    assert found["total"]["step_ms"]["median"] < 10
    assert found["total"]["step_ms"]["predicted_share"] == 1
    assert found["unpredicted"] == [{"reason": "nothing measured: step_ms is empty or no number above 0", "n": 1}]
    assert {group["engine"] for group in found["groups"]} == {""}
