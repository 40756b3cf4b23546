"""An insertion model that is a table, over so few words that every deletion and every order can be enumerated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from ilm.datamodule_ilm import IlmCollatorPrediction
from ilm.model_ilm import IlmModel
from ilm.types_ilm import ModelOutput, PredictionBatch
from torch import Tensor, nn

from xlm_runtime.tokenizers import number_tokenizer

WORDS = 3
TOKENIZER = number_tokenizer(WORDS)
V = len(TOKENIZER)
FIRST_WORD = TOKENIZER.convert_tokens_to_ids("0")
LONGEST = 4  # words that a state may have

#: Words that stand, in their order.
State = tuple[int, ...]


class Tabulated(nn.Module):
    """A logit for each state, slot and word; a probability that nothing is missing for each state.

    Args:
        seed: of the table.
        stop_at: from so many words on, nothing is missing; None: the probability is the table's.
        special_logit: what the network thinks of special tokens. None may be inserted, so it must make no difference.
    """

    def __init__(self, seed: int = 0, stop_at: int | None = None, special_logit: float = 9.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        states = (WORDS + 1) ** LONGEST
        self.logits = torch.full((states, LONGEST + 1, V), special_logit)
        self.logits[..., FIRST_WORD:] = torch.randn(states, LONGEST + 1, WORDS, generator=generator)
        self.stop = torch.randn(states, 2, generator=generator)
        self.stop_at = stop_at
        self.inputs: list[Tensor] = []  # of every call

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        type_ids: Tensor | None = None,
        positions: Tensor | None = None,
        logits_to_keep: int = 0,
    ) -> ModelOutput:
        self.inputs.append(input_ids.clone())
        if positions is None:
            positions = (attention_mask.cumsum(1) - 1) * attention_mask
        words = attention_mask & (input_ids >= FIRST_WORD) & (type_ids == 2)
        others = (attention_mask & ~words).sum(1, keepdim=True)  # CLS, the prompt, BOS
        slot = (positions - others + 1).clamp(min=0)  # 0: BOS, then the words in their order
        digit = torch.where(words, (input_ids - FIRST_WORD + 1) * (WORDS + 1) ** (slot - 1).clamp(min=0), 0)
        state = digit.sum(1)  # (B,)
        logits = self.logits[state[:, None], slot][:, -logits_to_keep:]
        stop = self.stop[state]
        if self.stop_at is not None:
            done = words.sum(1) >= self.stop_at
            stop = torch.where(done[:, None], torch.tensor([9.0, -9.0]), torch.tensor([-9.0, 9.0]))
        return ModelOutput(logits, stop)

    def log_p(self, state: State) -> Tensor:
        """log p(slot, word), (slots, WORDS)."""
        logits = self.logits[code(state), : len(state) + 1, FIRST_WORD:].double()
        return logits.flatten().log_softmax(0).view_as(logits)

    def log_stop(self, state: State) -> Tensor:
        """log q("nothing is missing"), log q("something is")."""
        return self.stop[code(state)].double().log_softmax(0)


def code(state: State) -> int:
    return sum((word + 1) * (WORDS + 1) ** place for place, word in enumerate(state))


def counts(text: Sequence[int], deleted: Sequence[bool]) -> tuple[State, dict[tuple[int, int], int]]:
    """What is left, and c: how many deleted tokens of each value lie after each slot, 0 being BOS's."""
    kept: list[int] = []
    c: dict[tuple[int, int], int] = {}
    for word, gone in zip(text, deleted, strict=True):
        if gone:
            c[len(kept), word] = c.get((len(kept), word), 0) + 1
        else:
            kept.append(word)
    return tuple(kept), c


def deletions(length: int) -> Iterator[tuple[float, tuple[bool, ...]]]:
    """Every deletion with its probability: n uniform on 0 ... length, then a uniform n-subset."""
    for n in range(length + 1):
        subsets = list(itertools.combinations(range(length), n))
        for subset in subsets:
            yield 1 / (length + 1) / len(subsets), tuple(place in subset for place in range(length))


def ids(words: Sequence[int]) -> list[int]:
    return [FIRST_WORD + word for word in words]


def words(row: Sequence[int]) -> State:
    """The words of a row of ids that ends in padding."""
    return tuple(i - FIRST_WORD for i in row if i != TOKENIZER.pad_token_id)


def examples(texts: Sequence[Sequence[int]], **more: Any) -> list[dict[str, Any]]:
    return [{"token_ids": ids(text), "index": index, **more} for index, text in enumerate(texts)]


def from_nothing(rows: int) -> PredictionBatch:
    return IlmCollatorPrediction(TOKENIZER)(examples([[]] * rows))


def random_model(**options: Any) -> IlmModel:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_ff": 64, "embedding_std": 1.0, "init_std": 0.2}
    return IlmModel(V, TOKENIZER.pad_token_id, **sizes, **options).eval()  # type: ignore[arg-type]


def p_value(observed: Sequence[int], probability: Sequence[float]) -> float:
    """Of Pearson's chi-square test; 0 if the impossible was drawn."""
    seen = torch.tensor(observed, dtype=torch.float64)
    expected = torch.tensor(probability, dtype=torch.float64) * seen.sum()
    if seen[expected == 0].any():
        return 0.0
    seen, expected = seen[expected > 0], expected[expected > 0]
    assert expected.min() >= 5
    statistic = ((seen - expected) ** 2 / expected).sum()
    freedom = torch.tensor((len(expected) - 1) / 2, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom, statistic / 2))
