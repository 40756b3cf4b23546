"""Inserting into rows: what samplers of insertion models keep of a text that grows at any place.

The protocol of one step::

    ids, real, types, positions = canvas.columns(rows)  # one network call, on the rows that are left
    canvas.insert(rows, slot, token)                    # right after the tokens of these columns
    canvas.text(pad)                                    # in the end: in its order

A new token is appended, and the positions of all that follows it move by one: nothing is shifted in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor

from xlm_runtime.nn.masks import positions_from_mask


class Canvas:
    """Tokens in the order of insertion, with explicit positions.

    Columns that are padding in every row are left out: W are left.

    Args:
        input_ids: (B, L) int64, what is given, BOS included.
        attention_mask: (B, L) bool, False at padding.
        type_ids: (B, L) int64; those of BOS and of all that follows are ``text_type``, at the same columns in each row.
        slots: (B, L) bool, after which tokens others may be inserted.
        text_type: the type of BOS and of text, the inserted one included.
        room: how many tokens may be inserted into a row.

    Attributes:
        ids, positions, types: (B, W + room) int64; the first ``width`` columns are in use.
        real, slots: (B, W + room) bool: tokens; those that a token may be inserted after.
        bos: the column of BOS. Before it stands what is no text, such as a prompt.
        inserted: (B,) int64, how many tokens each row has got.
    """

    def __init__(
        self, input_ids: Tensor, attention_mask: Tensor, type_ids: Tensor, slots: Tensor, *, text_type: int, room: int
    ) -> None:
        used = attention_mask.any(0).nonzero().squeeze(1)
        self.width = len(used)

        def roomy(values: Tensor, fill: int | bool) -> Tensor:
            return torch.cat([values[:, used], values.new_full((len(values), room), fill)], dim=1)

        self.ids = roomy(input_ids, 0)
        self.types = roomy(type_ids, text_type)
        self.real = roomy(attention_mask, False)
        self.slots = roomy(slots, False)
        self.positions = positions_from_mask(self.real)
        self.bos = int((self.types != text_type).any(0).sum())
        self._first_free = self.width
        self.inserted = self.ids.new_zeros(len(self.ids))

    def columns(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """``ids``, ``real``, ``types`` and ``positions`` of the rows (R,), of the columns in use: (R, width) each."""
        of = rows, slice(0, self.width)
        return self.ids[of], self.real[of], self.types[of], self.positions[of]

    def insert(self, rows: Tensor, slot: Tensor, token: Tensor, valid: Tensor | None = None) -> None:
        """Put tokens (R, K), or (R,), right after those of the columns ``slot``, distinct in a row, into ``rows`` (R,).

        ``valid`` (R, K) bool tells which of them are meant, the first ones of each row; None: all.
        """
        slot, token = slot.view(len(rows), -1), token.view(len(rows), -1)
        valid = torch.ones_like(slot, dtype=torch.bool) if valid is None else valid
        positions = self.positions[rows, : self.width]  # (R, W)
        at = positions.gather(1, slot)  # (R, K)
        # Whatever stands behind a new token moves one further; the tokens of other slots do so too.
        self.positions[rows, : self.width] = positions + _count_before(at, valid, positions)
        new = at + 1 + _count_before(at, valid, at)
        column = (self._first_free + self.inserted[rows])[:, None] + torch.arange(slot.shape[1], device=slot.device)
        which, column = rows[:, None].expand_as(slot)[valid], column[valid]
        self.positions[which, column] = new[valid]
        self.ids[which, column] = token[valid]
        self.real[which, column] = True
        self.slots[which, column] = True
        self.inserted[rows] += valid.sum(1)
        self.width = self._first_free + int(self.inserted.max())

    def text(self, pad: int) -> Tensor:
        """What stands after BOS, in its order, then ``pad``: (B, T), T the longest that it could be."""
        after = slice(self.bos + 1, None)
        ids, longest = self.ids[:, after], self.ids.shape[1] - self.bos - 1
        place = self.positions[:, after] - self.positions[:, self.bos, None] - 1
        place = place.where(self.real[:, after], longest)  # an extra column for what is not there
        return ids.new_full((len(ids), longest + 1), pad).scatter(1, place, ids)[:, :longest]


def _count_before(at: Tensor, valid: Tensor, positions: Tensor) -> Tensor:
    """How many of the valid places ``at`` (R, K) are smaller than each of ``positions`` (R, W): (R, W) int64."""
    return ((at[:, None] < positions[..., None]) & valid[:, None]).sum(-1)
