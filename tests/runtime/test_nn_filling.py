"""The canvas while it is filled: what may be written, when a row leaves, and how rows are shown."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from xlm_runtime.nn.filling import Canvas, canvas_rows
from xlm_runtime.tokenizers import number_tokenizer

TOKENIZER = number_tokenizer(5)
V, PAD, MASK, EOS, BOS = len(TOKENIZER), 0, 2, 3, 4
A, B, C = 7, 8, 9


def canvas(*rows: list[int], length: int | None = None, unattended: int | None = None) -> Canvas:
    """Rows after BOS; ``unattended``: the padding of that row is not the model's to write."""
    ids = torch.tensor([[BOS, *row] for row in rows])
    mask = torch.ones_like(ids, dtype=torch.bool)
    if unattended is not None:
        mask[unattended] = ids[unattended] != PAD
    return Canvas(TOKENIZER, ids, mask, torch.arange(len(rows)) + 10, length or len(rows[0]))


class Echo(nn.Module):
    """The logit of token v is v; keeps what it is given."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: Tensor, **further: Any) -> Tensor:
        self.input_ids, self.asked, self.further = input_ids, logits_to_keep, further
        return torch.arange(V).float().expand(*logits_to_keep.shape, V).clone()


def fill(board: Canvas, position: int, token: int) -> None:
    """The same token at the same position of all rows that are left."""
    positions = torch.full((len(board), 1), position)
    board.fill(positions, torch.full_like(positions, token), torch.ones_like(positions, dtype=torch.bool))


def test_a_row_leaves_when_its_text_has_no_blank() -> None:
    """Up to its EOS: what is blank behind it does not count, and becomes PAD."""
    board = canvas([MASK, MASK, MASK], [A, MASK, MASK], [A, B, C])
    assert board.rows.tolist() == [0, 1] and board.index.tolist() == [10, 11]
    fill(board, 1, EOS)
    assert board.rows.tolist() == [0]
    assert board.masked.int().tolist() == [[1, 0, 0]]  # no step is spent on what is behind the end
    fill(board, 0, B)
    assert len(board) == 0
    assert board.ids().tolist() == [[B, EOS, PAD], [A, EOS, PAD], [A, B, C]]


def test_only_what_is_chosen_is_written() -> None:
    board = canvas([MASK, MASK, MASK], [MASK, MASK, A])
    positions = torch.tensor([[2, 0], [0, 1]])
    board.fill(positions, torch.full((2, 2), C), torch.tensor([[True, False], [False, True]]))
    assert board.ids().tolist() == [[MASK, MASK, C], [MASK, C, A]]
    assert board.masked.int().tolist() == [[1, 1, 0], [1, 0, 0]]


def test_the_batch_is_left_as_it_was() -> None:
    ids = torch.tensor([[BOS, MASK, MASK]])
    board = Canvas(TOKENIZER, ids, torch.ones_like(ids, dtype=torch.bool), torch.tensor([0]), 2)
    fill(board, 0, A)
    assert ids.tolist() == [[BOS, MASK, MASK]]


def test_logits_are_of_the_asked_positions_and_rows() -> None:
    """And each row's call is counted. Catches a position of the canvas taken for one of the row."""
    board, model = canvas([A, B, MASK, MASK], [MASK, A, B, MASK], [A, A, A, MASK], length=3), Echo()
    logits = board.logits(model, torch.tensor([[1, 2], [0, 2], [0, 2]]), torch.tensor([0, 2]), sigma=torch.ones(2))
    assert model.asked.tolist() == [[3, 4], [2, 4]]
    assert model.input_ids[:, 1:].tolist() == [[A, B, MASK, MASK], [A, A, A, MASK]]
    assert set(model.further) == {"sigma"}
    assert logits.shape == (2, 2, V)
    assert board.network_calls.tolist() == [1, 0, 1]
    board.logits(model, torch.tensor([[1], [0], [2]]))
    assert board.network_calls.tolist() == [2, 1, 2]


def test_a_text_holds_words_eos_and_pad_only() -> None:
    logits = canvas([MASK, MASK]).logits(Echo(), torch.tensor([[0, 1]]))
    assert logits[0, 0].isfinite().nonzero()[:, 0].tolist() == [PAD, EOS, *range(7, V)]


def test_neither_eos_nor_pad_stands_before_what_is_given() -> None:
    """Else the given token would be cut off. Padding, attended or not, is not given."""
    board = canvas([MASK, A, MASK, PAD], [MASK, A, MASK, EOS], [MASK, EOS, PAD, PAD], unattended=2)
    logits = board.logits(Echo(), torch.tensor([[0, 2], [0, 2], [0, 2]]))
    ends = logits[..., [PAD, EOS]].isfinite().all(-1)
    assert ends.tolist() == [[False, True], [False, False], [False, True]]


def test_a_given_eos_that_a_given_token_follows_ends_nothing() -> None:
    """Two documents in one row. Catches a row that leaves too early, and a text that loses its second part."""
    board = canvas([A, EOS, MASK, B, EOS])
    assert len(board) == 1
    fill(board, 2, C)
    assert board.ids().tolist() == [[A, EOS, C, B, EOS]]


def test_rows_are_shown_to_their_end() -> None:
    ids = torch.tensor(
        [
            [A, B, EOS, PAD],
            [A, EOS, B, EOS],  # two documents
            [A, B, PAD, PAD],  # no end
            [A, B, C, A],
            [EOS, PAD, PAD, PAD],
        ]
    )
    given = torch.tensor([[PAD, A, BOS, MASK, MASK, MASK, MASK]]).expand(5, -1).clone()
    given[3] = torch.tensor([A, B, BOS, MASK, B, MASK, MASK])
    truth = ids.clone()
    truth[4] = PAD
    rows = canvas_rows(TOKENIZER, given, ids, truth)
    assert [row["text"] for row in rows] == ["0 1", "0 [EOS] 1", "0 1 [PAD] [PAD]", "0 1 2 0", ""]
    assert [row["truth"] for row in rows] == ["0 1", "0 [EOS] 1", "0 1 [PAD] [PAD]", "0 1 2 0", None]
    assert [row["prompt"] for row in rows] == ["0", "0", "0", "0 1 [MASK] 1", "0"]
    assert rows[0]["ids"] == [A, B, EOS] and rows[2]["ids"] == [A, B, PAD, PAD]
