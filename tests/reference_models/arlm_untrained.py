"""An untrained ARLM on numbers, examples for it, and what it generates from them."""

from __future__ import annotations

from typing import Any

import torch
from arlm.datamodule_arlm import ArlmSeq2SeqCollatorPrediction
from arlm.model_arlm import ArlmModel
from arlm.predictor_arlm import ArlmPredictor
from torch import Tensor, nn

from xlm_runtime.tokenizers import number_tokenizer

TOKENIZER = number_tokenizer(20)
V, PAD, BOS, EOS = len(TOKENIZER), TOKENIZER.pad_token_id, TOKENIZER.bos_token_id, TOKENIZER.eos_token_id
SPECIAL = [i for i in TOKENIZER.all_special_ids if i != EOS]
WORDS = sorted(set(range(V)) - {*SPECIAL, EOS})
ANSWER, NEW = 14, 16


class Watched(ArlmModel):
    """Adds ``bias`` (V,) to its logits, and keeps in ``calls`` how many rows and columns each call had."""

    def __init__(self, bias: Tensor, **options: Any) -> None:
        super().__init__(V, PAD, d_model=32, num_layers=2, num_heads=2, d_ff=64, embedding_std=1.0, **options)
        self.bias = bias
        self.calls: list[tuple[int, int]] = []

    def forward(self, input_ids: Tensor, *args: Any, **options: Any) -> Tensor:
        self.calls.append(tuple(input_ids.shape))
        return super().forward(input_ids, *args, **options) + self.bias


def watched(eos: float = 0.0, special: float = 0.0, seed: int = 0, **options: Any) -> Watched:
    """An untrained model whose logits of EOS and of the other special tokens are moved."""
    torch.manual_seed(seed)
    bias = torch.zeros(V)
    bias[EOS], bias[SPECIAL] = eos, special
    model = Watched(bias, **options).eval()
    with torch.no_grad():  # what comes before a token is to matter: fresh weights hardly look at it
        model.head.weight.mul_(10)
        for weight in (w for name, w in model.named_parameters() if w.ndim > 1 and name.startswith(("t", "s"))):
            weight.mul_(15)
    return model


def examples(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Prompts of 1 to 20 and answers of 1 to 12 tokens."""
    generator = torch.Generator().manual_seed(seed)

    def tokens(longest: int) -> list[int]:
        length = int(torch.randint(1, longest + 1, (), generator=generator))
        return [WORDS[i] for i in torch.randint(len(WORDS), (length,), generator=generator).tolist()]

    return [{"index": i, "prompt_ids": tokens(20), "token_ids": tokens(12)} for i in range(count)]


EXAMPLES = examples(16)
PROMPT = max(len(example["prompt_ids"]) for example in EXAMPLES)  # one row, at least, has no padding


def prompts(rows: list[dict[str, Any]], length: int = PROMPT) -> Any:
    return ArlmSeq2SeqCollatorPrediction(TOKENIZER, length, ANSWER)(rows)


def generate(model: nn.Module, rows: list[dict[str, Any]] = EXAMPLES, **options: Any) -> Tensor:
    return ArlmPredictor(model, TOKENIZER, **({"max_new_tokens": NEW} | options)).predict(prompts(rows))["ids"]


def lengths(ids: Tensor) -> list[int]:
    """Tokens of each row, EOS included."""
    return (ids != PAD).sum(-1).tolist()


SAMPLED = {"temperature": 0.8, "top_k": 12, "top_p": 0.95, "seed": 3}
ENDING = 1.5  # with it, rows of the untrained model end at many different steps
