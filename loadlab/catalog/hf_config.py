"""A model's Hugging Face config.json as a ModelSpec. What the file says of size is read; no code of the model is run.

Families name the same thing differently, so each figure is looked up under every name that the field's families use. A file whose
`model_type` is not among the known ones is read as a decoder of the usual kind, and says so in `approximation`.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loadlab.catalog.hf_layers import AttentionLayers, attention_layers, expert_layers, recurrent
from loadlab.catalog.model_spec import ExpertSpec, LatentSpec, ModelSpec, VisionSpec, WindowSpec
from loadlab.catalog.quantisation import Quantisation
from loadlab.errors import InputError
from loadlab.schema import MAX_FILE_BYTES, shown, shown_path

KNOWN_TYPES = frozenset({
    "baichuan", "cohere", "cohere2", "deepseek", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "ernie4_5", "ernie4_5_moe",
    "exaone", "exaone4", "falcon", "gemma", "gemma2", "gemma3", "gemma3_text", "glm", "glm4", "glm4_moe", "glm4_moe_lite", "glm_moe_dsa",
    "gpt_oss", "gpt2", "granite", "granitemoe", "granitemoehybrid", "hunyuan_v1_dense", "hunyuan_v1_moe", "internlm2", "internlm3",
    "jamba", "kimi_k2", "kimi_k25", "kimi_linear",
    "llama", "llama4", "llama4_text", "minimax", "minimax_m2", "minimax_text_01", "ministral", "ministral3", "mistral", "mistral3",
    "mixtral", "nemotron", "nemotron-nas", "nemotron_h", "olmo2", "olmo3", "olmoe", "phi3", "phimoe", "qwen2", "qwen2_5_vl",
    "qwen2_5_vl_text", "qwen2_moe", "qwen2_vl", "qwen3", "qwen3_5", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe",
    "qwen3_next", "qwen3_vl", "qwen3_vl_moe", "qwen3_vl_moe_text", "qwen3_vl_text", "seed_oss", "smollm3", "stablelm", "starcoder2",
    "yi",
})  # fmt: skip
NOT_GATED = frozenset({"starcoder2", "nemotron", "nemotron_h", "falcon", "gpt_neox", "phi", "opt", "gpt2"})
# What transformers' own configuration classes say where a published file leaves a key out.
_GEMMA = {"tie_word_embeddings": True, "head_dim": 256}
FAMILY_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma": _GEMMA,
    "gemma2": _GEMMA | {"vocab_size": 256000, "sliding_window": 4096},
    "gemma3_text": _GEMMA
    | {
        "vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4, "sliding_window": 4096,
        "max_position_embeddings": 131072,
    },
    "cohere": {"tie_word_embeddings": True},
    "cohere2": {"tie_word_embeddings": True, "sliding_window": 4096},
    "llama4_text": {"num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 202048},
    "gpt_oss": {"head_dim": 64, "num_key_value_heads": 8, "sliding_window": 128},
    "qwen3": {"head_dim": 128},
    "qwen3_moe": {"num_key_value_heads": 4},
    "qwen3_next": {"head_dim": 256, "full_attention_interval": 4},
}  # fmt: skip
NESTED = ("text_config", "language_config", "llm_config", "thinker_config", "language_model")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "multi_query_group_num")
FILES_AT_MOST = 1000


def read_models(folder: Path) -> dict[str, ModelSpec]:
    """The models of a folder, by name: NAME/config.json or NAME.json, at any depth; the names are relative to the folder.

    Raises InputError if there is none, or one cannot be read.
    """
    if folder.is_file():
        return {_name_of(folder, folder.parent.parent): read_model(folder)}
    if not folder.is_dir():
        raise InputError("is not a folder with config.json files", source=shown_path(folder))
    found = sorted(path for path in folder.rglob("*.json") if path.name == "config.json" or _is_config(path))
    if not found or len(found) > FILES_AT_MOST:
        raise InputError(
            f"has {len(found)} models; expected 1 to {FILES_AT_MOST}: NAME/config.json or NAME.json", source=shown_path(folder)
        )
    return {_name_of(path, folder): read_model(path) for path in found}


def _is_config(path: Path) -> bool:
    """Whether a JSON file that has another name is a model's configuration."""
    if path.name in ("generation_config.json", "tokenizer_config.json", "tokenizer.json", "preprocessor_config.json"):
        return False
    if path.stat().st_size > MAX_FILE_BYTES:
        return False
    head = path.read_text(encoding="utf-8", errors="replace")
    return '"model_type"' in head or '"architectures"' in head or '"num_hidden_layers"' in head


def _name_of(path: Path, folder: Path) -> str:
    if path.name != "config.json":
        return path.relative_to(folder).with_suffix("").as_posix() if path.suffix == ".json" else path.name
    name = path.parent.relative_to(folder).as_posix()
    return folder.resolve().name if name == "." else name


