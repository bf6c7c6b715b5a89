"""The catalogue's rows, and what a person adds to them."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadlab.catalog import specs
from loadlab.catalog.kernel_spec import Calibration, Precision
from loadlab.catalog.names import gpu_name, model_name
from loadlab.catalog.quantisation import Quantisation
from loadlab.errors import InputError


@pytest.fixture(autouse=True)
def _only_shipped_rows() -> object:
    """Whatever a test adds is gone after it."""
    yield
    specs.gpus.cache_clear()
    specs.models.cache_clear()


def test_every_row_has_a_source_and_a_date() -> None:
    for rows in (specs.gpus(), specs.links(), specs.models(), specs.kernels()):
        for name, row in rows.items():
            assert row.source, name
            assert len(row.as_of) >= 7, name


def test_every_gpu_names_kernels_and_links_that_exist() -> None:
    for name, gpu in specs.gpus().items():
        assert gpu.kernels in specs.kernels(), name
        assert {gpu.link, gpu.node_link} <= set(specs.links()), name


def test_a_gpu_called_fitted_has_kernels_that_saw_measured_rows() -> None:
    for name, gpu in specs.gpus().items():
        if gpu.calibration is Calibration.FITTED:
            assert specs.kernels()[gpu.kernels].rows > 30, name


@pytest.mark.parametrize(
    ("model", "billions", "active_billions"),
    [
        ("llama-3.1-405b-instruct", 405.9, 403.8),  # model cards of each
        ("mixtral-8x7b-instruct", 46.7, 12.7),
        ("qwen3-235b-a22b", 235.1, 21.6),
        ("deepseek-v3", 671.0, 36.6),
        ("kimi-k2-1t-a32b", 1026.0, 31.7),
        ("gpt-oss-120b", 116.8, 5.1),
        ("minimax-m2.5-230b-a10b", 228.7, 10.4),
        ("glm-4.6-355b-a32b", 352.8, 32.9),
    ],
)
def test_parameters_are_those_of_the_model_card(model: str, billions: float, active_billions: float) -> None:
    spec = specs.models()[model]
    assert spec.parameters / 1e9 == pytest.approx(billions, rel=0.002)
    assert spec.active_parameters / 1e9 == pytest.approx(active_billions, rel=0.01)


def test_the_largest_model_computes_like_a_dense_one_of_70_to_150_billion() -> None:
    spec = specs.models()["moe-1.5t-a90b"]
    assert 1.4e12 < spec.parameters < 1.6e12
    assert 70e9 < spec.active_parameters < 150e9
    assert spec.context_tokens >= 1_000_000


def test_weight_only_formats_are_computed_in_16_bits() -> None:
    h100, b200 = specs.gpus()["H100"], specs.gpus()["B200"]
    assert h100.precision(Quantisation.INT4) is Precision.BITS16
    assert h100.precision(Quantisation.FP8_BLOCK) is Precision.BITS8
    assert b200.precision(Quantisation.NVFP4) is Precision.BITS4
    assert b200.flops_per_s(Precision.BITS4) == 9000e12


def test_a_precision_that_was_not_measured_borrows_the_next_wider_one() -> None:
    a100 = specs.kernels()["a100"]
    assert a100.gemm_of(Precision.BITS8) == a100.gemm[Precision.BITS16]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Qwen/Qwen3-235B-A22B-FP8", "qwen3-235b-a22b"),
        ("nvidia/Llama-3.1-8B-Instruct-FP8", "llama-3.1-8b-instruct"),
        ("mixtral-8x7b", "mixtral-8x7b-instruct"),
        ("MiniMaxAI/MiniMax-M2.5", "minimax-m2.5-230b-a10b"),
        ("meta-llama/Meta-Llama-3.1-70B", "llama-3.1-70b-instruct"),
        ("somebody/else", None),
    ],
)
def test_a_model_is_found_by_the_name_of_its_checkpoint(theirs: str, ours: str | None) -> None:
    assert model_name(theirs) == ours


@pytest.mark.parametrize(
    ("theirs", "ours"), [("h100_sxm", "H100"), ("a100_pcie_40gb", "A100-40-PCIe"), ("RTX 4090", "RTX4090"), ("tpu", None)]
)
def test_a_gpu_is_found_by_other_peoples_names(theirs: str, ours: str | None) -> None:
    assert gpu_name(theirs) == ours


MINE = """
["H20"]
memory_bytes = "95GiB"
memory_bytes_per_s = 4.0e12
bits16_flops_per_s = 148e12
bits8_flops_per_s = 296e12
formats = ["bf16", "fp8"]
kernels = "h100"
calibration = "datasheet"
link = "nvlink4"
source = "data sheet"
as_of = "2024-01"
"""


def test_a_gpu_of_ones_own_joins_the_catalogue(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    assert specs.add_gpus(path) == ("H20",)
    assert specs.find(specs.gpus(), "H20", what="gpu").memory_bytes_per_s == 4.0e12


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('kernels = "h100"', 'kernels = "h900"', "H20.kernels = 'h900' must be one of"),
        ('link = "nvlink4"', 'link = "string"', "H20.link = 'string' must be one of"),
        ("memory_bytes_per_s = 4.0e12", "memory_bytes_per_s = 0", "must be > 0"),
        ('as_of = "2024-01"', "", "H20.as_of is missing"),
    ],
)
def test_a_wrong_gpu_file_names_the_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINE.replace(old, new))
    with pytest.raises(InputError, match=says):
        specs.add_gpus(path)
