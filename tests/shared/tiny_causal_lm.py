"""A causal language model of transformers with its tokenizer, made on the spot: two layers, letters for tokens."""

from __future__ import annotations

from pathlib import Path

LETTERS = "abcdefghijklmnopqrstuvwxyz .0123456789"


def make_causal_lm(directory: Path, *, bos: bool = True, positions: int = 16, seed: int = 0) -> Path:
    """Save a GPT-2 of two layers and a tokenizer of single characters, with a BOS or without; the directory."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate(["<s>", "<unk>", *LETTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    special = {"bos_token": "<s>"} if bos else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special).save_pretrained(directory)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = GPT2Config(
            vocab_size=len(vocabulary), n_positions=positions, n_embd=16, n_layer=2, n_head=2, initializer_range=0.5
        )
        GPT2LMHeadModel(config).save_pretrained(directory)
    return directory
