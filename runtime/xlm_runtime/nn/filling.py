"""Filling the blanks of a canvas (``xlm_runtime.canvas``): what the samplers of masked models share.

The protocol of one step::

    positions, candidates = pack(...)                   # which blanks to look at (xlm_runtime.nn.unmasking)
    logits = canvas.logits(model, positions)            # one network call, on the rows that are left
    canvas.fill(positions, tokens, chosen)              # finished rows leave: they cost nothing more

The text of a row ends at its first EOS, unless a given token comes later: what is given is never changed or cut off,
so neither EOS nor PAD can be drawn before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from xlm_runtime.tracing import Recorder, probability

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Canvas:
    """The rows of a batch that are still being filled; those that are finished have left.

    A row is finished when no blank is left before the end of its text.

    Args:
        tokenizer: for the special ids. No special token but EOS and PAD is ever drawn.
        input_ids: (B, L) int64 with MASK at the blanks; not written into.
        attention_mask: (B, L) bool, False at padding that is not the model's to write.
        index: (B,) int64, what names each row for good; it seeds the row's draws.
        length: T.
        recorder: is told of what is filled, if there is one.

    Attributes:
        input_ids, attention_mask, index: as above, of the n rows that are left.
        rows: (n,) int64, which rows of the batch these are.
        masked: (n, T) bool, their blanks, before the end of the text where that is known.
        network_calls: (B,) int64, how often the network has run on each row.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        input_ids: Tensor,
        attention_mask: Tensor,
        index: Tensor,
        length: int,
        recorder: Recorder | None = None,
    ) -> None:
        self._mask, self._eos, self._pad = tokenizer.mask_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
        self._never = sorted(set(tokenizer.all_special_ids) - {self._eos, self._pad})
        self._start = input_ids.shape[1] - length
        self.input_ids, self.attention_mask, self.index = input_ids.clone(), attention_mask, index
        self.rows = torch.arange(len(input_ids), device=input_ids.device)
        self.masked = self._canvas_ids == self._mask
        given = attention_mask[:, self._start :] & ~self.masked & (self._canvas_ids != self._pad)
        # Whether a given token comes after a position.
        later = given.flip(-1).cumsum(-1).flip(-1) - given.long()
        self._before_given = later > 0  # (n, T)
        self._ids = self._canvas_ids.clone()  # (B, T), of the rows that have left
        self.network_calls = torch.zeros_like(self.rows)
        self._recorder = recorder
        self._seen: tuple[Tensor | slice, Tensor] | None = None  # for the recorder: which rows, their logits
        if recorder is not None:
            recorder.begin(self.input_ids, attention_mask)
        self._retire()

    def __len__(self) -> int:
        """n, the rows that are left."""
        return len(self.rows)

    @property
    def _canvas_ids(self) -> Tensor:
        return self.input_ids[:, self._start :]

    def logits(
        self, model: nn.Module, positions: Tensor, rows: Tensor | slice = slice(None), **further: Tensor
    ) -> Tensor:
        """Run the network once, and count it. What cannot stand at a position gets minus infinity.

        That is every special token but EOS and PAD, and these two before a given token.

        Args:
            model: ``model(input_ids, attention_mask, logits_to_keep=positions (m, K) in the row, ...)`` -> (m, K, V).
            positions: (n, K) int64 of the canvas.
            rows: which m of the n rows; all by default.
            further: arguments of the model.

        Returns:
            (m, K, V).
        """
        positions = positions[rows]
        self.network_calls[self.rows[rows]] += 1
        logits: Tensor = model(
            self.input_ids[rows], self.attention_mask[rows], logits_to_keep=positions + self._start, **further
        )
        logits[..., self._never] = -torch.inf
        ends = [self._eos, self._pad]
        before_given = self._before_given[rows].gather(1, positions)[..., None]
        logits[..., ends] = logits[..., ends].masked_fill(before_given, -torch.inf)
        if self._recorder is not None:
            self._seen = (rows, logits)
        return logits

    def fill(self, positions: Tensor, tokens: Tensor, chosen: Tensor) -> None:
        """Write tokens into blanks; rows that are then finished leave.

        Args:
            positions: (n, K) int64 of the canvas, distinct within a row.
            tokens: (n, K) int64.
            chosen: (n, K) bool; the others stay as they are.
        """
        if self._recorder is not None:
            self._record(self._recorder, positions, tokens, chosen)
        self._canvas_ids.scatter_(1, positions, torch.where(chosen, tokens, self._canvas_ids.gather(1, positions)))
        self.masked.scatter_(1, positions, self.masked.gather(1, positions) & ~chosen)
        self._retire()

    def _record(self, recorder: Recorder, positions: Tensor, tokens: Tensor, chosen: Tensor) -> None:
        confidence = torch.zeros(tokens.shape, device=tokens.device)
        if self._seen is not None:
            rows, logits = self._seen
            confidence[rows] = probability(logits, tokens[rows])
        places = self.attention_mask.cumsum(-1)[:, self._start :].gather(1, positions) - 1
        recorder.write(self.rows, places, tokens, confidence, chosen)

    def ids(self) -> Tensor:
        """(B, T) int64: the texts of all rows to their EOS, then PAD. A row that is not finished shows its blanks."""
        return self._ids.index_copy(0, self.rows, self._canvas_ids)

    def _retire(self) -> None:
        ends = (self._canvas_ids == self._eos) & ~self._before_given
        behind = ends.cumsum(-1) - ends.long() > 0  # (n, T)
        self.masked &= ~behind  # what comes after a text's end is nobody's to fill: no step is spent on it
        going = self.masked.any(-1)
        if bool(going.all()):
            return
        done = ~going
        self._ids[self.rows[done]] = self._canvas_ids[done].masked_fill(behind[done], self._pad)
        self.input_ids, self.attention_mask = self.input_ids[going], self.attention_mask[going]
        self.index, self.rows = self.index[going], self.rows[going]
        self.masked, self._before_given = self.masked[going], self._before_given[going]