def read_model(path: Path) -> ModelSpec:
    """The model of one config.json. Raises InputError naming the file, the key and what is missing."""
    source = shown_path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"is larger than {MAX_FILE_BYTES // 2**20} MiB; is this a config.json?", source=source)
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", source=source) from None
    except (ValueError, RecursionError):
        raise InputError("is not JSON in UTF-8; expected a Hugging Face config.json", source=source) from None
    if not isinstance(config, dict):
        raise InputError("must be a JSON object; expected a Hugging Face config.json", source=source)
    name = config.get("_name_or_path") or path.parent.name if path.name == "config.json" else path.stem
    as_of = datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
    return model_of(config, version=str(name)[:120], source=source, as_of=as_of)


def model_of(config: Mapping[str, Any], *, version: str, source: str, as_of: str) -> ModelSpec:
    """The model that a config.json, as parsed, tells. Raises InputError naming `source` and the key."""
    reader = Reader(config, source)
    text = reader.text
    model_type = str(text.get("model_type") or config.get("model_type") or "")
    layers, hidden, heads = reader.whole("num_hidden_layers", "n_layer"), reader.whole("hidden_size", "n_embd"), _heads(reader)
    experts = _experts(reader, layers)
    attention = attention_layers(text, layers)
    has_window = 0 < attention.window < layers - attention.recurrent
    try:
        return ModelSpec(
            version=version,
            layers=layers,
            hidden=hidden,
            heads=heads,
            kv_heads=min(
                heads, reader.whole("num_key_value_heads", "num_kv_heads", "multi_query_group_num", default=_nas_kv_heads(text, heads))
            ),
            head_dim=reader.whole("head_dim", "attention_head_dim", default=hidden // heads),
            intermediate=_intermediate(reader, experts, hidden, layers),
            vocabulary=reader.whole("vocab_size"),
            tied_embeddings=bool(text.get("tie_word_embeddings", config.get("tie_word_embeddings", False))),
            context_tokens=reader.whole(
                "max_position_embeddings", "model_max_length", "seq_length", "max_seq_len", "n_positions", default=32768
            ),
            is_gated=model_type not in NOT_GATED,
            dense_layers=_dense_layers(text),
            experts=experts,
            latent=_latent(reader),
            window=WindowSpec(layers=attention.window, tokens=attention.window_tokens) if has_window else None,
            recurrent=recurrent(text, attention.recurrent, hidden),
            vision=_vision(config),
            quantisation=_quantisation(config, text),
            approximation=_approximation(model_type, text, config, attention),
            source=f"{source} (model_type {model_type or 'not given'})",
            as_of=as_of,
        )
    except ValueError as error:
        raise InputError(f"does not add up: {error}", source=source) from None


class Reader:
    """Figures of a config.json; those of the language model, where it is one part of several."""

    def __init__(self, config: Mapping[str, Any], source: str) -> None:
        text = dict(config)
        while (nested := next((text[key] for key in NESTED if isinstance(text.get(key), dict)), None)) is not None:
            text = {key: value for key, value in text.items() if key not in NESTED} | nested
        defaults = FAMILY_DEFAULTS.get(str(text.get("model_type")), {})
        told = {key: value for key, value in text.items() if value is not None or key not in defaults}
        self.text: Mapping[str, Any] = defaults | told
        self._source = source

    def whole(self, *keys: str, default: int | None = None) -> int:
        """The first of `keys` that is there, a whole number above 0."""
        for key in keys:
            value = self.text.get(key)
            if value is None:
                continue
            if isinstance(value, list):  # a figure a layer, as NAS models have: the largest
                value = max((v for v in value if isinstance(v, int)), default=None)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**40:
                raise InputError(f"= {shown(value)} must be a whole number above 0", source=self._source, key=key)
            return value
        if default is None:
            raise InputError(
                "is missing: without it this model's size is not known (a decoder-only language model's config.json has it)",
                source=self._source,
                key=keys[0],
            )
        return default

    def maybe(self, *keys: str) -> int | None:
        """The first of `keys` that is there and above 0, or None."""
        value = next((self.text[key] for key in keys if self.text.get(key) not in (None, 0, False)), None)
        return None if value is None else self.whole(next(key for key in keys if self.text.get(key) not in (None, 0, False)))


def _heads(reader: Reader) -> int:
    return reader.whole("num_attention_heads", "n_head")


def _nas_kv_heads(text: Mapping[str, Any], heads: int) -> int:
    """Models found by architecture search tell heads a KV head, block by block; the most common counts."""
    sizes = [block.get("attention", {}).get("n_heads_in_group") for block in text.get("block_configs") or [] if isinstance(block, dict)]
    known = [int(size) for size in sizes if size]
    return heads // max(set(known), key=known.count) if known else heads


def _intermediate(reader: Reader, experts: ExpertSpec | None, hidden: int, layers: int) -> int:
    """Of dense layers; 0 where every layer has experts."""
    if experts is not None and experts.layers == layers:
        return 0
    ratios = [b["ffn"].get("ffn_mult") or 0 for b in reader.text.get("block_configs") or [] if isinstance(b, dict) and b.get("ffn")]
    if ratios:  # architecture search: the mean over blocks, so that the sum is right
        return max(1, round(sum(2 * ratio * hidden / 3 for ratio in ratios) / layers))
    return reader.whole("intermediate_size_mlp", "intermediate_size", "ffn_hidden_size", "n_inner", default=4 * hidden)


def _experts(reader: Reader, layers: int) -> ExpertSpec | None:
    count = reader.maybe("n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts")
    if count is None or count == 1:
        return None
    width = reader.whole("moe_intermediate_size", "expert_hidden_dim", "moe_ffn_hidden_size", "intermediate_size")
    top_k = reader.whole("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "experts_per_token", "top_k")
    shared = reader.maybe("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size", "shared_intermediate_size")
    number = reader.maybe("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
    if shared is None and (number is not None or reader.text.get("model_type") in ("llama4", "llama4_text")):
        shared = (number or 1) * width
    return ExpertSpec(
        layers=expert_layers(reader.text, layers),
        experts=count,
        top_k=min(top_k, count),
        intermediate=width,
        shared_intermediate=shared or 0,
    )


def _dense_layers(text: Mapping[str, Any]) -> int | None:
    """Only hybrids of state spaces have layers without a feed-forward: those of NemotronH are told by letters, `-` a dense one."""
    pattern = text.get("hybrid_override_pattern")
    return pattern.count("-") if isinstance(pattern, str) else None


def _latent(reader: Reader) -> LatentSpec | None:
    if not reader.text.get("kv_lora_rank"):
        return None
    return LatentSpec(
        q_rank=reader.maybe("q_lora_rank"),
        kv_rank=reader.whole("kv_lora_rank"),
        nope_dim=reader.whole("qk_nope_head_dim", default=128),
        rope_dim=reader.whole("qk_rope_head_dim", default=64),
        v_dim=reader.whole("v_head_dim", default=128),
    )


def _vision(config: Mapping[str, Any]) -> VisionSpec | None:
    """Encoder size from its own depth and widths: four projections and a gated feed-forward a layer, as Qwen2.5-VL's."""
    vision = config.get("vision_config")
    if not isinstance(vision, dict):
        return None
    depth = int(vision.get("depth") or vision.get("num_hidden_layers") or vision.get("vt_num_hidden_layers") or 0)
    width = int(vision.get("hidden_size") or vision.get("embed_dim") or vision.get("vt_hidden_size") or 0)
    if not depth or not width or (vision.get("embed_dim") and vision.get("mlp_ratio")):
        width, depth = int(vision.get("embed_dim") or width), depth
    if not depth or not width:
        return None
    inner = int(vision.get("intermediate_size") or vision.get("vt_intermediate_size") or 4 * width)
    merge = int(vision.get("spatial_merge_size") or 2)
    patch = int(vision.get("patch_size") or 14)
    return VisionSpec(parameters=float(depth * (4 * width**2 + 3 * width * inner)), patches_per_token=merge**2, patch_px=patch * merge)


def _quantisation(config: Mapping[str, Any], text: Mapping[str, Any]) -> Quantisation | None:
    """What the checkpoint is published in, if its `quantization_config` says one that we know."""
    keys = ("quantization_config", "compression_config")
    told = next((part[key] for part in (text, config) for key in keys if part.get(key)), None)
    if not isinstance(told, dict):
        return None
    words = json.dumps(told).lower()
    method = str(told.get("quant_method", "")).lower()
    if method == "fp8":
        return Quantisation.FP8_BLOCK if told.get("weight_block_size") else Quantisation.FP8
    if method == "mxfp4":
        return Quantisation.MXFP4
    if method in ("awq", "gptq", "auto-round", "autoround", "bitsandbytes"):
        return Quantisation.INT8 if told.get("bits") == 8 or told.get("load_in_8bit") else Quantisation.INT4
    if "nvfp4" in words:
        return Quantisation.NVFP4
    if "mxfp4" in words:
        return Quantisation.MXFP4
    if '"num_bits": 4' in words:
        return Quantisation.INT4
    if '"num_bits": 8' in words:
        if '"float"' not in words:
            return Quantisation.INT8
        return Quantisation.FP8_BLOCK if '"block"' in words else Quantisation.FP8
    return Quantisation.FP8 if "fp8" in words else None


def _approximation(model_type: str, text: Mapping[str, Any], config: Mapping[str, Any], attention: AttentionLayers) -> str:
    """What a prediction for this model leaves out, in words; empty for a model that is told exactly."""
    notes = []
    if model_type not in KNOWN_TYPES:
        notes.append(f"model_type {model_type or 'not given'} is not known here: read as a decoder of the usual kind")
    if attention.window and attention.window == int(text.get("num_hidden_layers") or text.get("n_layer") or 0) - attention.recurrent:
        notes.append(f"every layer sees {attention.window_tokens} tokens: told as attention to the whole context")
    if attention.recurrent:
        notes.append(f"{attention.recurrent} recurrent layers: projections and state are counted, the scan is not")
    if text.get("block_configs"):
        notes.append("layers found by architecture search differ: told by their mean")
    if text.get("index_topk"):
        notes.append("sparse attention is told as attention to the whole context")
    if isinstance(config.get("vision_config"), dict):
        notes.append("the image encoder's size is estimated from its depth and widths")
    return "; ".join(notes)
