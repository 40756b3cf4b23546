"""The causal backbone as transformers knows it: GPT-NeoX without parallel residuals and without attention biases.

A ``Transformer`` between an embedding and a head has layer norms before each branch, an MLP with GELU, rotary positions
on whole heads and no bias in its attention. Llama has RMS norms and a gated MLP, so it is no Llama; it is what
``GPTNeoXForCausalLM`` computes with these settings. GPT-NeoX keeps q, k and v of one head side by side; here all q
come first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xlm_runtime.nn.block import NORM_EPS, TransformerBlock
from xlm_runtime.nn.rotary import ROTARY_BASE
from xlm_runtime.nn.transformer import Transformer


def to_gpt_neox(
    embedding: nn.Embedding, transformer: Transformer, head: nn.Linear, special_ids: dict[str, int], max_length: int
) -> Any:
    """A ``GPTNeoXForCausalLM`` with the logits of ``head(transformer(embedding(ids)))`` under a causal mask.

    Args:
        embedding: (V, D).
        transformer: without conditioning.
        head: (D, V), without a bias.
        special_ids: ``bos_token_id``, ``eos_token_id`` and ``pad_token_id``.
        max_length: positions that the model was trained with.

    Returns:
        The model, float32, on the CPU.
    """
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    first: Any = transformer.blocks[0]
    vocab_size, d_model = embedding.weight.shape
    settings: dict[str, Any] = dict(
        vocab_size=vocab_size,
        hidden_size=d_model,
        num_hidden_layers=len(transformer.blocks),
        num_attention_heads=transformer.num_heads,
        intermediate_size=first.mlp_up.out_features,
        hidden_act="gelu",
        layer_norm_eps=NORM_EPS,
        max_position_embeddings=max_length,
        use_parallel_residual=False,
        attention_bias=False,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": ROTARY_BASE, "partial_rotary_factor": 1.0},
        **special_ids,
    )
    model: Any = GPTNeoXForCausalLM(GPTNeoXConfig(**settings))
    state: dict[str, Tensor] = {"gpt_neox.embed_in.weight": embedding.weight, "lm_head.weight": head.weight}
    state |= {f"gpt_neox.final_layer_norm.{name}": value for name, value in transformer.final_norm.named_parameters()}
    for layer, block in enumerate(transformer.blocks):
        assert isinstance(block, TransformerBlock)
        state |= {
            f"gpt_neox.layers.{layer}.{name}": value for name, value in _of_block(block, transformer.num_heads).items()
        }
    model.load_state_dict({name: value.detach().float().cpu() for name, value in state.items()})
    return model.eval()


def _of_block(block: TransformerBlock, num_heads: int) -> dict[str, Tensor]:
    parts = {
        "input_layernorm": block.attention_norm,
        "post_attention_layernorm": block.mlp_norm,
        "attention.dense": block.attention.out,
        "mlp.dense_h_to_4h": block.mlp_up,
        "mlp.dense_4h_to_h": block.mlp_down,
    }
    state: dict[str, Tensor] = {
        f"{name}.{key}": value for name, part in parts.items() for key, value in part.named_parameters()
    }
    weight = block.attention.qkv.weight  # (3 D, D): q, k, v, each head after head
    by_head = weight.view(3, num_heads, -1, weight.shape[1]).transpose(0, 1)  # (H, 3, d, D)
    state["attention.query_key_value.weight"] = torch.flatten(by_head, 0, 2)
    return state
