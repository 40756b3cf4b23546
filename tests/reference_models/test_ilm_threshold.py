"""ILM's insertion of several tokens a step: which pairs are chosen, where they go, and what that changes."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from ilm.datamodule_ilm import IlmCollatorPrediction, IlmInfillingCollatorPrediction
from ilm.predictor_ilm import IlmPredictor, canvas_of
from ilm.types_ilm import ModelOutput
from insertions import (
    FIRST_WORD,
    TOKENIZER,
    WORDS,
    Tabulated,
    V,
    examples,
    from_nothing,
    ids,
    random_model,
    words,
)
from torch import Tensor

from xlm_runtime.tokenizers import number_tokenizer

CLS, BOS, PAD = TOKENIZER.cls_token_id, TOKENIZER.bos_token_id, TOKENIZER.pad_token_id


def predictor(gamma: float = 0.3, model: Any = None, **options: Any) -> IlmPredictor:
    return IlmPredictor(model, TOKENIZER, method="threshold", gamma=gamma, **options)


def chosen(
    p: list[list[float]], gamma: float, closed: tuple[int, ...] = (), room: int = 9, missing: int = 0
) -> set[tuple[int, int]]:
    """The (slot, word) pairs that are inserted where words have these probabilities; special tokens are likelier."""
    logits = torch.full((1, len(p), V), 5.0)
    logits[0, :, FIRST_WORD:] = torch.tensor(p).log()
    slots = torch.tensor([[place not in closed for place in range(len(p))]])
    slot, token, valid = predictor(gamma).choose(logits, slots, torch.tensor([room]), torch.tensor([missing]))
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
        canvas = canvas_of(IlmInfillingCollatorPrediction(TOKENIZER, block_size=8)(given), room)
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
    """Catches a likeliest pair that is left out, and others beside it."""
    batch = from_nothing(3)
    model = Tabulated(seed=3, stop_at=4)
    greedy = IlmPredictor(model, TOKENIZER, method="joint", temperature=0.0, max_new_tokens=4).predict(batch)
    one = predictor(0.0, model, max_new_tokens=4).predict(batch)
    assert torch.equal(one["ids"], greedy["ids"])
    assert torch.equal(one["network_calls"], greedy["network_calls"])


class Spelling(torch.nn.Module):
    """Wants one text, is sure of all that is missing, and of nothing else: a word's mass is its share of what is."""

    def __init__(self, text: list[int], count_up_to: int = 1, words: int = WORDS) -> None:
        super().__init__()
        self.text, self.count_up_to, self.vocab_size = text, count_up_to, V - WORDS + words

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **columns: Any) -> ModelOutput:
        keep = columns["logits_to_keep"]
        mass = torch.zeros(*input_ids[:, -keep:].shape, self.vocab_size)
        missing = torch.zeros(len(input_ids), dtype=torch.int64)
        for row, (row_ids, real, positions) in enumerate(
            zip(input_ids.tolist(), attention_mask.tolist(), columns["positions"].tolist(), strict=True)
        ):
            first = len(row_ids) - keep
            columns_in_order = sorted((p, c) for c, p in enumerate(positions) if real[c] and c >= first)
            slot, stand = columns_in_order[0][1] - first, [(c - first, row_ids[c]) for _, c in columns_in_order[1:]]
            for word in ids(self.text):  # what stands is matched as early as it can be
                if stand and stand[0][1] == word:
                    slot = stand.pop(0)[0]
                else:
                    mass[row, slot, word] += 1
            assert not stand, "something stands that the text does not have"
            missing[row] = mass[row].sum()
        logits = (mass / mass.sum((1, 2), keepdim=True).clamp(min=1)).log().clamp(min=-30)
        told = torch.nn.functional.one_hot(missing.clamp(max=self.count_up_to), 1 + self.count_up_to)
        return ModelOutput(logits, 18.0 * told - 9.0)


@pytest.mark.parametrize(
    ("text", "at_once"), [([0, 1, 2], 4), ([1, 1, 0], 4), ([0, 0, 1, 1, 2, 2], 7), ([2, 0, 1, 0, 2, 1], 7)]
)
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.45])
def test_what_is_sure_takes_no_more_calls_for_the_same_text(text: list[int], at_once: int, gamma: float) -> None:
    """Words that are missing twice, in one slot and in several, included: they have twice the mass. Catches copies too
    many, which fail within the model, or too few."""
    one = IlmPredictor(Spelling(text), TOKENIZER, method="joint", temperature=0.0, max_new_tokens=9)
    several = predictor(gamma, Spelling(text), max_new_tokens=9)
    first, second = one.predict(from_nothing(2)), several.predict(from_nothing(2))
    assert words(first["ids"][0].tolist()) == words(second["ids"][0].tolist()) == tuple(text)
    assert first["network_calls"].tolist() == [at_once] * 2
    assert (second["network_calls"] <= first["network_calls"]).all()


