"""Text of one's own: local files or a dataset of the hub, tokenised once, cut or packed into blocks.

    ds = TextDataset(tokenizer, path="corpus/*.jsonl", block_size=256)
    ds["train"][0]      {"documents": [[…], […]], "index": 0}       layout packed
                        {"token_ids": […], "index": 0}              layout padded
                        {"prompt_ids": […], "token_ids": […], "index": 0}    a preprocess function with prompts

Ids are raw, without special tokens: those are the collator's. It adds ``special_tokens`` to each document, and a block
has room for them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlm_runtime.datasets import cache_directory, example_index, packing
from xlm_runtime.datasets.text_cache import MappedArray, built, description
from xlm_runtime.datasets.text_files import SAMPLE_BY, Reading
from xlm_runtime.datasets.text_prepare import FORMAT_VERSION, Shape, write_blocks, write_tokens
from xlm_runtime.datasets.text_progress import Report
from xlm_runtime.datasets.text_sources import make_splits
from xlm_runtime.datasets.text_stream import TextStream
from xlm_runtime.datasets.text_tokens import Encoder, Limits
from xlm_runtime.errors import ConfigError, DataError, did_you_mean
from xlm_runtime.options import check_choice, check_switch, check_whole_number

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Example = dict[str, Any]


class TextDataset:
    """Documents as blocks of tokens: ``ds["train"]`` is map-style, or an endless stream.

    Nothing is read before the first split is asked for; then all of them are prepared, unless they are in the cache.

    Args:
        tokenizer: text to ids.
        path: a file, a glob, a directory, or a list of these (.txt, .jsonl, .csv, .parquet); or one of them for each
            split: ``{"train": …, "val": …}``.
        name: a dataset of the hub, if there is no ``path``; with ``config_name`` and ``revision``.
        column: holds the text.
        sample_by: of .txt files, a document is a ``line``, a ``paragraph`` (empty lines are between two), or the whole
            file (``document``).
        splits: of a dataset of the hub: our split -> its split.
        shares: of the training documents, for a split that has no source of its own; 0 or None: there is none.
        layout: ``packed``: several documents a block; ``padded``: one.
        block_size: tokens of a block, special tokens included.
        special_tokens: how many the collator adds to each document.
        prompt_length, answer_length: the most tokens of a prompt, and of an answer with its special tokens; for a
            ``preprocess`` that returns prompts.
        preprocess: dotted path of ``(example, tokenizer) -> {"token_ids": …}``; with ``"prompt_ids"`` for prompts and
            answers, which are not cut, and are not packed.
        streaming: training reads the source again and again, and keeps nothing on the disk; the other splits are
            prepared.
        eval_documents: with streaming, the most documents of each other split; None: all.
        stream_window: blocks that a stream shuffles at once.
        seed: of the split by shares, and of a stream's order.
        cache_dir: where prepared splits are kept.

    Raises:
        ConfigError: an option out of its range; neither path nor name.
        DataError: files that are not there or not alike.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        path: str | Sequence[str] | Mapping[str, Any] | None = None,
        name: str | None = None,
        config_name: str | None = None,
        revision: str | None = None,
        column: str = "text",
        sample_by: str = "line",
        splits: Mapping[str, str] = {"train": "train"},
        shares: Mapping[str, float | None] = {"val": 0.05, "test": 0.05},
        layout: str = "packed",
        block_size: int = 256,
        special_tokens: int = 2,
        prompt_length: int | None = None,
        answer_length: int | None = None,
        preprocess: str | None = None,
        streaming: bool = False,
        eval_documents: int | None = 10_000,
        stream_window: int = 512,
        seed: int = 0,
        cache_dir: str | Path = "~/.cache/xlm",
    ) -> None:
        check_choice("dataset.sample_by", sample_by, SAMPLE_BY)
        check_choice("dataset.layout", layout, ("packed", "padded"))
        check_switch("dataset.streaming", streaming)
        check_whole_number("dataset.eval_documents", eval_documents, least=1, or_null=True)
        check_whole_number("dataset.stream_window", stream_window, least=1)
        check_whole_number("dataset.seed", seed, least=0)
        check_whole_number("dataset.block_size", block_size, least=1)
        check_whole_number("dataset.special_tokens", special_tokens, least=0)
        check_whole_number("dataset.prompt_length", prompt_length, least=0, or_null=True)
        check_whole_number("dataset.answer_length", answer_length, least=special_tokens, or_null=True)
        packing.check_room(block_size, special_tokens)
        answer = None if answer_length is None else answer_length - special_tokens
        how = Reading(column, preprocess is not None, sample_by)
        self._encoder = Encoder(tokenizer, preprocess, Limits(prompt_length, answer))
        self._rule = make_splits(path, name, config_name, revision, splits, shares, streaming, seed, how)
        self._shape = Shape(layout == "packed", block_size, special_tokens)
        self._only_text = preprocess is None
        self._seed = seed
        self._cache_dir = cache_dir
        self._window = stream_window
        most = eval_documents if streaming else None
        self._wanted = {split: most for split in self._rule.names if not (streaming and split == "train")}
        self.streaming = streaming
        self._key = {
            "format": FORMAT_VERSION,
            "source": self._rule.key(),
            "column": column,
            "sample_by": sample_by,
            "seed": seed,
            "wanted": self._wanted,
            **self._encoder.key(),
        }

    @property
    def splits(self) -> tuple[str, ...]:
        return self._rule.names

    @property
    def own_splits(self) -> tuple[str, ...]:
        """Those that have a source of their own, and are no share of the training documents."""
        return tuple(self._rule.own)

    @property
    def _blocks(self) -> Path:
        return cache_directory(self._cache_dir, "text-blocks", {"tokens": self._key, "shape": vars(self._shape)})

    @property
    def directory(self) -> Path:
        """Where the cache of the tokens is, or will be."""
        return cache_directory(self._cache_dir, "text", self._key)

    def content_id(self) -> str:
        """What identifies the texts: files by their names, sizes and times, a dataset of the hub by its revision."""
        return hashlib.sha256(json.dumps(self._rule.key()).encode()).hexdigest()[:16]

    def is_prepared(self) -> bool:
        """Whether all is in the cache."""
        tokens = description(self.directory)
        if tokens is None:
            return not self._wanted
        prompts = any(counts["prompts"] for counts in tokens["splits"].values())
        return prompts or description(self._blocks) is not None

    @cached_property
    def prepared(self) -> dict[str, dict[str, Any]]:
        """Of each prepared split: ``documents``, ``empty`` ones that were left out, ``tokens``, ``blocks``, ``waste``.

        The first call prepares what is not in the cache, and says so.
        """
        return self.prepare(Report())

    def prepare(self, report: Report) -> dict[str, dict[str, Any]]:
        """As ``prepared``, with the progress told to ``report``; ``report`` hears nothing if all is in the cache.

        Raises:
            DataError: a row that cannot be read; a split that holds nothing.
        """

        def tokens(directory: Path) -> dict[str, Any]:
            report.say(f"preparing {', '.join(self._wanted)} in {self.directory}")
            splits = write_tokens(directory, self._rule, self._wanted, self._encoder, report, self._only_text)
            return {"splits": splits, "key": self._key}

        def blocks(directory: Path) -> dict[str, Any]:
            splits = write_blocks(directory, self.directory, found, self._shape)
            return {"splits": splits, "key": {"tokens": self._key, "shape": vars(self._shape)}}

        if not self._wanted:
            return {}
        found = built(self.directory, tokens, report.say)["splits"]
        if any(counts["prompts"] for counts in found.values()):
            return {split: {**counts, "blocks": counts["documents"], "waste": None} for split, counts in found.items()}
        shapes = built(self._blocks, blocks, report.say)["splits"]
        return {split: {**counts, **shapes[split]} for split, counts in found.items()}

    def __getitem__(self, split: str) -> Blocks | Pairs | TextStream:
        """The split: map-style, but for the training split of a stream."""
        if split not in self._rule.names:
            raise DataError(
                f"The dataset has no split {split!r}; it has {', '.join(self._rule.names)}. "
                f"{did_you_mean(split, self._rule.names)} dataset.shares and dataset.path can make one."
            )
        if self.streaming and split == "train":
            return TextStream(self._rule, self._encoder, self._shape, self._seed, self._window, self._only_text)
        counts = self.prepared[split]
        if counts["prompts"]:
            if self._shape.packed:
                raise ConfigError("dataset.layout is packed, but the examples have prompts: set dataset.layout=padded.")
            return Pairs(self.directory, split, counts["dtype"])
        return Blocks(self.directory, self._blocks, split, counts["dtype"], self._shape.packed)


