"""config.json files of the field's families, cut to the keys that say size, and files that are broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loadlab.catalog.hf_config import model_of, read_models
from loadlab.catalog.quantisation import Quantisation
from loadlab.catalog.specs import models
from loadlab.errors import InputError

LLAMA = {
    "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": False,
}  # fmt: skip
DEEPSEEK = {
    "model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168, "num_attention_heads": 128, "num_key_value_heads": 128,
    "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "first_k_dense_replace": 3, "moe_layer_freq": 1, "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64, "v_head_dim": 128, "vocab_size": 129280, "max_position_embeddings": 163840,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}  # fmt: skip
MIXTRAL = {
    "model_type": "mixtral", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "intermediate_size": 14336, "num_local_experts": 8, "num_experts_per_tok": 2, "vocab_size": 32000, "max_position_embeddings": 32768,
}  # fmt: skip
QWEN3_MOE = {
    "model_type": "qwen3_moe", "num_hidden_layers": 48, "hidden_size": 2048, "num_attention_heads": 32, "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128, "num_experts_per_tok": 8, "decoder_sparse_step": 1,
    "mlp_only_layers": [], "vocab_size": 151936, "max_position_embeddings": 40960,
}  # fmt: skip
GPT_OSS = {
    "model_type": "gpt_oss", "num_hidden_layers": 36, "hidden_size": 2880, "num_attention_heads": 64, "num_key_value_heads": 8,
    "head_dim": 64,
    "intermediate_size": 2880, "num_local_experts": 128, "num_experts_per_tok": 4, "sliding_window": 128, "vocab_size": 201088,
    "layer_types": ["sliding_attention", "full_attention"] * 18, "max_position_embeddings": 131072,
    "quantization_config": {"quant_method": "mxfp4"},
}  # fmt: skip
GLM = {
    "model_type": "glm4_moe", "num_hidden_layers": 92, "hidden_size": 5120, "num_attention_heads": 96, "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 12288, "moe_intermediate_size": 1536, "n_routed_experts": 160, "n_shared_experts": 1, "num_experts_per_tok": 8,
    "first_k_dense_replace": 3, "vocab_size": 151552, "max_position_embeddings": 202752,
}  # fmt: skip
QWEN35 = {
    "model_type": "qwen3_5_moe",
    "text_config": {
        "model_type": "qwen3_5_moe_text", "num_hidden_layers": 60, "hidden_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 2,
        "head_dim": 256, "moe_intermediate_size": 1024, "shared_expert_intermediate_size": 1024, "num_experts": 512,
        "num_experts_per_tok": 10,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 15, "linear_num_key_heads": 16, "linear_num_value_heads": 64,
        "linear_key_head_dim": 128, "linear_value_head_dim": 128, "vocab_size": 248320, "max_position_embeddings": 262144,
    },
}  # fmt: skip


def read(config: dict[str, Any], **changes: Any) -> Any:
    return model_of(config | changes, version="v", source="config.json", as_of="2026-11")


@pytest.mark.parametrize(
    ("config", "ours"),
    [
        (LLAMA, "llama-3.1-8b-instruct"),
        (DEEPSEEK, "deepseek-v3"),
        (MIXTRAL, "mixtral-8x7b-instruct"),
        (QWEN3_MOE, "qwen3-30b-a3b"),
        (GPT_OSS, "gpt-oss-120b"),
        (GLM, "glm-4.6-355b-a32b"),
        (QWEN35, "qwen3.5-397b-a17b"),
    ],
)
def test_a_config_says_what_the_catalogue_says(config: dict[str, Any], ours: str) -> None:
    """Each was typed in apart from the catalogue's row: the same layers, experts, heads and KV."""
    theirs, row = read(config), models()[ours]
    assert theirs.parameters == pytest.approx(row.parameters, rel=1e-6)
    assert theirs.active_parameters == pytest.approx(row.active_parameters, rel=1e-6)
    assert (theirs.kv_values_per_token, theirs.full_layers) == (row.kv_values_per_token, row.full_layers)
    assert theirs.experts == row.experts
    assert (theirs.window, theirs.latent) == (row.window, row.latent)
    assert theirs.quantisation == row.quantisation


def test_known_families_are_exact_and_say_nothing() -> None:
    assert all(read(config).approximation == "" for config in (LLAMA, DEEPSEEK, MIXTRAL, QWEN3_MOE, GPT_OSS, GLM))


def test_an_unknown_family_is_read_as_a_usual_decoder_and_says_so() -> None:
    spec = read(LLAMA, model_type="brand_new")
    assert "model_type brand_new is not known here" in spec.approximation
    assert spec.parameters == pytest.approx(8.03e9, rel=0.001)


def test_a_state_space_hybrid_counts_its_layers_by_letter() -> None:
    """Nemotron-H: M a recurrent layer, * attention, - a feed-forward without a gate."""
    spec = read(
        LLAMA,
        model_type="nemotron_h",
        num_hidden_layers=6,
        hybrid_override_pattern="M-M*-M",
        mamba_num_heads=64,
        mamba_head_dim=64,
        ssm_state_size=128,
        n_groups=8,
    )
    assert (spec.attention_layers, spec.feed_forward_layers, spec.recurrent.layers, spec.is_gated) == (1, 2, 3, False)
    assert "3 recurrent layers" in spec.approximation


def test_windows_come_by_period_where_layers_are_not_listed() -> None:
    spec = read(LLAMA, model_type="gemma3_text", sliding_window=1024, sliding_window_pattern=6, num_hidden_layers=30)
    assert (spec.window.layers, spec.full_layers) == (25, 5)


