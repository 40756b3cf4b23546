"""``job_type=prepare_data``: the tokenizer and the examples of a dataset, made before training needs them."""

from __future__ import annotations

import signal
from typing import Any

from omegaconf import DictConfig
from rich.table import Table

from xlm_runtime.build import build_dataset, build_tokenizer
from xlm_runtime.datamodule import check_splits
from xlm_runtime.datasets import Preparable
from xlm_runtime.datasets.text_progress import Report
from xlm_runtime.jobs._console import make_console
from xlm_runtime.jobs._quiet import quiet
from xlm_runtime.signals import at_once, requeue, say_last


def run(cfg: DictConfig) -> None:
    """Prepare what is not there yet; say what there is, and where."""
    quiet()
    with at_once(_last_words):
        _prepare(cfg)


def _last_words(number: int) -> None:
    name = signal.Signals(number).name
    asked = f" {requeue()}" if name == "SIGUSR1" else ""
    say_last(f"Stopped at once by {name}. What is prepared whole is kept; the same command prepares the rest.{asked}")


def _prepare(cfg: DictConfig) -> None:
    tokenizer = build_tokenizer(cfg)
    dataset = build_dataset(cfg, tokenizer)
    check_splits(dataset, cfg.datamodule.splits)
    print(f"tokenizer: {len(tokenizer):,} tokens", flush=True)
    if not isinstance(dataset, Preparable):
        for split in dict.fromkeys(cfg.datamodule.splits.values()):
            print(f"{split}: {len(dataset[split]):,} examples", flush=True)
        return
    there = dataset.is_prepared()
    found = dataset.prepare(Report())
    _show(found)
    if not found:
        print("Nothing to prepare: training reads a stream, and there is no other split.")
    elif there:
        print(f"All of it was there already: {dataset.directory}")
    else:
        print(f"Prepared: {dataset.directory}")


def _show(found: dict[str, dict[str, Any]]) -> None:
    table = Table()
    for column in ("split", "documents", "empty", "tokens", "blocks", "waste"):
        table.add_column(column, justify="left" if column == "split" else "right")
    for split, counts in found.items():
        numbers = (f"{counts[name]:,}" for name in ("documents", "empty", "tokens", "blocks"))
        waste = "" if counts["waste"] is None else f"{counts['waste']:.2%}"
        table.add_row(split, *numbers, waste)
    if found:
        make_console().print(table)
