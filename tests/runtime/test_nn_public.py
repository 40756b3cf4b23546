"""What ``xlm_runtime.nn`` offers: models in other repositories import these names."""

from __future__ import annotations

from xlm_runtime import nn


def test_public_names() -> None:
    assert sorted(nn.__all__) == [
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
    assert all(hasattr(nn, name) for name in nn.__all__)
