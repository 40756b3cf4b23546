"""ILM's sampling loop: exact laws, positions, which rows cost what, which tokens and slots are out, what is refused."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch
from ilm.datamodule_ilm import IlmInfillingCollatorPrediction, IlmSeq2SeqCollatorPrediction
from ilm.loss_ilm import IlmLoss
from ilm.predictor_ilm import IlmPredictor, canvas_of
from ilm.types_ilm import ModelOutput
from insertions import (
    FIRST_WORD,
    TOKENIZER,
    WORDS,
    State,
    Tabulated,
    V,
    examples,
    from_nothing,
    ids,
    p_value,
    random_model,
    words,
)
from torch import Tensor, nn

from xlm_runtime.errors import ConfigError

DRAWS = 20_000
CLS, BOS, PAD = TOKENIZER.cls_token_id, TOKENIZER.bos_token_id, TOKENIZER.pad_token_id

#: Slots by words; the second slot is closed. What is left sums to 1, and each slot's mass differs.
P = torch.tensor([[0.10, 0.25, 0.05], [0.0, 0.0, 0.0], [0.20, 0.02, 0.08], [0.06, 0.04, 0.20]]).double()


def filtered(p: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """The law of drawing from weights p (n,) with these options; written without logits."""
    q = p ** (1 / temperature)
    q = q / q.sum()
    order = sorted(range(len(q)), key=lambda i: -float(q[i]))[: top_k or len(q)]
    q = torch.tensor([float(q[i]) if i in order else 0.0 for i in range(len(q))]).double()
    q, mass, kept = q / q.sum(), 0.0, []
    for i in order:
        if top_p is not None and mass >= top_p:
            break
        kept.append(i)
        mass += float(q[i])
    q = torch.tensor([float(q[i]) if i in kept else 0.0 for i in range(len(q))]).double()
    return q / q.sum()


def joint(**options: Any) -> Tensor:
    return filtered(P.flatten(), **options).view_as(P)


def slot_first(slot: dict[str, Any], token: dict[str, Any]) -> Tensor:
    slots = filtered(P.sum(1), **slot)
    rows = [filtered(row, **token) if row.sum() else row for row in P]
    return slots[:, None] * torch.stack(rows)


CASES: dict[str, tuple[dict[str, Any], Tensor]] = {
    "joint": ({"method": "joint"}, P),
    "slot_first": ({"method": "slot_first"}, P),
    "joint_cold": ({"method": "joint", "temperature": 0.5}, joint(temperature=0.5)),
    "joint_top_k": ({"method": "joint", "top_k": 4}, joint(top_k=4)),
    "joint_top_p": ({"method": "joint", "top_p": 0.6}, joint(top_p=0.6)),
    "hot_slot_cold_token": (
        {"method": "slot_first", "slot_temperature": 2.0, "temperature": 0.5},
        slot_first({"temperature": 2.0}, {"temperature": 0.5}),
    ),
    "one_temperature_for_both": (
        {"method": "slot_first", "temperature": 0.5},
        slot_first({"temperature": 0.5}, {"temperature": 0.5}),
    ),
    "filtered_slot": (
        {"method": "slot_first", "slot_top_k": 2, "top_p": 0.5},
        slot_first({"top_k": 2}, {"top_p": 0.5}),
    ),
    "nucleus_of_slots": ({"method": "slot_first", "slot_top_p": 0.5}, slot_first({"top_p": 0.5}, {})),
    "greedy_slot": ({"method": "slot_first", "slot_temperature": 0.0}, slot_first({"top_k": 1}, {})),
}


@pytest.mark.parametrize("case", CASES)
def test_an_insertion_has_its_exact_law(case: str) -> None:
    """20,000 draws, chi-square. Without filters both methods have one law. Catches special tokens that enter the
    slots' masses, closed slots, a filter that acts on the wrong one of the two, and draws of slot and token that are
    not independent."""
    options, law = CASES[case]
    logits = torch.full((len(P), V), 4.0)  # special tokens
    logits[:, FIRST_WORD:] = P.log()
    logits[1] = 4.0  # a closed slot
    slots = torch.tensor([True, False, True, True]).expand(DRAWS, -1)
    predictor = IlmPredictor(nn.Identity(), TOKENIZER, **{"temperature": 1.0, **options})
    slot, token = predictor.draw(logits.expand(DRAWS, -1, -1), slots, torch.arange(DRAWS), step=2)
    assert (token >= FIRST_WORD).all()
    observed = (slot * WORDS + token - FIRST_WORD).bincount(minlength=law.numel())
    assert p_value(observed.tolist(), law.flatten().tolist()) > 1e-3


@pytest.mark.parametrize("method", ["joint", "slot_first"])
def test_texts_of_several_insertions_have_their_exact_law(method: str) -> None:
    """Every order of three insertions is enumerated. Catches steps that share their draws, a token that goes to the
    left of its slot, and a network that is shown the wrong order."""
    model = Tabulated(seed=4, stop_at=3)
    law: dict[State, float] = {(): 1.0}
    for _ in range(3):
        longer: Counter[State] = Counter()
        for state, p in law.items():
            for slot, row in enumerate(model.log_p(state).exp().tolist()):
                for word, q in enumerate(row):
                    longer[(*state[:slot], word, *state[slot:])] += p * q  # type: ignore[assignment]
        law = dict(longer)
    predictor = IlmPredictor(model, TOKENIZER, max_new_tokens=4, method=method, temperature=1.0, seed=1)
    seen = Counter(words(row) for row in predictor.predict(from_nothing(DRAWS))["ids"].tolist())
    assert seen.keys() <= law.keys()
    assert p_value([seen[text] for text in law], list(law.values())) > 1e-3


def test_positions_are_those_of_insertions_into_a_list() -> None:
    """Random trials, with rows that leave. Catches a position that is off by one, and ones that should rise or stay."""
    rng = random.Random(0)
    for _ in range(20):
        size, room = rng.randrange(1, 6), rng.randrange(1, 10)
        texts = [[rng.randrange(WORDS) for _ in range(rng.randrange(1, 5))] for _ in range(size)]
        given = [{**e, "infill_mask": [False] * len(e["token_ids"])} for e in examples(texts)]
        canvas = canvas_of(IlmInfillingCollatorPrediction(TOKENIZER, block_size=8)(given), room)
        lists = [[CLS, BOS, *ids(text)] for text in texts]
        going = list(range(size))
        for _ in range(room):
            going = [row for row in going if rng.random() < 0.9]
            if not going:
                break
            tokens = [FIRST_WORD + rng.randrange(WORDS) for _ in going]
            slots = []
            for row, token in zip(going, tokens, strict=True):
                place = rng.randrange(1, len(lists[row]))  # anywhere but after CLS
                slots.append(next(c for c in range(canvas.width) if place == int(canvas.positions[row, c])))
                lists[row].insert(place + 1, token)
            canvas.insert(torch.tensor(going), torch.tensor(slots), torch.tensor(tokens))
            for row, expected in enumerate(lists):
                real = canvas.real[row]
                assert sorted(canvas.positions[row, real].tolist()) == list(range(len(expected)))
                order = canvas.positions[row, real].argsort()
                assert canvas.ids[row, real][order].tolist() == expected
        text = canvas.text(PAD)
        assert [[i for i in row if i != PAD] for row in text.tolist()] == [row[2:] for row in lists]


class Countdown(nn.Module):
    """Nothing is missing as soon as there are as many words as the prompt's only token says."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **columns: Any) -> ModelOutput:
        self.shapes.append(tuple(input_ids.shape))
        wanted = ((input_ids - FIRST_WORD) * (columns["type_ids"] == 1)).sum(1)
        inserted = ((input_ids >= FIRST_WORD) & (columns["type_ids"] == 2)).sum(1)
        done = torch.where(inserted >= wanted, 1.0, -1.0)
        logits = torch.full((len(input_ids), columns["logits_to_keep"], V), 5.0)  # likeliest: special tokens
        logits[..., FIRST_WORD:] = 0.0
        return ModelOutput(logits, torch.stack([5 * done, -5 * done], dim=1))


