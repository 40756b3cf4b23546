"""The contract of a model repository, as tests to inherit::

    from xlm_runtime.testing import ModelContract

    class TestContract(ModelContract):
        model_name = "my_model"

pytest then runs every test below against ``experiment`` (by default ``star_easy_<model_name>``) with the sizes of
``debug=overfit``. A subclass changes the class attributes, or overrides a test whose promise its model does not make.
"""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from lightning.pytorch import seed_everything
from omegaconf import DictConfig, OmegaConf, open_dict
from torch import Tensor

from xlm_runtime.build import Parts, build_datamodule, build_parts, locate
from xlm_runtime.config import compose
from xlm_runtime.discovery import ModelPackage, activate, discover
from xlm_runtime.metrics import LoaderKind

#: Groups that all models share one search path for, so that a file without the model's name could hide another's.
SHARED_GROUPS = ("collator", "datamodule", "experiment", "model", "model_type")


class ModelContract:
    """Inherit it, set ``model_name``.

    Attributes:
        model_name: as registered.
        experiment: the experiment that is tested; None for ``star_easy_<model_name>``.
        overrides: further words of the command line.
        lengths: keys of the composed configuration that lengthen a block of padding.
        tolerance: absolute, of two losses that should be equal.
    """

    model_name: ClassVar[str]
    experiment: ClassVar[str | None] = None
    overrides: ClassVar[tuple[str, ...]] = ("dataset.sizes={train: 16, val: 8, test: 8}", "batch_size=8")
    lengths: ClassVar[tuple[str, ...]] = ("dataset.prompt_length", "dataset.answer_length", "dataset.block_size")
    tolerance: ClassVar[float] = 1e-5

    # -- what the tests run on -----------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    @classmethod
    def package(cls) -> ModelPackage:
        found = discover()
        activate(found.models)
        return found.get(cls.model_name)

    @pytest.fixture(scope="class")
    @classmethod
    def cfg(cls, package: ModelPackage, tmp_path_factory: pytest.TempPathFactory) -> DictConfig:
        experiment = cls.experiment or f"star_easy_{cls.model_name}"
        cache = tmp_path_factory.mktemp("cache")
        return compose([f"experiment={experiment}", "debug=overfit", f"cache_dir={cache}", *cls.overrides])

    @pytest.fixture(scope="class")
    @classmethod
    def parts(cls, cfg: DictConfig) -> Parts:
        seed_everything(0, verbose=False)
        parts = build_parts(cfg)
        parts.harness.eval()
        return parts

    @pytest.fixture
    def examples(self, parts: Parts) -> list[dict[str, Any]]:
        data = parts.datamodule.examples("train")
        return [data[i] for i in range(min(8, len(data)))]

    # -- files ---------------------------------------------------------------------------------------------

    def test_every_config_file_bears_the_name(self, package: ModelPackage) -> None:
        strangers = [
            str(file.relative_to(package.configs))
            for group in SHARED_GROUPS
            for file in (package.configs / group).rglob("*.yaml")
            if self.model_name not in file.stem
        ]
        assert not strangers, f"all models share one search path: put '{self.model_name}' into these file names"

    def test_every_experiment_composes_and_its_targets_import(self, package: ModelPackage) -> None:
        names = package.experiments()
        assert names, "a model has at least one experiment"
        for name in names:
            cfg = compose([f"experiment={name}"])
            for key, path in _dotted_paths(cfg):
                locate(path, f"{name}: {key}")

    # -- collators -----------------------------------------------------------------------------------------

    def test_a_collator_leaves_its_examples_alone(self, parts: Parts, examples: list[dict[str, Any]]) -> None:
        before = copy.deepcopy(examples)
        for collate in parts.datamodule.collators.values():
            collate(examples)
        assert examples == before

    def test_a_batch_has_one_row_an_example(self, parts: Parts, examples: list[dict[str, Any]]) -> None:
        for collate in parts.datamodule.collators.values():
            for name, value in collate(examples).items():
                if isinstance(value, Tensor) and value.ndim:
                    assert len(value) == len(examples), name

    # -- loss ----------------------------------------------------------------------------------------------

    def test_the_loss_is_a_finite_scalar(self, parts: Parts, examples: list[dict[str, Any]]) -> None:
        loss = self._loss(parts, examples)
        assert loss.ndim == 0 and loss.is_floating_point()
        assert torch.isfinite(loss)

    def test_the_loss_leaves_its_batch_alone(self, parts: Parts, examples: list[dict[str, Any]]) -> None:
        batch = parts.datamodule.collators[LoaderKind.LM](examples)
        before = copy.deepcopy(batch)
        parts.harness.loss.loss_fn(batch)
        assert batch.keys() == before.keys()
        for name, value in batch.items():
            same = torch.equal(value, before[name]) if isinstance(value, Tensor) else value == before[name]
            assert same, f"loss_fn changed batch['{name}']"

    def test_the_loss_is_the_same_when_it_is_padded_further(
        self, cfg: DictConfig, parts: Parts, examples: list[dict[str, Any]]
    ) -> None:
        """Catches a mean over all positions, and padding that is attended or scored."""
        longer = copy.deepcopy(cfg)
        changed = [key for key in self.lengths if isinstance(OmegaConf.select(longer, key), int)]
        assert changed, f"none of the length keys {self.lengths} is in the configuration: set ModelContract.lengths"
        with open_dict(longer):
            for key in changed:
                OmegaConf.update(longer, key, OmegaConf.select(longer, key) + 5)
        collate = build_datamodule(longer, parts.tokenizer).collators[LoaderKind.LM]
        padded = parts.harness.loss.loss_fn(collate(examples))["loss"]
        assert abs((padded - self._loss(parts, examples)).item()) < self.tolerance

    def test_the_loss_is_the_same_when_its_rows_are_permuted(
        self, parts: Parts, examples: list[dict[str, Any]]
    ) -> None:
        permuted = self._loss(parts, examples[::-1])
        assert abs((permuted - self._loss(parts, examples)).item()) < self.tolerance

    def test_gradients_reach_every_parameter(self, parts: Parts, examples: list[dict[str, Any]]) -> None:
        parts.harness.zero_grad()
        with torch.enable_grad():
            torch.autograd.backward(self._loss(parts, examples))
        without = [n for n, p in parts.harness.named_parameters() if p.requires_grad and p.grad is None]
        broken = [n for n, p in parts.harness.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
        parts.harness.zero_grad()
        assert not without, "no gradient: a parameter that the loss does not depend on"
        assert not broken, "a gradient that is not finite"

    # -- predictions ---------------------------------------------------------------------------------------

    def test_prediction_rows_are_json_and_one_an_example(self, parts: Parts, examples: list[dict[str, Any]]) -> None:
        rows = self._rows(parts, examples)
        assert len(rows) == len(examples)
        assert json.loads(json.dumps(rows)) == rows
        assert all(isinstance(row["text"], str) for row in rows), "a row's 'text' is what was generated"

    def test_a_prediction_does_not_depend_on_its_batch(self, parts: Parts, examples: list[dict[str, Any]]) -> None:
        together = self._rows(parts, examples)
        assert self._rows(parts, examples[::-1])[::-1] == together
        assert [row for example in examples for row in self._rows(parts, [example])] == together

    # -- metrics, weights ----------------------------------------------------------------------------------

    def test_every_metric_has_a_finite_value(self, parts: Parts, examples: list[dict[str, Any]]) -> None:
        for kind in parts.datamodule.eval_kinds:
            metric_set = copy.deepcopy(parts.harness.metric_sets["val", kind])
            batch = parts.datamodule.collators[kind](examples)
            with torch.no_grad():
                metric_set.update(batch, self._run(parts, kind, batch))
            values = metric_set.compute()
            assert values.keys() == metric_set.metrics.keys()
            for name, value in values.items():
                assert math.isfinite(float(value)), name

    def test_the_weights_survive_a_file(self, parts: Parts, examples: list[dict[str, Any]]) -> None:
        loss = self._loss(parts, examples).item()
        file = io.BytesIO()
        torch.save(parts.harness.state_dict(), file)
        file.seek(0)
        state = torch.load(file, weights_only=True)
        owned = {id(parameter) for parameter in parts.harness.parameters()}
        assert sum(name in state for name, _ in parts.harness.named_parameters()) == len(owned), "once each"
        fresh = copy.deepcopy(parts)
        with torch.no_grad():
            for parameter in fresh.harness.parameters():
                parameter.zero_()
        fresh.harness.load_state_dict(state)
        assert self._loss(fresh, examples).item() == loss

    # -- helpers -------------------------------------------------------------------------------------------

    def _loss(self, parts: Parts, examples: list[dict[str, Any]]) -> Tensor:
        loss: Tensor = self._run(parts, LoaderKind.LM, parts.datamodule.collators[LoaderKind.LM](examples))["loss"]
        return loss

    def _rows(self, parts: Parts, examples: list[dict[str, Any]]) -> list[dict[str, Any]]:
        batch = parts.datamodule.collators[LoaderKind.PREDICTION](examples)
        preds = self._run(parts, LoaderKind.PREDICTION, batch)
        rows: list[dict[str, Any]] = parts.harness.predictor.to_dict(batch, preds)
        return rows

    def _run(self, parts: Parts, kind: LoaderKind, batch: Any) -> Any:
        if kind is LoaderKind.LM:
            return parts.harness.loss.loss_fn(batch)
        with torch.no_grad():
            return parts.harness.predictor.predict(batch)


def _dotted_paths(cfg: DictConfig) -> Iterator[tuple[str, str]]:
    """Every ``_target_``, and every metric's ``update``, with its key."""
    plain = OmegaConf.to_container(cfg, resolve=False)
    stack: list[tuple[str, Any]] = [("", plain)]
    while stack:
        prefix, node = stack.pop()
        for key, value in node.items():
            if isinstance(value, dict):
                stack.append((f"{prefix}{key}.", value))
            elif key == "_target_" or (key == "update" and prefix.startswith("metrics.")):
                yield f"{prefix}{key}", str(value)