class Blocks(Sequence[Example]):
    """The blocks of one split, read from the cache: ``{"documents", "index"}`` if packed, else ``{"token_ids", …}``."""

    def __init__(self, tokens: Path, blocks: Path, split: str, dtype: str, packed: bool) -> None:
        import numpy as np

        self._tokens = MappedArray(tokens / f"{split}.tokens", dtype)
        self._starts = MappedArray(blocks / f"{split}.starts", np.int64)
        self._lengths = MappedArray(blocks / f"{split}.lengths", np.int32)
        self._ends = MappedArray(blocks / f"{split}.blocks", np.int64)
        self._split, self._packed = split, packed

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: Any) -> Any:
        place = _checked(place, len(self))
        ends, tokens = self._ends.array, self._tokens.array
        first = int(ends[place - 1]) if place else 0
        starts, lengths = self._starts.array[first : ends[place]], self._lengths.array[first : ends[place]]
        slices = zip(starts.tolist(), lengths.tolist(), strict=True)
        documents = [tokens[start : start + length].tolist() for start, length in slices]
        index = example_index(self._split, place)
        if self._packed:
            return packing.PackedExample(documents=documents, index=index)
        return {"token_ids": documents[0], "index": index}


class Pairs(Sequence[Example]):
    """The prompts and answers of one split, read from the cache."""

    def __init__(self, tokens: Path, split: str, dtype: str) -> None:
        self._prompts = _Ragged(tokens, split, "prompts", "prompt_ends", dtype)
        self._answers = _Ragged(tokens, split, "tokens", "ends", dtype)
        self._split = split

    def __len__(self) -> int:
        return len(self._answers.ends)

    def __getitem__(self, place: Any) -> Any:
        place = _checked(place, len(self))
        index = example_index(self._split, place)
        return {"prompt_ids": self._prompts.row(place), "token_ids": self._answers.row(place), "index": index}


class _Ragged:
    def __init__(self, directory: Path, split: str, values: str, ends: str, dtype: str) -> None:
        self.values = MappedArray(directory / f"{split}.{values}", dtype)
        self.ends = MappedArray(directory / f"{split}.{ends}", "int64")

    def row(self, place: int) -> list[int]:
        first = self.ends.array[place - 1] if place else 0
        row: list[int] = self.values.array[first : self.ends.array[place]].tolist()
        return row


def _checked(place: Any, length: int) -> int:
    if not -length <= place < length:
        raise IndexError(f"example {place} of {length}")
    return int(place) % length