def test_a_finished_row_stays_so_and_costs_nothing_more() -> None:
    """Catches rows that go through the network after their end, a call after the last insertion that there is room
    for, and columns that are not in use yet."""
    model, lengths = Countdown(), [2, 0, 1, 2]
    rows = [{"prompt_ids": ids([length]), "index": i} for i, length in enumerate(lengths)]
    batch = IlmSeq2SeqCollatorPrediction(TOKENIZER, prompt_length=6)(rows)
    preds = IlmPredictor(model, TOKENIZER, max_new_tokens=5, temperature=1.0).predict(batch)
    assert [len(words(row)) for row in preds["ids"].tolist()] == lengths
    assert preds["network_calls"].tolist() == [3, 1, 2, 3]
    # CLS, one token of the prompt and BOS are in use; padding of the prompt block is not.
    assert model.shapes == [(4, 3), (3, 4), (2, 5)]

    model.shapes.clear()
    preds = IlmPredictor(model, TOKENIZER, max_new_tokens=1, temperature=1.0).predict(batch)
    assert model.shapes == [(4, 3)]
    assert [len(words(row)) for row in preds["ids"].tolist()] == [1, 0, 1, 1]


def test_a_row_stops_when_the_probability_reaches_the_threshold() -> None:
    model = Tabulated(seed=6)
    q = float(model.log_stop(())[0].exp())
    for threshold, calls in ((q - 1e-3, 1), (q + 1e-3, 2)):
        options = {"max_new_tokens": 2, "stop_threshold": threshold}
        preds = IlmPredictor(model, TOKENIZER, **options).predict(from_nothing(1))
        assert int(preds["network_calls"]) == calls


