"""Documents to a cache of token ids, and these to a cache of blocks; both are made once and read as memory maps.

    <cache_dir>/text/<key>/<split>.tokens   all ids of a split, one document after the other (uint16, or uint32)
                           <split>.ends     where each document ends (int64)
                           <split>.prompts, <split>.prompt_ends     the same of the prompts, where there are some
    <cache_dir>/text-blocks/<key>/<split>.starts, .lengths, .blocks     ``packing.Pieces``

A key is a hash of all that decides the content. No more than a batch of documents is in memory, and in packing a
window of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xlm_runtime.datasets import packing
from xlm_runtime.datasets.text_cache import ArrayWriter, MappedArray
from xlm_runtime.datasets.text_progress import Report
from xlm_runtime.datasets.text_sources import Splits
from xlm_runtime.datasets.text_tokens import Encoded, Encoder, batches
from xlm_runtime.errors import DataError

#: Part of the caches' keys: raise it with every change of what is written.
FORMAT_VERSION = 1
#: Documents that are packed together.
WINDOW = 1 << 16


@dataclass(frozen=True)
class Shape:
    """How documents become blocks. ``packed`` or padded, see ``packing``."""

    packed: bool
    block_size: int
    special_tokens: int

    def pieces(self, starts: packing.Integers, lengths: packing.Integers) -> packing.Pieces:
        """Documents to blocks."""
        if self.packed:
            return packing.packed(starts, lengths, self.block_size, self.special_tokens)
        return packing.padded(starts, lengths, packing.check_room(self.block_size, self.special_tokens))


class _SplitWriter:
    """The files of one split, and what is counted."""

    def __init__(self, directory: Path, split: str, encoder: Encoder, stack: ExitStack) -> None:
        self._directory, self._split, self._encoder, self._stack = directory, split, encoder, stack
        self._files: dict[str, ArrayWriter] = {}
        self.documents = self.empty = 0
        self._write("tokens", encoder.dtype)
        self._write("ends", np.int64)

    def _write(self, name: str, dtype: Any) -> ArrayWriter:
        if name not in self._files:
            writer = ArrayWriter(self._directory / f"{self._split}.{name}", dtype)
            self._files[name] = self._stack.enter_context(writer)
        return self._files[name]

    def append(self, document: Encoded, place: object) -> int:
        """Write it, and return how many tokens that were."""
        has_prompts = "prompts" in self._files
        if self.documents and (document.prompt is not None) != has_prompts:
            raise DataError(
                f"{place}: the preprocess function returned {'no ' if has_prompts else ''}prompt_ids, but for earlier "
                f"rows it did{'' if has_prompts else ' not'}; expected the same of every row. Correct the function."
            )
        if document.prompt is None and len(document.tokens) == 0:
            self.empty += 1
            return 0
        self.documents += 1
        count = self._add("tokens", "ends", document.tokens)
        if document.prompt is not None:
            count += self._add("prompts", "prompt_ends", document.prompt)
        return count

    def _add(self, tokens: str, ends: str, ids: Any) -> int:
        writer = self._write(tokens, self._encoder.dtype)
        writer.append(ids)
        self._write(ends, np.int64).append(np.array([writer.length]))
        return len(ids)

    def counts(self) -> dict[str, Any]:
        prompts = self._files.get("prompts")
        tokens = self._files["tokens"].length + (prompts.length if prompts else 0)
        return {
            "documents": self.documents,
            "empty": self.empty,
            "tokens": tokens,
            "prompts": prompts is not None,
            "dtype": self._encoder.dtype.name,
        }


def write_tokens(
    directory: Path,
    splits: Splits,
    wanted: Mapping[str, int | None],
    encoder: Encoder,
    report: Report,
    only_text: bool,
) -> dict[str, Any]:
    """Tokenise the wanted splits into ``directory``; returns what was counted, by split.

    Args:
        directory: an empty one.
        splits: where the documents are.
        wanted: split -> at most so many documents of it, the first ones; None: all.
        encoder: makes the ids.
        report: is told how far it is.
        only_text: a document is the text of its column, and nothing else.

    Raises:
        DataError: a row that cannot be read; a split that holds nothing.
    """
    with ExitStack() as stack:
        writers = {split: _SplitWriter(directory, split, encoder, stack) for split in wanted}
        origins = dict.fromkeys(split if split in splits.own else "train" for split in wanted)
        for origin in origins:
            targets = [split for split in wanted if split == origin or (origin == "train" and split in splits.shares)]
            _read(origin, {t: (writers[t], wanted[t]) for t in targets}, splits, encoder, report, only_text)
        counts = {split: writer.counts() for split, writer in writers.items()}
    for split, count in counts.items():
        if not count["documents"]:
            raise _no_text(split, count, splits)
    return counts


def _read(
    origin: str,
    targets: Mapping[str, tuple[_SplitWriter, int | None]],
    splits: Splits,
    encoder: Encoder,
    report: Report,
    only_text: bool,
) -> None:
    source = splits.own[origin]
    report.begin(f"tokenising {' and '.join(targets)}", source.size())
    documents = tokens = 0
    try:
        for records, contents in batches(source.records()):
            split_of = [splits.split_of(origin, *pair, only_text) for pair in zip(records, contents, strict=True)]
            chosen = [place for place, split in enumerate(split_of) if split in targets]
            encoded = encoder.encode([records[i] for i in chosen], [contents[i] for i in chosen])
            for place, document in zip(chosen, encoded, strict=True):
                writer, most = targets[split_of[place]]
                if most is None or writer.documents < most:
                    tokens += writer.append(document, records[place].place)
                    documents += 1
            report.advance(records[-1].read, documents, tokens)
            if all(most is not None and writer.documents >= most for writer, most in targets.values()):
                break
    finally:
        report.end()


def _no_text(split: str, count: Mapping[str, Any], splits: Splits) -> DataError:
    empty = f" ({count['empty']:,} empty documents)" if count["empty"] else ""
    lines = [f"The split {split!r} of the dataset holds no text{empty}."]
    if split in splits.shares:
        lines.append(
            f"It is a share of the training files ({splits.shares[split]}), which have too few documents. Raise "
            f"dataset.shares.{split}, or give the split files of its own: dataset.path={{train: ..., {split}: ...}}"
        )
    else:
        files = [str(file) for file in getattr(splits.own[split], "files", ())]
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        lines.append(f"Give it files that hold some{'; read: ' if files else ''}{', '.join(files[:3])}{more}.")
    return DataError("\n".join(lines))


def write_blocks(directory: Path, tokens: Path, counts: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Cut or pack the documents of a cache of tokens; returns ``pieces``, ``blocks`` and their ``waste``, by split."""
    found = {}
    for split, count in counts.items():
        pieces = blocks = 0
        with (
            ArrayWriter(directory / f"{split}.starts", np.int64) as starts,
            ArrayWriter(directory / f"{split}.lengths", np.int32) as lengths,
            ArrayWriter(directory / f"{split}.blocks", np.int64) as ends,
        ):
            for window in _windows(MappedArray(tokens / f"{split}.ends", np.int64)):
                made = shape.pieces(*window)
                starts.append(made.starts)
                lengths.append(made.lengths)
                ends.append(made.ends + pieces)
                pieces, blocks = pieces + len(made.starts), blocks + len(made.ends)
        waste = packing.waste(count["tokens"], pieces, blocks, shape.block_size, shape.special_tokens)
        found[split] = {"pieces": pieces, "blocks": blocks, "waste": waste}
    return found


def _windows(ends: MappedArray) -> Iterator[tuple[packing.Integers, packing.Integers]]:
    for first in range(0, len(ends), WINDOW):
        own = np.array(ends.array[first : first + WINDOW])
        starts = np.concatenate([ends.array[first - 1 : first] if first else np.zeros(1, np.int64), own[:-1]])
        yield starts, own - starts
