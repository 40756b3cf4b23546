"""Training text as an endless stream: read, tokenised and packed on the way, and kept nowhere.

Each process of each device takes every N-th document. It collects documents until they fill a window of blocks, packs
these, and gives them away in an order drawn from (seed, pass, window, process). A window is made of nothing but its own
documents, so the source's position at its beginning, and a place within it, are all that is needed to go on with
exactly the blocks that would have come. At the end of the source the next pass begins: files in another order, windows
shuffled anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from torch.utils.data import IterableDataset, get_worker_info

from xlm_runtime.datasets import example_index, packing
from xlm_runtime.datasets.text_prepare import Shape
from xlm_runtime.datasets.text_sources import START, Record, Splits
from xlm_runtime.datasets.text_tokens import Encoded, Encoder
from xlm_runtime.errors import ConfigError, DataError

Example = dict[str, Any]
_BATCH = 64  # documents that are tokenised at once


class TextStream(IterableDataset[Example]):
    """The training split, endless; it has no length.

    Args:
        splits: where the documents are; those of other splits are left out.
        encoder: makes the ids.
        shape: of the blocks.
        seed: of the order.
        window: blocks that are shuffled at once.
        only_text: a document is the text of its column, and nothing else.
    """

    def __init__(self, splits: Splits, encoder: Encoder, shape: Shape, seed: int, window: int, only_text: bool) -> None:
        self.splits, self.encoder, self.shape = splits, encoder, shape
        self.seed, self.window, self.only_text = seed, window, only_text
        self.rank, self.processes, self.skipped = 0, 1, 0

    def share(self, rank: int, processes: int, skipped: int = 0) -> TextStream:
        """This device's part, of which the first ``skipped`` blocks are passed over: of a run that continues, and whose
        loader's own state does not fit.
        """
        self.rank, self.processes, self.skipped = rank, processes, skipped
        return self

    def first(self, count: int) -> list[Example]:
        """The first blocks."""
        return list(islice(self, count))

    def __iter__(self) -> StreamIterator:
        worker = get_worker_info()
        workers, number = (worker.num_workers, worker.id) if worker is not None else (1, 0)
        skipped = self.skipped // workers + (number < self.skipped % workers)
        return StreamIterator(self, self.rank * workers + number, self.processes * workers, skipped)


class StreamIterator(Iterator[Example]):
    """One process's part of a stream; torchdata's loader keeps its state and gives it back."""

    def __init__(self, stream: TextStream, shard: int, shards: int, skipped: int) -> None:
        self._stream, self._shard, self._shards = stream, shard, shards
        self._skipped = skipped
        self._state: dict[str, Any] = {"pass": 0, "window": 0, "position": START, "document": 0, "blocks": 0}
        self._place = 0
        self._blocks: list[Example] | None = None  # of the window; made when the first one is asked for
        self._records: Iterator[Record] | None = None
        self._next: dict[str, Any] = dict(self._state)
        self._found = False  # anything in this pass

    def state_dict(self) -> dict[str, Any]:
        """Where it stands, in plain values."""
        return {**self._state, "place": self._place, "skipped": self._skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        state = dict(state)
        self._place, self._skipped = state.pop("place"), state.pop("skipped")
        self._state, self._next = state, dict(state)
        self._blocks, self._records = None, None
        self._found = True

    def __next__(self) -> Example:
        while self._skipped:
            self._skipped -= 1
            self._block()
        return self._block()

    def _block(self) -> Example:
        if self._blocks is None:
            self._blocks = self._make_window()
        while self._place >= len(self._blocks):
            self._state, self._place = dict(self._next), 0
            self._blocks = self._make_window()
        self._place += 1
        return self._blocks[self._place - 1]

    def _make_window(self) -> list[Example]:
        """The window that begins at ``_state``; ``_next`` is the one after it. Empty at the end of a pass, perhaps."""
        stream, state = self._stream, self._state
        if self._records is None:
            self._records = stream.splits.own["train"].records(
                state["position"], state["pass"] + 1_000_003 * stream.seed
            )
        documents: list[Encoded] = []
        room, position, number, ended = (
            stream.window * stream.shape.block_size,
            state["position"],
            state["document"],
            False,
        )
        while room > 0 and not ended:
            batch = list(islice(self._records, _BATCH * self._shards))
            ended = len(batch) < _BATCH * self._shards
            if batch:
                position = batch[-1].after
            for document in self._encoded(batch, number):
                documents.append(document)
                room -= len(document.tokens) + stream.shape.special_tokens
            number += len(batch)
        made = self._shuffled(documents)
        self._found = self._found or bool(made)
        self._next = {
            "pass": state["pass"],
            "window": state["window"] + 1,
            "position": position,
            "document": number,
            "blocks": state["blocks"] + len(made),
        }
        if ended:
            self._check_found()
            self._records = None
            self._next |= {"pass": state["pass"] + 1, "window": 0, "position": START, "document": 0}
        return made

    def _encoded(self, batch: list[Record], number: int) -> list[Encoded]:
        stream = self._stream
        own = [record for place, record in enumerate(batch, number) if place % self._shards == self._shard]
        contents = [record.content() for record in own]
        pairs = [
            pair
            for pair in zip(own, contents, strict=True)
            if stream.splits.split_of("train", *pair, stream.only_text) == "train"
        ]
        return stream.encoder.encode([record for record, _ in pairs], [content for _, content in pairs])

    def _shuffled(self, documents: list[Encoded]) -> list[Example]:
        stream, state = self._stream, self._state
        examples: list[Example]
        if documents and documents[0].prompt is not None:
            if stream.shape.packed:
                raise ConfigError("dataset.layout is packed, but the examples have prompts: set dataset.layout=padded.")
            examples = [
                {"prompt_ids": [] if d.prompt is None else d.prompt.tolist(), "token_ids": d.tokens.tolist()}
                for d in documents
            ]
        else:
            examples = _as_blocks(documents, stream.shape)
        draw = np.random.default_rng([stream.seed, state["pass"], state["window"], self._shard])
        order = draw.permutation(len(examples)).tolist()
        for number, place in enumerate(order, state["blocks"]):
            # Numbered by this process and its count; wraps around after 2^32.
            examples[place]["index"] = example_index("train", (number * self._shards + self._shard) % (1 << 32))
        return [examples[place] for place in order]

    def _check_found(self) -> None:
        if not self._found:
            raise DataError(
                f"The training files have no document for loader process {self._shard + 1} of {self._shards}: there "
                "are fewer documents than processes, or all are empty. Lower num_workers, or set "
                "dataset.streaming=false."
            )


def _as_blocks(documents: list[Encoded], shape: Shape) -> list[Example]:
    if not documents:
        return []
    lengths = np.array([len(document.tokens) for document in documents], np.int64)
    tokens = np.concatenate([document.tokens for document in documents])
    pieces = shape.pieces(np.cumsum(lengths) - lengths, lengths)
    slices = zip(pieces.starts.tolist(), pieces.lengths.tolist(), strict=True)
    cut: list[list[int]] = [tokens[start : start + length].tolist() for start, length in slices]
    firsts = [0, *pieces.ends.tolist()[:-1]]
    if shape.packed:
        return [packing.PackedExample(documents=cut[a:b]) for a, b in zip(firsts, pieces.ends.tolist(), strict=True)]
    return [{"token_ids": piece} for piece in cut]
