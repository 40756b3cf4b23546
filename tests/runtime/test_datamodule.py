"""The DataModule: which examples are in which batches, for each part and loader kind."""

from __future__ import annotations

from typing import Any

import pytest
import tiny_parts as tiny
import torch

from xlm_runtime.errors import ConfigError, DataError
from xlm_runtime.metrics import LoaderKind


def indices(loader: Any) -> list[list[int]]:
    """The examples' indices, batch by batch."""
    return [batch["index"].tolist() for batch in loader]


def collate_lm(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"kind": "lm", **tiny.collate(rows)}


def collate_prediction(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {"kind": "prediction", **tiny.collate(rows)}


BOTH = {"lm": collate_lm, "prediction": collate_prediction}


def test_one_training_loader_and_one_evaluation_loader_a_kind() -> None:
    datamodule = tiny.make_datamodule(collators={"prediction": collate_prediction, "lm": collate_lm})
    assert datamodule.eval_kinds == [LoaderKind.LM, LoaderKind.PREDICTION]
    assert {batch["kind"] for batch in datamodule.train_dataloader()} == {"lm"}
    for loaders in (datamodule.val_dataloader(), datamodule.test_dataloader()):
        assert [{batch["kind"] for batch in loader} for loader in loaders] == [{"lm"}, {"prediction"}]
    assert [{batch["kind"] for batch in loader} for loader in datamodule.predict_dataloader()] == [{"prediction"}]


def test_a_kind_without_collator_has_no_loader() -> None:
    lm_only = tiny.make_datamodule(collators={"lm": collate_lm, "prediction": None})
    assert lm_only.eval_kinds == [LoaderKind.LM]
    assert len(lm_only.val_dataloader()) == 1
    with pytest.raises(ConfigError, match=r"datamodule.collators.prediction"):
        lm_only.predict_dataloader()
    prediction_only = tiny.make_datamodule(collators={"prediction": collate_prediction})
    assert prediction_only.eval_kinds == [LoaderKind.PREDICTION]
    with pytest.raises(ConfigError, match=r"datamodule.collators.lm"):
        prediction_only.train_dataloader()


def test_without_any_collator_it_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no collator"):
        tiny.make_datamodule(collators={"lm": None, "prediction": None})


def test_fewer_examples_than_a_global_batch_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"global_batch_size is 20, but there are 16 training examples.*Lower it"):
        tiny.make_datamodule(global_batch_size=20).train_dataloader()
    assert len(tiny.make_datamodule(global_batch_size=16).train_dataloader()) == 4
    assert len(tiny.make_datamodule(batch_size=20).train_dataloader()) == 1  # nobody has asked for so many


def test_evaluation_reads_every_example_in_order_in_batches_of_its_own_size() -> None:
    datamodule = tiny.make_datamodule(collators=BOTH, eval_batch_size=3, shuffle=True)
    for loader in datamodule.val_dataloader():
        assert indices(loader) == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    for loader in datamodule.test_dataloader():
        assert indices(loader) == [[0, 1, 2], [3, 4, 5], [6]]
    assert indices(datamodule.predict_dataloader()[0]) == [[0, 1, 2], [3, 4, 5], [6]]


def test_training_drops_a_last_short_batch() -> None:
    assert indices(tiny.make_datamodule(batch_size=5).train_dataloader()) == [
        [0, 1, 2, 3, 4],
        [5, 6, 7, 8, 9],
        [10, 11, 12, 13, 14],
    ]


@pytest.mark.parametrize("batch_size", [16, 17, 100])
def test_a_training_split_no_larger_than_a_batch_is_one_batch(batch_size: int) -> None:
    assert indices(tiny.make_datamodule(batch_size=batch_size).train_dataloader()) == [list(range(16))]


def test_limit_takes_the_first_examples_of_every_split() -> None:
    datamodule = tiny.make_datamodule(limit=6, shuffle=True, batch_size=2)
    assert sorted(i for batch in indices(datamodule.train_dataloader()) for i in batch) == list(range(6))
    assert indices(datamodule.val_dataloader()[0]) == [[0, 1, 2, 3], [4, 5]]
    assert indices(tiny.make_datamodule(limit=100).test_dataloader()[0]) == [[0, 1, 2, 3], [4, 5, 6]]


def test_splits_say_which_split_plays_which_part() -> None:
    datamodule = tiny.make_datamodule(splits={"train": "val", "val": "train", "test": "train"}, eval_split="test")
    assert len(datamodule.examples("train")) == 10
    assert len(datamodule.examples("val")) == len(datamodule.examples("test")) == 16
    assert len(indices(datamodule.test_dataloader()[0])) == 4


def test_eval_split_is_what_test_and_prediction_loaders_read() -> None:
    datamodule = tiny.make_datamodule(eval_split="val")
    assert sum(map(len, indices(datamodule.test_dataloader()[0]))) == 10
    assert sum(map(len, indices(datamodule.predict_dataloader()[0]))) == 10
    assert sum(map(len, indices(datamodule.val_dataloader()[0]))) == 10


