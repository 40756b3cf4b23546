"""English text that is on every machine: the Python language reference, as ``pydoc`` carries it.

CPython ships the reference's topics ("assignment", "typesseq", …) in ``pydoc_data.topics``, about half a megabyte.
Which topics there are, and their text, depend on the version of Python: results of two versions are not comparable.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from xlm_runtime.datasets import example_index
from xlm_runtime.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

SHARES = {"val": 0.05, "test": 0.05}


def topics(seed: int, shares: Mapping[str, float] = SHARES) -> dict[str, list[str]]:
    """The texts of each split; a topic is in one split only.

    Topics are shuffled by ``seed``; each split of ``shares`` takes, in this order, what still fits into its share of
    all characters, and ``train`` takes the rest.

    Raises ``DataError`` unless the shares are positive and leave something for training.
    """
    if min(shares.values(), default=1.0) <= 0 or sum(shares.values()) >= 1 or "train" in shares:
        raise DataError(
            f"pydoc: shares is {dict(shares)}, expected positive shares of less than 1 together for splits other than "
            "'train', which takes the rest. Correct dataset.shares."
        )
    from pydoc_data.topics import topics as texts

    names = sorted(texts)
    random.Random(seed).shuffle(names)
    room = {split: share * sum(map(len, texts.values())) for split, share in shares.items()}
    splits: dict[str, list[str]] = {"train": [], **{split: [] for split in shares}}
    for name in names:
        split = next((split for split in shares if len(texts[name]) <= room[split]), "train")
        if split != "train":
            room[split] -= len(texts[name])
        splits[split].append(texts[name])
    return splits


@cache
def bpe(vocab_size: int, seed: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE of ``vocab_size`` tokens (special tokens and bytes included), trained on the training split.

    Training takes about a second, and gives the same vocabulary every time: nothing is kept on disk.
    """
    from xlm_runtime.tokenizers import train_bpe

    return train_bpe(topics(seed)["train"], vocab_size)


class PydocTopics:
    """The topics, cut into blocks: ``ds["train"][i]`` is ``{"token_ids", "index"}``.

    A topic is cut every ``block_size - special_tokens`` tokens; a collator adds the special tokens. The last block of a
    topic is shorter, and nothing is dropped.

    Args:
        tokenizer: text to ids.
        block_size: tokens of a block, special tokens included.
        special_tokens: how many of them the collator adds.
        seed: decides which topic is in which split.
        shares: of all characters, for each split but ``train``.

    Raises ``DataError`` for a block without room, bad shares, and an unknown split.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        block_size: int,
        special_tokens: int = 2,
        seed: int = 0,
        shares: Mapping[str, float] = SHARES,
    ) -> None:
        if special_tokens < 0 or block_size <= special_tokens:
            raise DataError(
                f"pydoc: block_size is {block_size} with {special_tokens} special tokens, expected room for one "
                "token of text. Raise dataset.block_size."
            )
        self._tokenizer = tokenizer
        self._length = block_size - special_tokens
        self._texts = topics(seed, shares)
        self._splits: dict[str, list[dict[str, Any]]] = {}

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self._texts)

    def __getitem__(self, split: str) -> list[dict[str, Any]]:
        """The split, map-style; tokenised at the first call."""
        if split not in self._texts:
            raise DataError(
                f"pydoc has no split {split!r}; it has {', '.join(self._texts)}. {did_you_mean(split, self._texts)}"
            )
        if split not in self._splits:
            encoded = self._tokenizer(self._texts[split], add_special_tokens=False, verbose=False)["input_ids"]
            blocks = [ids[at : at + self._length] for ids in encoded for at in range(0, len(ids), self._length)]
            self._splits[split] = [
                {"token_ids": block, "index": example_index(split, place)} for place, block in enumerate(blocks)
            ]
        return self._splits[split]
