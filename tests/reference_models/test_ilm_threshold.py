"""ILM's insertion of several tokens a step: which pairs are chosen, where they go, and what that changes."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from ilm.datamodule_ilm import IlmInfillingCollatorPrediction
from ilm.predictor_ilm import Canvas, IlmPredictor
from insertions import FIRST_WORD, TOKENIZER, WORDS, Tabulated, V, examples, from_nothing, ids, random_model
from torch import Tensor

CLS, BOS, PAD = TOKENIZER.cls_token_id, TOKENIZER.bos_token_id, TOKENIZER.pad_token_id


def predictor(gamma: float = 0.5, model: Any = None, **options: Any) -> IlmPredictor:
    return IlmPredictor(model, TOKENIZER, method="threshold", gamma=gamma, **options)


def chosen(p: list[list[float]], gamma: float, closed: tuple[int, ...] = (), room: int = 9) -> set[tuple[int, int]]:
    """The (slot, word) pairs that are inserted where words have these probabilities; special tokens are likelier."""
    logits = torch.full((1, len(p), V), 5.0)
    logits[0, :, FIRST_WORD:] = torch.tensor(p).log()
    slots = torch.tensor([[place not in closed for place in range(len(p))]])
    slot, token, valid = predictor(gamma).choose(logits, slots, torch.tensor([room]))
    assert valid.any(1).all() and (valid.long().diff(dim=1) <= 0).all()  # the first ones of the row
    return {(s, t - FIRST_WORD) for s, t in zip(slot[valid].tolist(), token[valid].tolist(), strict=True)}


#: Word 0 is sure in slot 0, word 1 fairly so in slot 1; slot 2 wavers between all three.
SURE = [[0.30, 0.01, 0.01], [0.02, 0.20, 0.02], [0.10, 0.09, 0.11]]


def test_what_is_nearly_as_likely_as_the_best_pair_is_inserted_with_it() -> None:
    """Catches a bound that is not relative to the best pair, or that takes one pair too many or too few."""
    assert chosen(SURE, 0.0) == {(0, 0)}
    assert chosen(SURE, 0.33) == {(0, 0)}
    assert chosen(SURE, 0.34) == {(0, 0), (1, 1)}
    assert chosen(SURE, 0.64) == {(0, 0), (1, 1), (2, 2)}


def test_a_word_goes_to_one_place_even_if_it_would_fit_at_two() -> None:
    """Catches the word that may stand before or after its like, and is then inserted twice."""
    assert chosen([[0.3, 0.1, 0.0], [0.29, 0.2, 0.0]], 0.5) == {(0, 0)}
    assert chosen([[0.3, 0.1, 0.0], [0.0, 0.2, 0.0], [0.29, 0.0, 0.1]], 0.5) == {(0, 0), (1, 1)}


def test_closed_slots_and_the_lack_of_room_count() -> None:
    assert chosen(SURE, 0.64, closed=(0,)) == {(1, 1), (2, 2)}
    assert chosen(SURE, 0.64, room=2) == {(0, 0), (1, 1)}
    assert chosen(SURE, 0.64, room=1) == {(0, 0)}


def test_several_insertions_at_once_are_those_into_a_list() -> None:
    """Random trials against lists: as many insertions as a row likes, at slots in any order, rows that sit out."""
    rng = random.Random(0)
    for _ in range(30):
        size, room = rng.randrange(1, 5), rng.randrange(2, 12)
        texts = [[rng.randrange(WORDS) for _ in range(rng.randrange(1, 5))] for _ in range(size)]
        given = [{**e, "infill_mask": [False] * len(e["token_ids"])} for e in examples(texts)]
        canvas = Canvas(IlmInfillingCollatorPrediction(TOKENIZER, block_size=8)(given), room)
        lists = [[CLS, BOS, *ids(text)] for text in texts]
        left = [room] * size
        for _ in range(room):
            rows = [row for row in range(size) if left[row] and rng.random() < 0.8]
            if not rows:
                continue
            places = {
                row: rng.sample(range(1, len(lists[row])), rng.randrange(1, min(len(lists[row]) - 1, left[row]) + 1))
                for row in rows
            }
            most = max(map(len, places.values()))
            slot, token = torch.zeros(2, len(rows), most, dtype=torch.int64)
            valid = torch.zeros(len(rows), most, dtype=torch.bool)
            for i, row in enumerate(rows):
                words = [FIRST_WORD + rng.randrange(WORDS) for _ in places[row]]
                for k, (place, word) in enumerate(zip(places[row], words, strict=True)):
                    slot[i, k] = next(
                        c for c in range(canvas.width) if canvas.real[row, c] and place == int(canvas.positions[row, c])
                    )
                    token[i, k], valid[i, k] = word, True
                for place, word in sorted(zip(places[row], words, strict=True), reverse=True):
                    lists[row].insert(place + 1, word)
                left[row] -= len(words)
            canvas.insert(torch.tensor(rows), slot, token, valid)
            for row, expected in enumerate(lists):
                real = canvas.real[row]
                order = canvas.positions[row, real].argsort()
                assert canvas.ids[row, real][order].tolist() == expected
                assert canvas.positions[row, real].sort().values.tolist() == list(range(len(expected)))
        assert [[i for i in row if i != PAD] for row in canvas.text(PAD).tolist()] == [row[2:] for row in lists]
        assert canvas.width <= canvas.ids.shape[1]


def test_gamma_0_inserts_as_greedy_decoding_does() -> None:
    batch = from_nothing(3)
    model = Tabulated(seed=3, stop_at=4)
    greedy = IlmPredictor(model, TOKENIZER, method="joint", temperature=0.0, max_new_tokens=4).predict(batch)
    one = predictor(0.0, model, max_new_tokens=4).predict(batch)
    assert torch.equal(one["ids"], greedy["ids"])
    assert torch.equal(one["network_calls"], greedy["network_calls"])


class Sorted(torch.nn.Module):
    """Wants words 0 1 2 in this order, is sure of each, and of nothing else."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **columns: Any) -> Any:
        from ilm.types_ilm import ModelOutput

        keep = columns["logits_to_keep"]
        logits = torch.full((*input_ids[:, -keep:].shape, V), -30.0)
        done = torch.zeros(len(input_ids), dtype=torch.bool)
        for row, (row_ids, real, positions) in enumerate(
            zip(input_ids.tolist(), attention_mask.tolist(), columns["positions"].tolist(), strict=True)
        ):
            first = len(row_ids) - keep
            text = sorted((p, c) for c, p in enumerate(positions) if real[c] and c >= first)
            words = [row_ids[c] - FIRST_WORD for _, c in text[1:]]
            missing = [word for word in range(3) if word not in words]
            done[row] = not missing
            for word in missing:
                before = sum(w < word for w in words)  # insert right after the last smaller word
                logits[row, text[before][1] - first, FIRST_WORD + word] = -math.log(len(missing))
        return ModelOutput(logits, torch.stack([torch.where(done, 9.0, -9.0), torch.where(done, -9.0, 9.0)], dim=1))