# -- the order of training ---------------------------------------------------------------------------------


def order(**changes: Any) -> list[int]:
    loader = tiny.make_datamodule(shuffle=True, **changes).train_dataloader()
    return [i for _ in range(2) for batch in indices(loader) for i in batch]


def test_the_order_is_a_permutation_that_changes_with_the_epoch_and_the_seed() -> None:
    first, second = order()[:16], order()[16:]
    assert sorted(first) == sorted(second) == list(range(16))
    assert first != list(range(16))
    assert first != second
    assert order(seed=1)[:16] != first


def test_the_order_depends_on_the_seed_alone() -> None:
    expected = order(seed=3)
    torch.manual_seed(99)
    torch.rand(5)
    assert order(seed=3) == expected
    assert order(seed=3, batch_size=2) == expected
    assert order(seed=3, eval_batch_size=7) == expected


@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader", "test_dataloader", "predict_dataloader"])
def test_reading_batches_leaves_the_global_generator_alone(loader: str) -> None:
    # A draw more or less, and a network with dropout trains differently where there is one more validation.
    loaders = getattr(tiny.make_datamodule(shuffle=True), loader)()
    before = torch.get_rng_state()
    for each in loaders if isinstance(loaders, list) else [loaders]:
        indices(each)
    assert torch.equal(torch.get_rng_state(), before)


def test_without_shuffle_the_order_is_the_datasets() -> None:
    assert [i for batch in indices(tiny.make_datamodule().train_dataloader()) for i in batch] == list(range(16))


def test_workers_give_the_same_batches() -> None:
    def batches(num_workers: int) -> list[list[list[int]]]:
        datamodule = tiny.make_datamodule(num_workers=num_workers, shuffle=True, seed=5)
        train = datamodule.train_dataloader()
        return [indices(train), indices(train), indices(datamodule.val_dataloader()[0])]

    assert batches(2) == batches(0)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("seen", [1, 3, 4, 6])
def test_a_loader_goes_on_where_another_ones_state_was_taken(num_workers: int, seen: int) -> None:
    # Four batches an epoch. What is left of the epoch, and the two epochs after it, are those of the first loader.
    def epochs(loader: Any, count: int) -> list[list[list[int]]]:
        return [indices(loader) for _ in range(count)]

    first = tiny.make_datamodule(num_workers=num_workers, shuffle=True, seed=5).train_dataloader()
    state, left = None, seen
    for _ in range(2):
        for _ in first:
            left -= 1
            if left == 0:
                state = first.state_dict()
    expected = epochs(tiny.make_datamodule(num_workers=num_workers, shuffle=True, seed=5).train_dataloader(), 4)
    second = tiny.make_datamodule(num_workers=num_workers, shuffle=True, seed=5).train_dataloader()
    assert state is not None
    second.load_state_dict(state)
    going_on = [batch for epoch in epochs(second, 3) for batch in epoch]
    assert going_on == [batch for epoch in expected for batch in epoch][seen : seen + len(going_on)]
    assert len(going_on) >= 8


# -- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 0), ("batch_size", -4), ("eval_batch_size", 0), ("num_workers", -1), ("limit", 0)],
)
def test_a_size_below_its_least_is_an_error(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is {value}; it must be at least"):
        tiny.make_datamodule(**{name: value})


def test_an_unknown_split_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'validation'.*train, val, test"):
        tiny.make_datamodule(eval_split="validation")


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="lm_train"):
        tiny.make_datamodule(collators={"lm_train": collate_lm})


def test_an_empty_split_is_an_error() -> None:
    with pytest.raises(DataError, match=r"'train'.*empty"):
        tiny.make_datamodule(dataset={"train": []}).train_dataloader()


class Named(dict[str, Any]):
    """A dataset that says which of its splits have a source of their own."""

    own_splits = ("train", "dev")


def test_a_split_that_nothing_reads_is_an_error() -> None:
    dataset = Named(train=tiny.examples(16), val=tiny.examples(10), dev=tiny.examples(3))
    with pytest.raises(ConfigError, match=r"split 'dev', which nothing reads(?s:.*)datamodule\.splits\.val=dev"):
        tiny.make_datamodule(dataset=dataset)
    read = tiny.make_datamodule(dataset=dataset, splits={"train": "train", "val": "dev", "test": "val"})
    assert len(read.examples("val")) == 3
    more = tiny.make_datamodule(dataset=dataset, splits={"train": "train", "val": "val", "test": "val", "dev": "dev"})
    assert len(more.examples("dev")) == 3
    tiny.make_datamodule(dataset=dataset, splits=dict.fromkeys(("train", "val", "test"), "train"))  # debug=overfit
