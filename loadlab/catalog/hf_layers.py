"""Which layers of a config.json attend to what, and which have experts: every family has its own way to say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadlab.catalog.model_spec import RecurrentSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionLayers:
    """How many layers see a window of `window_tokens`, and how many keep a recurrent state."""

    window: int
    window_tokens: int
    recurrent: int


def attention_layers(text: Mapping[str, Any], layers: int) -> AttentionLayers:
    """From `layer_types`, a pattern or a period; without any of them every layer attends to everything."""
    window_tokens = text.get("sliding_window")
    window_tokens = window_tokens if isinstance(window_tokens, int) and text.get("use_sliding_window", True) else 0
    types, pattern, kinds = text.get("layer_types"), text.get("hybrid_override_pattern"), text.get("attn_type_list")
    window = recurrent_layers = 0
    if isinstance(types, list):
        window = types[:layers].count("sliding_attention")
        recurrent_layers = sum(kind in ("linear_attention", "mamba", "recurrent") for kind in types[:layers])
    elif isinstance(pattern, str):
        recurrent_layers = pattern.count("M")
    elif isinstance(kinds, list):  # MiniMax: 0 linear, 1 softmax
        recurrent_layers = kinds[:layers].count(0)
    elif isinstance(text.get("linear_attn_config"), dict):  # Kimi-Linear
        recurrent_layers = len(text["linear_attn_config"].get("kda_layers") or [])
    elif text.get("attn_layer_period"):  # Jamba
        period, offset = int(text["attn_layer_period"]), int(text.get("attn_layer_offset") or 0)
        recurrent_layers = sum(i % period != offset for i in range(layers))
    elif text.get("full_attention_interval") and text.get("linear_num_value_heads"):
        recurrent_layers = layers - layers // int(text["full_attention_interval"])
    elif window_tokens:
        window = _windows_by_period(text, layers)
    return AttentionLayers(window=window if window_tokens else 0, window_tokens=window_tokens, recurrent=recurrent_layers)


def _windows_by_period(text: Mapping[str, Any], layers: int) -> int:
    """One in `sliding_window_pattern` layers sees everything (Gemma 3: 6; Gemma 2: 2; Cohere 2: 4); a bare window is every layer's."""
    usual = {"gemma2": 2, "gpt_oss": 2, "gemma3": 6, "gemma3_text": 6, "cohere2": 4}
    period = text.get("sliding_window_pattern") or usual.get(str(text.get("model_type")), 0)
    if isinstance(period, int) and period > 1:
        return layers - layers // period
    if int(text["sliding_window"]) >= int(text.get("max_position_embeddings") or 0):
        return 0
    if "max_window_layers" in text:  # Qwen: layers from this one on
        return max(0, layers - int(text["max_window_layers"]))
    return layers


def expert_layers(text: Mapping[str, Any], layers: int) -> int:
    """Layers with experts: all, but the first dense ones, those named dense, and those between a period."""
    pattern = text.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return max(1, pattern.count("E"))
    dense = {i for i in text.get("mlp_only_layers") or [] if isinstance(i, int) and i < layers}
    dense |= set(range(min(layers, int(text.get("first_k_dense_replace") or text.get("moe_layer_start_index") or 0))))
    frequency = text.get("moe_layer_freq")
    if isinstance(frequency, list):
        dense |= {i for i, on in enumerate(frequency[:layers]) if not on}
    periods = [text.get(key) for key in ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval")]
    period = next((step for step in periods if isinstance(step, int) and step > 0), 1)
    dense |= {i for i in range(layers) if (i + 1) % period}
    if text.get("expert_layer_period"):  # Jamba
        dense |= {i for i in range(layers) if i % int(text["expert_layer_period"]) != int(text.get("expert_layer_offset") or 0)}
    return max(1, layers - len(dense))


def recurrent(text: Mapping[str, Any], layers: int, hidden: int) -> RecurrentSpec | None:
    """The recurrent layers' projections and state: gated delta nets (Qwen, Kimi), Mamba (Nemotron, Granite, Jamba), linear (MiniMax)."""
    if layers == 0:
        return None
    if text.get("linear_num_value_heads"):
        keys = int(text["linear_num_key_heads"]) * int(text.get("linear_key_head_dim") or 128)
        values = int(text["linear_num_value_heads"]) * int(text.get("linear_value_head_dim") or 128)
        projections = hidden * (2 * keys + 2 * values) + values * hidden
        state = values * int(text.get("linear_key_head_dim") or 128)
        inputs = 2 * keys + values
    elif text.get("mamba_num_heads") or text.get("mamba_n_heads"):  # Nemotron-H, Granite: Mamba 2
        heads = int(text.get("mamba_num_heads") or text["mamba_n_heads"])
        inner = heads * int(text.get("mamba_head_dim") or text.get("mamba_d_head") or 64)
        width = int(text.get("ssm_state_size") or text.get("mamba_d_state") or 128)
        groups = int(text.get("n_groups") or text.get("mamba_n_groups") or 1) * width
        projections = hidden * (2 * inner + 2 * groups + heads) + inner * hidden
        state, inputs = inner * width, inner + 2 * groups
    elif text.get("mamba_expand"):  # Jamba: Mamba 1
        inner, width = int(text["mamba_expand"]) * hidden, int(text.get("mamba_d_state") or 16)
        rank = text.get("mamba_dt_rank")
        rank = rank if isinstance(rank, int) else hidden // 16
        projections = 3 * hidden * inner + inner * (2 * rank + 2 * width)
        state, inputs = inner * width, inner
    elif isinstance(text.get("linear_attn_config"), dict):  # query, key, value, output, and small gates of a head's size each way
        linear = text["linear_attn_config"]
        heads, width = int(linear.get("num_heads") or 1), int(linear.get("head_dim") or 128)
        projections, state, inputs = 4 * hidden * heads * width + 4 * hidden * width, heads * width * width, 3 * heads * width
    else:
        heads, width = int(text.get("num_attention_heads") or 1), int(text.get("head_dim") or 128)
        projections, state, inputs = hidden * heads * width * 5, heads * width * width, 0
    taps = max(0, int(text.get("linear_conv_kernel_dim") or text.get("conv_kernel") or 4) - 1)
    return RecurrentSpec(layers=layers, projection_parameters=float(projections), state_bytes=2.0 * (state + taps * inputs))
