"""A decoder-only transformer as its Hugging Face config.json tells it, and what can be counted from that alone.

Layers differ in two ways, each counted apart: how they attend (whole context, a window, or a recurrent state of fixed size) and what
follows attention (a dense feed-forward, or a mixture of experts).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from loadlab.catalog.quantisation import Quantisation
from loadlab.schema import NonNegative, Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSpec:
    """An image encoder in front of the language model; `patch_px` is the side of what becomes one token."""

    parameters: Annotated[float, Positive]
    patches_per_token: Annotated[int, Positive]
    patch_px: Annotated[int, Positive]

    def image_tokens(self, width_px: int, height_px: int) -> int:
        """Tokens of an image: round(w / patch) * round(h / patch), at least one (Qwen2.5-VL technical report, 2025, sec. 2.1)."""
        return max(1, round(width_px / self.patch_px)) * max(1, round(height_px / self.patch_px))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertSpec:
    """Mixture of experts: `layers` of the model have `experts`, of which each token takes `top_k`; a shared one is taken by all."""

    layers: Annotated[int, Positive]
    experts: Annotated[int, Positive]
    top_k: Annotated[int, Positive]
    intermediate: Annotated[int, Positive]  # of one routed expert
    shared_intermediate: Annotated[int, NonNegative] = 0  # of all shared experts together

    def __post_init__(self) -> None:
        if self.top_k > self.experts:
            raise ValueError(f"top_k = {self.top_k} must be at most experts ({self.experts})")

    def experts_hit(self, tokens: float) -> float:
        """Expected number of experts that `tokens` tokens with uniform routing reach: E (1 - (1 - k/E)^m)."""
        return float(self.experts * (1 - (1 - self.top_k / self.experts) ** tokens))


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSpec:
    """Multi-head latent attention (DeepSeek-V2, 2024, sec. 2.1): keys and values are one vector of `kv_rank + rope_dim` a token."""

    q_rank: Annotated[int, Positive] | None = None  # None: queries are projected at once
    kv_rank: Annotated[int, Positive]
    nope_dim: Annotated[int, Positive]
    rope_dim: Annotated[int, Positive]
    v_dim: Annotated[int, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowSpec:
    """Layers that attend to the last `tokens` only."""

    layers: Annotated[int, Positive]
    tokens: Annotated[int, Positive]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecurrentSpec:
    """Layers with a state of fixed size instead of keys and values: linear attention, state spaces."""

    layers: Annotated[int, Positive]
    projection_parameters: Annotated[float, Positive]  # of one layer
    state_bytes: Annotated[float, Positive]  # of one layer and sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model. `layers` counts blocks; `heads`, `kv_heads` and `head_dim` are those of its attention layers."""

    version: str
    layers: Annotated[int, Positive]
    hidden: Annotated[int, Positive]
    heads: Annotated[int, Positive]
    kv_heads: Annotated[int, Positive]
    head_dim: Annotated[int, Positive]
    intermediate: Annotated[int, NonNegative]  # of a dense layer's feed-forward; 0 where there is none
    vocabulary: Annotated[int, Positive]
    tied_embeddings: bool
    context_tokens: Annotated[int, Positive]
    is_gated: bool = True  # gate, up and down projections; else up and down
    dense_layers: Annotated[int, NonNegative] | None = None  # with a dense feed-forward; None: those without experts
    experts: ExpertSpec | None = None
    latent: LatentSpec | None = None
    window: WindowSpec | None = None
    recurrent: RecurrentSpec | None = None
    vision: VisionSpec | None = None
    quantisation: Quantisation | None = None  # that it is published in, where that is not 16-bit
    approximation: str = ""  # what of it is told only roughly here
    source: str
    as_of: str

    def __post_init__(self) -> None:
        if self.attention_layers < 0 or self.full_layers < 0 or self.feed_forward_layers < 0:
            raise ValueError(f"layers = {self.layers} must be at least the window, recurrent and expert layers given")
        if self.heads % self.kv_heads and self.latent is None:
            raise ValueError(f"kv_heads = {self.kv_heads} must divide heads ({self.heads})")

    def splits_over(self, tensor_parallel: int) -> bool:
        """Whole heads on each of so many GPUs; KV heads split evenly, or are copied evenly where there are fewer than GPUs."""
        if self.latent is not None:
            return self.heads % tensor_parallel == 0
        fewer, more = sorted((self.kv_heads, tensor_parallel))
        return self.heads % tensor_parallel == 0 and more % fewer == 0

    @property
    def attention_layers(self) -> int:
        """Layers with keys and values."""
        return self.layers - (self.recurrent.layers if self.recurrent else 0) - self._bare_layers

    @property
    def full_layers(self) -> int:
        """Layers that attend to the whole context."""
        return self.attention_layers - (self.window.layers if self.window else 0)

    @property
    def feed_forward_layers(self) -> int:
        """Layers with a dense feed-forward."""
        expert_layers = self.experts.layers if self.experts else 0
        return self.layers - expert_layers if self.dense_layers is None else self.dense_layers

    @property
    def _bare_layers(self) -> int:
        """Layers that have a feed-forward only, as hybrids of state spaces have: told by `dense_layers` being given."""
        if self.dense_layers is None or self.recurrent is None:
            return 0
        return self.dense_layers + (self.experts.layers if self.experts else 0)

    @property
    def attention_parameters(self) -> int:
        """Of one attention layer's projections."""
        latent = self.latent
        if latent is None:
            return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        queries = self.heads * (latent.nope_dim + latent.rope_dim)
        query = self.hidden * queries if latent.q_rank is None else latent.q_rank * (self.hidden + queries)
        down = self.hidden * (latent.kv_rank + latent.rope_dim)
        return query + down + latent.kv_rank * self.heads * (latent.nope_dim + latent.v_dim) + self.heads * latent.v_dim * self.hidden

    def feed_forward_parameters(self, intermediate: float) -> float:
        """Of one feed-forward of that width."""
        return (3 if self.is_gated else 2) * self.hidden * intermediate

    @property
    def expert_parameters(self) -> float:
        """Of all routed experts of the model."""
        experts = self.experts
        return 0.0 if experts is None else experts.layers * experts.experts * self.feed_forward_parameters(experts.intermediate)

    @property
    def dense_parameters(self) -> float:
        """Of every linear layer but routed experts, embeddings and vision: what each token passes through."""
        total = self.attention_layers * self.attention_parameters + self.feed_forward_layers * self.feed_forward_parameters(
            self.intermediate
        )
        if self.recurrent is not None:
            total += self.recurrent.layers * self.recurrent.projection_parameters
        if self.experts is not None:
            shared = self.feed_forward_parameters(self.experts.shared_intermediate)
            total += self.experts.layers * (shared + self.hidden * self.experts.experts)
        return total

    @property
    def embedding_parameters(self) -> int:
        """Input embedding and, unless tied to it, the output head."""
        return self.vocabulary * self.hidden * (1 if self.tied_embeddings else 2)

    @property
    def parameters(self) -> float:
        """All of them."""
        return self.dense_parameters + self.expert_parameters + self.embedding_parameters + (self.vision.parameters if self.vision else 0.0)

    @property
    def active_parameters(self) -> float:
        """Those that one token is multiplied with: dense layers, its experts, the output head."""
        share = 0.0 if self.experts is None else self.experts.top_k / self.experts.experts
        return self.dense_parameters + self.expert_parameters * share + self.vocabulary * self.hidden

    @property
    def layer_parameters(self) -> float:
        """Of the linear layers of one block of a model whose blocks are alike."""
        return (self.dense_parameters + self.expert_parameters) / self.layers

    @property
    def kv_values_per_token(self) -> int:
        """Numbers of KV that one token leaves in one whole-context layer."""
        return 2 * self.kv_heads * self.head_dim if self.latent is None else self.latent.kv_rank + self.latent.rope_dim
