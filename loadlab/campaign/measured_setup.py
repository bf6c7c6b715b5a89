"""What a measured row calls its model, GPU and weights, as the catalogue's rows: everybody who publishes tables has names of their own."""

from __future__ import annotations

from typing import Any

from loadlab.campaign.measured import text
from loadlab.catalog.names import gpu_name, model_name
from loadlab.catalog.specs import ModelSpec, Quantisation, find, gpus

# Names of weight formats in vLLM, SGLang, TensorRT-LLM, llm-compressor and published tables, beside those of Quantisation.
_ALIASES: dict[Quantisation, tuple[str, ...]] = {
    Quantisation.BF16: ("bfloat16", "float32", "fp32", "16bit"),
    Quantisation.FP16: ("float16", "half", "f16"),
    Quantisation.FP8: (
        "float8", "fp8_e4m3", "fp8_e4m3fn", "float8_e4m3fn", "fp8_static", "fp8_dynamic", "fp8_per_tensor", "fp8_per_channel", "w8a8_fp8",
        "fp8_w8a8", "fbgemm_fp8", "fp8_ootb", "fp8_ptpc", "f8",
    ),
    Quantisation.FP8_BLOCK: ("fp8_blockwise", "fp8_block_wise", "block_fp8", "blockwise_fp8", "w8a8_block_fp8", "fp8_block_scaling"),
    Quantisation.INT8: ("w8a8", "w8a8_int8", "int8_w8a8", "smoothquant", "sq", "int8_sq", "int8_wo", "w8a16", "8bit"),
    Quantisation.INT4: (
        "w4a16", "w4a16_int4", "int4_w4a16", "int4_wo", "awq", "awq_marlin", "awq_int4", "int4_awq", "gptq", "gptq_marlin", "gptq_int4",
        "int4_gptq", "w4a16_awq", "w4a16_gptq", "w4a8", "w4afp8", "nf4", "4bit", "q4",
    ),
    Quantisation.MXFP4: ("w4a16_mxfp4", "w4a8_mxfp4_mxfp8", "w4a8_mxfp4_fp8", "mxfp4_w4a16", "mxfp4_mxfp8", "mx_fp4"),
    Quantisation.NVFP4: ("fp4", "w4a4", "w4a4_nvfp4", "nvfp4_w4a4", "nvfp4_w4a16", "modelopt_fp4", "float4"),
}  # fmt: skip
_BY_NAME = {name: kind for kind, names in _ALIASES.items() for name in (kind.value, *names)}
_UNSAID = ("", "auto", "none", "default")


def named_gpu(row: dict[str, Any]) -> str:
    """The catalogue's name of the row's GPU. Raises ValueError."""
    name = text(row, "gpu")
    found = gpu_name(name)
    if found is None:
        raise ValueError(f"gpu {name!r} is not in the catalogue; --gpus FILE adds one")
    return found


def named_model(row: dict[str, Any]) -> str:
    """The catalogue's name of the row's model. Raises ValueError."""
    name = text(row, "model")
    found = model_name(name)
    if found is None:
        raise ValueError(f"model {name!r} is not in the catalogue; --models DIR adds one from its config.json")
    return found


def weights_format(dtype: str, model: ModelSpec, gpu: str) -> Quantisation:
    """The weights' format by whatever name; unsaid, the one that the model is published in. Raises ValueError for an unknown name.

    `fp8` of a model that is published block-wise is block-wise. The two 16-bit formats cost the same, so that a GPU that has only one of
    them is taken to have run that.
    """
    plain = dtype.strip().lower().replace("-", "_").replace(" ", "_")
    if plain in _UNSAID:
        return model.quantisation or Quantisation.BF16
    if plain not in _BY_NAME:
        raise ValueError(f"dtype = {dtype!r} is not a known format; known: {', '.join(Quantisation)} and their usual other names")
    found = _BY_NAME[plain]
    if found is Quantisation.FP8 and model.quantisation is Quantisation.FP8_BLOCK:
        return Quantisation.FP8_BLOCK
    formats = find(gpus(), gpu, what="gpu").formats
    if found is Quantisation.BF16 and found not in formats and Quantisation.FP16 in formats:
        return Quantisation.FP16
    return found
