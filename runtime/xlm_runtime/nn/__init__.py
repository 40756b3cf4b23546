"""Building blocks of the reference models: the backbone, its cache, and drawing tokens."""

from xlm_runtime.nn.adaptive_norm import AdaptiveGate, AdaptiveLayerNorm, TimestepEmbedder
from xlm_runtime.nn.attention import SelfAttention, attend
from xlm_runtime.nn.block import TransformerBlock
from xlm_runtime.nn.kv_cache import FixedKVCache, KVCache
from xlm_runtime.nn.masks import (
    attention_layout,
    bidirectional_mask,
    causal_mask,
    document_mask,
    positions_from_mask,
    positions_in_documents,
    prompt_apart_mask,
)
from xlm_runtime.nn.rotary import apply_rotary, rotary_cos_sin
from xlm_runtime.nn.sampling import (
    SamplingOptions,
    apply_temperature,
    gumbel_max,
    gumbel_noise,
    inverse_cdf,
    sample,
    top_k_filter,
    top_p_filter,
)
from xlm_runtime.nn.seeding import counter_uniforms, row_uniforms, stream_seed
from xlm_runtime.nn.transformer import Transformer, init_weights

__all__ = [
    "AdaptiveGate",
    "AdaptiveLayerNorm",
    "FixedKVCache",
    "KVCache",
    "SamplingOptions",
    "SelfAttention",
    "TimestepEmbedder",
    "Transformer",
    "TransformerBlock",
    "apply_rotary",
    "apply_temperature",
    "attend",
    "attention_layout",
    "bidirectional_mask",
    "causal_mask",
    "counter_uniforms",
    "document_mask",
    "gumbel_max",
    "gumbel_noise",
    "init_weights",
    "inverse_cdf",
    "positions_from_mask",
    "positions_in_documents",
    "prompt_apart_mask",
    "rotary_cos_sin",
    "row_uniforms",
    "sample",
    "stream_seed",
    "top_k_filter",
    "top_p_filter",
]
