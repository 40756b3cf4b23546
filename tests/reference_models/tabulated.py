"""A denoiser that is a table, over so few words and positions that every law and every bound can be enumerated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from xlm_runtime.tokenizers import number_tokenizer

WORDS, LENGTH = 3, 3
TOKENIZER = number_tokenizer(WORDS)
V, BOS, MASK = len(TOKENIZER), TOKENIZER.bos_token_id, TOKENIZER.mask_token_id
FIRST_WORD = TOKENIZER.convert_tokens_to_ids("0")

#: A word at each position, or ``BLANK``.
State = tuple[int, ...]
BLANK = WORDS
ALL_BLANK: State = (BLANK,) * LENGTH
TEXTS: list[State] = list(itertools.product(range(WORDS), repeat=LENGTH))
#: State or text -> probability.
Law = dict[State, float]


class Tabulated(nn.Module):
    """log p(word at j | state), for every state.

    Args:
        log_p: (WORDS + 1, ..., WORDS + 1, LENGTH, WORDS), indexed by the state, then by position and word.
        mask_logit: what the network thinks of MASK. No text holds it, so it must make no difference.
    """

    def __init__(self, log_p: Tensor, mask_logit: float = 3.0) -> None:
        super().__init__()
        self.log_p = log_p
        self.mask_logit = mask_logit
        self.inputs: list[Tensor] = []  # of every call

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        logits_to_keep: int | Tensor = 0,
        sigma: Tensor | None = None,
    ) -> Tensor:
        self.inputs.append(input_ids.clone())
        canvas = input_ids[:, -LENGTH:]
        state = torch.where(canvas == MASK, BLANK, canvas - FIRST_WORD)
        logits = torch.full((*canvas.shape, V), -torch.inf)
        logits[..., FIRST_WORD : FIRST_WORD + WORDS] = self.log_p[tuple(state.unbind(1))].float()
        logits[..., MASK] = self.mask_logit
        if isinstance(logits_to_keep, Tensor):
            at = logits_to_keep - (input_ids.shape[1] - LENGTH)
            return logits.gather(1, at[..., None].expand(-1, -1, V))
        return logits[:, -logits_to_keep:]

    def p(self, state: State) -> Tensor:
        """(LENGTH, WORDS)."""
        return self.log_p[state].exp()


def joint(seed: int = 0, sharpness: float = 1.5) -> Tensor:
    """A law over texts, (WORDS, ..., WORDS), float64, far from independent."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn((WORDS,) * LENGTH, generator=generator, dtype=torch.float64)
    return logits.flatten().softmax(0).view(logits.shape)


def independent(seed: int = 0) -> Tensor:
    """A law whose words are independent of each other."""
    p = joint(seed)
    marginals = [p.sum(tuple(j for j in range(LENGTH) if j != i)) for i in range(LENGTH)]
    return torch.einsum("a,b,c->abc", *marginals)


def posterior(p: Tensor) -> Tensor:
    """The table of the true conditionals of a law: the denoiser that is consistent with itself."""
    table = torch.zeros((WORDS + 1,) * LENGTH + (LENGTH, WORDS), dtype=torch.float64)
    for state in itertools.product(range(WORDS + 1), repeat=LENGTH):
        given = torch.zeros_like(p)
        given[tuple(slice(None) if w == BLANK else w for w in state)] = 1
        conditional = p * given / (p * given).sum()
        for position in range(LENGTH):
            others = tuple(j for j in range(LENGTH) if j != position)
            table[(*state, position)] = conditional.sum(others)
    return table.log()


def inconsistent(seed: int = 0) -> Tensor:
    """A table of any conditionals, which no law has."""
    generator = torch.Generator().manual_seed(seed)
    shape = (WORDS + 1,) * LENGTH + (LENGTH, WORDS)
    return torch.randn(shape, generator=generator, dtype=torch.float64).log_softmax(-1)


def text_law(p: Tensor) -> Law:
    """A law over texts as a dict."""
    return {text: float(p[text]) for text in TEXTS}


def follow(model: Tabulated, steps: Iterable[Callable[[State], Iterator[tuple[frozenset[int], float]]]]) -> Law:
    """The exact law of a sampler that fills, in each step, a random set of positions independently of each other.

    Args:
        model: gives each position's words.
        steps: state -> the sets that may be filled, with their probabilities.
    """
    law: Law = {ALL_BLANK: 1.0}
    for sets in steps:
        following: Law = {}
        for state, mass in law.items():
            p = model.p(state)
            for positions, chance in sets(state):
                if not chance:
                    continue
                for words in itertools.product(range(WORDS), repeat=len(positions)):
                    new, share = list(state), mass * chance
                    for position, word in zip(sorted(positions), words, strict=True):
                        new[position], share = word, share * float(p[position, word])
                    following[tuple(new)] = following.get(tuple(new), 0.0) + share
        law = following
    assert math.isclose(sum(law.values()), 1)
    return law


def uniform_sets(count: int) -> Callable[[State], Iterator[tuple[frozenset[int], float]]]:
    """A uniform set of ``count`` blanks, or all if there are fewer."""

    def sets(state: State) -> Iterator[tuple[frozenset[int], float]]:
        blanks = [j for j, word in enumerate(state) if word == BLANK]
        chosen = list(itertools.combinations(blanks, min(count, len(blanks))))
        for positions in chosen:
            yield frozenset(positions), 1 / len(chosen)

    return sets


def independent_sets(chance: float) -> Callable[[State], Iterator[tuple[frozenset[int], float]]]:
    """Every blank with the same probability, independently."""

    def sets(state: State) -> Iterator[tuple[frozenset[int], float]]:
        blanks = [j for j, word in enumerate(state) if word == BLANK]
        for size in range(len(blanks) + 1):
            for positions in itertools.combinations(blanks, size):
                yield frozenset(positions), chance**size * (1 - chance) ** (len(blanks) - size)

    return sets


def blank_batch(rows: int, prompt: Sequence[int] = ()) -> dict[str, Tensor]:
    """``BOS | MASK MASK MASK`` so many times: what a predictor takes."""
    given = torch.tensor([*prompt, BOS])
    input_ids = torch.cat([given, torch.full((LENGTH,), MASK)]).repeat(rows, 1)
    nothing = torch.zeros((rows, LENGTH), dtype=torch.int64)
    return {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids, dtype=torch.bool),
        "target_ids": nothing,
        "target_mask": nothing.bool(),
        "index": torch.arange(rows),
    }


def words(ids: Tensor) -> Tensor:
    """Token ids as words 0 ... WORDS - 1."""
    return ids - FIRST_WORD


def frequencies(ids: Tensor) -> Tensor:
    """How often each of ``TEXTS`` is among the rows of ``ids`` (B, LENGTH); every row must be one."""
    code = (words(ids) * torch.tensor([WORDS**2, WORDS, 1])).sum(1)
    assert (words(ids) >= 0).all() and (words(ids) < WORDS).all()
    return torch.bincount(code, minlength=len(TEXTS))


def p_value(counts: Tensor, law: Law) -> float:
    """Of Pearson's χ² test of counts (in the order of ``TEXTS``) against a law; 0 if an impossible text was drawn."""
    expected = torch.tensor([law.get(text, 0.0) for text in TEXTS], dtype=torch.float64) * counts.sum()
    possible = expected > 0
    if counts[~possible].any():
        return 0.0
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    freedom = torch.tensor(int(possible.sum()) - 1, dtype=torch.float64)
    return float(torch.special.gammaincc(freedom / 2, statistic / 2))