@pytest.mark.parametrize(
    ("text", "count_up_to", "calls"),
    [
        ([0, 1, 1, 2, 2, 3, 3, 4], 1, 6),
        ([0, 1, 1, 2, 2, 3, 3, 4], 9, 5),
        ([0, 1, 1, 2, 2, 3, 3, 4], 2, 5),  # a single one is left in the end, and that it can tell
        ([0], 1, 2),
        ([0], 2, 1),
        ([0, 0], 9, 2),
        ([0, 1, 2], 9, 3),
        ([0, 1, 2], 1, 4),
    ],
)
def test_who_knows_how_many_are_missing_needs_fewer_calls(text: list[int], count_up_to: int, calls: int) -> None:
    """Nothing is asked after the last word. Catches a count that is off by one: a call too many, or an early end."""
    tokenizer = number_tokenizer(5)
    model = Spelling(text, count_up_to, words=5)
    predict = IlmPredictor(model, tokenizer, method="threshold", gamma=0.3, max_new_tokens=9).predict
    found = predict(IlmCollatorPrediction(tokenizer)(examples([[], []])))
    assert words(found["ids"][0].tolist()) == tuple(text)
    assert found["network_calls"].tolist() == [calls] * 2


def test_the_counts_are_those_of_the_rows_that_go_on() -> None:
    """One row is whole at once, before two that miss one and two words. Catches numbers of other rows."""
    given = IlmInfillingCollatorPrediction(TOKENIZER, block_size=6)(
        [
            {**e, "infill_mask": mask}
            for e, mask in zip(
                examples([[0, 1, 2]] * 3), ([False] * 3, [False, False, True], [True, False, True]), strict=True
            )
        ]
    )
    given["slots"] = given["attention_mask"] & (torch.arange(given["slots"].shape[1]) >= 1)
    preds = predictor(0.3, Spelling([0, 1, 2], count_up_to=4), max_new_tokens=4).predict(given)
    assert [words(row) for row in preds["ids"].tolist()] == [(0, 1, 2)] * 3
    assert preds["network_calls"].tolist() == [1, 1, 1]


def test_only_a_count_that_is_sure_counts() -> None:
    """As sure as it has to be to stop; "3 or more" is no number. Catches both, and a 0 that is taken for a number."""
    q = torch.tensor([[0.05, 0.9, 0.05, 0.0], [0.2, 0.2, 0.6, 0.0], [0.0, 0.0, 0.05, 0.95], [0.85, 0.1, 0.05, 0.0]])
    assert predictor(stop_threshold=0.9).count(q).tolist() == [1, 0, 0, 0]
    assert predictor(stop_threshold=0.6).count(q).tolist() == [1, 2, 0, 0]
    assert predictor(stop_threshold=0.9).count(q[:, :2]).tolist() == [0, 0, 0, 0]  # the paper's: any, or none


def test_of_a_known_number_those_that_are_missing_once_are_inserted() -> None:
    """Word 0 is missing twice in slot 0, word 1 once in slot 1; word 2 wavers between slots 2 and 3. Catches a bound
    that follows the best pair where the number is known, and more insertions than are missing."""
    p = [[0.5, 0.0, 0.0], [0.0, 0.24, 0.0], [0.0, 0.0, 0.13], [0.0, 0.0, 0.12]]
    assert chosen(p, 0.3) == {(0, 0)}
    assert chosen(p, 0.3, missing=4) == {(0, 0), (1, 1)}
    assert chosen(p, 0.55, missing=4) == {(0, 0), (1, 1), (2, 2)}
    assert chosen(p, 0.55, missing=4, room=2) == {(0, 0), (1, 1)}
    assert chosen([[0.4, 0.0, 0.0], [0.0, 0.35, 0.0], [0.0, 0.0, 0.25]], 0.6, missing=2) == {(0, 0), (1, 1)}
    # What is less than once everywhere is all that there is: as without a number.
    assert chosen(SURE, 0.34, missing=1) == {(0, 0)}
    assert chosen([[0.3, 0.0, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 0.2], [0.0, 0.0, 0.2]], 0.3, missing=2) == {
        (0, 0), (1, 1)
    }  # fmt: skip


def test_both_sides_of_a_given_word_are_filled_at_once() -> None:
    given = IlmInfillingCollatorPrediction(TOKENIZER, block_size=8)(
        [{**e, "infill_mask": [False]} for e in examples([[1]])]  # a word is given, and both of its slots are open
    )
    given["slots"] = given["attention_mask"] & (torch.arange(given["slots"].shape[1]) >= 1)
    preds = predictor(0.3, Spelling([0, 1, 2]), max_new_tokens=6).predict(given)
    assert words(preds["ids"][0].tolist()) == (0, 1, 2)
    assert preds["network_calls"].tolist() == [2]


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [3, 1], [2]])
@pytest.mark.parametrize("count_up_to", [1, 5])
def test_a_row_does_not_depend_on_its_batch(rows: list[int], count_up_to: int) -> None:
    model = random_model(count_up_to=count_up_to)
    texts = [[0, 1], [2], [1, 1, 0], [0]]

    def text(which: list[int]) -> list[list[int]]:
        given = [{**e, "infill_mask": [True] * len(e["token_ids"])} for e in examples([texts[row] for row in which])]
        batch = IlmInfillingCollatorPrediction(TOKENIZER, block_size=8)(given)
        found = predictor(0.6, model, max_new_tokens=5, stop_threshold=1.0).predict(batch)["ids"]
        return [[i for i in row if i != PAD] for row in found.tolist()]

    everything = text([0, 1, 2, 3])
    assert text(rows) == [everything[row] for row in rows]
