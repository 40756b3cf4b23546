"""Pure functions of collators: each against the plain Python that it stands for."""

from __future__ import annotations

import random

import pytest
import torch

from xlm_runtime import collate
from xlm_runtime.collate import first_documents, is_packed, packed_keywords, packed_rows
from xlm_runtime.errors import DataError


def ragged(rows: int, longest: int) -> list[list[int]]:
    draw = random.Random(0)
    return [[draw.randrange(1, 99) for _ in range(draw.randint(0, longest))] for _ in range(rows)]


@pytest.mark.parametrize("length", [9, 12])
def test_pad_right(length: int) -> None:
    sequences = ragged(20, 9)
    padded = collate.pad(sequences, length, 0, "right")
    assert padded.dtype == torch.int64
    assert padded.shape == (20, length)
    assert padded.tolist() == [row + [0] * (length - len(row)) for row in sequences]


@pytest.mark.parametrize("length", [9, 12])
def test_pad_left(length: int) -> None:
    sequences = ragged(20, 9)
    padded = collate.pad(sequences, length, -100, "left")
    assert padded.tolist() == [[-100] * (length - len(row)) + row for row in sequences]


@pytest.mark.parametrize("side", ["left", "right"])
def test_masks_mark_what_pad_filled(side: collate.Side) -> None:
    sequences = ragged(20, 9)
    padded = collate.pad(sequences, 11, 0, side)
    attended = collate.attended(sequences, 11, side)
    assert attended.dtype == torch.bool
    assert torch.equal(attended, padded != 0)
    lengths = [len(row) for row in sequences]
    assert torch.equal(collate.mask_from_lengths(lengths, 11, side), attended)
    assert torch.equal(collate.mask_from_lengths(torch.tensor(lengths), 11, side), attended)


@pytest.mark.parametrize("side", ["left", "right"])
def test_empty_batch_and_empty_rows(side: collate.Side) -> None:
    assert collate.pad([], 3, 0, side).shape == (0, 3)
    assert collate.attended([], 3, side).shape == (0, 3)
    assert collate.mask_from_lengths([], 3, side).shape == (0, 3)
    assert collate.pad([[], []], 2, 7, side).tolist() == [[7, 7], [7, 7]]
    assert collate.pad([[]], 0, 7, side).shape == (1, 0)


def test_pad_takes_any_sequence() -> None:
    assert collate.pad([(1, 2), range(3)], 3, 0, "right").tolist() == [[1, 2, 0], [0, 1, 2]]


def test_the_result_is_its_own_memory() -> None:
    sequences = [[1, 2, 3]]
    collate.pad(sequences, 3, 0, "right").fill_(9)
    assert sequences == [[1, 2, 3]]


def test_too_long_names_row_length_and_block() -> None:
    with pytest.raises(DataError, match=r"Row 1 of the batch has 5 tokens.*0 to 4.*truncate"):
        collate.pad([[1], [1, 2, 3, 4, 5], [1] * 6], 4, 0, "right")
    with pytest.raises(DataError, match=r"Row 0 of the batch has 5 tokens.*0 to 4"):
        collate.attended([[1, 2, 3, 4, 5]], 4, "left")
    with pytest.raises(DataError, match="Row 2 of the batch has -1 tokens"):
        collate.mask_from_lengths([1, 2, -1], 4, "left")


def test_unknown_side() -> None:
    for call in (
        lambda: collate.pad([[1]], 4, 0, "middle"),  # type: ignore[arg-type]
        lambda: collate.attended([[1]], 4, "middle"),  # type: ignore[arg-type]
        lambda: collate.truncate([1], 4, "middle"),  # type: ignore[arg-type]
    ):
        with pytest.raises(DataError, match="'middle', expected 'left' or 'right'"):
            call()


def test_truncate_cuts_on_its_side() -> None:
    assert collate.truncate([1, 2, 3, 4], 3, "right") == [1, 2, 3]
    assert collate.truncate([1, 2, 3, 4], 3, "left") == [2, 3, 4]
    assert collate.truncate([1, 2, 3, 4], 0, "left") == []
    assert collate.truncate([1, 2, 3, 4], 0, "right") == []
    assert collate.truncate([1, 2], 2, "left") == [1, 2]
    assert collate.truncate([1, 2], 5, "right") == [1, 2]
    with pytest.raises(DataError, match="Cannot truncate to -1"):
        collate.truncate([1, 2], -1, "right")


def test_stack() -> None:
    index = collate.stack([{"index": 4}, {"index": 2}], "index")
    assert index.dtype == torch.int64
    assert index.tolist() == [4, 2]
    rows = collate.stack([{"x": [1, 2, 3]}, {"x": [4, 5, 6]}], "x")
    assert rows.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert collate.stack([{"t": 0.5}], "t").dtype == torch.float32
    assert collate.stack([{"done": True}], "done").dtype == torch.bool
    assert collate.stack([], "index").shape == (0,)


def test_stack_says_what_does_not_fit() -> None:
    with pytest.raises(DataError, match=r"Row 1 of the batch has no 'x'; it has 'y', 'z'"):
        collate.stack([{"x": 1}, {"y": 1, "z": 2}], "x")
    with pytest.raises(DataError, match=r"'x' of the batch's rows differ in length \(2, 3\).*pad"):
        collate.stack([{"x": [1, 2]}, {"x": [1, 2, 3]}], "x")
    with pytest.raises(DataError, match=r"differ in length \(scalar, 3\)"):
        collate.stack([{"x": 1}, {"x": [1, 2, 3]}], "x")
    with pytest.raises(DataError, match="'x' of the batch's rows are str, expected numbers"):
        collate.stack([{"x": "one"}], "x")


def test_packed_rows_are_documents_one_after_the_other() -> None:
    examples = [{"documents": [[5, 6], [7]], "index": 0}, {"documents": [[8]], "index": 1}]
    assert is_packed(examples) and not is_packed([{"token_ids": [1]}]) and not is_packed([])
    rows = packed_rows(examples, 8, bos_id=1, eos_id=2, pad_id=0)
    assert rows["input_ids"].tolist() == [[1, 5, 6, 2, 1, 7, 2, 0], [1, 8, 2, 0, 0, 0, 0, 0]]
    assert rows["document_ids"].tolist() == [[1, 1, 1, 1, 2, 2, 2, 0], [1, 1, 1, 0, 0, 0, 0, 0]]
    assert rows["first"].int().tolist() == [[1, 0, 0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0, 0]]
    with pytest.raises(DataError, match="Row 0 of the batch has 7 tokens"):
        packed_rows(examples, 6, bos_id=1, eos_id=2, pad_id=0)
    assert first_documents(examples) == [{"token_ids": [5, 6], "index": 0}, {"token_ids": [8], "index": 1}]
    assert first_documents([{"token_ids": [1]}]) == [{"token_ids": [1]}]
    assert packed_keywords({"input_ids": 1}) == {}
    assert list(packed_keywords({"document_ids": rows["document_ids"]})) == ["document_ids"]
