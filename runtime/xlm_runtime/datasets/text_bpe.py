"""A byte-level BPE trained on the training documents of ``dataset=text``, and kept in the cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xlm_runtime.datasets import cache_directory
from xlm_runtime.datasets.text_cache import built
from xlm_runtime.datasets.text_files import Reading
from xlm_runtime.datasets.text_progress import Report
from xlm_runtime.datasets.text_sources import Splits, make_splits
from xlm_runtime.options import check_whole_number

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FORMAT_VERSION = 1


def text_bpe(
    vocab_size: int,
    cache_dir: str | Path,
    path: str | Sequence[str] | Mapping[str, Any] | None = None,
    name: str | None = None,
    config_name: str | None = None,
    revision: str | None = None,
    column: str = "text",
    sample_by: str = "line",
    splits: Mapping[str, str] = {"train": "train"},
    shares: Mapping[str, float | None] = {"val": 0.05, "test": 0.05},
    seed: int = 0,
    documents: int | None = 200_000,
) -> PreTrainedTokenizerFast:
    """The BPE, trained unless it is in the cache.

    Args:
        vocab_size: the most tokens, 7 special ones and 256 bytes included.
        cache_dir: where it is kept.
        path, name, config_name, revision, column, sample_by, splits, shares, seed: as those of ``TextDataset``; of a
            split by shares, the training documents only.
        documents: it is trained on the first so many; None: on all.

    Raises:
        ConfigError, DataError: as ``TextDataset``; a vocabulary of less than 263.
    """
    from xlm_runtime.tokenizers import bpe_tokenizer, train_bpe

    check_whole_number("tokenizer.vocab_size", vocab_size, least=1)
    check_whole_number("tokenizer.documents", documents, least=1, or_null=True)
    rule = make_splits(
        path, name, config_name, revision, splits, shares, False, seed, Reading(column, False, sample_by)
    )
    key = {
        "format": FORMAT_VERSION,
        "vocab_size": vocab_size,
        "source": rule.own["train"].key(),
        "shares": rule.shares,
        "column": column,
        "sample_by": sample_by,
        "seed": seed,
        "documents": documents,
    }
    directory = cache_directory(cache_dir, "text-bpe", key)
    report = Report()

    def train(temporary: Path) -> dict[str, Any]:
        report.say(f"training a tokenizer of {vocab_size:,} tokens in {directory}")
        report.begin("reading text for the tokenizer", 0)
        try:
            made = train_bpe(_texts(rule, documents, report), vocab_size)
        finally:
            report.end()
        made.save_pretrained(temporary)
        return {"key": key, "tokens": len(made)}

    built(directory, train, report.say)
    return bpe_tokenizer(directory)


def _texts(rule: Splits, documents: int | None, report: Report) -> Iterator[str]:
    for count, text in enumerate(islice(_training_texts(rule), documents), 1):
        if count % 1000 == 0:
            report.advance(0, count, 0)
        yield text


def _training_texts(rule: Splits) -> Iterator[str]:
    for record in rule.own["train"].records():
        content = record.content()
        if rule.split_of("train", record, content, True) == "train":
            yield record.text(content)