def canvas_rows(
    tokenizer: PreTrainedTokenizerBase, input_ids: Tensor, ids: Tensor, target_ids: Tensor
) -> list[dict[str, Any]]:
    """Prediction rows: ``prompt``, ``text``, ``truth`` and ``ids`` for each row of a batch.

    A text goes to its EOS, and special tokens within it are shown: two texts are equal if and only if their ids are.

    Args:
        tokenizer: makes text.
        input_ids: (B, L) int64 with MASK at the blanks. A prompt shows the blanks that a given token follows.
        ids: (B, T) int64, what ``Canvas.ids`` returned.
        target_ids: (B, T) int64, text EOS PAD...; all PAD where no truth is known, which is then None.
    """
    eos, padding, mask = tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id
    around = {padding, tokenizer.bos_token_id, eos}

    def to_eos(row: list[int]) -> list[int]:
        length = len(row)
        while length and row[length - 1] == padding:
            length -= 1
        return row[:length] if length and row[length - 1] == eos else row  # without an EOS, PAD is no end

    def text(row: list[int]) -> str:
        return str(tokenizer.decode(row[:-1] if row and row[-1] == eos else row))

    def prompt(row: list[int]) -> str:
        shown = [i for i in row if i not in around]
        while shown and shown[-1] == mask:
            shown.pop()
        return str(tokenizer.decode(shown))

    rows = []
    for given, written, truth in zip(input_ids.tolist(), ids.tolist(), target_ids.tolist(), strict=True):
        row = to_eos(written)
        known = any(i != padding for i in truth)
        rows.append(
            {"prompt": prompt(given), "text": text(row), "truth": text(to_eos(truth)) if known else None, "ids": row}
        )
    return rows