def test_what_is_sure_takes_fewer_calls_for_the_same_text() -> None:
    """From nothing there is one slot: one word; then, on both sides of word 0 .. 2, what is left, at once if it can."""
    batch = from_nothing(2)
    one = IlmPredictor(Sorted(), TOKENIZER, method="joint", temperature=0.0, max_new_tokens=6).predict(batch)
    several = predictor(0.5, Sorted(), max_new_tokens=6).predict(batch)
    assert one["ids"][:, :3].tolist() == several["ids"][:, :3].tolist() == [ids([0, 1, 2])] * 2
    assert one["network_calls"].tolist() == [4, 4]
    assert (several["network_calls"] <= one["network_calls"]).all()
    given = IlmInfillingCollatorPrediction(TOKENIZER, block_size=8)(
        [{**e, "infill_mask": [False]} for e in examples([[1]])]  # a word is given: slots on both sides of it
    )
    given["slots"] = given["attention_mask"] & (torch.arange(given["slots"].shape[1]) >= 1)
    assert predictor(0.5, Sorted(), max_new_tokens=6).predict(given)["network_calls"].tolist() == [2]


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [3, 1], [2]])
def test_a_row_does_not_depend_on_its_batch(rows: list[int]) -> None:
    model = random_model()
    texts = [[0, 1], [2], [1, 1, 0], [0]]

    def text(which: list[int]) -> list[list[int]]:
        given = [{**e, "infill_mask": [True] * len(e["token_ids"])} for e in examples([texts[row] for row in which])]
        batch = IlmInfillingCollatorPrediction(TOKENIZER, block_size=8)(given)
        found = predictor(0.6, model, max_new_tokens=5, stop_threshold=1.0).predict(batch)["ids"]
        return [[i for i in row if i != PAD] for row in found.tolist()]

    everything = text([0, 1, 2, 3])
    assert text(rows) == [everything[row] for row in rows]
