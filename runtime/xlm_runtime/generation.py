"""Generation with a saved run: from its predictor's rows to complete ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from xlm_runtime.errors import ContractError
from xlm_runtime.faults import plain_memory_faults
from xlm_runtime.predictions import Row
from xlm_runtime.prompt_examples import PromptExamples
from xlm_runtime.prompts import Prompt
from xlm_runtime.saved import SavedRun
from xlm_runtime.trainer import plain_exits


def examples_of(cfg: DictConfig, prompts: Sequence[Prompt]) -> Callable[[Any, dict[str, Any]], PromptExamples]:
    """What ``build_datamodule`` takes instead of the configured dataset: (tokenizer, collators) -> the prompts.

    Args:
        cfg: the run's configuration, for the lengths of its collator.
        prompts: one a row.
    """

    def length(key: str) -> int | None:
        value: int | None = OmegaConf.select(cfg, f"datamodule.collators.prediction.{key}")
        return value

    def make(tokenizer: Any, collators: dict[str, Any]) -> PromptExamples:
        collator = collators.get("prediction")
        return PromptExamples(prompts, tokenizer, collator, length("block_size"), length("prompt_length"))

    return make


def generate_rows(cfg: DictConfig, saved: SavedRun, prompts: Sequence[Prompt] | None = None) -> list[Row]:
    """A row for each example of the saved run's datamodule, in their order.

    Args:
        cfg: the run's configuration.
        saved: the run; its datamodule holds ``prompts``, or a split.
        prompts: what the examples are made of, where they are no split's.

    Returns:
        What the predictor's ``to_dict`` says, and ``length`` (of ``ids``), ``steps`` (network calls; None: unknown),
        ``seconds`` (the row's share of its batch's) and ``seed``. Of a prompt, ``prompt`` as it was written, and no
        truth.

    Raises:
        ContractError: the predictor returned another number of rows than there are prompts.
        OutOfMemoryError: a batch does not fit into memory.
    """
    with plain_exits(saved.trainer), plain_memory_faults(cfg, "eval_batch_size"):
        batches = saved.trainer.predict(saved.parts.harness, datamodule=saved.parts.datamodule) or []
    rows: list[Row] = [row for batch in batches for row in batch]
    if prompts is not None:
        if len(rows) != len(prompts):
            raise ContractError(
                f"{type(saved.parts.harness.predictor).__name__} made {len(rows)} rows of {len(prompts)} prompts; "
                "expected one a row of the batch, from to_dict."
            )
        rows = [{**row, "prompt": prompt.text, "truth": None} for row, prompt in zip(rows, prompts, strict=True)]
    seed = OmegaConf.select(cfg, "predictor.seed")
    return [_completed(row, cfg.seed if seed is None else seed) for row in rows]


def _completed(row: Row, seed: int) -> Row:
    ids = row.get("ids")
    facts = {"length": len(ids) if isinstance(ids, list) else None, "steps": row.get("network_calls"), "seed": seed}
    return {**row, **facts}
