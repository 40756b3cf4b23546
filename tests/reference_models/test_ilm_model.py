"""ILM's network: positions are explicit, so that gaps, padding and the order of the columns make no difference."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from ilm.datamodule_ilm import IlmInfillingCollatorPrediction
from ilm.model_ilm import neighbours
from ilm.predictor_ilm import IlmPredictor, canvas_of
from insertions import TOKENIZER, V, examples, from_nothing, ids, random_model

from xlm_runtime.errors import ConfigError


@pytest.mark.parametrize("options", [{}, {"neighbour_shift": True, "max_positions": 16}])
def test_a_gap_left_open_is_a_gap_closed(options: dict[str, Any]) -> None:
    """Deleting by the attention mask gives the logits of the sequence without the deleted tokens. Catches positions,
    types or neighbours that go by column, and attention to what is deleted."""
    model = random_model(**options)
    open_ids = torch.tensor([[1, 4, *ids([0, 1, 2, 1])]])
    kept = torch.tensor([[True, True, False, True, False, True]])
    open_gaps = model(open_ids.where(kept, 0), kept)
    closed = model(open_ids[kept][None])
    torch.testing.assert_close(open_gaps.logits[kept][None], closed.logits, atol=1e-5, rtol=0)
    torch.testing.assert_close(open_gaps.stop_logits, closed.stop_logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"neighbour_shift": True, "max_positions": 16}])
def test_the_order_of_the_columns_makes_no_difference(options: dict[str, Any]) -> None:
    """Tokens in order of insertion get the logits of the sorted text. Catches anything that goes by column."""
    model = random_model(**options)
    given = examples([[0, 1], [2, 2]], infill_mask=[False, False])
    canvas = canvas_of(IlmInfillingCollatorPrediction(TOKENIZER, block_size=6)(given), room=3)
    for slot, token in (((1, 3), (2, 0)), ((4, 4), (1, 1)), ((1, 2), (0, 2))):
        canvas.insert(torch.arange(2), torch.tensor(slot), torch.tensor(ids(token)))
    used = canvas.positions.argsort(1)
    columns = [c[:, : canvas.width] for c in (canvas.ids, canvas.real, canvas.types, canvas.positions)]
    unsorted = model(*columns)
    in_order = model(*(c.gather(1, used) for c in columns))
    expected = in_order.logits.gather(1, used.argsort(1)[..., None].expand(-1, -1, V))
    torch.testing.assert_close(unsorted.logits, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(unsorted.stop_logits, in_order.stop_logits, atol=1e-5, rtol=0)


def test_neighbours_are_those_in_the_sequence() -> None:
    """By hand: a row in another order than its columns', with padding, and one of a single token."""
    tokens = torch.tensor([[[1.0], [2.0], [3.0], [9.0]], [[5.0], [9.0], [9.0], [9.0]]])
    positions = torch.tensor([[0, 2, 1, 0], [0, 0, 0, 0]])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    found = neighbours(tokens, positions, mask, torch.tensor([[-1.0], [-2.0]]))
    assert found[0, :3].tolist() == [[-1, 3], [3, -2], [1, 2]]  # 1 3 2
    assert found[1, 0].tolist() == [-1, -2]


def test_a_row_longer_than_the_learned_positions_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_positions"):
        random_model(max_positions=0)
    predictor = IlmPredictor(random_model(max_positions=3), TOKENIZER, max_new_tokens=8, stop_threshold=1.0)
    with pytest.raises(ConfigError, match="max_positions"):
        predictor.predict(from_nothing(2))
