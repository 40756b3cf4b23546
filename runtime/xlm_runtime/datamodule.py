"""Splits and loader kinds to DataLoaders.

Training has one loader, of kind ``lm``. Validation and test have one for each kind that the model has a
collator for: the loss runs on the first, the predictor on the second, over the same examples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import IterableDataset, Subset
from torchdata.stateful_dataloader import StatefulDataLoader

from xlm_runtime.datasets import Divisible
from xlm_runtime.errors import ConfigError, DataError, did_you_mean
from xlm_runtime.metrics import LoaderKind
from xlm_runtime.sampler import EpochOrder
from xlm_runtime.signals import ignore_in_worker

CollateFunction = Callable[[list[dict[str, Any]]], Any]


class EndlessLoader(StatefulDataLoader[Any]):  # type: ignore[misc]  # torchdata declares no types
    """The loader of an endless stream, with a length that is never reached.

    Of a loader without one, Lightning takes a batch in advance, to see whether it is the last; a checkpoint would then
    hold a state one batch too far.
    """

    def __len__(self) -> int:
        return 1 << 53


class DataModule(pl.LightningDataModule):
    """One dataset, one collator a loader kind.

    Args:
        dataset: ``dataset[split]`` is a map-style dataset of examples; of training, it may be an ``IterableDataset``,
            whose iterators keep their place (``state_dict``); on several devices it must be ``Divisible``. Of its
            ``own_splits``, if it names any, each must be read by a part.
        collators: by loader kind; ``lm`` is needed to train and for the loss in evaluation, ``prediction``
            for the predictor. ``None`` leaves a kind out.
        batch_size: examples per device and batch of training.
        eval_batch_size: the same in evaluation.
        num_workers: loader processes; 0 loads in the training process.
        seed: of the order of the training examples.
        eval_split: the part (a key of ``splits``) that test and prediction loaders read.
        splits: the dataset's split that plays each part (train, val, test).
        limit: at most so many examples a split, the first ones; None for all.
        shuffle: whether training examples are drawn in random order.
        global_batch_size: examples of an optimizer step; an epoch is so many steps, whole ones. None: batch_size.

    Raises:
        ConfigError: sizes below one, no collator at all, an unknown part, a split that no part reads.
    """

    def __init__(
        self,
        dataset: Any,
        collators: Mapping[str, CollateFunction | None],
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        seed: int,
        eval_split: str,
        splits: Mapping[str, str],
        limit: int | None,
        shuffle: bool,
        global_batch_size: int | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("eval_batch_size", eval_batch_size, 1),
            ("num_workers", num_workers, 0),
            ("datamodule.limit", limit if limit is not None else 1, 1),
        ):
            if value < least:
                raise ConfigError(f"{name} is {value}; it must be at least {least}.")
        if eval_split not in splits:
            raise ConfigError(f"split is '{eval_split}'; expected one of: {', '.join(splits)}.")
        check_splits(dataset, splits)
        self.collators = {LoaderKind(kind): collate for kind, collate in collators.items() if collate is not None}
        if not self.collators:
            raise ConfigError(
                "The datamodule has no collator. A datamodule config of a model names one for each loader kind:\n"
                "  defaults:\n    - /collator@collators.lm: <a config of configs/collator>"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.eval_split = eval_split
        self.splits = dict(splits)
        self.limit = limit
        self.shuffle = shuffle
        self.global_batch_size = global_batch_size
        self._start: tuple[int, int] | None = None
        self._order: EpochOrder | None = None

    @property
    def eval_kinds(self) -> list[LoaderKind]:
        """The kinds of the evaluation loaders, in their order."""
        return [kind for kind in LoaderKind if kind in self.collators]

    def examples(self, part: str) -> Any:
        """The dataset that plays ``part``, train, val or test: map-style, or a stream (an ``IterableDataset``)."""
        examples = self.dataset[self.splits[part]]
        if isinstance(examples, IterableDataset):
            return examples if self.limit is None else _first(examples, self.limit)
        if len(examples) == 0:
            raise DataError(f"The split '{self.splits[part]}' of the dataset is empty.")
        if self.limit is not None and self.limit < len(examples):
            return Subset(examples, range(self.limit))
        return examples

    @property
    def streaming(self) -> bool:
        """Whether training reads a stream."""
        return isinstance(self.examples("train"), IterableDataset)

    def first_training_example(self) -> Any:
        """For those who want to see one before training begins."""
        examples = self.examples("train")
        return next(iter(examples)) if isinstance(examples, IterableDataset) else examples[0]

    def training_size(self) -> str:
        """How many training examples there are, in words."""
        examples = self.examples("train")
        if isinstance(examples, IterableDataset):
            return "an endless stream of training examples"
        return f"{len(examples):,} training examples"

    def train_dataloader(self) -> StatefulDataLoader[Any]:
        if LoaderKind.LM not in self.collators:
            raise ConfigError("Training needs a collator of kind 'lm': set datamodule.collators.lm.")
        examples = self.examples("train")
        if isinstance(examples, IterableDataset):
            return self._stream_loader(examples)
        processes, rank = self._share()
        group = self.global_batch_size or self.batch_size * processes
        if processes > 1 and len(examples) < group:
            raise ConfigError(
                f"There are {len(examples)} training examples, fewer than the {group} of one step of {processes} "
                "processes. Lower batch_size, or train with fewer devices."
            )
        if self.global_batch_size is not None and len(examples) < group:
            raise ConfigError(
                f"global_batch_size is {group}, but there are {len(examples)} training examples: no step would have so "
                "many. Lower it, or raise datamodule.limit where that is set."
            )
        order = EpochOrder(examples, self.seed, self.shuffle, group, self.batch_size, processes, rank)
        self._order = order
        if self._start is not None:
            order.start_at(*self._start)
        return StatefulDataLoader(
            examples,
            batch_size=self.batch_size,
            sampler=order,
            # Of the workers' seeds; without one, each epoch would draw from the global generator.
            generator=torch.Generator().manual_seed(self.seed),
            # A last short batch would make its examples count for more; a split smaller than one batch is kept.
            drop_last=len(examples) >= self.batch_size,
            collate_fn=self.collators[LoaderKind.LM],
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=ignore_in_worker,
            pin_memory=torch.cuda.is_available(),
        )

    def _stream_loader(self, stream: Any) -> StatefulDataLoader[Any]:
        # A stream orders its examples itself, and divides them among devices and loader processes.
        devices, rank = self._share()
        if isinstance(stream, Divisible):
            stream.share(rank, devices, self._start[1] // devices if self._start is not None else 0)
        elif devices > 1:
            raise ConfigError(
                f"{type(stream).__name__} has no share(rank, processes, skipped): each of the {devices} devices would "
                "train on the same examples. Train on one device, or give the stream that method."
            )
        return EndlessLoader(
            stream,
            batch_size=self.batch_size,
            generator=torch.Generator().manual_seed(self.seed),
            collate_fn=self.collators[LoaderKind.LM],
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=ignore_in_worker,
            pin_memory=torch.cuda.is_available(),
        )

    def continue_from(self, epoch: int, place: int) -> None:
        """Let training begin at this epoch, behind so many examples of it, of all processes. The loader's own state
        does it more cheaply, but holds for the same number of workers and processes only.
        """
        self._start = (epoch, place)

    def examples_of(self, epoch: int, batch: int) -> list[int] | None:
        """Which training examples a batch of an epoch holds, in all processes; None before training has begun."""
        if self._order is None:
            return None
        size = self.batch_size * self._order.processes
        return self._order.order(epoch)[batch * size : (batch + 1) * size]

    def _share(self) -> tuple[int, int]:
        """How many processes share the examples, and which of them this is."""
        trainer = vars(self).get("trainer")
        return (trainer.world_size, trainer.global_rank) if trainer is not None else (1, 0)

    def val_dataloader(self) -> list[StatefulDataLoader[Any]]:
        return self._eval_loaders("val", self.eval_kinds)

    def test_dataloader(self) -> list[StatefulDataLoader[Any]]:
        return self._eval_loaders(self.eval_split, self.eval_kinds)

    def predict_dataloader(self) -> list[StatefulDataLoader[Any]]:
        if LoaderKind.PREDICTION not in self.collators:
            raise ConfigError("Generation needs a collator of kind 'prediction': set datamodule.collators.prediction.")
        return self._eval_loaders(self.eval_split, [LoaderKind.PREDICTION])

    def _eval_loaders(self, part: str, kinds: Sequence[LoaderKind]) -> list[StatefulDataLoader[Any]]:
        examples = self.examples(part)
        if isinstance(examples, IterableDataset):
            raise ConfigError(
                f"The {part} examples are an endless stream (datamodule.splits.{part} is {self.splits[part]!r}); "
                "evaluation would never end. Set datamodule.limit, or dataset.streaming=false."
            )
        processes, rank = self._share()
        # No example twice: the shares of the first processes may be longer by one.
        share = range(rank, len(examples), processes)
        return [
            StatefulDataLoader(
                examples,
                batch_size=self.eval_batch_size,
                sampler=share if processes > 1 else None,
                generator=torch.Generator().manual_seed(self.seed),
                collate_fn=self.collators[kind],
                num_workers=self.num_workers,
                worker_init_fn=ignore_in_worker,
                pin_memory=torch.cuda.is_available(),
            )
            for kind in kinds
        ]


def check_splits(dataset: Any, splits: Mapping[str, str]) -> None:
    """Refuse a split with a source of its own that no part reads, where the parts read several: mostly a mistyped name.

    Args:
        dataset: may name such splits as ``own_splits``.
        splits: the dataset's split that plays each part.

    Raises:
        ConfigError: names the split, and how it is read.
    """
    read = set(splits.values())
    unread = [split for split in getattr(dataset, "own_splits", ()) if split not in {*splits, *read}]
    if unread and len(read) > 1:  # debug=overfit: all of them read one
        name = unread[0]
        raise ConfigError(
            f"The dataset has the split '{name}', which nothing reads: datamodule.splits is {dict(splits)}. "
            f"{did_you_mean(name, read)}\nCall it by one of these names, leave it out, or say what reads it: "
            f"datamodule.splits.val={name}, or +datamodule.splits.{name}={name} and split={name} in evaluation."
        )


def _first(stream: Any, count: int) -> list[Any]:
    return list(islice(stream, count))