class Undecided(nn.Module):
    """Nothing is missing with probability 1/2, exactly."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **columns: Any) -> ModelOutput:
        return ModelOutput(torch.zeros(len(input_ids), columns["logits_to_keep"], V), torch.zeros(len(input_ids), 2))


@pytest.mark.parametrize(("threshold", "calls"), [(0.5, 1), (0.51, 2)])
def test_to_reach_the_threshold_is_enough(threshold: float, calls: int) -> None:
    preds = IlmPredictor(Undecided(), TOKENIZER, max_new_tokens=2, stop_threshold=threshold).predict(from_nothing(1))
    assert int(preds["network_calls"]) == calls


@pytest.mark.parametrize("method", ["joint", "slot_first"])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 100.0])
def test_special_tokens_are_never_inserted(method: str, temperature: float) -> None:
    """However likely the network thinks them. Catches a suppression that comes after the logsumexp over tokens, too:
    there the greedy slot would be that of the largest special logit."""

    class Special(Tabulated):
        def forward(self, *args: Any, **options: Any) -> ModelOutput:
            logits, stop = super().forward(*args, **options)
            logits[:, :, :FIRST_WORD] = torch.arange(logits.shape[1])[None, :, None] * 50.0
            return ModelOutput(logits, stop)

    special, plain = Special(seed=7, stop_at=4), Tabulated(seed=7, stop_at=4)
    options: dict[str, Any] = {"max_new_tokens": 4, "method": method, "temperature": temperature}
    found = IlmPredictor(special, TOKENIZER, **options).predict(from_nothing(50))["ids"]
    assert (found >= FIRST_WORD).all()
    assert torch.equal(found, IlmPredictor(plain, TOKENIZER, **options).predict(from_nothing(50))["ids"])


def test_loss_and_predictor_have_one_support() -> None:
    """The loss of one deleted token is -log of the frequency with which the predictor inserts it there."""
    model = Tabulated(seed=8).eval()
    batch = {"input_ids": torch.tensor([[CLS, BOS, *ids([0, 2, 1])]]), "index": torch.zeros(1, dtype=torch.int64)}
    batch["attention_mask"] = torch.ones(1, 5, dtype=torch.bool)
    batch["type_ids"] = torch.tensor([[0, 2, 2, 2, 2]])
    deleted = torch.tensor([[False, False, True, False]])
    loss = IlmLoss(model, TOKENIZER).score(batch, deleted)["token_loss"]  # type: ignore[arg-type]
    given = examples([[0, 2, 1]] * DRAWS, infill_mask=[False, True, False])
    open_everywhere = IlmInfillingCollatorPrediction(TOKENIZER, block_size=5)(given)
    open_everywhere["slots"] = open_everywhere["attention_mask"].clone()
    open_everywhere["slots"][:, 0] = False
    ids_ = IlmPredictor(model, TOKENIZER, max_new_tokens=1, stop_threshold=1.0, temperature=1.0).predict(
        open_everywhere
    )["ids"]
    frequency = (ids_[:, :3] == torch.tensor(ids([0, 2, 1]))).all(1).double().mean()
    p = torch.exp(-loss.double())
    assert abs(frequency - p) < 3 * (p * (1 - p) / DRAWS) ** 0.5


@pytest.mark.parametrize("options", [{}, {"method": "joint", "top_p": 0.9}, {"method": "slot_first", "slot_top_k": 2}])
@pytest.mark.parametrize("model_options", [{}, {"neighbour_shift": True, "max_positions": 32}, {"cached_prompt": True}])
def test_a_text_does_not_depend_on_its_batch(options: dict[str, Any], model_options: dict[str, Any]) -> None:
    rng = random.Random(2)
    rows = [
        {"prompt_ids": ids([rng.randrange(WORDS) for _ in range(rng.randrange(1, 7))]), "index": 10 + i}
        for i in range(9)
    ]
    predictor = IlmPredictor(
        random_model(**model_options), TOKENIZER, **{"max_new_tokens": 6, "temperature": 1.0, **options}
    )

    def texts(rows: list[dict[str, Any]], prompt_length: int = 6) -> list[State]:
        batch = IlmSeq2SeqCollatorPrediction(TOKENIZER, prompt_length)(rows)
        return [words(row) for row in predictor.predict(batch)["ids"].tolist()]

    together = texts(rows)
    assert len(set(together)) > 5
    assert texts(rows[::-1])[::-1] == together
    assert texts(rows, prompt_length=11) == together
    assert [texts([row])[0] for row in rows] == together


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens"),
        ({"stop_threshold": 0.0}, "stop_threshold"),
        ({"stop_threshold": 1.1}, "stop_threshold"),
        ({"method": "both"}, "joint, slot_first"),
        ({"temperature": -1.0}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"method": "slot_first", "slot_top_k": 0}, "top_k"),
        ({"method": "joint", "slot_temperature": 0.5}, "slot_first"),
    ],
)
def test_nonsense_is_refused(option: dict[str, Any], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        IlmPredictor(random_model(), TOKENIZER, **option)