GEMMA = {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "sliding_window": 1024}
JAMBA = {
    "model_type": "jamba", "attn_layer_offset": 4, "attn_layer_period": 8, "expert_layer_offset": 1, "expert_layer_period": 2,
    "hidden_size": 4096, "intermediate_size": 14336, "mamba_d_state": 16, "mamba_dt_rank": 256, "mamba_expand": 2,
    "num_attention_heads": 32,
    "num_experts": 16, "num_experts_per_tok": 2, "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 65536,
}  # fmt: skip
KIMI_LINEAR = {
    "model_type": "kimi_linear", "first_k_dense_replace": 1, "hidden_size": 2304, "intermediate_size": 9216, "kv_lora_rank": 512,
    "linear_attn_config": {"full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "head_dim": 128, "num_heads": 32,
                           "kda_layers": [i for i in range(1, 27) if i % 4]},
    "moe_intermediate_size": 1024, "num_attention_heads": 32, "num_experts": 256, "num_experts_per_token": 8, "num_hidden_layers": 27,
    "num_key_value_heads": 32, "num_shared_experts": 1, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
    "vocab_size": 163840,
}  # fmt: skip
NANO = {
    "model_type": "nemotron_h", "hidden_size": 2688, "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    "num_hidden_layers": 52, "intermediate_size": 1856, "moe_intermediate_size": 1856, "moe_shared_expert_intermediate_size": 3712,
    "n_routed_experts": 128, "num_experts_per_tok": 6, "num_attention_heads": 32, "num_key_value_heads": 2, "head_dim": 128,
    "mamba_num_heads": 64, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128, "vocab_size": 131072,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "billions", "whole_context_layers"),
    [
        ({"model_type": "gemma3", "text_config": GEMMA}, 3.88, 5),  # published without heads or vocabulary: the family's own
        (JAMBA, 51.6, 4),
        (KIMI_LINEAR, 49.1, 7),
        (NANO, 31.6, 6),
        ({"thinker_config": {"text_config": LLAMA}}, 8.03, 32),
    ],
)
def test_sizes_are_those_that_the_publishers_tell(config: dict[str, Any], billions: float, whole_context_layers: int) -> None:
    spec = read(config)
    assert spec.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert spec.full_layers == whole_context_layers


def test_a_window_on_every_layer_is_told_as_whole_context_and_said() -> None:
    spec = read(LLAMA, model_type="mistral", sliding_window=4096)
    assert (spec.window, spec.full_layers) == (None, 32)
    assert "every layer sees 4096 tokens" in spec.approximation


def test_a_window_that_is_switched_off_is_none() -> None:
    assert read(LLAMA, model_type="qwen2", sliding_window=4096, use_sliding_window=False).window is None


def test_a_mixture_with_dense_layers_between_counts_both() -> None:
    """Llama 4 Maverick: every second layer has 128 experts and a shared one, the others are dense and wider."""
    spec = read(
        LLAMA, model_type="llama4_text", num_hidden_layers=48, num_local_experts=128, num_experts_per_tok=1, interleave_moe_layer_step=2,
        intermediate_size=8192, intermediate_size_mlp=16384,
    )  # fmt: skip
    assert (spec.experts.layers, spec.feed_forward_layers, spec.intermediate) == (24, 24, 16384)
    assert (spec.experts.intermediate, spec.experts.shared_intermediate) == (8192, 8192)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"quant_method": "awq", "bits": 4}, Quantisation.INT4),
        ({"quant_method": "fp8"}, Quantisation.FP8),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float"}}}}, Quantisation.FP8),
        ({"quant_method": "compressed-tensors", "config_groups": {"g": {"weights": {"num_bits": 8, "type": "int"}}}}, Quantisation.INT8),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, Quantisation.NVFP4),
        ({"quant_method": "gptq", "bits": 8}, Quantisation.INT8),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, Quantisation.INT4),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "mxfp4"}}}, Quantisation.MXFP4),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"g": {"weights": {"num_bits": 8, "type": "float", "strategy": "block"}}},
            },
            Quantisation.FP8_BLOCK,
        ),
        ({"quant_method": "something"}, None),
    ],
)
def test_the_published_quantisation_is_read(told: dict[str, Any], expected: Quantisation | None) -> None:
    assert read(LLAMA, quantization_config=told).quantisation is expected


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers is missing"),
        ({"hidden_size": "big"}, "hidden_size = 'big' must be a whole number above 0"),
        ({"vocab_size": -1}, "vocab_size = -1 must be a whole number above 0"),
        ({"num_attention_heads": True}, "num_attention_heads = True must be"),
        ({"num_key_value_heads": 7}, "does not add up: kv_heads = 7 must divide heads"),
    ],
)
def test_a_broken_config_names_the_key(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(LLAMA, **changes)


def test_a_folder_gives_its_models_by_name(tmp_path: Path) -> None:
    (tmp_path / "acme" / "big-8b").mkdir(parents=True)
    (tmp_path / "acme" / "big-8b" / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "acme" / "big-8b" / "generation_config.json").write_text("{}")
    (tmp_path / "other.json").write_text(json.dumps(MIXTRAL))
    (tmp_path / "notes.json").write_text('{"hello": 1}')
    assert sorted(read_models(tmp_path)) == ["acme/big-8b", "other"]


@pytest.mark.parametrize(("content", "says"), [("[1]", "must be a JSON object"), ("{", "is not JSON"), ("\udcff", "")])
def test_what_is_no_config_is_refused_by_name(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=rf"config\.json.*{says}"):
        read_models(tmp_path)


def test_an_empty_folder_says_what_it_should_hold(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has 0 models; expected 1 to 1000: NAME/config\.json"):
        read_models(tmp_path)
