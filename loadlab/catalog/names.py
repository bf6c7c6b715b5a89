"""Finds the catalogue's row for a model or GPU that somebody else names their way: `Qwen/Qwen3-235B-A22B-FP8`, `h100_sxm`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from loadlab.catalog.specs import engines, gpus, models, shipped_names

# What a checkpoint's name has at its end that does not change the model's shape.
_ENDINGS = frozenset({
    "instruct", "chat", "hf", "it", "base", "fp8", "fp16", "bf16", "nvfp4", "fp4", "mxfp4", "awq", "gptq", "int4", "int8", "w8a8",
    "w4a16", "quantized.w4a16", "quantized.w8a8",
    "dynamic", "kv", "block", "2507", "thinking", "quantized", "autofp8", "0324", "0528", "v0.1", "v0.2", "v0.3", "1m",
    "128k",
})  # fmt: skip
_GPU_ALIASES = {
    "a100-sxm": "A100-80", "a100-sxm-80gb": "A100-80", "a100-80gb": "A100-80", "a100": "A100-80", "a100-pcie": "A100-80",
    "a100-pcie-80gb": "A100-80", "a100-pcie-40gb": "A100-40-PCIe", "a100-40gb": "A100-40", "a100-sxm-40gb": "A100-40",
    "gb200": "B200",
    "h100-sxm": "H100", "h100-sxm5": "H100", "h100-80gb": "H100", "h100-pcie": "H100-PCIe", "h200-sxm": "H200", "b200-sxm": "B200",
    "rtx-4090": "RTX4090", "rtx-pro-6000": "RTXPRO6000", "rtxpro-6000": "RTXPRO6000", "mi300x-sxm": "MI300X",
}  # fmt: skip


# What vendors and drivers write around a GPU's name.
_GPU_WORDS = frozenset({
    "nvidia", "amd", "tesla", "geforce", "instinct", "sxm", "sxm4", "sxm5", "oam", "hbm2", "hbm2e", "hbm3", "hbm3e", "gpu", "blackwell",
    "server", "workstation", "edition", "ada", "generation", "192gb", "141gb", "80gb", "48gb", "24gb", "16gb", "96gb", "tensor", "core",
})  # fmt: skip


def gpu_name(name: str) -> str | None:
    """The catalogue's name of that GPU, or None."""
    plain = _plain(name)
    bare = "-".join(word for word in plain.split("-") if word not in _GPU_WORDS)
    for wanted in (plain, bare, plain.replace("-", ""), bare.replace("-", "")):
        if found := _first_match([wanted], gpus()) or _first_match([_plain(_GPU_ALIASES.get(wanted, ""))], gpus()):
            return found
    return None


def engine_name(name: str) -> str:
    """The catalogue's name of that serving engine: "NIM (trtllm)" is trtllm; `other` for one that it does not know."""
    plain = _plain(name).replace("tensorrt-llm", "trtllm")
    return next((engine for engine in engines() if engine in plain), "other")


def model_name(name: str) -> str | None:
    """The catalogue's name of that model, or None. A person's own models go before the shipped ones, exact names before cut ones."""
    shipped = [row for row in models() if row in shipped_names()[1]]
    own = {row: _names_of(row) for row in models() if row not in shipped_names()[1]}
    for known in (own, {row: _names_of(row) for row in shipped}):
        for wanted in (_plain(name), _plain(_last(name)), _cut(name)):
            for row, names in known.items():
                if wanted in names:
                    return row
        for row, names in known.items():
            if _cut(name) in {_cut(known_name) for known_name in names}:
                return row
        endings = [row for row in known if known is own and _plain(row).endswith("-" + _cut(name))]
        if len(endings) == 1:  # a folder that is called owner_model
            return endings[0]
    return None


def _names_of(row: str) -> tuple[str, ...]:
    return (_plain(row), *(_plain(_last(name)) for name in (row, models()[row].version)))


def _last(name: str) -> str:
    """Without the owner: as in owner/model, owner--model, owner__model, and the download cache's models--owner--model/snapshots/hash."""
    return re.split(r"/|--|__", re.sub(r"/snapshots/.*$", "", name).rstrip("/"))[-1]


def _first_match(wanted: Iterable[str], rows: Iterable[str]) -> str | None:
    known = {_plain(row): row for row in rows}
    return next((known[name] for name in wanted if name in known), None)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")


def _cut(name: str) -> str:
    parts = _plain(_last(name)).replace("meta-llama-", "llama-").split("-")
    while len(parts) > 1 and parts[-1] in _ENDINGS:
        parts.pop()
    return "-".join(parts)
